"""Which models were scored and on what: sets of cases, the worst of them, what predicting each took."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.models import Case, Evaluation, MaskVersion, Model, Prediction, Role, Source
from db.queries.paging import by_address

METRICS = ("dsc", "nsd")


@dataclass(frozen=True)
class CaseScore:
    """One class of one case, 0 to 1. `version` is the number of the mask that the prediction was scored against."""

    case: str
    version: int
    class_id: int
    dsc: float
    nsd: float
    prediction_id: int


@dataclass(frozen=True)
class CaseSet:
    """The cases of one source and role that a model was scored on."""

    source: str
    role: Role
    case_ids: frozenset[int]

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.source}, {self.role}"


@dataclass(frozen=True)
class CaseCost:
    """What predicting one case took; `shape` in voxels along the patient's x, y, z. None: nobody measured it."""

    case: str
    version: int
    prediction_id: int
    shape: tuple[int, int, int]
    seconds: float | None
    peak_memory_mb: float | None
    memory_area_mb_s: float | None


def scored_models(session: Session) -> dict[str, dict[str, int]]:
    """Names of the models that have scores, in the order in which they were registered: cases by protocol."""
    rows = session.execute(
        select(Model.name, Evaluation.protocol, func.count(Evaluation.case_id.distinct()))
        .join(Model, Model.id == Evaluation.model_id)
        .group_by(Model.id, Model.name, Evaluation.protocol)
        .order_by(Model.id, Evaluation.protocol)
    )
    found: dict[str, dict[str, int]] = {}
    for name, protocol, cases in rows:
        found.setdefault(name, {})[protocol] = cases
    return found


def scores_stamp(session: Session) -> tuple[datetime | None, int]:
    """When the newest score was booked and how many there are: what was computed from them holds while both stay.

    No id would say it: SQLite gives that of a row that went to the one that comes in its place.
    """
    newest, n = session.execute(select(func.max(Evaluation.created_at), func.count())).one()
    return newest, n


def worst_scores(
    session: Session,
    model: str,
    protocol: str,
    *,
    metric: str = "dsc",
    class_id: int | None = None,
    limit: int = 20,
) -> list[CaseScore]:
    """A model's lowest scores, the lowest first; equal ones by the other metric, then by address.

    Args:
        session: A reading session.
        model: Its name.
        protocol: ``flare23`` or ``known``.
        metric: ``dsc`` or ``nsd``.
        class_id: Of this class alone.
        limit: At most so many.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}")
    by = [Evaluation.dsc, Evaluation.nsd] if metric == "dsc" else [Evaluation.nsd, Evaluation.dsc]
    statement = (
        select(
            Source.name, Case.name, MaskVersion.number, Evaluation.class_id, Evaluation.dsc, Evaluation.nsd,
            Evaluation.prediction_id,
        )
        .join(Model, Model.id == Evaluation.model_id)
        .join(Case, Case.id == Evaluation.case_id)
        .join(Source, Source.id == Case.source_id)
        .join(MaskVersion, MaskVersion.id == Evaluation.reference_version_id)
        .where(Model.name == model, Evaluation.protocol == protocol)
        .order_by(*by, *by_address(session), Evaluation.class_id)
        .limit(limit)
    )  # fmt: skip
    if class_id is not None:
        statement = statement.where(Evaluation.class_id == class_id)
    rows: Iterable[Any] = session.execute(statement)
    return [CaseScore(f"{source}/{name}", *rest) for source, name, *rest in rows]


def scored_sets(session: Session, model: str, protocol: str) -> list[CaseSet]:
    """The cases that a model was scored on, by source and role."""
    rows = session.execute(
        select(Source.name, Case.role, Case.id)
        .join(Case, Case.source_id == Source.id)
        .join(Evaluation, Evaluation.case_id == Case.id)
        .join(Model, Model.id == Evaluation.model_id)
        .where(Model.name == model, Evaluation.protocol == protocol)
        .distinct()
    )
    found: dict[tuple[str, Role], set[int]] = {}
    for source, role, case_id in rows:
        found.setdefault((source, role), set()).add(case_id)
    return [CaseSet(source, role, frozenset(ids)) for (source, role), ids in sorted(found.items())]


def costs(
    session: Session, model: str, *, limit: int | None = None, offset: int = 0
) -> tuple[list[CaseCost], int]:
    """What predicting each scored case took, the thinnest image first as in the paper, and how many cases there are.

    A case of which nobody measured anything, as of imported predictions, is left out.
    """
    asked = _costs(model)
    total = session.scalar(select(func.count()).select_from(asked.order_by(None).subquery())) or 0
    rows: Iterable[Any] = session.execute(
        asked.order_by(MaskVersion.shape_z, *by_address(session)).limit(limit).offset(offset)
    )
    return [
        CaseCost(f"{source}/{name}", number, prediction_id, (x, y, z), *took)
        for source, name, number, prediction_id, x, y, z, *took in rows
    ], total


def _costs(model: str) -> Select[Any]:
    """One row per case, for the rows of its classes and protocols all say the same."""
    of_case = (
        select(
            Evaluation.case_id,
            func.max(Evaluation.prediction_id).label("prediction_id"),
            func.max(Evaluation.reference_version_id).label("version_id"),
            # Earlier programs did not keep with a score what its prediction took.
            func.max(func.coalesce(Evaluation.seconds, Prediction.seconds)).label("seconds"),
            func.max(func.coalesce(Evaluation.peak_memory_mb, Prediction.peak_memory_mb)).label("memory"),
            func.max(func.coalesce(Evaluation.memory_area_mb_s, Prediction.memory_area_mb_s)).label("area"),
        )
        .join(Model, Model.id == Evaluation.model_id)
        .join(Prediction, Prediction.id == Evaluation.prediction_id)
        .where(Model.name == model)
        .group_by(Evaluation.case_id)
        .subquery()
    )
    return (
        select(
            Source.name, Case.name, MaskVersion.number, of_case.c.prediction_id, MaskVersion.shape_x,
            MaskVersion.shape_y, MaskVersion.shape_z, of_case.c.seconds, of_case.c.memory, of_case.c.area,
        )
        .select_from(of_case)
        .join(Case, Case.id == of_case.c.case_id)
        .join(Source, Source.id == Case.source_id)
        .join(MaskVersion, MaskVersion.id == of_case.c.version_id)
        .where(of_case.c.seconds.is_not(None) | of_case.c.memory.is_not(None))
    )  # fmt: skip
