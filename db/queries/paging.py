"""One page of cases in order of address, out of a million, without looking at those before or after it."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, cast, collate, func, select
from sqlalchemy.orm import Session

from curation.query import Node
from db.filters import asks_states_alone, compile_filter
from db.models import Case, Source, StateCount
from db.snapshots import NEWEST, Frame, counted, frame, named

# Of so many cases of a source all are looked up and sorted; for more of them the index of names is walked.
_FEW = 5000
# A question with a variable per state stays below what either database takes.
_BATCH = 1000


def select_found(node: Node, asked: Frame, *columns: Any) -> Select[Any]:
    """Columns of the rows of a frame that a query finds."""
    return select(*columns).select_from(asked.tables).where(compile_filter(node, asked))


def by_address(session: Session) -> tuple[ColumnElement[str], ColumnElement[str]]:
    """What sorts cases by address: by code point on both databases; PostgreSQL would by its server's language."""
    collation = "C" if session.get_bind().dialect.name == "postgresql" else "BINARY"
    return collate(Source.name, collation), collate(Case.name, collation)


def page_ids(
    session: Session, node: Node, limit: int, offset: int = 0, *, descending: bool = False
) -> list[int]:
    """Ids of one page of the newest versions in order of address, in no order of their own.

    Source by source along the index of names, and no further than the page reaches. Where the counts of class
    states say how many cases of a source are found, none or a few of them are not looked for one by one.
    """
    known = count_by_source(session, node) if asks_states_alone(node) else None
    if known is None and offset:
        asked = frame(NEWEST)
        key = by_address(session)
        ordered = select_found(node, asked, Case.id).order_by(*(c.desc() if descending else c for c in key))
        return list(session.scalars(ordered.limit(limit).offset(offset)))
    by_name, of_case = by_address(session)
    found: list[int] = []
    sources = select(Source.id).order_by(by_name.desc() if descending else by_name)
    for source_id in session.scalars(sources).all():
        if len(found) == limit:
            break
        if known is not None and known.get(source_id, 0) <= offset:
            offset -= known.get(source_id, 0)
            continue
        if known is not None and known[source_id] <= _FEW:
            names = _few_of(session, node, source_id)
            names.sort(reverse=descending)
            ids = [case_id for _, case_id in names[offset : offset + limit - len(found)]]
        else:
            asked = frame(NEWEST) if known is None else named()
            ids = list(
                session.scalars(
                    select_found(node, asked, Case.id)
                    .where(Case.source_id == source_id)
                    .order_by(of_case.desc() if descending else of_case)
                    .limit(limit - len(found))
                    .offset(offset or None)
                )
            )
        found += ids
        offset = 0
    return found


def count_by_source(session: Session, node: Node) -> dict[int, int]:
    """Source id to how many of its cases a query finds that asks for states alone; those with none are left out."""
    over = counted()
    rows = session.execute(
        select_found(node, over, StateCount.source_id, cast(func.sum(StateCount.cases), BigInteger)).group_by(
            StateCount.source_id
        )
    )
    return {source_id: int(n) for source_id, n in rows}


def _few_of(session: Session, node: Node, source_id: int) -> list[tuple[str, int]]:
    """Name and id of all cases of a source that a query finds which asks for states alone."""
    over = counted()
    states = session.scalars(
        select_found(node, over, StateCount.states).where(StateCount.source_id == source_id).distinct()
    ).all()
    found: list[tuple[str, int]] = []
    for begin in range(0, len(states), _BATCH):
        rows = session.execute(
            select_found(node, named(), Case.name, Case.id).where(
                Case.source_id == source_id, Case.states.in_(states[begin : begin + _BATCH])
            )
        )
        found += [(name, case_id) for name, case_id in rows]
    return found
