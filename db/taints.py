"""What is retracted, and what is tainted: frozen datasets and models that descend from something retracted."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from db.models import Case, Model, Prediction, Retraction, Run, Source, SourceRevision, Taint


@dataclass(frozen=True)
class TaintRow:
    """Why something counts no more, or only with care: `subject` was retracted."""

    retraction_id: int
    subject: str
    reason: str
    person: str
    created_at: datetime

    @property
    def sentence(self) -> str:
        """The same in words."""
        return f"{self.subject} was retracted on {self.created_at:%Y-%m-%d} by {self.person} ({self.reason})"


def of_datasets(session: Session, dataset_version_ids: Collection[int]) -> dict[int, list[TaintRow]]:
    """Dataset version id to what was retracted of it, the oldest first."""
    return _retractions(session, Taint.dataset_version_id, dataset_version_ids)


def of_models(session: Session, model_ids: Collection[int]) -> dict[int, list[TaintRow]]:
    """Model id to what it descends from that was retracted, the oldest first.

    A model that was trained on a tainted dataset later is tainted by its dataset.
    """
    found = _retractions(session, Taint.model_id, model_ids)
    trained_on = {
        row.id: row.dataset_version_id
        for row in session.execute(
            select(Model.id, Model.dataset_version_id).where(
                Model.id.in_(model_ids), Model.dataset_version_id.is_not(None)
            )
        )
    }
    by_dataset = of_datasets(session, set(trained_on.values()))
    for model_id, dataset_version_id in trained_on.items():
        rows = set(found.get(model_id, ())) | set(by_dataset.get(dataset_version_id, ()))
        if rows:
            found[model_id] = sorted(rows, key=lambda row: row.retraction_id)
    return found


def retracted_models(session: Session, model_ids: Collection[int]) -> dict[int, TaintRow]:
    """Model id to its own retraction, of those that were retracted."""
    rows = session.execute(
        select(Model.id, Model.name, Retraction)
        .join(Retraction, Retraction.model_id == Model.id)
        .where(Model.id.in_(model_ids))
        .order_by(Retraction.id)
    )
    return {id_: TaintRow(r.id, f"model {name}", r.reason, r.person, r.created_at) for id_, name, r in rows}


def _retractions(
    session: Session, marked: ColumnElement[int | None] | Any, ids: Collection[int]
) -> dict[int, list[TaintRow]]:
    of_case = Source.__table__.alias("of_case")
    rows = session.execute(
        select(
            marked, Retraction, Model.name, Run.stage, Source.name, SourceRevision.name, of_case.c.name, Case.name
        )
        .select_from(Taint)
        .join(Retraction, Retraction.id == Taint.retraction_id)
        .outerjoin(Prediction, Prediction.id == Retraction.prediction_id)
        .outerjoin(Case, Case.id == Prediction.case_id)
        .outerjoin(of_case, of_case.c.id == Case.source_id)
        .outerjoin(Model, (Model.id == Retraction.model_id) | (Model.id == Prediction.model_id))
        .outerjoin(Run, Run.id == Retraction.run_id)
        .outerjoin(SourceRevision, SourceRevision.id == Retraction.revision_id)
        .outerjoin(Source, Source.id == SourceRevision.source_id)
        .where(marked.in_(ids))
        .order_by(Retraction.id)
    )  # fmt: skip
    found: dict[int, list[TaintRow]] = {}
    for of, r, model, stage, source, revision, case_source, case in rows:
        if r.model_id:
            subject = f"model {model}"
        elif r.prediction_id:
            subject = f"prediction of {model} for {case_source}/{case}"
        elif r.run_id:
            subject = f"run {r.run_id} ({stage})"
        else:
            subject = f"revision {revision} of {source}"
        found.setdefault(of, []).append(TaintRow(r.id, subject, r.reason, r.person, r.created_at))
    return found
