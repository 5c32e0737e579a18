"""Inserting rows: as Core statements that SQLAlchemy compiles once, because an ingest inserts thousands."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Table, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session


def table_of(model: type[DeclarativeBase]) -> Table:
    """The table of a mapped class."""
    assert isinstance(model.__table__, Table)
    return model.__table__


def insert_if_absent(
    session: Session, model: type[DeclarativeBase], values: Mapping[str, Any], unique: Sequence[str]
) -> int | None:
    """Insert a row unless one with the same `unique` columns is there.

    On SQLite writers take turns, so a caller that has looked needs no more than an INSERT; on PostgreSQL
    two of them may look at once, and the second must wait for the first instead of failing.

    Returns:
        The new row's id; None if another writer was first.
    """
    found = insert_all_if_absent(session, model, [values], unique, returning=["id"])
    return found[0].id if found else None


def insert_all_if_absent(
    session: Session,
    model: type[DeclarativeBase],
    rows: Sequence[Mapping[str, Any]],
    unique: Sequence[str],
    *,
    returning: Sequence[str],
) -> Sequence[Row[Any]]:
    """Insert rows that have the same columns, each unless one with the same `unique` columns is there.

    Returns:
        The columns `returning` of the rows that are new, in no certain order.
    """
    if not rows:
        return []
    table = table_of(model)
    make = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = make(table).on_conflict_do_nothing(index_elements=list(unique))
    result = session.execute(
        statement.returning(*(table.c[column] for column in returning)), [dict(row) for row in rows]
    )
    return result.all()


def insert_returning_id(session: Session, model: type[DeclarativeBase], values: Mapping[str, Any]) -> int:
    """Insert one row of a table whose primary key is `id`; returns it."""
    table = table_of(model)
    return session.scalars(insert(table).returning(table.c.id), dict(values)).one()


def insert_all(session: Session, model: type[DeclarativeBase], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that have the same columns; none is no statement."""
    if rows:
        session.execute(insert(table_of(model)), [dict(row) for row in rows])
