"""Where the masks of a frozen dataset come from: their classes, the versions before them, the models that drew."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from curation.status import Origin, Status
from db.batches import batches
from db.models import (
    Annotation,
    Dataset,
    DatasetVersion,
    MaskVersion,
    Model,
    ModelKind,
    Prediction,
    PredictionPart,
    Source,
    SourceRevision,
    VersionKind,
)


@dataclass(frozen=True, slots=True)
class ClassFact:
    """One class of one version; `drawn_in` is the number of the version in which its owner drew it."""

    status: Status
    origin: Origin | None
    model: str | None
    author: str | None
    drawn_in: int | None
    voxels: int
    volume_ml: float


@dataclass(frozen=True, slots=True)
class Step:
    """One version on the way to a member's mask."""

    number: int
    kind: VersionKind
    author: str
    message: str
    created_at: datetime
    revision: str | None


@dataclass(frozen=True, slots=True)
class ModelOrigin:
    """A model that drew classes, and what it was trained on; None where it was not trained here."""

    name: str
    kind: ModelKind
    dataset: str | None
    manifest_hash: str | None
    weights_hash: str | None


@dataclass(frozen=True)
class Lineage:
    """What is known of one pinned version: its classes by id, its chain from version 1, the models in it by name.

    The parts of a combined prediction are among the models.
    """

    classes: dict[int, ClassFact]
    chain: list[Step]
    models: list[str]

    @property
    def revision(self) -> str | None:
        """The revision of the source that the labels come from: the latest on the chain."""
        return next((step.revision for step in reversed(self.chain) if step.revision is not None), None)


def lineages(session: Session, version_ids: Sequence[int]) -> Iterator[tuple[int, Lineage]]:
    """The lineage of each version, in the order asked for, a thousand at a time."""
    for batch in batches(version_ids):
        chains, numbers = _chains(session, batch)
        classes, models = _classes(session, batch, numbers)
        for version_id in batch:
            yield (
                version_id,
                Lineage(classes[version_id], chains[version_id], sorted(models[version_id])),
            )


def _chains(session: Session, batch: Sequence[int]) -> tuple[dict[int, list[Step]], dict[int, int]]:
    """Version id to its chain, oldest first; and the numbers of all versions on them by id."""
    pinned = aliased(MaskVersion)
    rows = session.execute(
        select(
            pinned.id, MaskVersion.id, MaskVersion.number, MaskVersion.kind, MaskVersion.author,
            MaskVersion.message, MaskVersion.created_at, SourceRevision.name,
        )
        .select_from(pinned)
        .join(
            MaskVersion, (MaskVersion.case_id == pinned.case_id) & (MaskVersion.number <= pinned.number)
        )
        .outerjoin(SourceRevision, SourceRevision.id == MaskVersion.revision_id)
        .where(pinned.id.in_(batch))
        .order_by(pinned.id, MaskVersion.number)
    )  # fmt: skip
    chains: dict[int, list[Step]] = {version_id: [] for version_id in batch}
    numbers: dict[int, int] = {}
    for pinned_id, version_id, number, kind, author, message, created_at, revision in rows:
        chains[pinned_id].append(Step(number, kind, author, message, created_at, revision))
        numbers[version_id] = number
    return chains, numbers


def _classes(
    session: Session, batch: Sequence[int], numbers: dict[int, int]
) -> tuple[dict[int, dict[int, ClassFact]], dict[int, set[str]]]:
    rows = session.execute(
        select(
            Annotation.version_id, Annotation.class_id, Annotation.status, Annotation.origin, Model.name,
            Annotation.author, Annotation.drawn_version_id, Annotation.voxels, Annotation.volume_ml,
            Annotation.prediction_id,
        )
        .outerjoin(Prediction, Prediction.id == Annotation.prediction_id)
        .outerjoin(Model, Model.id == Prediction.model_id)
        .where(Annotation.version_id.in_(batch))
        .order_by(Annotation.version_id, Annotation.class_id)
    )  # fmt: skip
    classes: dict[int, dict[int, ClassFact]] = {version_id: {} for version_id in batch}
    models: dict[int, set[str]] = {version_id: set() for version_id in batch}
    stands_on: dict[int, set[int]] = {}
    for version_id, class_id, status, origin, model, author, drawn, voxels, ml, prediction_id in rows:
        drawn_in = None if drawn is None else numbers.get(drawn)
        classes[version_id][class_id] = ClassFact(status, origin, model, author, drawn_in, voxels, ml)
        if prediction_id is not None and model is not None:
            models[version_id].add(model)
            stands_on.setdefault(prediction_id, set()).add(version_id)
    for prediction_id, model in _parts(session, sorted(stands_on)):
        for version_id in stands_on[prediction_id]:
            models[version_id].add(model)
    return classes, models


def _parts(session: Session, prediction_ids: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Of combined predictions: the models whose predictions they were combined from."""
    for batch in batches(prediction_ids):
        rows = session.execute(
            select(PredictionPart.prediction_id, Model.name)
            .join(Prediction, Prediction.id == PredictionPart.part_id)
            .join(Model, Model.id == Prediction.model_id)
            .where(PredictionPart.prediction_id.in_(batch))
        )
        yield from rows


def model_origins(session: Session) -> dict[str, ModelOrigin]:
    """All models by name, with the frozen dataset that each was trained on."""
    rows = session.execute(
        select(
            Model.name, Model.kind, Dataset.name, DatasetVersion.number, DatasetVersion.manifest_hash,
            Model.weights_hash,
        )
        .outerjoin(DatasetVersion, DatasetVersion.id == Model.dataset_version_id)
        .outerjoin(Dataset, Dataset.id == DatasetVersion.dataset_id)
    )  # fmt: skip
    return {
        name: ModelOrigin(name, kind, f"{dataset}@{number}" if dataset else None, manifest_hash, weights_hash)
        for name, kind, dataset, number, manifest_hash, weights_hash in rows
    }


def citations(session: Session) -> dict[str, str | None]:
    """Source to how it asks to be cited."""
    return dict(session.execute(select(Source.name, Source.citation)).all())
