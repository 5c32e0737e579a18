"""What becomes of findings that a person has settled when an earlier state of a mask comes back."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.models import FindingRow, FindingState


def settle_as_in(session: Session, version_id: int, earlier_id: int) -> None:
    """Settle the open findings of a version that were settled in an earlier one, by whom and as they were there."""
    settled = select(FindingRow).where(
        FindingRow.version_id == earlier_id, FindingRow.state != FindingState.OPEN
    )
    for row in session.scalars(settled):
        session.execute(
            update(FindingRow)
            .where(
                FindingRow.version_id == version_id,
                FindingRow.state == FindingState.OPEN,
                FindingRow.check == row.check,
                FindingRow.class_id.is_not_distinct_from(row.class_id),
            )
            .values(state=row.state, person=row.person, reason=row.reason, decided_at=row.decided_at)
        )
