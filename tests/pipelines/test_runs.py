"""A run's one writer: batches that get through whole, writes that refuse their case alone."""

from collections.abc import Callable

import pytest
from catalog_makers import add_case, drawn, version
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from db import queries, writes
from db.models import Run, RunItem, RunState, Source
from db.writes import VersionRef
from pipelines.runs import Workbench, run


def _add_version(case: VersionRef, class_name: str, **more: object) -> Callable:
    def write(session) -> str:
        writes.add_version(session, case.case_id, case.id, version(drawn(class_name), **more))
        return "written"

    return write


def _newest(bench: Workbench, address: str) -> int:
    with bench.catalog.reading() as session:
        return queries.resolve(session, address).number


def test_a_write_that_comes_too_late_is_refused_for_its_case_alone(bench: Workbench) -> None:
    with bench.catalog.writing() as session:
        cases = {name: add_case(session, name) for name in ("a", "b", "c")}
        # Another writer was quicker with b.
        writes.add_version(session, cases["b"].case_id, cases["b"].id, version(drawn("spleen")))
    with run(bench, "complement", {}) as booking:
        for name, case in cases.items():
            booking.add(_add_version(case, "liver", voxel_hash="a" * 64), f"KiTS/{name}")
    assert booking.outcome.counts == {"written": 2}
    assert booking.outcome.refused == [
        "KiTS/b: made from version 1, but by now the newest is version 2; "
        "look at what changed and do it again on the newest"
    ]
    assert [_newest(bench, f"KiTS/{name}") for name in "abc"] == [2, 2, 2]
    with bench.catalog.reading() as session:
        assert session.execute(select(RunItem.subject, RunItem.state)).all() == [("KiTS/b", "refused")]
        state, message, batches = session.execute(select(Run.state, Run.message, Run.batches)).one()
    assert (state, message, batches) == (RunState.DONE, "2 written, 1 refused", 1)


def test_what_another_run_wrote_meanwhile_is_done_and_not_refused(bench: Workbench) -> None:
    with bench.catalog.writing() as session:
        case = add_case(session, "a")
        _add_version(case, "liver", voxel_hash="a" * 64)(session)
    with run(bench, "complement", {}) as booking:
        booking.add(_add_version(case, "liver", voxel_hash="a" * 64), "KiTS/a")
    assert booking.outcome.counts == {"written by another run meanwhile": 1}
    assert booking.outcome.refused == []
    assert _newest(bench, "KiTS/a") == 2


def test_a_row_that_the_catalog_forbids_is_no_refusal_but_ends_the_run_and_undoes_the_batch(
    bench: Workbench,
) -> None:
    def write_twice(session) -> None:
        session.execute(Source.__table__.insert(), [{"name": "twice"}, {"name": "twice"}])

    def fail() -> None:
        with run(bench, "ingest", {}) as booking:
            booking.add(lambda session: str(writes.ensure_source(session, "good")), "a")
            booking.add(write_twice, "b")

    with pytest.raises(IntegrityError):
        fail()
    with bench.catalog.reading() as session:
        assert session.scalars(select(Source.name)).all() == []
        assert session.scalars(select(Run.state)).one() is RunState.FAILED


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_is_booked_as_such_and_keeps_what_was_committed(
    bench: Workbench, end: type[BaseException]
) -> None:
    def interrupt() -> None:
        with run(bench, "ingest", {}) as booking:
            booking.add(lambda session: str(writes.ensure_source(session, "kept")), "a")
            booking.flush()
            booking.add(lambda session: str(writes.ensure_source(session, "lost")), "b")
            raise end

    with pytest.raises(end):
        interrupt()
    with bench.catalog.reading() as session:
        assert session.scalars(select(Source.name)).all() == ["kept"]
        assert session.scalars(select(Run.state)).one() is RunState.INTERRUPTED
