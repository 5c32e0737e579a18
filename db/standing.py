"""What a class may still be trusted with: accepted by a person, or standing on something revised or retracted."""

from collections.abc import Sequence
from functools import cache
from typing import cast

from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, false, func, not_, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from curation.protocol import OUTSIDE_PROTOCOL
from curation.status import Status
from db.batches import batches
from db.models import (
    Annotation,
    Case,
    Decision,
    FindingRow,
    MaskVersion,
    Prediction,
    PredictionPart,
    Retraction,
    Verdict,
    VersionKind,
)

Condition = ColumnElement[bool]
Annotations = type[Annotation]


def accepted_classes(session: Session, version_ids: Sequence[int]) -> dict[int, frozenset[int]]:
    """Version id to the classes that a person accepted as they are drawn there; no pipeline changes them."""
    return _classes(session, version_ids, _accepted())


def stale_classes(session: Session, version_ids: Sequence[int]) -> dict[int, frozenset[int]]:
    """Version id to its classes that stand on a prediction or version since revised or retracted."""
    return _classes(session, version_ids, _stale())


def outside_protocol(session: Session, version_ids: Sequence[int]) -> dict[int, frozenset[int]]:
    """Version id to its classes of which a finding, open or not, says that they are drawn outside the protocol."""
    statement = select(FindingRow.version_id, FindingRow.class_id).where(
        FindingRow.version_id.in_(bindparam("versions", expanding=True)),
        FindingRow.check == OUTSIDE_PROTOCOL,
    )
    # This check is always of a class, never of the whole mask.
    return _classes(session, version_ids, cast("Select[int, int]", statement))


def class_is_accepted(a: Annotations, case_id: InstrumentedAttribute[int]) -> Condition:
    """Whether the latest decision on exactly this drawing of the class is that it is accepted.

    Args:
        a: The class, from a statement or subquery around this one.
        case_id: Its case, from the same or one further out: `Case.id` or `MaskVersion.case_id`.
    """
    d, later = aliased(Decision), aliased(Decision)
    since = exists().where(
        later.case_id == d.case_id,
        later.class_id == d.class_id,
        later.class_hash == d.class_hash,
        later.id > d.id,
    )
    # Said outright: two levels within the statement SQLAlchemy does not correlate by itself.
    return (
        exists()
        .where(
            d.case_id == case_id,
            d.class_id == a.class_id,
            d.class_hash == a.class_hash,
            d.verdict == Verdict.ACCEPTED,
            not_(since),
        )
        .correlate(a, case_id.class_)
    )


def class_is_stale(a: Annotations) -> Condition:
    """Whether a class was superseded at its root.

    A pseudo label is stale when its model predicted the case again, when its prediction is retracted, or when a
    newer mask of the source was ingested after the label was fitted around the older one (unless a revert put
    the older one back). An original one is stale when the revision that it came with is retracted. Any
    class is when the run that drew it is.
    """
    p, newer = aliased(Prediction), aliased(Prediction)
    ingested, drawn = aliased(MaskVersion), aliased(MaskVersion)
    r = aliased(Retraction)
    predicted_again = exists().where(
        newer.case_id == p.case_id,
        newer.model_id == p.model_id,
        newer.id > p.id,
        not_(is_retracted(newer)),
    )
    # Said outright: two levels within the statement SQLAlchemy does not correlate by itself.
    revised = (
        exists()
        .where(
            ingested.case_id == p.case_id,
            ingested.kind == VersionKind.INGESTED,
            ingested.id > a.drawn_version_id,
            ingested.id <= a.version_id,
            not_(_put_back(ingested, a)),
        )
        .correlate(p, a)
    )
    pseudo = exists().where(p.id == a.prediction_id, or_(predicted_again, revised, is_retracted(p)))
    original = exists().where(
        a.prediction_id.is_(None),
        a.author.is_(None),
        drawn.id == a.drawn_version_id,
        r.revision_id == drawn.revision_id,
    )
    by_run = exists().where(
        drawn.id == a.drawn_version_id,
        r.run_id == drawn.run_id,
        # A revision that leaves the ground as it was renews the pseudo labels on it, but draws none of them.
        or_(drawn.kind != VersionKind.INGESTED, a.prediction_id.is_(None)),
    )
    return or_(pseudo, original, by_run)


def may_be_stale(session: Session) -> Condition:
    """Whether any class of a `Case` can be stale: for large statements to ask first, a case is one and its classes 14.

    Each cause in `class_is_stale` has its own here: a retraction, a second prediction by one model, a second ingest.
    Few catalogs have a retraction; of a million classes that question alone took as long as all the others.
    """
    if session.scalar(select(Retraction.id).limit(1)) is not None:
        return true()
    again = (
        select(Prediction.case_id).group_by(Prediction.case_id, Prediction.model_id).having(func.count() > 1)
    )
    revised = select(MaskVersion.case_id).where(
        MaskVersion.kind == VersionKind.INGESTED, MaskVersion.parent_id.is_not(None)
    )
    if all(session.execute(some.limit(1)).first() is None for some in (again, revised)):
        return false()
    return or_(Case.id.in_(again), Case.id.in_(revised))


def _put_back(ingested: type[MaskVersion], a: Annotations) -> Condition:
    """Whether the last revert between an ingested version and the class's own brought an older state back."""
    back, later = aliased(MaskVersion), aliased(MaskVersion)
    since = (
        exists()
        .where(
            later.case_id == back.case_id,
            later.id > back.id,
            later.id <= a.version_id,
            later.restores_id.is_not(None),
        )
        .correlate(back, a)
    )
    return (
        exists()
        .where(
            back.case_id == ingested.case_id,
            back.id > ingested.id,
            back.id <= a.version_id,
            back.restores_id < ingested.id,
            not_(since),
        )
        .correlate(ingested, a)
    )


def is_retracted(p: type[Prediction]) -> Condition:
    """Whether a prediction counts no more: itself, its model or its run is retracted, or a part of it is."""
    part, of = aliased(Prediction), aliased(PredictionPart)
    return or_(
        _itself_retracted(p),
        exists().where(of.prediction_id == p.id, part.id == of.part_id, _itself_retracted(part)),
    )


def _itself_retracted(p: type[Prediction]) -> Condition:
    r = aliased(Retraction)
    return exists().where(
        or_(
            r.prediction_id == p.id,
            r.model_id == p.model_id,
            and_(r.run_id.is_not(None), r.run_id == p.run_id),
        )
    )


# Built once: aliasing five tables takes longer than the answer for one case.
@cache
def _accepted() -> Select[int, int]:
    return _drawn_classes(class_is_accepted(Annotation, MaskVersion.case_id))


@cache
def _stale() -> Select[int, int]:
    return _drawn_classes(class_is_stale(Annotation))


def _drawn_classes(condition: Condition) -> Select[int, int]:
    return (
        select(Annotation.version_id, Annotation.class_id)
        .join(MaskVersion, MaskVersion.id == Annotation.version_id)
        .where(
            Annotation.version_id.in_(bindparam("versions", expanding=True)),
            Annotation.status == Status.ANNOTATED,
            condition,
        )
    )


def _classes(
    session: Session, version_ids: Sequence[int], statement: Select[int, int]
) -> dict[int, frozenset[int]]:
    found: dict[int, set[int]] = {}
    for batch in batches(version_ids):
        for version_id, class_id in session.execute(statement, {"versions": batch}):
            found.setdefault(version_id, set()).add(class_id)
    return {version_id: frozenset(classes) for version_id, classes in found.items()}
