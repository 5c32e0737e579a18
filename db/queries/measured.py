"""Counting cases by the measures of one class: one scan of that class instead of a look at every case."""

from sqlalchemy import func, or_
from sqlalchemy.orm import Session

from curation.query import And, Node, Not
from db.filters import compile_filter, measures_in, with_measures
from db.models import NewestMeasure
from db.queries.paging import count_by_source, select_found
from db.snapshots import measured


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
    over = measured()
    some_hold = or_(*(compile_filter(measure, over) for measure in measures))

    def rows(found: Node, but_not: Node) -> int:
        statement = select_found(And((found, Not(but_not))), over, func.count())
        return session.scalars(statement.where(NewestMeasure.class_id == class_id, some_hold)).one()

    without = sum(count_by_source(session, nowhere).values())
    return without + rows(there, nowhere) - rows(nowhere, there)
