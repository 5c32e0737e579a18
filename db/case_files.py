"""What a stage needs of a case to work on its files: address, grid, stored mask, image, what is annotated."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.status import Status
from curation.volumes import Geometry
from db.batches import batches
from db.models import Annotation, Case, MaskVersion, ReservedVoxels, Role, Source
from db.queries.selection import case_refs, resolve
from db.writes import AnnotationValues


@dataclass(frozen=True)
class CaseFile:
    """One version of one case, as a stage sees it. `file_hash` is None where no mask is stored."""

    case_id: int
    address: str
    version_id: int
    number: int
    role: Role
    patient: str
    file_hash: str | None
    voxel_hash: str | None
    image: Path | None
    geometry: Geometry
    annotations: dict[int, AnnotationValues]

    @property
    def annotated(self) -> frozenset[int]:
        """Ids of the classes that are drawn."""
        return self._with(Status.ANNOTATED)

    @property
    def missing(self) -> frozenset[int]:
        """Ids of the classes that nobody looked for."""
        return self._with(Status.MISSING)

    def _with(self, status: Status) -> frozenset[int]:
        return frozenset(c for c, row in self.annotations.items() if row.status is status)


def case_file(session: Session, address: str) -> CaseFile:
    """One case by its address; the errors are those of `queries.resolve`."""
    resolved = resolve(session, address)
    return case_files(session, [resolved.version_id])[0]


def queried(session: Session, query: str) -> list[CaseFile]:
    """The newest versions of the cases that a query finds, in order of address."""
    return case_files(session, [ref.version_id for ref in case_refs(session, query)])


def case_files(session: Session, version_ids: Sequence[int]) -> list[CaseFile]:
    """Cases by version id, in the order asked for. Two queries a thousand versions, however many there are."""
    found: dict[int, CaseFile] = {}
    for batch in batches(version_ids):
        annotations: dict[int, list[Annotation]] = {}
        for row in session.scalars(select(Annotation).where(Annotation.version_id.in_(batch))):
            annotations.setdefault(row.version_id, []).append(row)
        rows = session.execute(
            select(MaskVersion, Case, Source)
            .join(Case, Case.id == MaskVersion.case_id)
            .join(Source, Source.id == Case.source_id)
            .where(MaskVersion.id.in_(batch))
        )
        for version, case, source in rows:
            found[version.id] = _case_file(version, case, source, annotations.get(version.id, []))
    return [found[version_id] for version_id in version_ids]


def with_reserved(session: Session, version_ids: Sequence[int], value: int) -> frozenset[int]:
    """Those of the versions, a thousand or so, in whose masks a reserved value stands."""
    return frozenset(
        session.scalars(
            select(ReservedVoxels.version_id).where(
                ReservedVoxels.version_id.in_(version_ids), ReservedVoxels.value == value
            )
        )
    )


def _case_file(version: MaskVersion, case: Case, source: Source, rows: list[Annotation]) -> CaseFile:
    image = Path(source.image_root or "") / case.image_path if case.image_path else None
    return CaseFile(
        case_id=case.id,
        address=f"{source.name}/{case.name}",
        version_id=version.id,
        number=version.number,
        role=case.role,
        patient=case.patient,
        file_hash=version.file_hash,
        voxel_hash=version.voxel_hash,
        image=image,
        geometry=stored_geometry(version),
        annotations={row.class_id: _values(row) for row in rows},
    )


def _values(row: Annotation) -> AnnotationValues:
    return AnnotationValues(**{field.name: getattr(row, field.name) for field in fields(AnnotationValues)})


def stored_geometry(version: MaskVersion) -> Geometry:
    """The grid of a version, on the file's own axes."""
    affine = np.array(version.affine, dtype=np.float64).reshape(4, 4)
    file_shape = [0, 0, 0]
    patient_shape = (version.shape_x, version.shape_y, version.shape_z)
    for (file_axis, _), voxels in zip(Geometry((1, 1, 1), affine).ras_axes, patient_shape, strict=True):
        file_shape[file_axis] = voxels
    return Geometry((file_shape[0], file_shape[1], file_shape[2]), affine)
