"""Inserting a row that another writer may insert at the same moment."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session


def insert_if_absent(
    session: Session, table: type[DeclarativeBase], values: Mapping[str, Any], unique: Sequence[str]
) -> None:
    """Insert a row unless one with the same `unique` columns is there.

    On SQLite writers take turns, so a caller that has looked needs no more than an INSERT; on PostgreSQL
    two of them may look at once, and the second must wait for the first instead of failing.
    """
    make = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(make(table).values(**values).on_conflict_do_nothing(index_elements=list(unique)))


def insert_returning_id(session: Session, table: type[DeclarativeBase], values: Mapping[str, Any]) -> int:
    """Insert one row of a table whose primary key is `id`; returns it."""
    result = session.execute(insert(table).values(**values))
    return int(result.inserted_primary_key[0])  # type: ignore[attr-defined]
