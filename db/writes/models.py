"""Models, their predictions, and how these scored."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from curation.errors import UsageError
from db.models import Evaluation, Model, ModelKind, Prediction, PredictionClass, PredictionPart
from db.writes.insert import insert_all, insert_if_absent, insert_returning_id


@dataclass(frozen=True, kw_only=True)
class PredictionClassValues:
    """What a prediction says of one class; units as in `db.models.PredictionClass`."""

    class_id: int
    voxels: int
    volume_ml: float
    confidence: float | None = None
    tta_disagreement: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, kw_only=True)
class NewEvaluation:
    """One score of one class of one prediction; `dsc` and `nsd` are 0 to 1."""

    model_id: int
    case_id: int
    class_id: int
    protocol: str
    implementation: str
    prediction_id: int
    reference_version_id: int
    dsc: float
    nsd: float
    seconds: float | None = None
    peak_memory_mb: float | None = None
    memory_area_mb_s: float | None = None
    run_id: int | None = None


def add_model(
    session: Session,
    name: str,
    kind: ModelKind,
    *,
    dataset_version_id: int | None = None,
    profile: Mapping[str, Any] | None = None,
    origins: Sequence[str] | None = None,
    code_version: str | None = None,
    weights_path: str | None = None,
    weights_hash: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    curves: Sequence[Any] = (),
    run_id: int | None = None,
) -> int:
    """Register a model; returns its id.

    Raises:
        UsageError: The name is taken.
    """
    if session.scalar(select(Model.id).where(Model.name == name)) is not None:
        raise UsageError(f"a model named '{name}' is registered already; give the new one another name")
    return insert_returning_id(
        session,
        Model,
        {
            "name": name,
            "kind": kind,
            "dataset_version_id": dataset_version_id,
            "profile": dict(profile) if profile is not None else None,
            "origins": list(origins) if origins is not None else None,
            "code_version": code_version,
            "weights_path": weights_path,
            "weights_hash": weights_hash,
            "metrics": dict(metrics or {}),
            "curves": list(curves),
            "run_id": run_id,
        },
    )


def ensure_model(session: Session, name: str, kind: ModelKind = ModelKind.EXTERNAL) -> int:
    """Find a model by name or register it, so that imported predictions have one; returns its id."""
    query = select(Model.id).where(Model.name == name)
    found = session.scalar(query)
    if found is None:
        insert_if_absent(session, Model, {"name": name, "kind": kind}, ["name"])
        found = session.scalars(query).one()
    return int(found)


def add_prediction(
    session: Session,
    *,
    case_id: int,
    model_id: int,
    file_hash: str,
    voxel_hash: str,
    classes: Sequence[PredictionClassValues],
    incoming_hash: str | None = None,
    incoming_path: str | None = None,
    parts: Sequence[int] = (),
    settings: Mapping[str, Any] | None = None,
    compared_version_id: int | None = None,
    seconds: float | None = None,
    peak_memory_mb: float | None = None,
    memory_area_mb_s: float | None = None,
    image_hash: str | None = None,
    probability_hash: str | None = None,
    run_id: int | None = None,
) -> int:
    """Book a prediction; from now on it is the one of its (case, model) that counts.

    Args:
        session: A writing session.
        case_id: The case.
        model_id: The model.
        file_hash: SHA-256 of the stored mask's bytes.
        voxel_hash: Of the stored mask.
        classes: One of each class that the model predicts; 0 voxels say that it found it nowhere.
        incoming_hash: SHA-256 of the bytes that came in, if it was imported.
        incoming_path: Where they were read.
        parts: Predictions that it was combined from.
        settings: What it was predicted with.
        compared_version_id: Version that the classes' `agreement` was measured against.
        seconds: Wall time.
        peak_memory_mb: Highest memory use, MB.
        memory_area_mb_s: Area under the memory-time curve, MB s.
        image_hash: BLAKE3 of the bytes of the image it was made on.
        probability_hash: SHA-256 of the stored map of its probabilities.
        run_id: The run that made it.

    Returns:
        The prediction's id.
    """
    prediction_id = insert_returning_id(
        session,
        Prediction,
        {
            "case_id": case_id,
            "model_id": model_id,
            "settings": dict(settings or {}),
            "incoming_hash": incoming_hash,
            "incoming_path": incoming_path,
            "file_hash": file_hash,
            "voxel_hash": voxel_hash,
            "compared_version_id": compared_version_id,
            "seconds": seconds,
            "peak_memory_mb": peak_memory_mb,
            "memory_area_mb_s": memory_area_mb_s,
            "image_hash": image_hash,
            "probability_hash": probability_hash,
            "run_id": run_id,
        },
    )
    insert_all(session, PredictionClass, [{"prediction_id": prediction_id, **asdict(c)} for c in classes])
    insert_all(session, PredictionPart, [{"prediction_id": prediction_id, "part_id": part} for part in parts])
    return prediction_id


def add_evaluations(session: Session, rows: Sequence[NewEvaluation]) -> None:
    """Book scores. They replace all earlier ones of the same (model, case, protocol)."""
    for model_id, case_id, protocol in sorted({(r.model_id, r.case_id, r.protocol) for r in rows}):
        session.execute(
            delete(Evaluation).where(
                Evaluation.model_id == model_id,
                Evaluation.case_id == case_id,
                Evaluation.protocol == protocol,
            )
        )
    insert_all(session, Evaluation, [asdict(row) for row in rows])
