"""Findings after a version was written: those of checks that look further, and those that come back with a state."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from curation.status import Finding
from db.batches import batches
from db.models import FindingRow, FindingState
from db.writes.insert import insert_all, table_of

_OPEN_AGAIN = {"state": FindingState.OPEN, "person": None, "reason": None, "decided_at": None}


def refile(
    session: Session,
    checks: Collection[str],
    version_ids: Sequence[int],
    found: Mapping[int, Sequence[Finding]],
) -> int:
    """Make the findings that some checks have in some versions those that were found now.

    What a person has settled stays settled while the same value is found, and is kept where nothing is found any
    more. Another value is another finding, and open.

    Args:
        session: A writing session.
        checks: Names of the checks that looked; findings of others are left alone.
        version_ids: The versions that they looked at.
        found: Version id to what they found there, one finding at most per check and class.

    Returns:
        How many rows were written or deleted; 0 where the same was found before.
    """
    written = 0
    for batch in batches(version_ids):
        known = {
            (row.version_id, row.check, row.class_id): row
            for row in session.scalars(
                select(FindingRow).where(FindingRow.version_id.in_(batch), FindingRow.check.in_(checks))
            )
        }
        now = {(id_, f.check, f.class_id): f for id_ in batch for f in found.get(id_, ())}
        gone = [row.id for key, row in known.items() if key not in now and row.state is FindingState.OPEN]
        other = [
            {"row_id": known[key].id, **_columns(f), **({} if _is_same(known[key], f) else _OPEN_AGAIN)}
            for key, f in now.items()
            if key in known and not _says_the_same(known[key], f)
        ]
        new = [
            {"version_id": version_id, **_columns(f), **_OPEN_AGAIN}
            for (version_id, *_), f in now.items()
            if (version_id, f.check, f.class_id) not in known
        ]
        _write(session, gone, other)
        insert_all(session, FindingRow, new)
        written += len(gone) + len(other) + len(new)
    return written


def _write(session: Session, gone: Sequence[int], other: Sequence[Mapping[str, object]]) -> None:
    table = table_of(FindingRow)
    if gone:
        session.execute(
            delete(FindingRow).where(FindingRow.id.in_(gone)).execution_options(synchronize_session=False)
        )
    # Rows that are opened again have more columns than those that only say it in other words.
    for columns in {tuple(row) for row in other}:
        rows = [dict(row) for row in other if tuple(row) == columns]
        values: dict[str, Any] = {name: bindparam(name) for name in columns if name != "row_id"}
        # Through the connection: the session takes lists of parameters for rows with primary keys.
        session.connection().execute(
            update(table).where(table.c.id == bindparam("row_id")).values(values), rows
        )
    session.expire_all()


def _columns(f: Finding) -> dict[str, object]:
    return {
        "class_id": f.class_id, "check": f.check, "severity": f.severity,
        "value": float(f.value), "limit": float(f.limit), "message": f.message,
    }  # fmt: skip


def _is_same(row: FindingRow, f: Finding) -> bool:
    """Whether what was found is what was found before; its limit moves with the cohort."""
    return math.isclose(row.value, f.value, rel_tol=1e-9, abs_tol=1e-12)


def _says_the_same(row: FindingRow, f: Finding) -> bool:
    if row.state is not FindingState.OPEN and _is_same(row, f):
        return True  # as it was when a person looked at it
    return _is_same(row, f) and (row.severity, row.limit, row.message) == (
        f.severity,
        float(f.limit),
        f.message,
    )


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
