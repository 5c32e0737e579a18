"""Counts over many cases: labels per case, every class by status, origin and source, and the overview."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Subquery, and_, case, func, select
from sqlalchemy.orm import Session

from curation.labels import BY_ID, CLASS_NAMES, ORGAN_IDS
from curation.query import Node
from curation.status import Origin, Status
from db.filters import compile_filter, is_flagged
from db.models import Annotation, Case, Source
from db.saved_queries import resolved
from db.snapshots import NEWEST, Snapshot, frame

# How a class can stand in a case; what `census --json` prints per class.
COUNTED = (*(status.value for status in Status), *(origin.value for origin in Origin))


@dataclass(frozen=True)
class Census:
    """What a set of cases knows.

    Attributes:
        cases: How many there are.
        labels_per_case: Number of annotated classes to number of cases, ascending.
        classes: Class name to counts of cases: each status, and each origin among the annotated.
    """

    cases: int
    labels_per_case: dict[int, int]
    classes: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Overview:
    """The catalog in a few numbers; `strong`, `weak` and `unlabeled` add up to `cases`."""

    cases: int
    complete: int
    strong: int
    weak: int
    unlabeled: int
    flagged: int
    sources: int
    labels: int


def census(session: Session, query: str | Node | None = None, *, snapshot: Snapshot = NEWEST) -> Census:
    """Count statuses and origins of every class, and annotated classes per case.

    Args:
        session: A reading session.
        query: Which cases; None or empty for all.
        snapshot: Which version of each case.

    Raises:
        QueryError: The query cannot be read.
    """
    asked = _asked(session, query, snapshot)
    classes = {name: dict.fromkeys(COUNTED, 0) for name in CLASS_NAMES}
    rows = session.execute(
        select(Annotation.class_id, Annotation.status, Annotation.origin, func.count())
        .join(asked, asked.c.version_id == Annotation.version_id)
        .group_by(Annotation.class_id, Annotation.status, Annotation.origin)
    )
    for class_id, status, origin, n in rows:
        counts = classes[BY_ID[class_id].name]
        counts[status.value] += n
        if origin is not None:
            counts[origin.value] += n
    labels = _per_version(asked)
    histogram = session.execute(
        select(labels.c.labels, func.count()).group_by(labels.c.labels).order_by(labels.c.labels)
    )
    labels_per_case = {int(n): int(of_them) for n, of_them in histogram}
    return Census(sum(labels_per_case.values()), labels_per_case, classes)


def coverage_by_source(
    session: Session, query: str | Node | None = None, *, snapshot: Snapshot = NEWEST
) -> dict[str, dict[str, dict[str, int]]]:
    """Source to class name to the counts that `census` gives, for sources with at least one case."""
    asked = _asked(session, query, snapshot)
    coverage: dict[str, dict[str, dict[str, int]]] = {}
    rows = session.execute(
        select(Source.name, Annotation.class_id, Annotation.status, Annotation.origin, func.count())
        .select_from(Annotation)
        .join(asked, asked.c.version_id == Annotation.version_id)
        .join(Case, Case.id == asked.c.case_id)
        .join(Source, Source.id == Case.source_id)
        .group_by(Source.name, Annotation.class_id, Annotation.status, Annotation.origin)
    )
    for source, class_id, status, origin, n in rows:
        classes = coverage.setdefault(source, {name: dict.fromkeys(COUNTED, 0) for name in CLASS_NAMES})
        counts = classes[BY_ID[class_id].name]
        counts[status.value] += n
        if origin is not None:
            counts[origin.value] += n
    return dict(sorted(coverage.items()))


def overview(session: Session, query: str | Node | None = None, *, snapshot: Snapshot = NEWEST) -> Overview:
    """The numbers that a start page shows."""
    asked = _asked(session, query, snapshot)
    per = _per_version(asked)
    complete = per.c.organs_missing == 0
    strong = and_(complete, per.c.organs_pseudo == 0, per.c.organs > 0)
    row = session.execute(
        select(
            func.count().label("cases"),
            _number(complete).label("complete"),
            _number(strong).label("strong"),
            _number(per.c.labels == 0).label("unlabeled"),
            func.coalesce(func.sum(per.c.labels), 0).label("labels"),
        ).select_from(per)
    ).one()
    flags = frame(snapshot)
    of_them = select(asked.c.version_id)
    flagged = session.scalars(
        select(func.count()).select_from(flags.tables).where(flags.version_id.in_(of_them), is_flagged(flags))
    ).one()
    return Overview(
        cases=row.cases,
        complete=int(row.complete),
        strong=int(row.strong),
        weak=row.cases - int(row.unlabeled) - int(row.strong),
        unlabeled=int(row.unlabeled),
        flagged=flagged,
        sources=session.scalars(select(func.count()).select_from(Source)).one(),
        labels=int(row.labels),
    )


def _asked(session: Session, query: str | Node | None, snapshot: Snapshot) -> Subquery:
    """The (case_id, version_id) pairs that a query finds."""
    node = resolved(session, query)
    over = frame(snapshot)
    return (
        select(Case.id.label("case_id"), over.version_id.label("version_id"))
        .select_from(over.tables)
        .where(compile_filter(node, over))
        .subquery("asked")
    )


def _per_version(asked: Subquery) -> Subquery:
    """One row per version: its annotated classes and organs, missing organs and pseudo organs, counted."""
    organ = Annotation.class_id.in_(ORGAN_IDS)
    drawn = Annotation.status == Status.ANNOTATED
    return (
        select(
            Annotation.version_id,
            _number(drawn).label("labels"),
            _number(and_(drawn, organ)).label("organs"),
            _number(and_(Annotation.status == Status.MISSING, organ)).label("organs_missing"),
            _number(and_(drawn, organ, Annotation.origin == Origin.PSEUDO)).label("organs_pseudo"),
        )
        .join(asked, asked.c.version_id == Annotation.version_id)
        .group_by(Annotation.version_id)
        .subquery("per_version")
    )


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """How many rows of a group meet a condition."""
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)
