"""One case: its versions, what each says of every class, and what models predicted for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation.labels import BY_ID
from curation.status import Evidence, Origin, Severity, Status
from db.batches import batches
from db.models import (
    Annotation,
    Case,
    Conflict,
    FindingRow,
    FindingState,
    MaskVersion,
    Model,
    Prediction,
    PredictionClass,
    ReservedVoxels,
    Role,
    Source,
    SourceRevision,
    VersionKind,
)
from db.queries.selection import resolve


@dataclass(frozen=True)
class VersionRow:
    """One version as a history shows it. `labels` counts annotated classes.

    `parent` and `restores` (the version whose state this one brings back) are numbers.
    """

    id: int
    case_id: int
    number: int
    parent: int | None
    kind: VersionKind
    author: str
    message: str
    created_at: datetime
    incoming_hash: str | None
    file_hash: str | None
    voxel_hash: str | None
    revision: str | None
    run_id: int | None
    restores: int | None
    labels: int


@dataclass(frozen=True)
class AnnotationRow:
    """What a version knows of one class; units as in `db.models.Annotation`. `model` drew a pseudo label."""

    class_id: int
    class_name: str
    status: Status
    origin: Origin | None
    evidence: Evidence
    author: str | None
    prediction_id: int | None
    model: str | None
    confidence: float | None
    voxels: int
    volume_ml: float
    bbox: list[int] | None
    centroid: list[float] | None
    components: int | None
    largest_share: float | None
    touches_border: bool
    mean_hu: float | None
    std_hu: float | None
    class_hash: str | None


@dataclass(frozen=True)
class ReservedRow:
    """Voxels without a class: 200–239 unresolved pairs, 255 ignore."""

    value: int
    voxels: int
    volume_ml: float


@dataclass(frozen=True)
class ConflictRow:
    """Voxels where `kept` stands and `offered` was turned away; `displaced`: it stood in the parent."""

    kept: int
    offered: int
    voxels: int
    ml: float
    displaced: bool


@dataclass(frozen=True)
class StoredFinding:
    """What a check noticed, and whether it still wants eyes. `class_name` is None for the whole mask."""

    id: int
    class_name: str | None
    check: str
    severity: Severity
    value: float
    limit: float
    message: str
    state: FindingState
    person: str | None
    decided_at: datetime | None


@dataclass(frozen=True)
class VersionDetail:
    """A version with all that is recorded of it; shape and spacing along the patient's x, y, z."""

    row: VersionRow
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    affine: list[float]
    annotations: list[AnnotationRow]
    reserved: list[ReservedRow]
    conflicts: list[ConflictRow]
    findings: list[StoredFinding]

    @property
    def disputed(self) -> str:
        """What the conflicts are about, in words: a version without a parent was merged with nothing."""
        if self.row.parent is None:
            return "voxels that two of the case's files claim"
        if self.row.kind is VersionKind.INGESTED:
            return "voxels on which the two sides of the merge, or two files of the case, disagreed"
        return "voxels on which the two sides of the merge disagreed"


@dataclass(frozen=True)
class PredictionClassRow:
    """What a prediction says of one class; 0 voxels: found nowhere."""

    class_id: int
    class_name: str
    voxels: int
    volume_ml: float
    confidence: float | None
    tta_disagreement: float | None
    agreement: float | None


@dataclass(frozen=True)
class PredictionRow:
    """One prediction for one case. `newest`: it is the one of its model that counts."""

    id: int
    model_id: int
    model: str
    newest: bool
    file_hash: str
    voxel_hash: str
    settings: dict[str, Any]
    compared_version_id: int | None
    seconds: float | None
    peak_memory_mb: float | None
    created_at: datetime
    classes: list[PredictionClassRow]


@dataclass(frozen=True)
class ImagePlace:
    """Where a case's image lies: `path` below `root`, or absolute; None where there is none."""

    root: str | None
    path: str | None


@dataclass(frozen=True)
class CasePage:
    """All that is known of one case.

    Attributes:
        address: ``SOURCE/NAME``.
        licence: The case's, else its source's.
        extra: Further columns of the case list.
        looked_for: Ids of the classes that were looked for in this very case; None: its source's protocol.
        detail: The version that was asked for.
        versions: All versions, the oldest first.
        predictions: All predictions, the newest first.
    """

    case_id: int
    address: str
    patient: str
    role: Role
    licence: str | None
    citation: str | None
    extra: dict[str, Any]
    looked_for: list[int] | None
    image: ImagePlace
    detail: VersionDetail
    versions: list[VersionRow]
    predictions: list[PredictionRow]


def case_page(session: Session, address: str) -> CasePage:
    """All that is known of the case at an address, with one version in detail.

    Raises:
        UnknownCaseError: No such case or version.
        AmbiguousCaseError: Several sources have a case of this name.
    """
    found = resolve(session, address)
    case, source = session.execute(
        select(Case, Source).join(Source, Source.id == Case.source_id).where(Case.id == found.case_id)
    ).one()
    return CasePage(
        case_id=case.id,
        address=found.address,
        patient=case.patient,
        role=case.role,
        licence=case.licence or source.licence,
        citation=source.citation,
        extra=case.extra,
        looked_for=case.looked_for,
        image=ImagePlace(source.image_root, case.image_path),
        detail=version_detail(session, found.version_id),
        versions=history(session, case.id),
        predictions=predictions_for(session, case.id),
    )


def history(session: Session, case_id: int) -> list[VersionRow]:
    """All versions of a case, the oldest first."""
    return _version_rows(session, MaskVersion.case_id == case_id)


def version_detail(session: Session, version_id: int) -> VersionDetail:
    """One version with its annotations (14, in the label table's order), conflicts and findings."""
    (row,) = _version_rows(session, MaskVersion.id == version_id)
    grid = session.execute(
        select(
            *(getattr(MaskVersion, f"{what}_{axis}") for what in ("shape", "spacing") for axis in "xyz"),
            MaskVersion.orientation,
            MaskVersion.affine,
        ).where(MaskVersion.id == version_id)
    ).one()
    reserved = session.execute(
        select(ReservedVoxels.value, ReservedVoxels.voxels, ReservedVoxels.volume_ml)
        .where(ReservedVoxels.version_id == version_id)
        .order_by(ReservedVoxels.value)
    )
    conflicts = session.execute(
        select(Conflict.kept, Conflict.offered, Conflict.voxels, Conflict.ml, Conflict.displaced)
        .where(Conflict.version_id == version_id)
        .order_by(Conflict.voxels.desc(), Conflict.kept, Conflict.offered)
    )
    return VersionDetail(
        row=row,
        shape=(grid.shape_x, grid.shape_y, grid.shape_z),
        spacing_mm=(grid.spacing_x, grid.spacing_y, grid.spacing_z),
        orientation=grid.orientation,
        affine=grid.affine,
        annotations=annotations(session, version_id),
        reserved=[ReservedRow(*r) for r in reserved],
        conflicts=[ConflictRow(*c) for c in conflicts],
        findings=findings(session, [version_id])[version_id],
    )


def annotations(session: Session, version_id: int) -> list[AnnotationRow]:
    """The 14 annotations of a version, in the label table's order."""
    columns = [
        Annotation.class_id, Annotation.status, Annotation.origin, Annotation.evidence, Annotation.author,
        Annotation.prediction_id, Model.name.label("model"), PredictionClass.confidence, Annotation.voxels,
        Annotation.volume_ml, Annotation.bbox, Annotation.centroid, Annotation.components,
        Annotation.largest_share, Annotation.touches_border, Annotation.mean_hu, Annotation.std_hu,
        Annotation.class_hash,
    ]  # fmt: skip
    rows = session.execute(
        select(*columns)
        .outerjoin(Prediction, Prediction.id == Annotation.prediction_id)
        .outerjoin(Model, Model.id == Prediction.model_id)
        .outerjoin(
            PredictionClass,
            (PredictionClass.prediction_id == Annotation.prediction_id)
            & (PredictionClass.class_id == Annotation.class_id),
        )
        .where(Annotation.version_id == version_id)
        .order_by(Annotation.class_id)
    )
    return [AnnotationRow(class_name=BY_ID[row.class_id].name, **row._mapping) for row in rows]


def findings(session: Session, version_ids: Sequence[int]) -> dict[int, list[StoredFinding]]:
    """Findings by version, open ones first, errors before warnings before infos."""
    found: dict[int, list[StoredFinding]] = {version_id: [] for version_id in version_ids}
    for batch in batches(version_ids):
        rows = session.scalars(
            select(FindingRow).where(FindingRow.version_id.in_(batch)).order_by(FindingRow.id)
        )
        for row in rows:
            found[row.version_id].append(
                StoredFinding(
                    row.id,
                    BY_ID[row.class_id].name if row.class_id is not None else None,
                    row.check, row.severity, row.value, row.limit, row.message, row.state, row.person,
                    row.decided_at,
                )
            )  # fmt: skip
    weight = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}
    for of_version in found.values():
        of_version.sort(key=lambda f: (f.state is not FindingState.OPEN, weight[f.severity]))
    return found


def predictions_for(session: Session, case_id: int) -> list[PredictionRow]:
    """All predictions for a case with what they say of each class, the newest first."""
    classes: dict[int, list[PredictionClassRow]] = {}
    for row in session.execute(
        select(PredictionClass)
        .join(Prediction, Prediction.id == PredictionClass.prediction_id)
        .where(Prediction.case_id == case_id)
        .order_by(PredictionClass.class_id)
    ).scalars():
        classes.setdefault(row.prediction_id, []).append(
            PredictionClassRow(
                row.class_id, BY_ID[row.class_id].name, row.voxels, row.volume_ml, row.confidence,
                row.tta_disagreement, row.agreement,
            )
        )  # fmt: skip
    found: list[PredictionRow] = []
    seen: set[int] = set()
    for prediction, model in session.execute(
        select(Prediction, Model.name)
        .join(Model, Model.id == Prediction.model_id)
        .where(Prediction.case_id == case_id)
        .order_by(Prediction.id.desc())
    ):
        found.append(
            PredictionRow(
                id=prediction.id,
                model_id=prediction.model_id,
                model=model,
                newest=prediction.model_id not in seen,
                file_hash=prediction.file_hash,
                voxel_hash=prediction.voxel_hash,
                settings=prediction.settings,
                compared_version_id=prediction.compared_version_id,
                seconds=prediction.seconds,
                peak_memory_mb=prediction.peak_memory_mb,
                created_at=prediction.created_at,
                classes=classes.get(prediction.id, []),
            )
        )
        seen.add(prediction.model_id)
    return found


def _version_rows(session: Session, condition: Any) -> list[VersionRow]:
    parent = MaskVersion.__table__.alias("parent")
    restored = MaskVersion.__table__.alias("restored")
    labels = (
        select(func.count())
        .where(Annotation.version_id == MaskVersion.id, Annotation.status == Status.ANNOTATED)
        .scalar_subquery()
    )
    rows = session.execute(
        select(
            MaskVersion.id, MaskVersion.case_id, MaskVersion.number, parent.c.number, MaskVersion.kind,
            MaskVersion.author, MaskVersion.message, MaskVersion.created_at, MaskVersion.incoming_hash,
            MaskVersion.file_hash, MaskVersion.voxel_hash, SourceRevision.name, MaskVersion.run_id,
            restored.c.number, labels,
        )
        .outerjoin(parent, parent.c.id == MaskVersion.parent_id)
        .outerjoin(restored, restored.c.id == MaskVersion.restores_id)
        .outerjoin(SourceRevision, SourceRevision.id == MaskVersion.revision_id)
        .where(condition)
        .order_by(MaskVersion.number)
    )  # fmt: skip
    return [VersionRow(*row) for row in rows]
