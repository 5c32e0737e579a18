"""What a stage has to know of a source's cases before it looks at files: all of them, in two queries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from db.models import Case, MaskVersion, Retraction, Run, Source, SourceRevision, VersionKind

# Stage of the runs that derive a revision's cases anew; the mapping that they read by stands in their parameters.
REDERIVE = "rederive"


@dataclass(frozen=True)
class KnownCase:
    """A case as its newest version has it, and what the source gave for it.

    Attributes:
        incoming_hash: Of the newest version that came from a file; a complemented or corrected version
            stands on the same file.
        stored_hash: Of the mask that was stored when that file came in.
        mapping: Incoming label value, as text, to what that version made of it: by its revision, or by the run
            that derived it anew, which may have been stopped before its revision's mapping was changed.
        revision: Name of that revision.
        seen: Revision id to the incoming hash that came last under it.
        looked_for: Class ids that the case list says were looked for; None where it does not say.
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
    looked_for: tuple[int, ...] | None
    retracted: bool


@dataclass(frozen=True)
class KnownRevision:
    """A revision of a source as it stands; `mapping` takes label values, as text, to stored ones."""

    id: int
    source_id: int
    name: str
    mapping_name: str
    mapping: Mapping[str, Any]
    protocol: tuple[int, ...] | None
    retracted: bool


def known_revisions(session: Session, source: str) -> list[KnownRevision]:
    """The revisions of a source in the order in which they came; none where there is no such source."""
    bad = exists().where(Retraction.revision_id == SourceRevision.id)
    rows = session.execute(
        select(SourceRevision, bad.label("retracted"))
        .join(Source, Source.id == SourceRevision.source_id)
        .where(Source.name == source)
        .order_by(SourceRevision.id)
    )
    return [
        KnownRevision(
            row.id,
            row.source_id,
            row.name,
            row.mapping_name,
            row.mapping,
            tuple(row.protocol) if row.protocol is not None else None,
            retracted,
        )
        for row, retracted in rows
    ]


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
    anew = {
        row.id: row.parameters
        for row in session.execute(select(Run.id, Run.parameters).where(Run.stage == REDERIVE))
    }
    derived_by: dict[int, Mapping[str, Any] | None] = {}
    bad = exists().where(
        or_(Retraction.revision_id == MaskVersion.revision_id, Retraction.run_id == MaskVersion.run_id)
    )
    for version in session.execute(
        select(
            MaskVersion.case_id,
            MaskVersion.incoming_hash,
            MaskVersion.file_hash,
            MaskVersion.revision_id,
            MaskVersion.run_id,
            bad.label("retracted"),
        )
        .join(Case, Case.id == MaskVersion.case_id)
        .where(Case.source_id == source_id, MaskVersion.kind == VersionKind.INGESTED)
        .where(MaskVersion.incoming_hash.is_not(None), MaskVersion.revision_id.is_not(None))
        .order_by(MaskVersion.case_id, MaskVersion.number)
    ):
        seen = came_in.setdefault(version.case_id, {})
        # Read anew by another mapping it is as bad as it was.
        same = seen.pop(version.revision_id, None) == version.incoming_hash
        retracted[version.case_id] = version.retracted or (same and retracted[version.case_id])
        seen[version.revision_id] = version.incoming_hash
        stored[version.case_id] = version.file_hash
        derived_by[version.case_id] = anew.get(version.run_id)
    known = {}
    for row in session.execute(
        select(
            Case.id, Case.name, Case.image_path, Case.looked_for, Case.newest_version_id, MaskVersion.number
        )
        .outerjoin(MaskVersion, MaskVersion.id == Case.newest_version_id)
        .where(Case.source_id == source_id)
    ):
        seen = came_in.get(row.id, {})
        revision_id = next(reversed(seen), None)
        revision = revisions.get(revision_id) if revision_id is not None else None
        by_run = derived_by.get(row.id)
        by_revision = (revision.mapping_name, revision.mapping) if revision else (None, None)
        mapping_name, mapping = (by_run["mapping"], by_run["values"]) if by_run else by_revision
        known[row.name] = KnownCase(
            case_id=row.id,
            newest_version_id=row.newest_version_id,
            number=row.number or 0,
            incoming_hash=seen[revision_id] if revision_id is not None else None,
            stored_hash=stored.get(row.id),
            image_path=row.image_path,
            revision_id=revision_id,
            revision=revision.name if revision else None,
            mapping_name=mapping_name,
            mapping=mapping,
            seen=seen,
            looked_for=tuple(row.looked_for) if row.looked_for is not None else None,
            retracted=retracted.get(row.id, False),
        )
    return known
