"""A workspace: one folder (or database and store named by the environment) that opens catalog and store together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from app.settings import (
    CONFIG_NAME,
    DEFAULT_CONFIG,
    Environment,
    absolute_url,
    author,
    program_version,
    read_config,
)
from curation.errors import UsageError
from db import queries
from db.catalog import Catalog
from db.queries import CaseRow, Census
from db.schema import migrate
from db.store import Store
from pipelines.runs import Progress, Silent, Workbench, cores


@dataclass(frozen=True)
class Workspace:
    """An open workspace; made by `open_workspace`."""

    root: Path
    catalog: Catalog
    store: Store
    environment: Environment

    @cached_property
    def author(self) -> str:
        """Who is booked as the author of what happens now."""
        return author(self.environment)

    def bench(self, *, jobs: int | None = None, progress: Progress | None = None) -> Workbench:
        """What a stage works with; `jobs` is the number of worker processes, default one per core."""
        told = progress or Silent()
        return Workbench(
            catalog=self.catalog.patient(told.say, self.environment.patience_s),
            store=self.store,
            root=self.root,
            author=self.author,
            program_version=program_version(),
            jobs=jobs or cores(),
            progress=told,
        )

    def cases(self, query: str = "") -> list[CaseRow]:
        """The cases that a query finds, at their newest version: ``ws.cases("missing pancreas")``."""
        with self.catalog.reading() as session:
            return queries.cases(session, query)

    def census(self, query: str = "") -> Census:
        """How many cases have which class in which status, and how many have how many labels."""
        with self.catalog.reading() as session:
            return queries.census(session, query)


def _environment_root(root: Path | None, environment: Environment) -> Path:
    return (root or environment.workspace or Path.cwd()).expanduser().resolve()


def create_workspace(root: Path | None = None) -> tuple[Path, bool]:
    """Make a workspace, or bring the catalog of an existing one up to this program's schema.

    Returns:
        The workspace's folder, and whether it is new.

    Raises:
        UsageError: The path is a file.
    """
    environment = Environment()
    folder = _environment_root(root, environment)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give a folder for the workspace")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / CONFIG_NAME
    new = not config.exists()
    if new:
        config.write_text(DEFAULT_CONFIG, encoding="utf-8")
    migrate(_database_url(folder, environment))
    _store_path(folder, environment).mkdir(parents=True, exist_ok=True)
    return folder, new


def _database_url(root: Path, environment: Environment) -> str:
    return absolute_url(environment.database_url or read_config(root).catalog.url, root)


def _store_path(root: Path, environment: Environment) -> Path:
    return (root / (environment.store or read_config(root).store.path)).resolve()


@contextmanager
def open_workspace(root: Path | str | None = None) -> Iterator[Workspace]:
    """Open a workspace by its folder, else MASKLEDGER_WORKSPACE, else the current folder.

    Raises:
        UsageError: There is no workspace, or its settings cannot be read.
        CatalogVersionError: The catalog's schema is not this program's.
    """
    environment = Environment()
    folder = _environment_root(Path(root) if root else None, environment)
    read_config(folder)
    catalog = Catalog.open(_database_url(folder, environment))
    try:
        yield Workspace(folder, catalog, Store(_store_path(folder, environment)), environment)
    finally:
        catalog.close()
