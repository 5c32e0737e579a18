"""The catalog: one database, read by many at once and written by one at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from curation.errors import CurationError
from db.engine import explain, for_reading, for_writing, open_engine
from db.schema import require_current


class Catalog:
    """Gives sessions for the functions of `db.queries` (reading) and `db.writes` (writing)."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reader = for_reading(engine)
        self._writer = for_writing(engine)

    @classmethod
    def open(cls, url: str) -> "Catalog":
        """Open a migrated catalog.

        Raises:
            DatabaseUrlError: The URL is none of ours.
            DatabaseUnreachableError: The database does not answer.
            CatalogVersionError: Its schema is not this program's; says what to run.
        """
        engine = open_engine(url)
        try:
            require_current(engine)
        except CurationError:
            engine.dispose()
            raise
        return cls(engine)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the catalog throughout and cannot change it."""
        with self._session(self._reader) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose block is one transaction: committed at its end, undone if it raises.

        Waits while another writer is at work. Keep the block short: measure first, then write.
        """
        with self._session(self._writer) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        with Session(engine, expire_on_commit=False) as session:
            try:
                yield session
            except OperationalError as error:
                raise explain(error, self.engine) from error
