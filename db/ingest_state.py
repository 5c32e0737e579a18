"""What a stage has to know of a source's cases before it looks at files: all of them, in two queries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Case, MaskVersion, Source, SourceRevision


@dataclass(frozen=True)
class KnownCase:
    """A case as its newest version has it.

    Attributes:
        incoming_hash: Of the newest version that came from a file; a complemented or corrected version
            stands on the same file.
        mapping: Incoming label value, as text, to what that version's revision made of it.
    """

    case_id: int
    newest_version_id: int | None
    number: int
    incoming_hash: str | None
    voxel_hash: str | None
    image_path: str | None
    mapping: Mapping[str, Any] | None

    def remapped(self, values: Mapping[int, Any]) -> bool:
        """Whether a mapping differs from the one that the case was last ingested with."""
        return self.mapping is not None and dict(self.mapping) != {str(k): v for k, v in values.items()}


def image_root(session: Session, source_id: int) -> str | None:
    """The folder that a source's image paths are relative to."""
    return session.scalars(select(Source.image_root).where(Source.id == source_id)).one()


def known_cases(session: Session, source_id: int) -> dict[str, KnownCase]:
    """The cases of one source, by name."""
    mappings = {
        row.id: row.mapping
        for row in session.execute(
            select(SourceRevision.id, SourceRevision.mapping).where(SourceRevision.source_id == source_id)
        )
    }
    came_in: dict[int, tuple[str, str | None, int | None]] = {}
    for version in session.execute(
        select(
            MaskVersion.case_id, MaskVersion.incoming_hash, MaskVersion.voxel_hash, MaskVersion.revision_id
        )
        .join(Case, Case.id == MaskVersion.case_id)
        .where(Case.source_id == source_id, MaskVersion.revision_id.is_not(None))
        .where(MaskVersion.incoming_hash.is_not(None))
        .order_by(MaskVersion.case_id, MaskVersion.number)
    ):
        came_in[version.case_id] = (version.incoming_hash, version.voxel_hash, version.revision_id)
    known = {}
    for row in session.execute(
        select(Case.id, Case.name, Case.image_path, Case.newest_version_id, MaskVersion.number)
        .outerjoin(MaskVersion, MaskVersion.id == Case.newest_version_id)
        .where(Case.source_id == source_id)
    ):
        incoming, voxels, revision_id = came_in.get(row.id, (None, None, None))
        known[row.name] = KnownCase(
            row.id,
            row.newest_version_id,
            row.number or 0,
            incoming,
            voxels,
            row.image_path,
            mappings.get(revision_id) if revision_id is not None else None,
        )
    return known
