"""What may be looked at of a case: whether a stored mask is still its own, and where its image lies."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from db.image_state import SeenImage, seen_images
from db.models import Case, MaskVersion, Prediction, Source


@dataclass(frozen=True)
class CaseImage:
    """The image of a case: its file, and what was seen when it was last read (None: it never was)."""

    address: str
    path: Path
    seen: SeenImage | None


def case_image(session: Session, case_id: int) -> CaseImage | None:
    """The image of a case; None if it has none, or the case was purged."""
    row = session.execute(
        select(Source.name, Case.name, Source.image_root, Case.image_path)
        .join(Case, Case.source_id == Source.id)
        .where(Case.id == case_id, Case.image_path.is_not(None))
    ).one_or_none()
    if row is None:
        return None
    source, name, root, path = row
    return CaseImage(
        f"{source}/{name}", Path(root or "", path or ""), seen_images(session, [case_id]).get(case_id)
    )


def holds_mask(session: Session, case_id: int, file_hash: str) -> bool:
    """Whether a stored file is the mask of a version of the case, or of a prediction for it."""
    held = or_(
        select(MaskVersion.id)
        .where(MaskVersion.case_id == case_id, MaskVersion.file_hash == file_hash)
        .exists(),
        select(Prediction.id)
        .where(Prediction.case_id == case_id, Prediction.file_hash == file_hash)
        .exists(),
    )
    return session.scalar(select(held)) or False
