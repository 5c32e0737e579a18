"""The schema: migrations up and down on both databases, and what is said of a database that does not fit."""

import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from db import schema
from db.catalog import Catalog
from db.engine import DatabaseUnreachableError, DatabaseUrlError, database_url, open_engine
from db.models import Base
from db.schema import CatalogVersionError, SchemaState, migrate, schema_state


def _is_partition(table: str | None) -> bool:
    """PostgreSQL keeps each class's rows of `newest_measure` in a table of their own."""
    return table is not None and table.startswith("newest_measure_")


def _tables(engine: Engine) -> set[str]:
    names = inspect(engine).get_table_names()
    return {name for name in names if not _is_partition(name)} - {"alembic_version"}


def test_a_database_goes_up_down_and_up_again(empty_url: str) -> None:
    engine = open_engine(empty_url)
    assert schema_state(engine) is SchemaState.EMPTY
    migrate(empty_url)
    assert schema_state(engine) is SchemaState.CURRENT
    assert _tables(engine) == set(Base.metadata.tables)
    migrate(empty_url, "base")
    assert schema_state(engine) is SchemaState.EMPTY
    assert _tables(engine) == set()
    migrate(empty_url)
    assert _tables(engine) == set(Base.metadata.tables)
    engine.dispose()


def test_the_ledgers_migration_keeps_conflicts_and_says_since_when_a_class_has_its_owner(
    empty_url: str,
) -> None:
    migrate(empty_url, "0001")
    engine = open_engine(empty_url)
    grid = "4, 5, 6, 1.0, 1.0, 1.0, 'RAS', '[]'"
    with engine.execution_options(catalog_writer=True).begin() as connection:
        for statement in (
            "INSERT INTO source (id, name, created_at) VALUES (1, 'S', '2026-01-01')",
            'INSERT INTO "case" (id, source_id, name, patient, role, extra, created_at)'
            " VALUES (1, 1, 'A', 'S/A', 'train', '{}', '2026-01-01')",
            *(
                "INSERT INTO mask_version (id, case_id, number, parent_id, kind, author, message, created_at,"
                " shape_x, shape_y, shape_z, spacing_x, spacing_y, spacing_z, orientation, affine)"
                f" VALUES ({n}, 1, {n}, {n - 1 or 'NULL'}, 'ingested', 'Ada', '', '2026-01-01', {grid})"
                for n in (1, 2, 3)
            ),
            *(
                "INSERT INTO annotation (version_id, class_id, status, origin, evidence, voxels, volume_ml,"
                f" touches_border, class_hash) VALUES ({n}, {c}, 'annotated', 'original', 'voxels', 5, 0.1,"
                f" false, '{n}')"
                for n, c in ((1, 1), (2, 1), (2, 3), (3, 1), (3, 3))
            ),
            "INSERT INTO conflict (version_id, kept, offered, voxels, ml) VALUES (2, 14, 3, 7, 0.2)",
        ):
            connection.execute(text(statement))
    migrate(empty_url)
    with engine.connect() as connection:
        drawn = "SELECT version_id, class_id, drawn_version_id FROM annotation ORDER BY version_id, class_id"
        assert [tuple(row) for row in connection.execute(text(drawn))] == [
            (1, 1, 1), (2, 1, 1), (2, 3, 2), (3, 1, 1), (3, 3, 2),
        ]  # fmt: skip
        conflicts = connection.execute(text("SELECT kept, offered, displaced, voxels FROM conflict")).all()
        assert [tuple(row) for row in conflicts] == [(14, 3, False, 7)]
    migrate(empty_url, "0001")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT kept, offered, voxels FROM conflict")).all() == [(14, 3, 7)]
    engine.dispose()


def test_migrating_a_current_database_changes_nothing(catalog_url: str) -> None:
    migrate(catalog_url)
    engine = open_engine(catalog_url)
    assert schema_state(engine) is SchemaState.CURRENT
    engine.dispose()


def _constraints(engine: Engine) -> dict[str, Any]:
    """What `compare_metadata` does not look at: CHECKs with their text, foreign keys and uniques by name."""
    found: dict[str, Any] = {}
    look = inspect(engine)
    for table in _tables(engine):
        for check in look.get_check_constraints(table):
            found[str(check["name"])] = check["sqltext"]
        for key in look.get_foreign_keys(table):
            # SQLAlchemy reads no name of a reference that stands beside its column on SQLite.
            named = key["name"] or f"fk_{table}_{key['constrained_columns'][0]}_{key['referred_table']}"
            found[str(named)] = (key["constrained_columns"], key["referred_table"], key["referred_columns"])
        for unique in look.get_unique_constraints(table):
            found[str(unique["name"])] = unique["column_names"]
    return found


def test_migrations_make_what_the_models_say(empty_url: str) -> None:
    engine = open_engine(empty_url)
    with engine.execution_options(catalog_writer=True).begin() as connection:
        Base.metadata.create_all(connection)
    from_models = _constraints(engine)
    assert {"ck_annotation_drawn_by_someone", "fk_case_id_mask_version", "uq_source_name"} <= set(from_models)
    with engine.execution_options(catalog_writer=True).begin() as connection:
        Base.metadata.drop_all(connection)
    migrate(empty_url)
    assert _constraints(engine) == from_models
    with engine.connect() as connection:
        opts = {"compare_type": True, "include_name": lambda name, *_: not _is_partition(name)}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_file_names_carry_the_revisions_that_alembic_knows() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert schema.known_revisions() == [s.revision for s in reversed(list(scripts.walk_revisions()))]


def test_migrating_depends_on_no_working_directory(empty_url: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    migrate(empty_url)
    Catalog.open(empty_url).close()


def test_processes_that_migrate_at_once_take_turns(empty_url: str) -> None:
    problems: list[BaseException] = []

    def run() -> None:
        try:
            migrate(empty_url)
        except BaseException as error:
            problems.append(error)

    # Alembic keeps its context in module globals, so threads of one process cannot migrate at once:
    # a second connection that holds the lock stands for the second process.
    engine = open_engine(empty_url)
    with engine.execution_options(catalog_writer=True).connect() as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(20230823)"))
        waiting = threading.Thread(target=run)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
    waiting.join(30)
    assert problems == []
    assert schema_state(engine) is SchemaState.CURRENT
    engine.dispose()


def test_an_empty_database_is_refused_with_the_command_that_fills_it(empty_url: str) -> None:
    with pytest.raises(CatalogVersionError, match=r"holds no catalog yet; run `maskledger init`"):
        Catalog.open(empty_url)


def test_a_newer_catalog_is_refused(catalog_url: str) -> None:
    engine = create_engine(database_url(catalog_url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert schema_state(engine) is SchemaState.NEWER
    engine.dispose()
    with pytest.raises(CatalogVersionError, match=r"newer maskledger \(schema 9999.*update the program"):
        Catalog.open(catalog_url)
    with pytest.raises(CatalogVersionError, match="newer"):
        migrate(catalog_url)


def test_an_older_catalog_is_refused_with_the_command_that_migrates_it(
    catalog_url: str, monkeypatch: Any
) -> None:
    later = [*schema.known_revisions(), "9998"]
    monkeypatch.setattr(schema, "known_revisions", lambda: later)
    with pytest.raises(CatalogVersionError, match=r"older maskledger \(schema 0007, this program has 9998\)"):
        Catalog.open(catalog_url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_text("dear diary, " * 100)
    with pytest.raises(
        DatabaseUnreachableError, match=r"catalog\.db: file is not a database; check the path"
    ):
        Catalog.open(f"sqlite:///{path}")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnreachableError, match="unable to open database file"):
        migrate(f"sqlite:///{tmp_path / 'absent' / 'catalog.db'}")


def test_an_error_does_not_print_the_password() -> None:
    with pytest.raises(DatabaseUnreachableError) as caught:
        Catalog.open("postgresql://reader:secret@127.0.0.1:1/catalog")
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:1/catalog" in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://localhost/x", "catalog.db", "sqlite+aiosqlite:///x"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(DatabaseUrlError, match="give sqlite:///PATH or postgresql://"):
        open_engine(url)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_means_psycopg_3(scheme: str) -> None:
    assert database_url(f"{scheme}://somebody@somewhere/catalog").drivername == "postgresql+psycopg"
