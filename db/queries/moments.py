"""Snapshots by name: how an address or a person says which version of each case is asked about."""

import re
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from curation.errors import UsageError
from db.datasets import dataset_version
from db.snapshots import NEWEST, AsOf, OfDataset, Snapshot, first_of

# What a name begins with that means the first versions; alone, those of all cases.
INGESTED = "as ingested"
NOW = "now"
_LOOKS_LIKE_A_DAY = re.compile(r"\d{4}-\d")


def snapshot_named(session: Session, text: str) -> Snapshot:
    """The snapshot that a text names.

    Args:
        session: A reading session.
        text: Empty or ``now``; ``NAME@N``, a frozen dataset's versions; ``2026-05-17``, the state at the end of
            that day in UTC; ``2026-05-17 14:30``, that of a moment, in UTC unless it says otherwise; and
            ``as ingested``, the first versions, of all cases or followed by ``of`` and one of the others.

    Raises:
        UsageError: It names none; says what would.
    """
    name = " ".join(text.split())
    if name.lower() in ("", NOW):
        return NEWEST
    if name.lower().startswith(INGESTED):
        rest = name[len(INGESTED) :].strip()
        if rest and not rest.lower().startswith("of "):
            raise UsageError(f"'{text}' is no point in time; write '{INGESTED}', or '{INGESTED} of NAME@N'")
        return first_of(snapshot_named(session, rest[3:]))
    if _LOOKS_LIKE_A_DAY.match(name):
        return AsOf(_moment(name))
    if "@" in name:
        return OfDataset(dataset_version(session, name).id)
    raise UsageError(
        f"'{text}' is no point in time; give a day such as 2026-05-17, a dataset version such as strong@1, "
        f"'{INGESTED}' or '{NOW}'"
    )


def ingested(text: str) -> str:
    """The name of the first versions of the cases that the snapshot of a name has."""
    name = " ".join(text.split())
    if name.lower() in ("", NOW):
        return INGESTED
    return name if name.lower().startswith(INGESTED) else f"{INGESTED} of {name}"


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if len(text) <= len("2026-05-17"):
            moment += timedelta(days=1, microseconds=-1)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"'{text}' is no day or moment; write it like 2026-05-17 or 2026-05-17 14:30"
        ) from error
