"""Retractions, and the marks that they leave on datasets and models."""

from collections.abc import Collection

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.models import Retraction, Taint
from db.retractions import Subject, retraction_of
from db.writes.insert import insert_all, insert_returning_id


def ensure_retraction(
    session: Session, subject: Subject, *, reason: str, person: str, include_accepted: bool
) -> int:
    """Book that something counts no more, once: a second time finds the first, whose reason stands.

    What is to be taken out can grow (accepted classes, too), never shrink.

    Returns:
        The retraction's id.
    """
    known = retraction_of(session, subject)
    if known is None:
        return insert_returning_id(
            session, Retraction,
            {
                subject.column: subject.id, "include_accepted": include_accepted, "reason": reason,
                "person": person,
            },
        )  # fmt: skip
    if include_accepted and not known.include_accepted:
        session.execute(update(Retraction).where(Retraction.id == known.id).values(include_accepted=True))
    return known.id


def add_taints(
    session: Session,
    retraction_id: int,
    *,
    dataset_version_ids: Collection[int] = (),
    model_ids: Collection[int] = (),
) -> tuple[int, int]:
    """Mark frozen datasets and models as descending from something retracted; those marked before stay so.

    Returns:
        How many datasets, and how many models, are marked now and were not before.
    """
    rows = session.execute(
        select(Taint.dataset_version_id, Taint.model_id).where(Taint.retraction_id == retraction_id)
    ).all()
    datasets = sorted(set(dataset_version_ids) - {row.dataset_version_id for row in rows})
    models = sorted(set(model_ids) - {row.model_id for row in rows})
    insert_all(
        session, Taint, [{"retraction_id": retraction_id, "dataset_version_id": of} for of in datasets]
    )
    insert_all(session, Taint, [{"retraction_id": retraction_id, "model_id": of} for of in models])
    return len(datasets), len(models)
