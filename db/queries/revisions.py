"""One source with its revisions: which label values were read as what, what was looked for, what is held against it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Retraction, SourceRevision


@dataclass(frozen=True)
class RevisionRow:
    """One published state of a source's labels, as it was read.

    Attributes:
        mapping: Incoming label value to stored value (`curation.labels`).
        protocol: Class ids that the annotators looked for; None if nobody said.
        retracted: When it was retracted, by whom and why, as a sentence; None if it was not.
    """

    id: int
    name: str
    mapping_name: str
    mapping: dict[int, int]
    protocol: frozenset[int] | None
    created_at: datetime
    retracted: str | None


def revisions(session: Session, source_id: int) -> list[RevisionRow]:
    """A source's revisions, in the order in which they came."""
    found = session.scalars(
        select(SourceRevision).where(SourceRevision.source_id == source_id).order_by(SourceRevision.id)
    ).all()
    retracted = {
        row.revision_id: f"retracted on {row.created_at:%Y-%m-%d} by {row.person} ({row.reason})"
        for row in session.scalars(
            select(Retraction)
            .where(Retraction.revision_id.in_([revision.id for revision in found]))
            .order_by(Retraction.id)
        )
    }
    return [
        RevisionRow(
            id=r.id,
            name=r.name,
            mapping_name=r.mapping_name,
            mapping={int(value): target for value, target in r.mapping.items()},
            protocol=None if r.protocol is None else frozenset(r.protocol),
            created_at=r.created_at,
            retracted=retracted.get(r.id),
        )
        for r in found
    ]
