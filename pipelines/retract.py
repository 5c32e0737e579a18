"""Retract: what something bad has drawn is taken out of the newest versions; what has learned from it is marked."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from sqlalchemy.orm import Session

from curation.errors import CurationError, UsageError
from curation.labels import BY_ID, CLASS_IDS, IGNORE, is_reserved
from curation.rle import RunLengths, overlay
from curation.status import Evidence, Status
from curation.volumes import decode_mask, encode_and_hash
from db import case_files, queries, standing, writes
from db.batches import batches
from db.case_files import CaseFile
from db.descent import Descent, LabelledVersion, descent, said_before, source_masks
from db.models import VersionKind
from db.retractions import Subject, retraction_of
from db.store import Store, StoreUnwritableError
from db.writes import NewVersion
from db.writes.retracting import add_taints, ensure_retraction
from pipelines.annotate import MaskFacts, examine, rederived
from pipelines.blame import trace
from pipelines.case_masks import stored_mask
from pipelines.runs import Booking, Outcome, Workbench, map_cases, run

# Cases read from the catalog at a time: with all their classes 100,000 would take gigabytes.
BATCH = 500


@dataclass(frozen=True)
class Consequences:
    """What a retraction does, or would do.

    Attributes:
        descent: All that descends from the subject; only its own labels are taken out.
        taken_out: Newest version id to the classes that are taken out of it.
        left_in: Newest version id to its classes that stay because a person accepted them.
        source_masks: Newest version id to the stored mask of the source that counts no more: its unresolved and
            ignored voxels are taken out, and what was absent by its protocol is missing.
        known: Whether it was retracted before; then this is what is left to do.
    """

    subject: Subject
    descent: Descent
    taken_out: Mapping[int, frozenset[int]] = field(repr=False)
    left_in: Mapping[int, frozenset[int]] = field(repr=False)
    source_masks: Mapping[int, str] = field(repr=False)
    known: bool = False

    @property
    def newest(self) -> dict[int, LabelledVersion]:
        """The newest versions that carry labels of the subject, by id."""
        return {version.version_id: version for version in self.descent.versions if version.newest}


@dataclass(frozen=True)
class _Job:
    """One case: `classes` go, and so does what else came with the source's mask `source_mask`, if that counts no more.

    `before` is what a person had said of a class before it was drawn. `doubted` draws the voxels that were ignored
    with the classes, because their model was not sure of them; `problem` is why that cannot be told.
    """

    case: CaseFile
    classes: frozenset[int]
    source_mask: str | None
    before: Mapping[int, tuple[Status, Evidence]]
    store: Store
    doubted: RunLengths | None = None
    problem: str | None = None

    @property
    def undrawn(self) -> dict[int, tuple[Status, Evidence]]:
        """What is said from now on of classes without voxels, where it is more than that they are missing."""
        said = {c: self.before[c] for c in self.classes if c in self.before}
        if self.source_mask is not None:
            for class_id, row in self.case.annotations.items():
                if row.evidence is Evidence.PROTOCOL:
                    said[class_id] = (Status.MISSING, Evidence.DEFAULT)
        return said


@dataclass(frozen=True)
class _Cleaned:
    """What a worker made of one case; `facts` is None where nothing had to be taken out."""

    job: _Job
    refused: str | None = None
    facts: MaskFacts | None = None
    file_hash: str = ""
    voxel_hash: str = ""


def consequences(
    bench: Workbench, find: Callable[[Session], Subject], *, include_accepted: bool = False
) -> Consequences:
    """Look up all that descends from something, and what its retraction would do. Changes nothing.

    Args:
        bench: What to work with.
        find: Finds it, e.g. ``lambda session: model_subject(session, "M")``.
        include_accepted: Also take out classes that a person accepted.

    Raises:
        UsageError: There is no such thing.
    """
    with bench.catalog.reading() as session:
        subject = find(session)
        known = retraction_of(session, subject)
        found = descent(session, subject)
        newest = {v.version_id: v.classes for v in found.versions if v.newest}
        accepted: dict[int, frozenset[int]] = {}
        if not include_accepted and not (known and known.include_accepted):
            accepted = standing.accepted_classes(session, list(newest))
        masks = source_masks(session, subject)
    nobody: frozenset[int] = frozenset()
    taken_out = {of: classes - accepted.get(of, nobody) for of, classes in newest.items()}
    left_in = {of: classes & accepted.get(of, nobody) for of, classes in newest.items()}
    return Consequences(
        subject,
        found,
        {of: classes for of, classes in taken_out.items() if classes},
        {of: classes for of, classes in left_in.items() if classes},
        masks,
        known is not None,
    )


def retract(
    bench: Workbench, find: Callable[[Session], Subject], reason: str, *, include_accepted: bool = False
) -> Outcome:
    """Take what something bad has drawn out of all newest versions, and mark what has learned from it.

    Its classes become missing in a new version per case, or what a person had said of them before they were
    drawn. What was there before them does not come back: nobody has judged it since. Nothing is deleted: the
    versions before remain, and a person may `revert` to one. A second call does what is left, if anything.

    Args:
        bench: What to work with.
        find: Finds the thing, e.g. ``lambda session: model_subject(session, "M")``.
        reason: Why; it is kept with the retraction.
        include_accepted: Also take out classes that a person accepted.

    Raises:
        UsageError: There is no such thing, or no reason is given.
    """
    if not reason.strip():
        raise UsageError("say why with --reason: it stays with the retraction for those who ask later")
    wanted = consequences(bench, find, include_accepted=include_accepted)
    subject = wanted.subject
    parameters = {
        "kind": str(subject.kind),
        "id": subject.id,
        "reason": reason,
        "include_accepted": include_accepted,
    }
    versions = sorted(wanted.taken_out.keys() | wanted.source_masks.keys())
    with run(bench, "retract", parameters, key=subject.title, total=len(versions)) as booking:
        _book(bench, wanted, reason, include_accepted, booking)
        bench.progress.start(f"retract {subject.title}", len(versions))
        jobs = _jobs(bench, wanted, versions)
        for done, result in enumerate(map_cases(bench, _clean, jobs, len(versions)), 1):
            address = result.job.case.address
            if result.refused:
                booking.refuse(address, result.refused)
            elif result.facts is not None:
                write = partial(_write, bench, result, subject, booking.outcome.run_id)
                booking.add(write, address)
            bench.progress.step(done, address)
        booking.flush()
        bench.progress.finish()
        if left := sum(len(classes) for classes in wanted.left_in.values()):
            booking.outcome.count("accepted classes left in", left)
        return booking.outcome


def _book(
    bench: Workbench, wanted: Consequences, reason: str, include_accepted: bool, booking: Booking
) -> None:
    """Book the retraction and its marks before any version: whoever is stopped later finds them."""
    marked: list[tuple[str, int]] = []

    def attempt() -> None:
        nonlocal marked
        with bench.catalog.writing() as session:
            retraction_id = ensure_retraction(
                session, wanted.subject, reason=reason, person=bench.author, include_accepted=include_accepted
            )
            datasets, models = add_taints(
                session,
                retraction_id,
                dataset_version_ids=[dataset.id for dataset in wanted.descent.datasets],
                model_ids=[model.id for model in wanted.descent.models],
            )
        marked = [("datasets marked tainted", datasets), ("models marked tainted", models)]

    bench.catalog.insist(attempt)
    for what, n in marked:
        if n:
            booking.outcome.count(what, n)


def _jobs(bench: Workbench, wanted: Consequences, versions: list[int]) -> Iterator[_Job]:
    for batch in batches(versions, BATCH):
        with bench.catalog.reading() as session:
            cases = case_files.case_files(session, batch)
            before = said_before(session, batch)
            with_ignored = case_files.with_reserved(session, batch, IGNORE)
        for case in cases:
            classes = wanted.taken_out.get(case.version_id, frozenset())
            doubted, problem = None, None
            if classes and case.version_id in with_ignored:
                try:
                    doubted = _doubted(bench, case, classes)
                except CurationError as error:
                    problem = f"{case.address}: {error}; run `maskledger verify`"
            yield _Job(
                case,
                classes,
                wanted.source_masks.get(case.version_id),
                before.get(case.version_id, {}),
                bench.store,
                doubted,
                problem,
            )


def _doubted(bench: Workbench, case: CaseFile, classes: frozenset[int]) -> RunLengths:
    """The voxels that the complements that drew these classes ignored, because the model was not sure of them."""
    drawn_in = {case.annotations[c].drawn_version_id for c in classes}
    with bench.catalog.reading() as session:
        numbers = {row.number for row in queries.history(session, case.case_id) if row.id in drawn_in}
    traced = trace(bench, f"{case.address}@{case.number}")
    hands = [
        share.hand.value
        for share in traced.shares
        if share.value == IGNORE
        and share.hand.kind is VersionKind.COMPLEMENTED
        and share.hand.version in numbers
    ]
    return traced.label_map.select(hands)


def _clean(job: _Job) -> _Cleaned:
    """Take classes out of one mask. Touches no database, so it runs in any worker."""
    case = job.case
    if job.problem is not None:
        return _Cleaned(job, refused=job.problem)
    try:
        present = stored_mask(job.store, case)
        cleaned = present.without(job.classes)
        if job.doubted is not None:
            joint = overlay(cleaned, job.doubted)
            ignored = (joint.a == IGNORE) & (joint.b != 0)
            cleaned = joint.runs(np.where(ignored, 0, joint.a).astype(np.uint8))
        if job.source_mask is not None:
            cleaned = _without_reserved(job, cleaned)
        if cleaned.same_as(present) and not job.undrawn:
            return _Cleaned(job)
        stored, voxel_hash = encode_and_hash(cleaned, case.geometry)
        return _Cleaned(
            job,
            facts=examine(cleaned, case.geometry),
            file_hash=job.store.put(stored),
            voxel_hash=voxel_hash,
        )
    except StoreUnwritableError:
        raise  # no case's fault, and the same for the next one
    except (CurationError, OSError) as error:
        return _Cleaned(job, refused=f"{case.address}: {error}; run `maskledger verify`")


def _without_reserved(job: _Job, runs: RunLengths) -> RunLengths:
    """Take out the unresolved and ignored voxels that the source gave, not those that a person drew since."""
    assert job.source_mask is not None, "asked for where there are any"
    given = decode_mask(job.store.get(job.source_mask), job.case.address)[1]
    joint = overlay(runs, given)
    reserved = [value for value in range(256) if is_reserved(value)]
    same = (joint.a == joint.b) & np.isin(joint.a, reserved)
    return joint.runs(np.where(same, 0, joint.a).astype(np.uint8))


def _write(bench: Workbench, result: _Cleaned, subject: Subject, run_id: int, session: Session) -> str:
    assert result.facts is not None, "only a changed case is written"
    case = result.job.case
    writes.add_version(
        session,
        case.case_id,
        case.version_id,
        NewVersion(
            kind=VersionKind.RETRACTED,
            author=bench.author,
            message=f"retracted {subject.title}: {_what(result.job)} taken out",
            geometry=case.geometry,
            file_hash=result.file_hash,
            voxel_hash=result.voxel_hash,
            annotations=rederived(case.annotations, result.facts, {}, result.job.undrawn),
            reserved=dict(result.facts.reserved),
            findings=result.facts.findings,
            run_id=run_id,
        ),
    )
    return "cases relabeled"


def _what(job: _Job) -> str:
    names = [BY_ID[c].name for c in CLASS_IDS if c in job.classes]
    return ", ".join(names + (["what else came with its mask"] if job.source_mask else []))
