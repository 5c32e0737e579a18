"""Images as the catalog knows them: where they lie, what was seen of them, and which want a look again."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from curation.status import Status
from curation.volumes import Geometry
from db.batches import batches
from db.case_files import stored_geometry
from db.models import Annotation, Case, Image, MaskVersion, Source


@dataclass(frozen=True)
class KnownImage:
    """The image of a case, the newest version of its mask, and the file as it was when it was last read.

    Attributes:
        file_hash: Of the version's stored mask; None where there is none.
        seen: Bytes and modification time (ns) of the file that was read; None where none was.
        unmeasured: Some class of the version lacks its mean HU, though the image seen has HU on its grid.
    """

    case_id: int
    address: str
    version_id: int
    path: Path
    file_hash: str | None
    geometry: Geometry
    seen: tuple[int, int] | None
    unmeasured: bool


def known_images(
    session: Session, *, source_id: int | None = None, case_ids: Collection[int] | None = None
) -> list[KnownImage]:
    """The images of a source's cases, or of some cases, by address; cases without one are not among them."""
    if case_ids is not None:
        found = [image for ids in batches(sorted(case_ids)) for image in _known(session, Case.id.in_(ids))]
        return sorted(found, key=lambda image: image.address)
    return _known(session, Case.source_id == source_id)


def _known(session: Session, condition: ColumnElement[bool]) -> list[KnownImage]:
    unmeasured = (
        exists()
        .where(
            Annotation.version_id == MaskVersion.id,
            Annotation.status == Status.ANNOTATED,
            Annotation.mean_hu.is_(None),
            Image.is_hu,
            *(getattr(Image, f"shape_{axis}") == getattr(MaskVersion, f"shape_{axis}") for axis in "xyz"),
        )
        .correlate(MaskVersion, Image)
    )
    rows = session.execute(
        select(
            MaskVersion, Case.name, Case.image_path, Source.name, Source.image_root,
            Image.file_bytes, Image.modified_ns, unmeasured,
        )
        .join(Case, Case.newest_version_id == MaskVersion.id)
        .join(Source, Source.id == Case.source_id)
        .outerjoin(Image, Image.case_id == Case.id)
        .where(condition, Case.image_path.is_not(None))
        .order_by(Source.name, Case.name)
    )  # fmt: skip
    return [
        KnownImage(
            case_id=version.case_id,
            address=f"{source}/{name}",
            version_id=version.id,
            path=Path(root or "", path or ""),
            file_hash=version.file_hash,
            geometry=stored_geometry(version),
            seen=(file_bytes, modified_ns) if file_bytes is not None else None,
            unmeasured=wanted,
        )
        for version, name, path, source, root, file_bytes, modified_ns, wanted in rows
    ]


@dataclass(frozen=True)
class ImageFacts:
    """What a look at an image told; axes are the patient's. `note`: why the values cannot be HU, or empty."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    low: float
    high: float
    is_hu: bool
    note: str

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """What the image covers along the patient's x, y, z."""
        x, y, z = (n * mm for n, mm in zip(self.shape, self.spacing_mm, strict=True))
        return x, y, z


@dataclass(frozen=True)
class SeenImage:
    """A case's image as it was when it was last read; `note`: why its values cannot be HU, or empty."""

    file_bytes: int
    modified_ns: int
    voxel_hash: str
    note: str


def seen_images(session: Session, case_ids: Collection[int]) -> dict[int, SeenImage]:
    """Case id to its image as last read; cases whose image was never read are not among them."""
    columns = (Image.case_id, Image.file_bytes, Image.modified_ns, Image.voxel_hash, Image.note)
    return {
        case_id: SeenImage(file_bytes, modified_ns, voxel_hash, note)
        for ids in batches(sorted(case_ids))
        for case_id, file_bytes, modified_ns, voxel_hash, note in session.execute(
            select(*columns).where(Image.case_id.in_(ids))
        )
    }


def image_facts(session: Session, case_id: int) -> ImageFacts | None:
    """What is known of a case's image; None where none was read."""
    row = session.get(Image, case_id)
    if row is None:
        return None
    return ImageFacts(
        shape=(row.shape_x, row.shape_y, row.shape_z),
        spacing_mm=(row.spacing_x, row.spacing_y, row.spacing_z),
        orientation=row.orientation,
        low=row.low,
        high=row.high,
        is_hu=row.is_hu,
        note=row.note,
    )
