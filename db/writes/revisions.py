"""Another mapping and protocol for a known revision, once its cases are derived by them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from db.models import SourceRevision


def change_revision(
    session: Session,
    revision_id: int,
    *,
    mapping_name: str,
    mapping: Mapping[str, Any],
    protocol: Sequence[int] | None,
) -> None:
    """Say by which mapping and protocol a revision's masks are read from now on; doing it again changes nothing.

    Args:
        session: A writing session.
        revision_id: A known revision.
        mapping_name: What the mapping is called.
        mapping: Incoming label value, as text, to what it becomes.
        protocol: Class ids that the annotators looked for; None if nobody said.
    """
    session.execute(
        update(SourceRevision)
        .where(SourceRevision.id == revision_id)
        .values(
            mapping_name=mapping_name,
            mapping=dict(mapping),
            protocol=sorted(protocol) if protocol is not None else None,
        )
    )
