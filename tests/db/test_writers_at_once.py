"""Several writers and readers at once: writers take turns, readers do not wait, nobody overwrites."""

import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from catalog_makers import add_case, drawn, version
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from curation.errors import CurationError
from db import engine as engine_module
from db import queries, writes
from db.catalog import Catalog
from db.engine import DatabaseUnreachableError
from db.writes import StaleParentError


def test_of_writers_with_the_same_parent_exactly_one_gets_through(catalog: Catalog) -> None:
    with catalog.writing() as session:
        first = add_case(session, "case_00000")
    together = threading.Barrier(4)

    def write(_: int) -> bool:
        together.wait()
        try:
            with catalog.writing() as session:
                writes.add_version(session, first.case_id, first.id, version(drawn("liver")))
        except StaleParentError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(write, range(4))) == [False, False, False, True]
    with catalog.reading() as session:
        assert [v.number for v in queries.history(session, first.case_id)] == [1, 2]


def test_writers_that_read_the_newest_first_all_get_through_in_turn(catalog: Catalog) -> None:
    with catalog.writing() as session:
        case = add_case(session, "case_00000").case_id

    def write(_: int) -> None:
        for attempt in range(50):
            with catalog.reading() as session:
                newest = queries.resolve(session, "KiTS/case_00000").version_id
            try:
                with catalog.writing() as session:
                    writes.add_version(session, case, newest, version(drawn("liver")))
                return
            except StaleParentError:
                assert attempt < 49

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(12)))
    with catalog.reading() as session:
        rows = queries.history(session, case)
    assert [(r.number, r.parent) for r in rows] == [(1, None)] + [(n, n - 1) for n in range(2, 14)]


def test_runs_that_make_the_same_source_and_cases_at_once_share_them(catalog: Catalog) -> None:
    together = threading.Barrier(4)

    def ensure(_: int) -> tuple[int, int]:
        together.wait()
        with catalog.writing() as session:
            source = writes.ensure_source(session, "KiTS")
            return source, writes.ensure_case(session, source, "case_00000")

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ensure, range(4)))) == 1


def test_processes_write_to_one_catalog(catalog: Catalog, catalog_url: str) -> None:
    program = textwrap.dedent(
        """
        import sys
        from catalog_makers import add_case, drawn
        from db.catalog import Catalog
        catalog = Catalog.open(sys.argv[1])
        for number in range(25):
            with catalog.writing() as session:
                add_case(session, f"{sys.argv[2]}_{number}", drawn("liver"))
        """
    )
    here = Path(__file__).parent
    path = f"import sys; sys.path[:0] = {[str(here), str(here.parents[1])]!r}\n"
    writers = [
        subprocess.Popen([sys.executable, "-c", path + program, catalog_url, name]) for name in ("one", "two")
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    with catalog.reading() as session:
        assert queries.count(session, "has liver") == 50


def test_a_reader_neither_waits_for_a_writer_nor_sees_half_of_its_work(catalog: Catalog) -> None:
    with catalog.writing() as session:
        add_case(session, "a", drawn("liver"))
    with catalog.writing() as session:
        add_case(session, "b", drawn("liver"))
        session.flush()
        with catalog.reading() as reader:
            assert queries.count(reader) == 1
    with catalog.reading() as reader:
        assert queries.count(reader) == 2


def test_a_reader_sees_one_state_throughout(catalog: Catalog) -> None:
    with catalog.reading() as reader:
        assert queries.count(reader) == 0
        with catalog.writing() as session:
            add_case(session, "a", drawn("liver"))
        assert queries.count(reader) == 0


def test_a_reader_cannot_write(catalog: Catalog) -> None:
    with (
        pytest.raises((CurationError, SQLAlchemyError), match=r"readonly|read-only"),
        catalog.reading() as session,
    ):
        writes.ensure_source(session, "KiTS")
    with catalog.writing() as session:  # on the connection that the reader has given back
        writes.ensure_source(session, "KiTS")


def test_a_writer_that_waits_too_long_is_told_what_holds_it(
    tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(migrated_file.read_bytes())
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_S", 0.2)
    first, second = Catalog.open(f"sqlite:///{path}"), Catalog.open(f"sqlite:///{path}")
    with first.writing() as session:
        session.execute(text("SELECT 1"))  # the transaction begins with its first statement
        with (
            pytest.raises(DatabaseUnreachableError, match="another process has been writing"),
            second.writing() as s,
        ):
            s.execute(text("SELECT 1"))
    first.close()
    second.close()
