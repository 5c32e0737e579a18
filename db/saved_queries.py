"""Queries kept under a name: what there is, and texts with ``@NAME`` in them read against the catalog."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.errors import UsageError
from curation.query import Node, QueryError, format_query, parse
from db.models import SavedQuery


@dataclass(frozen=True)
class SavedQueryRow:
    """A saved query as it was written; `created_at` is of this text.

    Attributes:
        spelled_out: In canonical words, with the saved queries that it uses; None where it cannot be read.
        problem: Why it cannot; empty where it can.
    """

    name: str
    query: str
    message: str
    author: str
    created_at: datetime
    spelled_out: str | None
    problem: str


class UnknownSavedQueryError(UsageError):
    """A name under which no query is saved."""


def resolved(session: Session, query: str | Node | None) -> Node:
    """A query as a tree that can be compiled: read, and every ``@NAME`` in it spelled out.

    Args:
        session: A session.
        query: Text, tree, or None for all cases.

    Raises:
        QueryError: It cannot be read, or a saved query that it uses is unknown or cannot be used.
    """
    if query is None or isinstance(query, str):
        return _spelled_out(session, query or "", {})
    # lark costs 60 ms to import, which a tree without saved queries need not pay.
    from curation.query_saved import saved_within

    return _spelled_out(session, format_query(query), {}) if any(saved_within(query)) else query


def spelled_out(session: Session, query: str) -> str:
    """The text to be kept for later: without ``@NAME``, whose meaning may change; else as it was written.

    Raises:
        QueryError: As `resolved` does.
    """
    node = resolved(session, query)
    return query if node == parse(query) else format_query(node)


def check_savable(session: Session, name: str, query: str) -> Node:
    """The tree of a query that is about to be saved under a name.

    Raises:
        QueryError: It cannot be read, or would lead to itself.
    """
    return _spelled_out(session, query, {name: query})


def saved_queries(session: Session) -> list[SavedQueryRow]:
    """All saved queries in order of name."""
    return [_row(session, row) for row in session.scalars(select(SavedQuery).order_by(SavedQuery.name))]


def saved_query(session: Session, name: str) -> SavedQueryRow:
    """One saved query, its name with or without ``@``.

    Raises:
        UnknownSavedQueryError: There is none; offers the nearest name.
    """
    return _row(session, saved_row(session, name))


def saved_row(session: Session, name: str) -> SavedQuery:
    """The row itself; as `saved_query`."""
    key = name.removeprefix("@").lower()
    row = session.scalar(select(SavedQuery).where(SavedQuery.name == key))
    if row is None:
        from curation.query_errors import nearest

        near = nearest(key, tuple(_names(session)))
        remedy = f"did you mean '{near}'?" if near else "'maskledger query list' shows what there is"
        raise UnknownSavedQueryError(f"no query is saved as '{key}': {remedy}")
    return row


def users_of(session: Session, name: str) -> list[str]:
    """The saved queries that use one, themselves, in order of name."""
    from curation.query_saved import saved_within

    users = []
    for row in session.scalars(select(SavedQuery).order_by(SavedQuery.name)):
        try:
            used = {saved.name for saved in saved_within(parse(row.query))}
        except QueryError:  # it uses nothing as it is
            continue
        if name in used:
            users.append(row.name)
    return users


def _row(session: Session, row: SavedQuery) -> SavedQueryRow:
    spelled: str | None = None
    problem = ""
    try:
        spelled = format_query(_spelled_out(session, row.query, {}))
    except QueryError as error:
        problem = str(error)
    return SavedQueryRow(row.name, row.query, row.message, row.author, row.created_at, spelled, problem)


def _spelled_out(session: Session, text: str, instead: Mapping[str, str]) -> Node:
    """Read a text; `instead` gives texts that hold in place of those that are saved."""
    from curation.query_saved import expand

    def look_up(names: Collection[str]) -> Mapping[str, str]:
        asked = select(SavedQuery.name, SavedQuery.query).where(SavedQuery.name.in_(names))
        found = {row.name: row.query for row in session.execute(asked)}
        return found | {name: instead[name] for name in names if name in instead}

    return expand(text, look_up, lambda: _names(session))


def _names(session: Session) -> list[str]:
    return list(session.scalars(select(SavedQuery.name).order_by(SavedQuery.name)))
