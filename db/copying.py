"""A catalog copied from one database to another, SQLite or PostgreSQL, whole or not at all."""

import json
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

from sqlalchemy import (
    Connection,
    ForeignKeyConstraint,
    Row,
    Table,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError

from curation.errors import CurationError, UsageError, first_line
from db.catalog import Catalog
from db.engine import is_about_the_database, open_engine
from db.models import Base, NewestMeasure, StateCount
from db.schema import SchemaState, migrate, schema_state
from db.writes.insert import table_of

_ROWS_AT_ONCE = 2000
# The target's triggers fill these while the cases arrive; compared they are as any other.
_BY_TRIGGERS = {table_of(StateCount), table_of(NewestMeasure)}

# Told what is done to which table, how many of its rows are done, and how many it has.
Step = Callable[[str, int, int], None]


class CopyError(CurationError):
    """A catalog could not be copied, or the copy is not what it was copied from; nothing was left behind."""


def copy_catalog(source: Catalog, url: str, step: Step = lambda *_: None) -> dict[str, int]:
    """Copy every row of a catalog into another database, and compare the two row by row.

    One state of the source is read throughout, whoever writes to it meanwhile. The target is written in one
    transaction, which is committed only once every row in it was found equal.

    Args:
        source: The catalog; it is only read.
        url: A database that is empty, or migrated and without rows.
        step: Is told how far it is.

    Returns:
        Table to number of rows.

    Raises:
        UsageError: The target holds rows already.
        CatalogVersionError: The target's schema is not this program's.
        DatabaseUnreachableError: One of the two does not answer.
        CopyError: A row cannot be kept there, or came back different; nothing was copied.
    """
    _prepare(url)
    target = Catalog.open(url)
    where = target.engine.url.render_as_string(hide_password=True)
    try:
        with source.reading() as reading, target.writing() as writing:
            ours, theirs = reading.connection(), writing.connection()
            _require_empty(theirs, where)
            rows = _insert_all(ours, theirs, where, step)
            # First what was copied, so that a difference is named where it arose.
            for table in sorted(Base.metadata.sorted_tables, key=_BY_TRIGGERS.__contains__):
                _compare(table, ours, theirs, rows[table.name], where, step)
            if target.engine.dialect.name == "postgresql":
                _set_sequences(theirs)
    finally:
        target.close()
    return rows


def _prepare(url: str) -> None:
    """Give an empty database the schema."""
    engine = open_engine(url)
    try:
        empty = schema_state(engine) is SchemaState.EMPTY
    finally:
        engine.dispose()
    if empty:
        migrate(url)


def _require_empty(target: Connection, where: str) -> None:
    for table in Base.metadata.sorted_tables:
        if n := target.scalar(select(func.count()).select_from(table)):
            raise UsageError(f"{where}: table {table.name} holds {n} rows already; give an empty database")


def _insert_all(source: Connection, target: Connection, where: str, step: Step) -> dict[str, int]:
    """Insert all rows, tables in the order of their references; returns their numbers."""
    rows: dict[str, int] = {}
    later = {table: _cyclic(table) for table in Base.metadata.sorted_tables}
    for table, cyclic in later.items():
        total = _count(source, table)
        if table in _BY_TRIGGERS:
            rows[table.name] = total
            continue
        step(f"copy {table.name}", 0, total)
        done = 0
        for some in _pieces(source, table):
            values = [{**row._mapping, **dict.fromkeys(cyclic)} for row in some]
            _execute(target, insert(table), values, f"{where}: {table.name}")
            done += len(values)
            step(f"copy {table.name}", done, total)
        rows[table.name] = done
    for table, cyclic in later.items():
        for column in cyclic:
            _fill(source, target, table, column, where)
    return rows


def _cyclic(table: Table) -> list[str]:
    """Columns whose reference closes a cycle: they are filled once the tables they refer to are."""
    return [
        column.name
        for constraint in table.constraints
        if isinstance(constraint, ForeignKeyConstraint) and constraint.use_alter
        for column in constraint.columns
        if not column.primary_key
    ]


def _fill(source: Connection, target: Connection, table: Table, column: str, where: str) -> None:
    (key,) = table.primary_key.columns
    found = select(key.label("row_key"), table.c[column].label("row_value")).where(
        table.c[column].is_not(None)
    )
    statement = update(table).where(key == bindparam("row_key")).values({column: bindparam("row_value")})
    for some in source.execute(found.execution_options(yield_per=_ROWS_AT_ONCE)).partitions():
        values = [dict(row._mapping) for row in some]
        _execute(target, statement, values, f"{where}: {table.name}.{column}")


def _execute(target: Connection, statement: Any, values: list[dict[str, Any]], what: str) -> None:
    try:
        target.execute(statement, values)
    except DBAPIError as error:
        if is_about_the_database(error):
            raise
        found = first_line(error.orig or error)
        raise CopyError(
            f"{what}: a row cannot be kept there ({found}); nothing was copied: correct the row first"
        ) from error


def _compare(
    table: Table, source: Connection, target: Connection, total: int, where: str, step: Step
) -> None:
    """Walk a table of both databases together."""
    keys = [column.name for column in table.primary_key.columns]
    for done, (ours, theirs) in enumerate(zip_longest(_rows(source, table), _rows(target, table)), 1):
        if ours is None or theirs is None or _exact(ours) != _exact(theirs):
            row = ours if ours is not None else theirs
            key = ", ".join(f"{name} {row._mapping[name]}" for name in keys)
            raise CopyError(
                f"{where}: {table.name} with {key} came back different from what was copied: "
                f"{_first_difference(ours, theirs)}; nothing was copied"
            )
        if done % _ROWS_AT_ONCE == 0 or done == total:
            step(f"compare {table.name}", done, total)


def _exact(row: Row[Any]) -> list[object]:
    """A row's values as they can be told apart: 1, 1.0 and True are equal to Python, also within JSON."""
    return [json.dumps(v) if isinstance(v, dict | list) else (type(v), v) for v in row]


def _first_difference(ours: Row[Any] | None, theirs: Row[Any] | None) -> str:
    if ours is None or theirs is None:
        return "the row is on one side only"
    pairs = zip(ours._fields, ours, theirs, _exact(ours), _exact(theirs), strict=True)
    name, mine, other = next((name, a, b) for name, a, b, x, y in pairs if x != y)
    return f"{name} was {mine!r} and is {other!r}"


def _set_sequences(target: Connection) -> None:
    """Let the next row that PostgreSQL numbers come after those that were copied."""
    quote = target.dialect.identifier_preparer.format_table
    for table in Base.metadata.sorted_tables:
        column = table.autoincrement_column
        if column is None:
            continue
        highest = target.scalar(select(func.max(column)))
        if highest is not None:
            sequence = func.pg_get_serial_sequence(quote(table), column.name)
            target.execute(select(func.setval(sequence, highest)))


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def _rows(connection: Connection, table: Table) -> Iterator[Row[Any]]:
    for some in _pieces(connection, table):
        yield from some


def _pieces(connection: Connection, table: Table) -> Iterator[Any]:
    """All rows of a table in the order of its key, a few thousand at a time."""
    statement = select(table).order_by(*table.primary_key.columns)
    yield from connection.execute(statement.execution_options(yield_per=_ROWS_AT_ONCE)).partitions()
