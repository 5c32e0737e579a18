"""What every change by a person has in common: the version that they looked at, why, and what they erased."""

from collections.abc import Collection

from sqlalchemy.orm import Session

from curation.errors import UsageError
from curation.labels import BY_ID
from curation.status import Evidence, Status, unsided
from db import case_files, queries
from db.case_files import CaseFile
from db.writes import StaleParentError
from pipelines.annotate import MaskFacts


def looked_at(session: Session, address: str, class_ids: Collection[int]) -> CaseFile:
    """The newest version of a case, provided the classes are there as in the version that the address names.

    Raises:
        UsageError: Unknown case or version.
        StaleParentError: A class was changed since; names version, maker and remedy.
    """
    seen, newest = seen_and_newest(session, address)
    changed = [
        BY_ID[c].name
        for c in sorted(class_ids)
        if (seen.annotations[c].status, seen.annotations[c].class_hash)
        != (newest.annotations[c].status, newest.annotations[c].class_hash)
    ]
    if changed:
        raise StaleParentError(
            f"{seen.address}@{seen.number}: {', '.join(changed)} changed since; the newest is version "
            f"{newest.number}; look at `maskledger diff {seen.address}@{seen.number} "
            f"{seen.address}@{newest.number}` and say it of that one"
        )
    return newest


def seen_and_newest(session: Session, address: str) -> tuple[CaseFile, CaseFile]:
    """The version that an address names and the case's newest one, which may be the same.

    Raises:
        UsageError: Unknown case or version.
    """
    seen = queries.resolve(session, address)
    newest = queries.resolve(session, seen.address)
    files = case_files.case_files(session, [seen.version_id, newest.version_id])
    return files[0], files[1]


def erased(class_ids: Collection[int], facts: MaskFacts) -> dict[int, tuple[Status, Evidence]]:
    """What to say of classes that a person took out of the mask: missing, because they looked and said so.

    A side whose pair is still there without sides is left out: nobody knows which of the two those voxels are.
    """
    without_side = unsided(facts.reserved)
    return {c: (Status.MISSING, Evidence.REVIEWER) for c in class_ids if c not in without_side}


def require_reason(reason: str) -> None:
    """Refuse a change without a reason.

    Raises:
        UsageError: It is empty.
    """
    if not reason.strip():
        raise UsageError('say why: --reason "…"')
