"""Which files of the store the catalog's rows stand on."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Annotation, Case, MaskVersion, Model, Prediction, ReservedVoxels, Source


@dataclass(frozen=True)
class StoredFile:
    """One file that a row needs. `voxel_hash` and `voxels` (value to count) are None for incoming files."""

    hash: str
    needed_by: str
    voxel_hash: str | None = None
    voxels: dict[int, int] | None = None


def stored_files(session: Session) -> list[StoredFile]:
    """Every file that a version or a prediction needs, each hash once."""
    counts: dict[int, dict[int, int]] = {}
    for table, value in ((Annotation, Annotation.class_id), (ReservedVoxels, ReservedVoxels.value)):
        for version_id, key, voxels in session.execute(
            select(table.version_id, value, table.voxels).where(table.voxels > 0)
        ):
            counts.setdefault(version_id, {})[key] = voxels
    found: dict[str, StoredFile] = {}
    versions = session.execute(
        select(MaskVersion, Source.name, Case.name)
        .join(Case, Case.id == MaskVersion.case_id)
        .join(Source, Source.id == Case.source_id)
    )
    for version, source, case in versions:
        needed_by = f"{source}/{case}@{version.number}"
        if version.file_hash:
            found[version.file_hash] = StoredFile(
                version.file_hash, needed_by, version.voxel_hash, counts.get(version.id, {})
            )
        if version.incoming_hash:
            found.setdefault(
                version.incoming_hash, StoredFile(version.incoming_hash, f"{needed_by}, as it came in")
            )
    predictions = session.execute(
        select(Prediction.file_hash, Prediction.voxel_hash, Model.name, Source.name, Case.name)
        .join(Model, Model.id == Prediction.model_id)
        .join(Case, Case.id == Prediction.case_id)
        .join(Source, Source.id == Case.source_id)
    )
    for file_hash, voxel_hash, model, source, name in predictions:
        needed_by = f"prediction of {model} for {source}/{name}"
        found.setdefault(file_hash, StoredFile(file_hash, needed_by, voxel_hash))
    return list(found.values())
