"""Which state the database's schema is in, and how it is brought to this program's."""

import re
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError

from curation.errors import CurationError
from db.engine import explain, open_engine

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"


class SchemaState(StrEnum):
    """The database's schema compared with this program's."""

    EMPTY = "empty"
    CURRENT = "current"
    OLDER = "older"
    NEWER = "newer"


class CatalogVersionError(CurationError):
    """The database's schema is not this program's."""


def known_revisions() -> list[str]:
    """The migrations of this program, oldest first.

    Their file names carry them (``0001_initial.py``), so that opening a catalog does not have to import
    Alembic, which takes longer than most queries.
    """
    names = (re.match(r"(\d{4})_", path.name) for path in (MIGRATIONS / "versions").glob("*.py"))
    return sorted(name[1] for name in names if name)


def schema_state(engine: Engine) -> SchemaState:
    """Compare the database's schema with this program's.

    Raises:
        DatabaseUnreachableError: The database does not answer, or the file is none.
    """
    found = _stored_revision(engine)
    if found is None:
        return SchemaState.EMPTY
    known = known_revisions()
    if found == known[-1]:
        return SchemaState.CURRENT
    return SchemaState.OLDER if found in known else SchemaState.NEWER


def require_current(engine: Engine) -> None:
    """Refuse a database that this program cannot work with as it is.

    Raises:
        CatalogVersionError: Empty, older or newer; the message says what to run.
        DatabaseUnreachableError: The database does not answer, or the file is none.
    """
    where = engine.url.render_as_string(hide_password=True)
    match schema_state(engine):
        case SchemaState.EMPTY:
            raise CatalogVersionError(f"{where}: holds no catalog yet; run `maskledger init`")
        case SchemaState.OLDER:
            raise CatalogVersionError(
                f"{where}: was made by an older maskledger (schema {_stored_revision(engine)}, this program "
                f"has {known_revisions()[-1]}); back it up, then run `maskledger init` to bring it up to date"
            )
        case SchemaState.NEWER:
            raise CatalogVersionError(
                f"{where}: was made by a newer maskledger (schema {_stored_revision(engine)}, this program "
                f"knows up to {known_revisions()[-1]}); update the program"
            )


def migrate(url: str | URL, revision: str = "head") -> None:
    """Bring a database to a revision of the schema; an empty one gets all of it.

    One transaction: if it is stopped half-way, nothing has happened. Two processes that migrate at once
    take turns.

    Args:
        url: See `db.engine.open_engine`. A SQLite file is made if absent.
        revision: ``head``, a revision such as ``0001``, or ``base`` for an empty database.

    Raises:
        CatalogVersionError: The schema is newer than this program.
        DatabaseUnreachableError: The database does not answer, or the file is none.
    """
    from alembic import command
    from alembic.config import Config

    engine = open_engine(url)
    try:
        if schema_state(engine) is SchemaState.NEWER:
            require_current(engine)
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["engine"] = engine
        if revision == "base" or (revision != "head" and revision < (_stored_revision(engine) or "")):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
    finally:
        engine.dispose()


def _stored_revision(engine: Engine) -> str | None:
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.scalar(text("SELECT version_num FROM alembic_version"))
    except DatabaseError as error:
        raise explain(error, engine) from error
