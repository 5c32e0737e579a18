"""What is found bad: a model, a run, a prediction or a source revision, by the name that people give it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation.errors import UsageError
from db.models import Prediction, Retraction, Run, Source, SourceRevision
from db.queries import known_model, resolve


class SubjectKind(StrEnum):
    """What can be retracted."""

    MODEL = "model"
    RUN = "run"
    PREDICTION = "prediction"
    REVISION = "revision"


@dataclass(frozen=True)
class Subject:
    """One thing that is, or is to be, retracted; `title` is how people call it."""

    kind: SubjectKind
    id: int
    title: str

    @property
    def column(self) -> str:
        """The column of `retraction` that points to it."""
        return f"{self.kind}_id"


@dataclass(frozen=True)
class RetractionRow:
    """A retraction as it was booked first."""

    id: int
    include_accepted: bool
    reason: str
    person: str
    created_at: datetime


def model_subject(session: Session, name: str) -> Subject:
    """A model by its name.

    Raises:
        UnknownModelError: No such model; lists those there are.
    """
    return Subject(SubjectKind.MODEL, known_model(session, name).id, f"model {name}")


def run_subject(session: Session, run_id: int) -> Subject:
    """A run by its number.

    Raises:
        UsageError: No such run.
    """
    stage = session.scalar(select(Run.stage).where(Run.id == run_id))
    if stage is None:
        raise UsageError(f"there is no run {run_id}; `maskledger history CASE` names the run of each version")
    return Subject(SubjectKind.RUN, run_id, f"run {run_id} ({stage})")


def prediction_subject(session: Session, case: str, model: str) -> Subject:
    """The newest prediction of one model for one case.

    Raises:
        UsageError: No such case or model, or the model never predicted the case.
    """
    found, of_model = resolve(session, case), model_subject(session, model)
    prediction_id = session.scalar(
        select(func.max(Prediction.id)).where(
            Prediction.case_id == found.case_id, Prediction.model_id == of_model.id
        )
    )
    if prediction_id is None:
        raise UsageError(
            f"model '{model}' has no prediction for {found.address}; there is nothing to retract"
        )
    return Subject(SubjectKind.PREDICTION, prediction_id, f"prediction of {model} for {found.address}")


def revision_subject(session: Session, source: str, revision: str) -> Subject:
    """A revision of a source.

    Raises:
        UsageError: No such source or revision; lists those there are.
    """
    rows = session.execute(
        select(SourceRevision.name, SourceRevision.id)
        .join(Source, Source.id == SourceRevision.source_id)
        .where(Source.name == source)
        .order_by(SourceRevision.id)
    )
    known = dict(rows.all())
    if revision not in known:
        if known:
            raise UsageError(f"{source} has no revision '{revision}'; it has {', '.join(known)}")
        names = ", ".join(session.scalars(select(Source.name).order_by(Source.name))) or "none yet"
        raise UsageError(f"no revision of a source '{source}' was ever ingested; sources are: {names}")
    return Subject(SubjectKind.REVISION, known[revision], f"revision {revision} of {source}")


def retraction_of(session: Session, subject: Subject) -> RetractionRow | None:
    """The retraction of a thing; None if it was not retracted."""
    row = session.scalars(
        select(Retraction).where(getattr(Retraction, subject.column) == subject.id).order_by(Retraction.id)
    ).first()
    if row is None:
        return None
    return RetractionRow(row.id, row.include_accepted, row.reason, row.person, row.created_at)
