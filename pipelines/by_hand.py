"""What every change by a person has in common: the version that they looked at, why, and what they erased."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.orm import Session

from curation.errors import UsageError
from curation.labels import BY_ID
from curation.status import Evidence, Status, unsided
from db import case_files, queries, reviewing, writes
from db.case_files import CaseFile
from db.writes import StaleParentError
from pipelines.annotate import MaskFacts


@dataclass(frozen=True)
class Seen:
    """The state of a case that a person has before their eyes while they make up their mind.

    Attributes:
        version: Number of the newest version.
        decision: Id of the last decision about the case; 0 where there is none.
    """

    version: int
    decision: int


def seen_now(session: Session, case_id: int, newest: int) -> Seen:
    """The state of a case in a reading session, given the number of its newest version."""
    return Seen(newest, reviewing.newest_decision(session, case_id))


def require_as_seen(session: Session, address: str, class_ids: Collection[int], seen: Seen | None) -> None:
    """Make sure that a case is still as a person saw it.

    Args:
        session: A session; in one that writes, `lock_as_seen` is the one to call.
        address: ``SOURCE/NAME``, with or without a version.
        class_ids: The classes that they say something of; of the others anything may have been decided.
        seen: What they saw; None: nobody kept account of it.

    Raises:
        UsageError: The case is unknown, or was purged meanwhile.
        StaleParentError: There is a newer version, or somebody decided about one of the classes; says who.
    """
    if seen is None:
        return
    case = queries.resolve(session, address.partition("@")[0])
    if case.number != seen.version:
        made = next(v for v in queries.history(session, case.case_id) if v.number == case.number)
        raise StaleParentError(
            f"{case.address}: version {case.number} ({made.kind} by {made.author}) came while you looked at version "
            f"{seen.version}, so nothing is written; look at it, and decide again"
        )
    names = {BY_ID[c].name for c in class_ids}
    for decision in reviewing.decisions_after(session, case.case_id, seen.decision):
        if decision.class_name in names:
            raise StaleParentError(
                f"{case.address}: {decision.person} called {decision.class_name} {decision.verdict} while you looked "
                "at it, so nothing is written; look at it again, and decide again"
            )


def lock_as_seen(session: Session, address: str, class_ids: Collection[int], seen: Seen | None) -> None:
    """Keep others from writing about a case until this transaction ends, and then do as `require_as_seen`.

    Of two people who decide at the same moment the second one waits here, and is told.
    """
    writes.lock_case(session, queries.resolve(session, address.partition("@")[0]).case_id)
    require_as_seen(session, address, class_ids, seen)


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
