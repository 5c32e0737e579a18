"""What a model offers the catalog: its newest prediction per case, and the classes it may not fill."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Decision, Prediction, Verdict


@dataclass(frozen=True)
class OfferedPrediction:
    """The stored mask of one prediction."""

    id: int
    case_id: int
    incoming_hash: str | None
    file_hash: str


def newest_predictions(session: Session, model_id: int) -> dict[int, OfferedPrediction]:
    """Case id to the newest prediction of one model."""
    newest = (
        select(func.max(Prediction.id)).where(Prediction.model_id == model_id).group_by(Prediction.case_id)
    )
    rows = session.execute(
        select(Prediction.id, Prediction.case_id, Prediction.incoming_hash, Prediction.file_hash).where(
            Prediction.id.in_(newest)
        )
    )
    return {row.case_id: OfferedPrediction(*row) for row in rows}


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
