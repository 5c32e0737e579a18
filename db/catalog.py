"""The catalog: one database, read by many at once and written by one at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from curation.errors import CurationError
from db.engine import explain, for_reading, for_writing, is_about_the_database, open_engine
from db.patience import PATIENCE_S, Patience
from db.schema import require_current

T = TypeVar("T")
NO_PATIENCE = Patience()


class Catalog:
    """Gives sessions for the functions of `db.queries` (reading) and `db.writes` (writing)."""

    def __init__(self, engine: Engine, patience: Patience = NO_PATIENCE) -> None:
        self.engine = engine
        self.patience = patience
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

    def patient(self, tell: Callable[[str], None], seconds: float = PATIENCE_S) -> "Catalog":
        """The same catalog for long work: where the server is gone, it waits for it and tells so once."""
        return Catalog(self.engine, Patience(seconds, tell))

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the catalog throughout and cannot change it."""
        with self._session(self._reader, self.patience) as session:
            yield session

    @contextmanager
    def writing(self, *, wait: bool = True) -> Iterator[Session]:
        """A session whose block is one transaction: committed at its end, undone if it raises.

        Waits while another writer is at work. Keep the block short: measure first, then write.

        Args:
            wait: Whether to wait for a server that is gone when the block begins, as far as this catalog
                is patient. A server that goes later ends the block; `insist` tries it again.
        """
        patience = self.patience if wait else NO_PATIENCE
        with self._session(self._writer, patience) as session, session.begin():
            yield session

    def insist(self, attempt: Callable[[], T]) -> T:
        """Call a function that opens sessions until it gets through; see `Patience.insist`."""
        return self.patience.insist(attempt)

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    @contextmanager
    def _session(self, engine: Engine, patience: Patience) -> Iterator[Session]:
        with (
            patience.insist(lambda: self._connect(engine)) as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            try:
                yield session
            except DBAPIError as error:
                if is_about_the_database(error):
                    raise explain(error, self.engine) from error
                raise

    def _connect(self, engine: Engine) -> Connection:
        try:
            return engine.connect()
        except DBAPIError as error:
            raise explain(error, self.engine) from error
