"""What a model offers the catalog: its newest prediction per case, and the classes it may not fill."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, func, not_, select
from sqlalchemy.orm import Session

from curation.errors import UsageError
from db.batches import batches
from db.models import Decision, Model, Prediction, PredictionClass, PredictionPart, Retraction, Verdict
from db.standing import is_retracted


@dataclass(frozen=True)
class OfferedPrediction:
    """One prediction: its stored mask and map of probabilities, what it was made on and with, and what it took.

    `seconds` is wall time, `memory_area_mb_s` the area under the memory-time curve; None where nobody measured it.
    """

    id: int
    case_id: int
    incoming_hash: str | None
    file_hash: str
    probability_hash: str | None
    image_hash: str | None
    settings: dict[str, Any]
    seconds: float | None
    peak_memory_mb: float | None
    memory_area_mb_s: float | None


def newest_predictions(session: Session, model_id: int) -> dict[int, OfferedPrediction]:
    """Case id to the newest prediction of one model that is not retracted."""
    rows = session.execute(_newest(), {"model": model_id})
    return {row.case_id: OfferedPrediction(*row) for row in rows}


@cache
def _newest() -> Select[*tuple[Any, ...]]:
    newest = (
        select(func.max(Prediction.id))
        .where(Prediction.model_id == bindparam("model"), not_(is_retracted(Prediction)))
        .group_by(Prediction.case_id)
    )
    return select(
        Prediction.id, Prediction.case_id, Prediction.incoming_hash, Prediction.file_hash,
        Prediction.probability_hash, Prediction.image_hash, Prediction.settings,
        Prediction.seconds, Prediction.peak_memory_mb, Prediction.memory_area_mb_s,
    ).where(Prediction.id.in_(newest))  # fmt: skip


def prediction_ids(session: Session, model_id: int) -> frozenset[int]:
    """All predictions that a model ever made, superseded and retracted ones too."""
    return frozenset(session.scalars(select(Prediction.id).where(Prediction.model_id == model_id)))


def parts_of(session: Session, prediction_ids: Collection[int]) -> dict[int, frozenset[int]]:
    """Prediction id to the predictions that it was combined from."""
    rows = session.execute(
        select(PredictionPart.prediction_id, PredictionPart.part_id)
        .join(Prediction, Prediction.id == PredictionPart.prediction_id)
        .order_by(PredictionPart.prediction_id)
    )
    found: dict[int, set[int]] = {}
    for prediction_id, part_id in rows:
        if prediction_id in prediction_ids:
            found.setdefault(prediction_id, set()).add(part_id)
    return {prediction_id: frozenset(parts) for prediction_id, parts in found.items()}


def predicted_classes(session: Session, prediction_ids: Collection[int]) -> dict[int, frozenset[int]]:
    """Prediction id to the classes that it speaks of, found or not."""
    said = said_of_classes(session, prediction_ids)
    return {prediction_id: frozenset(classes) for prediction_id, classes in said.items()}


@dataclass(frozen=True)
class Said:
    """What a prediction says of one class: voxels, and their mean probability; None where the model gave none."""

    voxels: int
    confidence: float | None


def said_of_classes(session: Session, prediction_ids: Collection[int]) -> dict[int, dict[int, Said]]:
    """Prediction id to what it says of each class that it speaks of."""
    found: dict[int, dict[int, Said]] = {}
    wanted = sorted(prediction_ids)
    columns = (
        PredictionClass.prediction_id, PredictionClass.class_id,
        PredictionClass.voxels, PredictionClass.confidence,
    )  # fmt: skip
    for batch in batches(wanted):
        for row in session.execute(select(*columns).where(PredictionClass.prediction_id.in_(batch))):
            found.setdefault(row.prediction_id, {})[row.class_id] = Said(row.voxels, row.confidence)
    return found


def require_trusted(session: Session, model_id: int) -> None:
    """Refuse a model that was retracted.

    Raises:
        UsageError: It was; says when, by whom and why.
    """
    found = session.execute(
        select(Model.name, Retraction.created_at, Retraction.person, Retraction.reason)
        .join(Retraction, Retraction.model_id == Model.id)
        .where(Model.id == model_id)
    ).first()
    if found is not None:
        raise UsageError(
            f"model '{found.name}' was retracted on {found.created_at:%Y-%m-%d} by {found.person} "
            f"({found.reason}); use another model"
        )


def rejected_classes(session: Session, model_id: int) -> dict[int, frozenset[int]]:
    """Case id to the classes of this model that a person rejected there; they are not filled again."""
    rows = session.execute(
        select(Decision.case_id, Decision.class_id).where(
            Decision.verdict == Verdict.REJECTED, Decision.model_id == model_id
        )
    )
    found: dict[int, set[int]] = {}
    for case_id, class_id in rows:
        found.setdefault(case_id, set()).add(class_id)
    return {case_id: frozenset(classes) for case_id, classes in found.items()}
