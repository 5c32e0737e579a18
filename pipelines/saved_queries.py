"""Save a query under a name and forget it again; both are booked."""

from db import writes
from db.writes import SavedAs
from pipelines.runs import Workbench


def save(bench: Workbench, name: str, query: str, *, message: str = "", replace: bool = False) -> SavedAs:
    """Keep a query, which others use as ``@NAME`` from now on.

    Args:
        bench: Catalog and author.
        name: With or without ``@``.
        query: Its text.
        message: What it is for.
        replace: Whether another text may be there already.

    Raises:
        UsageError: It cannot be a name, or is taken.
        QueryError: The text cannot be read, uses an unknown saved query, or would lead to itself.
    """
    with bench.catalog.writing() as session:
        done = writes.save_query(session, name, query, message=message, author=bench.author, replace=replace)
        if done.changed:
            replaced = {} if done.before is None else {"replaced": done.before}
            writes.add_event(
                session, author=bench.author, action="query save", subject=done.name,
                parameters={"query": query, "message": message, **replaced},
                program_version=bench.program_version,
            )  # fmt: skip
    return done


def delete(bench: Workbench, name: str) -> str:
    """Forget a saved query; returns its name. Its text stays in the event that says so.

    Raises:
        UsageError: There is none of this name, or other saved queries use it.
    """
    with bench.catalog.writing() as session:
        gone, query = writes.delete_query(session, name)
        writes.add_event(
            session, author=bench.author, action="query delete", subject=gone, parameters={"query": query},
            program_version=bench.program_version,
        )  # fmt: skip
    return gone
