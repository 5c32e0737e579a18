"""Purge: consent was withdrawn; what we hold of a patient is deleted everywhere, and a tombstone says so."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session

from curation.errors import UsageError
from db import purged
from db.erasing import erase_traces, overwrite_deleted
from db.purged import Holdings, PatientCase
from db.writes import purging
from pipelines.case_copies import delete_copies, find_copies, find_mentions, scrub_mentions
from pipelines.runs import Booking, Outcome, Workbench, run

# A writer books what it stores within minutes: what is half-written for longer was left by a kill.
_LEFTOVER_AGE_S = 3600.0


@dataclass(frozen=True)
class Purge:
    """What a purge deletes, or would delete, and what is for the person to do.

    Attributes:
        cases: The patient's cases; those purged before, but perhaps not to the end, too.
        holdings: What the catalog knows of them.
        stored: Hash of each stored file that goes, to its bytes; what another case needs, too, stays.
        pending: Stored files that an earlier purge of the patient did not get to.
        copies: Files under ``runs/`` that go.
        mentions: Job files and logs under ``runs/`` out of which names are taken.
    """

    patient: str
    cases: tuple[PatientCase, ...]
    holdings: Holdings
    stored: dict[str, int] = field(repr=False)
    pending: frozenset[str] = field(repr=False)
    copies: tuple[Path, ...] = field(repr=False)
    mentions: tuple[Path, ...] = field(repr=False)

    @property
    def left_to_the_person(self) -> list[str]:
        """What lies outside our hands, one line each."""
        return [
            *(f"{file}: is your own file; delete it yourself" for file in self.holdings.files if file.exists()),
            *(f"{folder}: was exported with the patient's data; delete it or export again"
              for folder in self.holdings.exports),
            *(f"model {model}: has learned from the patient's data; train it again without them"
              for model in self.holdings.models),
        ]  # fmt: skip


def look_up(bench: Workbench, patient: str) -> Purge:
    """Find all that there is of a patient. Changes nothing.

    Raises:
        UsageError: No case is of this patient.
    """
    with bench.catalog.reading() as session:
        cases = tuple(purged.patient_cases(session, patient))
        if not cases:
            raise UsageError(
                f"no case is of patient '{patient}'; `maskledger cases 'patient = \"…\"'` finds cases by patient"
            )
        holdings = purged.holdings(session, patient, cases)
        pending = frozenset().union(*purged.pending_files(session, patient).values())
    names = frozenset().union(*holdings.hashes.values()) - holdings.shared
    return Purge(
        patient,
        cases,
        holdings,
        {name: size for name in sorted(names | pending) if (size := _size(bench, name))},
        pending,
        tuple(find_copies(bench.root, [case.address for case in cases])),
        tuple(find_mentions(bench.root, purging.scrubber(_forms(holdings)))),
    )


def purge(bench: Workbench, patient: str, reason: str) -> Outcome:
    """Delete what we hold of a patient, and leave tombstones that keep the cases from coming back.

    Stopped at any moment, the same call completes it: copies under ``runs/`` first; then, in one transaction,
    the rows are emptied and the stored files that are to go are noted with the run; then these are deleted,
    the note is taken back, and the database's files are written anew.

    Frozen datasets keep the case's address among their members, without data: their manifests stay what they
    were. The user's own files (images, masks that came in, exports) are named, never touched.

    Raises:
        UsageError: No case is of this patient, or no reason is given.
        TracesRemainError: Somebody reads the database; the same call has to be made again.
    """
    if not reason.strip():
        raise UsageError("say why with --reason: it stays with the tombstone for those who ask later")
    found = look_up(bench, patient)
    scrub = purging.scrubber(_forms(found.holdings))
    reason = scrub(reason)
    digest = purged.patient_digest(patient)
    parameters = {
        "patient_digest": digest,
        "cases": [case.address for case in found.cases],
        "reason": reason,
    }
    with run(bench, purged.STAGE, parameters, key=digest, total=len(found.cases)) as booking:
        _count(booking, "copies under runs deleted", delete_copies(found.copies))
        scrub_mentions(bench.root, scrub)
        buried = bench.catalog.insist(lambda: _empty(bench, found, reason, booking.outcome.run_id))
        _count(booking, "cases purged", buried)
        _delete_stored(bench, found, booking)
        bench.catalog.insist(lambda: _forget_pending(bench, patient))
        # Not booked: a row would keep the very paths that have just been taken out.
        booking.outcome.noted.extend(found.left_to_the_person)
    erase_traces(bench.catalog.engine)
    return booking.outcome


def _count(booking: Booking, kind: str, n: int) -> None:
    if n:
        booking.outcome.count(kind, n)


def _forms(holdings: Holdings) -> list[str]:
    """The texts that name a patient, as they stand in a file, and as they stand in one of JSON."""
    return [form for text in holdings.texts for form in (text, json.dumps(text)[1:-1])]


def _size(bench: Workbench, name: str) -> int:
    path = bench.store.path(name)
    return path.stat().st_size if path.is_file() else 0


def _empty(bench: Workbench, found: Purge, reason: str, run_id: int) -> int:
    """Bury the cases: one transaction. Called again after a lost answer it finds what it has left."""
    ids = [case.id for case in found.cases]
    with bench.catalog.writing() as session:
        overwrite_deleted(session)
        now = purged.holdings(session, found.patient, found.cases)
        buried = purging.bury(
            session,
            ids,
            patient_digest=purged.patient_digest(found.patient),
            reason=reason,
            person=bench.author,
            deleted=_deleted(bench, now),
        )
        purging.empty_cases(session, ids, [case.address for case in found.cases], run_id)
        names = frozenset().union(*now.hashes.values()) | _pending(session, found.patient, run_id)
        purging.forget_texts(session, {*found.holdings.texts, *now.texts})
        purging.set_pending(session, run_id, sorted(names))
    return buried


def _pending(session: Session, patient: str, run_id: int) -> frozenset[str]:
    """What this very run has noted before: its transaction was committed and only the answer was lost."""
    return frozenset(purged.pending_files(session, patient).get(run_id, ()))


def _deleted(bench: Workbench, holdings: Holdings) -> dict[int, tuple[int, int]]:
    """Case id to number and bytes of the stored files that go with it; a file of two cases counts once."""
    counted: set[str] = set(holdings.shared)
    found = {}
    for case_id, names in holdings.hashes.items():
        sizes = [_size(bench, name) for name in names - counted]
        counted |= names
        found[case_id] = (sum(size > 0 for size in sizes), sum(sizes))
    return found


def _delete_stored(bench: Workbench, found: Purge, booking: Booking) -> None:
    """Delete the stored files that this and earlier runs have noted, unless another case needs the same bytes."""
    ids = [case.id for case in found.cases]
    with bench.catalog.reading() as session:
        names = frozenset().union(*purged.pending_files(session, found.patient).values())
        kept = purged.needed_by_others(session, names, ids)
    outcome = booking.outcome
    bench.progress.start("delete stored files", len(names))
    for done, name in enumerate(sorted(names), 1):
        if name in kept:
            outcome.noted.append(
                f"{bench.store.path(name)}: another case stands on the very same bytes; they stay"
            )
        elif freed := bench.store.delete(name):
            outcome.count("stored files deleted")
            outcome.count("bytes freed", freed)
        bench.progress.step(done)
    for path in bench.store.temporaries():
        bench.store.delete_temporary(path, older_than_s=_LEFTOVER_AGE_S)
    bench.progress.finish()


def _forget_pending(bench: Workbench, patient: str) -> None:
    with bench.catalog.writing() as session:
        overwrite_deleted(session)
        for run_id in purged.pending_files(session, patient):
            purging.set_pending(session, run_id, ())
