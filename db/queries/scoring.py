"""Models and how they scored."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, defer

from curation.errors import UsageError
from curation.labels import BY_ID
from db import taints
from db.models import Case, Dataset, DatasetVersion, Evaluation, Model, ModelKind, Prediction, Run, Source


class UnknownModelError(UsageError):
    """A name that no model has."""


@dataclass(frozen=True)
class ModelRow:
    """A model. `dataset` is ``NAME@N``; `weights_path` a folder relative to the workspace.

    Attributes:
        seed: Of its training, as the run's parameters say; None if they do not.
        retracted: When it was retracted, by whom and why, as a sentence; None if it was not.
        tainted: Sentences on what it descends from that was retracted.
    """

    id: int
    name: str
    kind: ModelKind
    dataset: str | None
    dataset_version_id: int | None
    profile: dict[str, Any] | None
    origins: list[str] | None
    code_version: str | None
    weights_path: str | None
    weights_hash: str | None
    metrics: dict[str, Any]
    curves: list[Any]
    run_id: int | None
    created_at: datetime
    predicted_cases: int
    seed: int | None = None
    retracted: str | None = None
    tainted: tuple[str, ...] = ()

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why it is not, or only with care, to be trusted."""
        return (*((self.retracted,) if self.retracted else ()), *self.tainted)


@dataclass(frozen=True)
class EvaluationRow:
    """One score of one class of one case; `dsc` and `nsd` are 0 to 1.

    `seconds`, `peak_memory_mb` and `memory_area_mb_s` are what the prediction took; None where nobody measured it.
    """

    model: str
    case: str
    case_id: int
    class_id: int
    class_name: str
    protocol: str
    implementation: str
    dsc: float
    nsd: float
    prediction_id: int
    reference_version_id: int
    seconds: float | None
    peak_memory_mb: float | None
    memory_area_mb_s: float | None = None


@dataclass(frozen=True)
class ScoreRow:
    """Mean and (population) standard deviation of one model's scores of one class over its cases."""

    model: str
    class_id: int
    class_name: str
    protocol: str
    cases: int
    dsc_mean: float
    dsc_std: float
    nsd_mean: float
    nsd_std: float


def models(session: Session, *, with_curves: bool = True) -> list[ModelRow]:
    """All models, in the order in which they were registered; their curves, which may be long, where wanted."""
    return _model_rows(session, with_curves=with_curves)


def model(session: Session, name: str) -> ModelRow | None:
    """A model by its name; None if there is none of it."""
    found = _model_rows(session, Model.name == name)
    return found[0] if found else None


def known_model(session: Session, name: str) -> ModelRow:
    """A model by its name.

    Raises:
        UnknownModelError: There is none of it; lists those there are.
    """
    found = model(session, name)
    if found is None:
        known = ", ".join(session.scalars(select(Model.name).order_by(Model.id))) or "none yet"
        raise UnknownModelError(f"unknown model '{name}'; known models: {known}")
    return found


def evaluations(
    session: Session,
    *,
    model: str | None = None,
    protocol: str | None = None,
    case_id: int | None = None,
) -> list[EvaluationRow]:
    """Scores, by model, case and class; of everything that is not asked for."""
    statement = (
        select(
            Evaluation,
            Model.name,
            Source.name,
            Case.name,
            # Earlier programs did not keep with a score what its prediction took.
            func.coalesce(Evaluation.seconds, Prediction.seconds),
            func.coalesce(Evaluation.peak_memory_mb, Prediction.peak_memory_mb),
            func.coalesce(Evaluation.memory_area_mb_s, Prediction.memory_area_mb_s),
        )
        .join(Model, Model.id == Evaluation.model_id)
        .join(Prediction, Prediction.id == Evaluation.prediction_id)
        .join(Case, Case.id == Evaluation.case_id)
        .join(Source, Source.id == Case.source_id)
        .order_by(Model.id, Source.name, Case.name, Evaluation.protocol, Evaluation.class_id)
    )
    if model is not None:
        statement = statement.where(Model.name == model)
    if protocol is not None:
        statement = statement.where(Evaluation.protocol == protocol)
    if case_id is not None:
        statement = statement.where(Evaluation.case_id == case_id)
    return [
        EvaluationRow(
            of_model, f"{source}/{case}", e.case_id, e.class_id, BY_ID[e.class_id].name, e.protocol,
            e.implementation, e.dsc, e.nsd, e.prediction_id, e.reference_version_id, *took,
        )
        for e, of_model, source, case, *took in session.execute(statement)
    ]  # fmt: skip


def scores(session: Session, *, protocol: str | None = None) -> list[ScoreRow]:
    """Mean and standard deviation per model, protocol and class, in that order."""
    statement = (
        select(
            Model.name,
            Evaluation.class_id,
            Evaluation.protocol,
            func.count(),
            func.avg(Evaluation.dsc),
            func.avg(Evaluation.dsc * Evaluation.dsc),
            func.avg(Evaluation.nsd),
            func.avg(Evaluation.nsd * Evaluation.nsd),
        )
        .join(Model, Model.id == Evaluation.model_id)
        .group_by(Model.id, Model.name, Evaluation.protocol, Evaluation.class_id)
        .order_by(Model.id, Evaluation.protocol, Evaluation.class_id)
    )
    if protocol is not None:
        statement = statement.where(Evaluation.protocol == protocol)
    return [
        ScoreRow(
            of_model, class_id, BY_ID[class_id].name, of_protocol, n,
            dsc, _std(dsc, dsc2), nsd, _std(nsd, nsd2),
        )
        for of_model, class_id, of_protocol, n, dsc, dsc2, nsd, nsd2 in session.execute(statement)
    ]  # fmt: skip


def _std(mean: float, mean_of_squares: float) -> float:
    # SQLite has no standard deviation. Scores have 4 digits, so what doubles lose here does not show;
    # equal scores may come out a hair below zero.
    return math.sqrt(max(0.0, mean_of_squares - mean * mean))


def _model_rows(session: Session, *conditions: Any, with_curves: bool = True) -> list[ModelRow]:
    predicted = (
        select(func.count(Prediction.case_id.distinct()))
        .where(Prediction.model_id == Model.id)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Model, Dataset.name, DatasetVersion.number, predicted, Run.parameters)
        .outerjoin(Run, Run.id == Model.run_id)
        .outerjoin(DatasetVersion, DatasetVersion.id == Model.dataset_version_id)
        .outerjoin(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .where(*conditions)
        .order_by(Model.id)
        .options(*(() if with_curves else (defer(Model.curves),)))
    ).all()
    ids = [m.id for m, *_ in rows]
    retracted, tainted = taints.retracted_models(session, ids), taints.of_models(session, ids)
    return [
        ModelRow(
            id=m.id,
            name=m.name,
            kind=m.kind,
            dataset=f"{dataset}@{number}" if dataset is not None else None,
            dataset_version_id=m.dataset_version_id,
            profile=m.profile,
            origins=m.origins,
            code_version=m.code_version,
            weights_path=m.weights_path,
            weights_hash=m.weights_hash,
            metrics=m.metrics,
            curves=m.curves if with_curves else [],
            run_id=m.run_id,
            created_at=m.created_at,
            predicted_cases=cases,
            seed=(parameters or {}).get("seed"),
            retracted=retracted[m.id].sentence if m.id in retracted else None,
            tainted=tuple(row.sentence for row in tainted.get(m.id, ())),
        )
        for m, dataset, number, cases, parameters in rows
    ]
