"""Queries kept under a name: saved, saved anew, deleted."""

from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from curation.errors import UsageError
from curation.query import SAVED_NAME
from db.models import SavedQuery, utc_now
from db.saved_queries import check_savable, saved_row, users_of
from db.writes.insert import insert_if_absent


@dataclass(frozen=True)
class SavedAs:
    """What saving a query did: `before` is the text that it replaced; `changed` is False where it was there already."""

    name: str
    before: str | None
    changed: bool


def save_query(
    session: Session, name: str, query: str, *, message: str, author: str, replace: bool = False
) -> SavedAs:
    """Keep a query under a name; the same text under the same name again changes nothing.

    Args:
        session: A writing session.
        name: With or without ``@``; upper and lower case are the same.
        query: Its text, as it was written; it may use other saved queries.
        message: What it is for.
        author: Who saves it.
        replace: Whether another text may be there already.

    Raises:
        UsageError: It cannot be a name, or another text is saved under it and `replace` was not asked for.
        QueryError: The text cannot be read, uses an unknown saved query, or would lead to itself.
    """
    key = name.removeprefix("@").lower()
    if not SAVED_NAME.fullmatch(key):
        raise UsageError(
            f"'{name}' cannot be the name of a query: use letters, digits, _ . and -, 100 at most, such as todo"
        )
    check_savable(session, key, query)
    values = {"query": query, "message": message, "author": author, "created_at": utc_now()}
    if insert_if_absent(session, SavedQuery, {"name": key, **values}, ["name"]) is not None:
        return SavedAs(key, None, True)
    # Locked, so that of two who save it at once the second sees what the first has written.
    there = session.execute(
        select(SavedQuery.query, SavedQuery.message).where(SavedQuery.name == key).with_for_update()
    ).one()
    if there.query == query and message in {"", there.message}:
        return SavedAs(key, there.query, False)
    if not replace:
        raise UsageError(
            f"'{key}' is saved already, as: {there.query or 'all'}; give --replace, or another name"
        )
    session.execute(update(SavedQuery).where(SavedQuery.name == key).values(values))
    return SavedAs(key, there.query, True)


def delete_query(session: Session, name: str) -> tuple[str, str]:
    """Forget a saved query; returns its name and its text.

    Args:
        session: A writing session.
        name: With or without ``@``.

    Raises:
        UnknownSavedQueryError: There is none of this name.
        UsageError: Other saved queries use it.
    """
    row = saved_row(session, name)
    if users := [user for user in users_of(session, row.name) if user != row.name]:
        uses = ", ".join(f"'{user}'" for user in users)
        raise UsageError(f"'{row.name}' is used by {uses}; delete or save these anew first")
    session.execute(delete(SavedQuery).where(SavedQuery.id == row.id))
    return row.name, row.query
