"""Erasing: what was deleted from the database is also gone from its files."""

import sqlite3

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from curation.errors import CurationError, first_line
from db.models import Base

# A table of this kind holds texts; it is written anew. The others hold numbers that say nothing by themselves.
_WITH_TEXTS = (
    "case", "mask_version", "member", "prediction", "decision", "run", "run_item", "event", "dataset_version",
    "finding", "retraction", "tombstone", "model",
)  # fmt: skip
_LOCK_TIMEOUT = "60s"


class TracesRemainError(CurationError):
    """Deleted rows can still be read from the database's files."""


def overwrite_deleted(session: Session) -> None:
    """Let SQLite put zeros over what this session deletes; PostgreSQL does that when it writes tables anew."""
    if session.get_bind().dialect.name == "sqlite":
        session.connection().exec_driver_sql("PRAGMA secure_delete = ON")


def erase_traces(engine: Engine) -> None:
    """Write the database's files anew without what was deleted or overwritten: free pages, log, statistics.

    Copies outside (backups, PostgreSQL's archived log, snapshots of the disk) are not within reach.

    Raises:
        TracesRemainError: Somebody else is reading, so that old pages have to stay; to be done again.
    """
    try:
        if engine.dialect.name == "sqlite":
            _rewrite_sqlite(engine)
        else:
            _rewrite_postgresql(engine)
    except (sqlite3.Error, DBAPIError) as error:
        found = first_line(getattr(error, "orig", None) or error)
        raise TracesRemainError(
            f"{engine.url.render_as_string(hide_password=True)}: what was purged is out of every table, but the "
            f"database's files could not be written anew ({found}); close dashboards and other commands, "
            "and start the same purge again"
        ) from error


def _rewrite_sqlite(engine: Engine) -> None:
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only = OFF")
        cursor.execute("VACUUM")
        # VACUUM goes through the log, which then holds the old pages beside the new ones until it is cut off.
        (busy, *_) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("another process is reading the database")
    finally:
        connection.close()


def _rewrite_postgresql(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
        for table in Base.metadata.tables.values():
            # ANALYZE, because the planner's statistics keep the most common values, names among them.
            how = "FULL, ANALYZE" if table.name in _WITH_TEXTS else "ANALYZE"
            connection.exec_driver_sql(f'VACUUM ({how}) "{table.name}"')
