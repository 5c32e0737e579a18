"""Booking what a look at a case's image told: its facts, the mean HU of the classes drawn on it, and findings."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from curation.images import ImageLook
from curation.labels import CLASS_IDS
from curation.later_checks import TUMOR_OUTSIDE_BODY
from curation.status import Status
from db.models import Annotation, Case, Image
from db.writes.findings import refile
from db.writes.insert import insert_all, table_of


@dataclass(frozen=True)
class SeenFile:
    """The file that was looked at: its bytes and modification time tell a changed one."""

    file_bytes: int
    modified_ns: int


def record_image(
    session: Session, case_id: int, version_id: int | None, seen: SeenFile, look: ImageLook
) -> None:
    """Put what was seen in the place of what was known.

    Args:
        session: A writing session.
        case_id: The case; one that was purged meanwhile is left alone.
        version_id: The version whose mask `look` was taken with; None: none lies on the image's grid.
        seen: The file.
        look: What it told. Where its values cannot be HU, no class has a mean HU, and nothing is found.
    """
    # Locked, so that a purge of the case comes before or after, never in between.
    path = session.scalar(select(Case.image_path).where(Case.id == case_id).with_for_update())
    if path is None:
        return
    session.execute(delete(Image).where(Image.case_id == case_id))
    insert_all(session, Image, [_row(case_id, seen, look)])
    if version_id is None:
        return
    measured: Mapping[int, tuple[float, float]] = {
        value: (i.mean, i.std) for value, i in look.intensities.items() if look.is_hu and value in CLASS_IDS
    }
    table = table_of(Annotation)
    session.execute(
        update(table)
        .where(table.c.version_id == version_id, table.c.status == Status.ANNOTATED)
        .where(table.c.class_id.not_in(list(measured)))
        .values(mean_hu=None, std_hu=None)
    )
    if measured:
        # Through the connection: the session takes lists of parameters for rows with primary keys.
        session.connection().execute(
            update(table)
            .where(table.c.version_id == version_id, table.c.class_id == bindparam("of_class"))
            .values(mean_hu=bindparam("mean"), std_hu=bindparam("std")),
            [{"of_class": value, "mean": mean, "std": std} for value, (mean, std) in measured.items()],
        )
    refile(session, [TUMOR_OUTSIDE_BODY], [version_id], {version_id: look.findings})


def _row(case_id: int, seen: SeenFile, look: ImageLook) -> dict[str, object]:
    shape, spacing = look.geometry.shape_ras, look.geometry.spacing_ras_mm
    return {
        "case_id": case_id,
        "file_bytes": seen.file_bytes,
        "modified_ns": seen.modified_ns,
        "voxel_hash": look.voxel_hash,
        "histogram_hash": look.histogram_hash,
        **{f"shape_{axis}": int(n) for axis, n in zip("xyz", shape, strict=True)},
        **{f"spacing_{axis}": float(mm) for axis, mm in zip("xyz", spacing, strict=True)},
        "orientation": look.geometry.axis_codes,
        "low": look.low,
        "high": look.high,
        "is_hu": look.is_hu,
        "note": look.note,
    }
