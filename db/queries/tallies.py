"""Counting cases without a look at each: from the counts of class states, or by one scan of a class's measures."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, Select, cast, func, or_, select
from sqlalchemy.orm import Session

from curation.query import And, Measure, Node, Not
from db.filters import compile_filter, measures_in, with_measures
from db.models import NewestMeasure, StateCount
from db.snapshots import Frame, counted, measured


def select_found(node: Node, asked: Frame, *columns: Any) -> Select[Any]:
    """Columns of the rows of a frame that a query finds."""
    return select(*columns).select_from(asked.tables).where(compile_filter(node, asked))


def count_by_source(session: Session, node: Node) -> dict[int, int]:
    """Source id to how many of its cases a query finds that asks for states alone; those with none are left out."""
    over = counted()
    rows = session.execute(
        select_found(node, over, StateCount.source_id, cast(func.sum(StateCount.cases), BigInteger)).group_by(
            StateCount.source_id
        )
    )
    return {source_id: int(n) for source_id, n in rows}


def count_measured(session: Session, node: Node, class_id: int) -> int:
    """How many cases a query finds whose `db.filters.class_measured` is this class.

    A case without the class has no measure that holds; what the query asks of it are states alone, which are
    counted. So as if no measure held anywhere, and then the cases in which one does: those that the query finds
    because of it, less those that it would find without.
    """
    measures = measures_in(node)
    nowhere = with_measures(node, holds=False)
    # Where the only measure is known to hold, the rest of the query is simpler than all of it.
    there = with_measures(node, holds=True) if len(measures) == 1 else node

    def rows(found: Node, but_not: Node) -> int:
        scan = _scan(And((found, Not(but_not))), measures, class_id, func.count())
        return session.scalars(scan).one()

    without = sum(count_by_source(session, nowhere).values())
    return without + rows(there, nowhere) - rows(nowhere, there)


def few_measured(session: Session, node: Node, class_id: int, most: int) -> list[int] | None:
    """Ids of all cases that a query finds whose `class_measured` is this class, if they are few.

    Returns:
        None where there are more than `most`, or where the query finds cases in which no measure holds.
    """
    if count_by_source(session, with_measures(node, holds=False)):
        return None
    found = _scan(node, measures_in(node), class_id, NewestMeasure.case_id).limit(most + 1)
    # Counted first, because that ends early where there are many, and fetches none of them.
    if session.scalars(select(func.count()).select_from(found.subquery())).one() > most:
        return None
    return list(session.scalars(found))


def _scan(node: Node, measures: Collection[Measure], class_id: int, column: Any) -> Select[Any]:
    """What a query finds among the cases of a class in which at least one of the measures holds."""
    over = measured()
    some_hold = or_(*(compile_filter(measure, over) for measure in measures))
    return select_found(node, over, column).where(NewestMeasure.class_id == class_id, some_hold)
