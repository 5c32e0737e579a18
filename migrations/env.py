"""How Alembic runs our migrations: in one transaction, on an engine of ours, every constraint named."""

from alembic import context
from sqlalchemy import Connection, text

from curation.errors import UsageError
from db.engine import for_writing, open_engine
from db.models import Base

# Any number will do, as long as every migrating process takes the same one.
ADVISORY_LOCK = 20230823


def migrate(connection: Connection) -> None:
    """Run what was asked for on one connection."""
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        # Batch mode rebuilds tables, and dropping one that others refer to would count as a violation.
        # The pragma has no effect inside a transaction, so it comes before it.
        connection.connection.driver_connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
    with connection.begin():
        if not sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=True,
            compare_type=True,
            transactional_ddl=True,
        )
        context.run_migrations()
        if sqlite and (broken := connection.execute(text("PRAGMA foreign_key_check")).all()):
            raise RuntimeError(f"the migration left rows that refer to nothing: {broken[:5]}")


engine = context.config.attributes.get("engine")
if engine is None:  # Alembic's own command line
    url = context.get_x_argument(as_dictionary=True).get("url")
    if url is None:
        raise UsageError("which database? give alembic -x url=sqlite:///PATH or -x url=postgresql://…")
    engine = open_engine(url)
with for_writing(engine).connect() as connection:
    migrate(connection)
# The connection must not go back to a pool with foreign keys switched off.
engine.dispose()
