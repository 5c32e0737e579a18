"""What a stage has to know of a source's cases before it looks at files: all of them, in two queries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from db.models import Case, MaskVersion, Retraction, Source, SourceRevision, VersionKind


@dataclass(frozen=True)
class KnownCase:
    """A case as its newest version has it, and what the source gave for it.

    Attributes:
        incoming_hash: Of the newest version that came from a file; a complemented or corrected version
            stands on the same file.
        stored_hash: Of the mask that was stored when that file came in.
        mapping: Incoming label value, as text, to what that version's revision made of it.
        revision: Name of that revision.
        seen: Revision id to the incoming hash that came last under it.
        retracted: What came last was retracted: nothing of it counts, and nothing can be compared with it.
    """

    case_id: int
    newest_version_id: int | None
    number: int
    incoming_hash: str | None
    stored_hash: str | None
    image_path: str | None
    revision_id: int | None
    revision: str | None
    mapping_name: str | None
    mapping: Mapping[str, Any] | None
    seen: Mapping[int, str]
    retracted: bool


def image_root(session: Session, source_id: int) -> str | None:
    """The folder that a source's image paths are relative to."""
    return session.scalars(select(Source.image_root).where(Source.id == source_id)).one()


def known_cases(session: Session, source_id: int) -> dict[str, KnownCase]:
    """The cases of one source, by name."""
    revisions = {
        row.id: row
        for row in session.execute(
            select(
                SourceRevision.id, SourceRevision.name, SourceRevision.mapping_name, SourceRevision.mapping
            ).where(SourceRevision.source_id == source_id)
        )
    }
    came_in: dict[int, dict[int, str]] = {}  # in order: the last revision is the one that counts
    retracted: dict[int, bool] = {}
    stored: dict[int, str | None] = {}
    bad = exists().where(
        or_(Retraction.revision_id == MaskVersion.revision_id, Retraction.run_id == MaskVersion.run_id)
    )
    for version in session.execute(
        select(
            MaskVersion.case_id,
            MaskVersion.incoming_hash,
            MaskVersion.file_hash,
            MaskVersion.revision_id,
            bad.label("retracted"),
        )
        .join(Case, Case.id == MaskVersion.case_id)
        .where(Case.source_id == source_id, MaskVersion.kind == VersionKind.INGESTED)
        .where(MaskVersion.incoming_hash.is_not(None), MaskVersion.revision_id.is_not(None))
        .order_by(MaskVersion.case_id, MaskVersion.number)
    ):
        seen = came_in.setdefault(version.case_id, {})
        seen.pop(version.revision_id, None)
        seen[version.revision_id] = version.incoming_hash
        retracted[version.case_id] = version.retracted
        stored[version.case_id] = version.file_hash
    known = {}
    for row in session.execute(
        select(Case.id, Case.name, Case.image_path, Case.newest_version_id, MaskVersion.number)
        .outerjoin(MaskVersion, MaskVersion.id == Case.newest_version_id)
        .where(Case.source_id == source_id)
    ):
        seen = came_in.get(row.id, {})
        revision_id = next(reversed(seen), None)
        revision = revisions.get(revision_id) if revision_id is not None else None
        known[row.name] = KnownCase(
            case_id=row.id,
            newest_version_id=row.newest_version_id,
            number=row.number or 0,
            incoming_hash=seen[revision_id] if revision_id is not None else None,
            stored_hash=stored.get(row.id),
            image_path=row.image_path,
            revision_id=revision_id,
            revision=revision.name if revision else None,
            mapping_name=revision.mapping_name if revision else None,
            mapping=revision.mapping if revision else None,
            seen=seen,
            retracted=retracted.get(row.id, False),
        )
    return known
