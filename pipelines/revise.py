"""Revise: a known case's mask came in changed; a three-way merge keeps what was complemented and corrected since."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from curation.diff import ValueChange, diff
from curation.errors import CurationError, GridError
from curation.labels import BY_ID, CLASS_IDS, UNRESOLVED, UNRESOLVED_BY_VALUE
from curation.mappings import LabelMapping
from curation.merge import REVISION, Conflict, merge
from curation.parts import is_bound, joined, reordered
from curation.protocol import outside_protocol
from curation.rle import RunLengths, overlay
from curation.sides import map_with_sides
from curation.status import Evidence, Origin, Status, statuses
from curation.volumes import Geometry, decode_mask, encode_and_hash
from db.case_files import CaseFile
from db.store import Store, StoreUnwritableError
from db.writes import AnnotationValues
from pipelines.annotate import Drawn, MaskFacts, conflict_values, examine, rederived
from pipelines.incoming import (
    IncomingCase,
    Measured,
    ReadMask,
    decode_incoming,
    mask_bytes,
    read_mask,
    refusal,
)

# Below this Dice between two revisions of a class somebody should look at what happened.
NOTEWORTHY_DICE = 0.8


@dataclass(frozen=True)
class Revision:
    """A changed mask and the case as it stands. `accepted` and `stale`: class ids of the newest version."""

    incoming: IncomingCase
    revision: str
    case: CaseFile
    accepted: frozenset[int]
    stale: frozenset[int]


@dataclass(frozen=True)
class _Masks:
    """The three masks of the merge; `theirs` is on `geometry`.

    `ours` is `stored`, the newest version's, but that what came in when sides were not told yet has those now that
    its file shows.
    """

    base: RunLengths
    stored: RunLengths
    ours: RunLengths
    theirs: RunLengths
    geometry: Geometry

    @property
    def sided(self) -> bool:
        """True if ours has sides that are not stored yet."""
        return self.ours is not self.stored


@dataclass(frozen=True)
class Merged:
    """What came of a merge, nothing of it kept yet. `came_in` and `file`: the bytes that are to be stored.

    `changes`: against the newest version, by stored value; none on another grid.
    """

    found: Measured
    came_in: bytes
    file: bytes
    changes: Mapping[int, ValueChange]


def revise(job: Revision) -> Measured:
    """Merge a changed mask into its case. Touches no database, so it runs in any worker.

    Base is the mask that the source gave last, ours the case's newest version, theirs the file. What a model or
    a person added since is carried along; the source's own drawing is replaced; what they disagree on is
    decided by `curation.merge.REVISION` and booked.
    """
    incoming = job.incoming
    assert incoming.mask is not None, "what has changed is a mask"
    try:
        data = mask_bytes(incoming.mask, incoming.mapping)
        read = read_mask(incoming, data)
        masks = _masks(job, read)
        known = incoming.known
        assert known is not None, "only known cases are revised"
        same = masks is not None and masks.theirs.same_as(masks.base) and known.incoming_hash is not None
        if masks is not None and same and known.revision_id == incoming.revision_id and not masks.sided:
            return Measured(incoming, unchanged=True)  # packed anew, but the same mask
        merged = _merged(job, masks, read, data, same)
        return kept(merged, incoming.store)
    except StoreUnwritableError:
        raise  # no case's fault, and the same for the next one
    except (CurationError, OSError) as error:
        return Measured(incoming, refused=refusal(incoming, error))


def merge_again(job: Revision, data: bytes) -> Merged:
    """Merge the bytes that a case's source gave last into it once more, as another mapping or protocol reads them.

    Base is what they gave by the mapping before. Files of one class are bound anew where the mapping states another
    priority. Touches no database and keeps nothing.

    Raises:
        CurationError: The mapping does not fit the mask, or the newest version lies on another grid.
    """
    came_in, parts = data, job.incoming.mapping.parts
    if parts and is_bound(data):
        data = reordered(data, parts, job.case.address)
    read = read_mask(job.incoming, data, named=job.case.address)
    masks = _masks(job, read, same_file=data is came_in) if job.case.file_hash is not None else None
    if masks is None:
        raise GridError(
            f"{job.case.address}: its newest version does not lie on the grid of the mask that came in last; "
            "`maskledger revert` it to one that does"
        )
    return _merged(job, masks, read, data, masks.theirs.same_as(masks.base))


def kept(merged: Merged, store: Store) -> Measured:
    """What was found, with the bytes that it stands on in the store for good."""
    store.put(merged.came_in)
    return replace(merged.found, file_hash=store.put(merged.file))


def _masks(job: Revision, read: ReadMask, *, same_file: bool = False) -> _Masks | None:
    """The masks to merge; None where the new one lies on another grid and nothing has to be carried over.

    `same_file`: it is the very file that came in last, which is not decoded a second time.

    Raises:
        GridError: On another grid, but models or people have drawn on the old one.
    """
    case, known, store = job.case, job.incoming.known, job.incoming.store
    geometry, theirs = read.geometry, read.runs
    if difference := geometry.difference(case.geometry):
        if any(row.origin not in (None, Origin.ORIGINAL) for row in case.annotations.values()):
            raise GridError(
                f"{job.incoming.mask}: does not lie on the grid of {case.address}: {difference}; its pseudo and "
                "corrected classes cannot be carried over: resample the file, or `maskledger revert` first"
            )
        return None
    base = RunLengths.empty(theirs.shape)
    # Of a retracted mask nothing stands any more: what comes now is all news.
    gave = known if known is not None and not known.retracted else None
    if gave is not None and gave.incoming_hash is not None and gave.mapping is not None:
        before = LabelMapping(gave.mapping_name or "", {int(v): t for v, t in gave.mapping.items()})
        if same_file:
            base_geometry, raw = read.geometry, read.raw
        else:
            base_geometry, raw = decode_incoming(store.get(gave.incoming_hash), case.address)
        base = map_with_sides(raw, before, base_geometry, case.address).runs
    if case.file_hash is None:
        ours = RunLengths.empty(theirs.shape)
    else:
        ours = decode_mask(store.get(case.file_hash), case.address)[1]
    sided = ours
    if gave is not None and gave.stored_hash is not None:
        sided = _with_sides(job, base, ours, gave.stored_hash)
    return _Masks(base, ours, sided, theirs, case.geometry)


def _with_sides(job: Revision, base: RunLengths, ours: RunLengths, stored_hash: str) -> RunLengths:
    """Ours with the sides of base where it has none because its file came in before sides were told.

    Not where a person has taken a side away since, nor of classes that a person has decided on.
    """
    settled = _settled(job.case.annotations, job.accepted)
    told = base.voxels().keys() - settled
    pairs = [pair for pair in UNRESOLVED if told & set(pair.sides) and pair.value in ours.voxels()]
    if not pairs:
        return ours
    came_in = decode_mask(job.incoming.store.get(stored_hash), job.case.address)[1]
    joint = overlay(ours, base)
    all_three = overlay(joint.runs(joint.a.astype(np.int32) * 256 + joint.b), came_in)
    value, of_base = np.divmod(all_three.a, 256)
    now_told = np.zeros(len(value), np.bool_)
    for pair in pairs:
        untold = (value == pair.value) & (all_three.b == pair.value)
        now_told |= untold & np.isin(of_base, list(told & set(pair.sides)))
    if not now_told.any():
        return ours
    return all_three.runs(np.where(now_told, of_base, value).astype(np.uint8))


def _merged(
    job: Revision,
    masks: _Masks | None,
    read: ReadMask,
    data: bytes,
    same: bool,
) -> Merged:
    incoming, before, geometry, theirs = job.incoming, job.case.annotations, read.geometry, read.runs
    answers = statuses(theirs.voxels(), read.looked_for)
    settled = _settled(before, job.accepted)
    no_conflicts: tuple[Conflict, ...] = ()
    changes: Mapping[int, ValueChange] = {}
    if masks is None:
        runs, conflicts = theirs, no_conflicts
        message, note = f"{job.revision}, on another grid", None
    else:
        merged = merge(
            masks.ours,
            theirs,
            REVISION,
            base=masks.base.without(_drawn_again(masks, before)),
            origins={c: row.origin for c, row in before.items() if row.origin is not None},
            release=_known_now(before, answers) - settled,
            locked=settled,
        )
        runs, conflicts, geometry = merged.runs, merged.conflicts, masks.geometry
        message, note = _summary(job, masks)
        changes = diff(masks.stored, runs)
    facts = examine(runs, geometry)
    stored, voxel_hash = encode_and_hash(runs, geometry)
    annotations = _annotations(job, read, facts, answers, settled, same)
    # Of what the source drew and a person overruled there is nothing to be said any more.
    stands = {row.class_id for row in annotations if row.origin is Origin.ORIGINAL} | facts.reserved.keys()
    drawn = {value: voxels for value, voxels in theirs.voxels().items() if value in stands}
    found = Measured(
        incoming,
        geometry=geometry,
        annotations=annotations,
        reserved=dict(facts.reserved),
        conflicts=conflict_values(joined(conflicts, read.overlaps), geometry.voxel_ml),
        findings=facts.findings
        + read.findings
        + outside_protocol(drawn, incoming.protocol, geometry.voxel_ml),
        incoming_hash=hashlib.sha256(data).hexdigest(),
        voxel_hash=voxel_hash,
        message=message,
        note=note,
        unfiled=read.unfiled,
    )
    return Merged(found, data, stored, changes)


def _settled(before: Mapping[int, AnnotationValues], accepted: frozenset[int]) -> frozenset[int]:
    """Classes that a person has decided on: accepted as drawn, or looked for and not there."""
    return accepted | {
        c
        for c, row in before.items()
        if row.evidence is Evidence.REVIEWER and row.status is not Status.MISSING
    }


def _drawn_again(masks: _Masks, before: Mapping[int, AnnotationValues]) -> frozenset[int]:
    """Classes that were rejected and that the new revision draws differently: all of that is news."""
    changes = diff(masks.base, masks.theirs)
    return frozenset(
        c
        for c, row in before.items()
        if row.status is Status.MISSING and row.evidence is Evidence.REVIEWER and changes[c].changed
    )


def _known_now(
    before: Mapping[int, AnnotationValues], answers: Mapping[int, tuple[Status, Evidence]]
) -> frozenset[int]:
    """Pseudo classes on which the source itself now speaks: drawn, or looked for and absent."""
    return frozenset(
        c for c, row in before.items() if row.origin is Origin.PSEUDO and answers[c][0] is not Status.MISSING
    )


def _annotations(
    job: Revision,
    read: ReadMask,
    facts: MaskFacts,
    answers: Mapping[int, tuple[Status, Evidence]],
    settled: frozenset[int],
    same: bool,
) -> tuple[AnnotationValues, ...]:
    before = job.case.annotations
    # A corrected class stays the person's, also where the revision added to it.
    drawn = {
        c: Drawn(Origin.ORIGINAL)
        for c, (status, _) in answers.items()
        if status is Status.ANNOTATED and c not in settled and before[c].origin is not Origin.CORRECTED
    }
    by_person = {c for c, row in before.items() if row.evidence is Evidence.REVIEWER}
    voxels = {c: census.voxels for c, census in facts.census.items()} | dict(facts.reserved)
    # What the source did draw, and lost every voxel of, is not absent.
    undrawn = {
        c: answer
        for c, answer in statuses(voxels, read.looked_for).items()
        if c not in by_person and answers[c][0] is not Status.ANNOTATED
    }
    rows = rederived(before, facts, drawn, undrawn)
    if not same:
        return rows
    # The ground that the pseudo labels stand on is what it was: this revision makes none of them stale.
    return tuple(
        replace(row, drawn_version_id=None)
        if row.origin is Origin.PSEUDO and row.class_id not in job.stale
        else row
        for row in rows
    )


def _summary(job: Revision, masks: _Masks) -> tuple[str, str | None]:
    """What the source changed, as the version's message, and as a note where it is worth a look."""
    known = job.incoming.known
    earlier = known.revision if known is not None and known.revision else "no mask"
    changes = {value: change for value, change in diff(masks.base, masks.theirs).items() if change.changed}
    told = ", ".join(f"{_name(value)} Dice {change.dice:.3f}" for value, change in changes.items())
    message = f"{job.revision} after {earlier}: {told or 'no voxel changed'}"
    if masks.sided:
        message += "; sides told that were not before"
    if not any(change.lost + change.common and change.dice < NOTEWORTHY_DICE for change in changes.values()):
        return message, None
    address, number = job.case.address, job.case.number
    return message, (
        f"{address}: {message}; look at it with: maskledger diff {address}@{number} {address}@{number + 1}"
    )


def _name(value: int) -> str:
    if value in CLASS_IDS:
        return BY_ID[value].name
    return UNRESOLVED_BY_VALUE[value].name if value in UNRESOLVED_BY_VALUE else "ignored"
