"""How the catalog's database is opened: readers that never wait, writers that take turns."""

import sqlite3
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from curation.errors import CurationError, UsageError, first_line

# How long a writer waits for the one before it; a batch of an ingest commits within a second.
BUSY_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 10


class DatabaseUrlError(UsageError):
    """A database URL that names neither SQLite nor PostgreSQL."""


class DatabaseUnreachableError(CurationError):
    """The database does not answer, is locked for too long, or the file is none."""


class DatabaseGoneError(DatabaseUnreachableError):
    """A database server does not answer, or stopped while it was asked: it may be back soon."""


class WritersCrossedError(DatabaseUnreachableError):
    """Two writers waited for each other and the server undid this one: the same again gets through."""


class DatabaseDiskFullError(DatabaseUnreachableError):
    """The disk that the database lies on is full; what was committed before is safe."""


def database_url(text: str) -> URL:
    """Read a database URL; ``postgresql://`` and ``postgres://`` mean psycopg 3.

    Raises:
        DatabaseUrlError: It is no URL, or of another kind of database.
    """
    remedy = "give sqlite:///PATH or postgresql://USER@HOST/NAME"
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise DatabaseUrlError(f"database '{text}' is no URL; {remedy}") from error
    if url.drivername in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise DatabaseUrlError(f"database URL of kind '{url.drivername}' is not supported; {remedy}")
    return url


def open_engine(url: str | URL) -> Engine:
    """Make an engine whose connections follow the catalog's rules. Connects to nothing yet.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://USER@HOST/NAME``.

    Raises:
        DatabaseUrlError: See `database_url`.
    """
    target = database_url(url) if isinstance(url, str) else url
    if target.get_backend_name() == "postgresql":
        # Without a limit of its own, a host that is gone is waited for until TCP gives up, for minutes.
        limit = {} if "connect_timeout" in target.query else {"connect_timeout": CONNECT_TIMEOUT_S}
        return create_engine(target, pool_pre_ping=True, connect_args=limit)
    engine = create_engine(target, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def for_writing(engine: Engine) -> Engine:
    """The same engine for transactions that write: on SQLite they begin with ``BEGIN IMMEDIATE``.

    A deferred transaction that reads first and writes later fails when another writer came between;
    an immediate one waits its turn at the start.
    """
    return engine.execution_options(catalog_writer=True)


def for_reading(engine: Engine) -> Engine:
    """The same engine for transactions that only read, and see one state of the database throughout."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine


def explain(error: DBAPIError, engine: Engine) -> DatabaseUnreachableError:
    """Turn a driver's error about the database as a whole into one that says what to do."""
    where = engine.url.render_as_string(hide_password=True)
    found = first_line(error.orig or error)
    # psycopg's errors carry PostgreSQL's code of five signs; sqlite3's, and failures to connect, carry none.
    state = getattr(error.orig, "sqlstate", None)
    if state in {"40P01", "40001"}:  # deadlock detected, could not serialize
        return WritersCrossedError(f"{where}: {found}; start this again")
    if state == "53100" or "database or disk is full" in found:
        return DatabaseDiskFullError(
            f"{where}: the database's disk is full ({found}); free some space and start the same command "
            "again: what was committed is safe, and only the rest will be done"
        )
    if _is_gone(error, engine, state):
        return DatabaseGoneError(f"{where}: {found}; check that the server runs, then start this again")
    if isinstance(error, OperationalError) and "locked" in found:
        return DatabaseUnreachableError(
            f"{where}: another process has been writing for {BUSY_TIMEOUT_S:.0f} s; "
            "wait until it ends and start this again"
        )
    return DatabaseUnreachableError(f"{where}: {found}; check the path or URL, and that the database runs")


def is_about_the_database(error: DBAPIError) -> bool:
    """Whether an error is about the database as a whole, not about the statement or its rows."""
    return isinstance(error, OperationalError) or error.connection_invalidated


def _is_gone(error: DBAPIError, engine: Engine, state: str | None) -> bool:
    """Whether a server went away or does not let anyone in (class 08, or being shut down or started)."""
    if engine.dialect.name != "postgresql":
        return False
    if state is None:
        return is_about_the_database(error)
    return error.connection_invalidated or state.startswith("08") or state in {"57P01", "57P02", "57P03"}


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver would begin transactions by itself, too late and never IMMEDIATE; _begin_sqlite does.
    connection.isolation_level = None
    # WAL: readers and the writer do not wait for each other. With it, NORMAL cannot damage the file;
    # a power cut may lose the last commits, never their order.
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "cache_size = -65536"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("catalog_writer"):
        connection.exec_driver_sql("PRAGMA query_only = OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        # A reader that tries to write is told at once, as on PostgreSQL.
        connection.exec_driver_sql("PRAGMA query_only = ON")
        connection.exec_driver_sql("BEGIN")
