"""Correct: a person's own drawing of a version comes back; what they changed is theirs from here on."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from curation.alignment import aligned
from curation.diff import ValueChange, diff
from curation.errors import GridError, LabelValueError, UsageError
from curation.labels import BY_ID, CLASS_IDS, is_reserved
from curation.merge import CORRECTION, Conflict, Merged, merge
from curation.one_line import one_line
from curation.rle import RunLengths
from curation.status import Origin, Status
from curation.volumes import decode_mask, encode_and_hash
from db import queries, reviewing, standing, writes
from db.case_files import CaseFile
from db.models import Verdict, VersionKind
from db.reviewing import Drawing
from db.writes import AnnotationValues, NewVersion, StaleParentError
from pipelines.annotate import Drawn, MaskFacts, conflict_values, examine, rederived
from pipelines.by_hand import erased as said_of_erased
from pipelines.by_hand import require_reason, seen_and_newest
from pipelines.case_masks import stored_mask
from pipelines.files_of_users import kept_path
from pipelines.images import read_image
from pipelines.runs import Workbench


@dataclass(frozen=True)
class Uploaded:
    """A mask that came by a browser: its bytes, and what it was called there, which is text and no path here."""

    name: str
    data: bytes

    def __str__(self) -> str:
        return one_line(self.name)


@dataclass(frozen=True)
class ChangedClass:
    """One class or reserved value before and after; pairs are (before, after)."""

    value: int
    voxels: ValueChange
    gained_ml: float
    lost_ml: float
    status: tuple[Status | None, Status | None]
    origin: tuple[Origin | None, Origin | None]


@dataclass(frozen=True)
class Corrected:
    """What a correction changed.

    Attributes:
        address: ``SOURCE/NAME``.
        base: Number of the version that the person started from.
        before: Number of the newest version at the time.
        after: Number of the new version; None where nothing was written (a dry run, or no change).
        changes: Values whose voxels changed.
        corrected: Names of the classes that are the person's now.
        erased: Name of each class of which nothing is left, to the model that does not refill it, or None.
        no_longer_accepted: Names of classes that were accepted as they were before.
        conflicts: What the person and others had changed in different ways since the base.
        voxel_ml: Millilitres of a voxel.
        notes: What was put right of the file, each a sentence.
    """

    address: str
    base: int
    before: int
    after: int | None
    changes: tuple[ChangedClass, ...]
    corrected: tuple[str, ...]
    erased: dict[str, str | None]
    no_longer_accepted: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    voxel_ml: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Result:
    """The masks and facts of one correction, before anything is written."""

    merged: Merged
    facts: MaskFacts
    annotations: dict[int, AnnotationValues]
    drawn: frozenset[int]
    erased: frozenset[int]


def correct(
    bench: Workbench,
    address: str,
    file: Path | Uploaded,
    reason: str,
    *,
    merge_newer: bool = False,
    dry_run: bool = False,
) -> Corrected:
    """Take a corrected mask back as a new version.

    A class is the person's (`corrected`) if a voxel of it differs between the version they started from and their file,
    also where they only painted another class over it. A class that they erased is missing, and the model that
    drew it does not fill it again.

    Args:
        bench: Catalog, store and person.
        address: ``SOURCE/NAME[@N]``; N is the version that the person started from, default the newest.
        file: A mask with our label values, on that version's grid; its axes may be flipped or permuted.
        reason: What was wrong.
        merge_newer: Where N is no longer the newest: merge both changes, the person's winning.
        dry_run: Only say what would change.

    Raises:
        UsageError: Unknown case or version, no reason, or no such file.
        StaleParentError: N is not the newest and `merge_newer` is not set, or another writer came first.
        MaskFileError: The file is no mask.
        GridError: It does not lie on the version's grid; or, to be merged, the version not on the newest one's.
        LabelValueError: It has values that are none of ours.
    """
    require_reason(reason)
    with bench.catalog.reading() as session:
        base, newest = seen_and_newest(session, address)
        _require_newest(session, base, newest, merge_newer)
        drawings = {d.class_id: d for d in reviewing.drawings(session, [newest.version_id], CLASS_IDS)}
        accepted = standing.accepted_classes(session, [newest.version_id]).get(newest.version_id, frozenset())
    data = _bytes_of(file)
    before = stored_mask(bench.store, base)
    theirs, notes = _read(data, file, base, before)
    present = before if base.version_id == newest.version_id else stored_mask(bench.store, newest)
    result = _result(bench.author, newest, before, theirs, present)
    after = None
    if not dry_run and not result.merged.runs.same_as(present):
        stored, voxel_hash = encode_and_hash(result.merged.runs, newest.geometry)
        new = NewVersion(
            kind=VersionKind.CORRECTED,
            author=bench.author,
            message=reason,
            geometry=newest.geometry,
            incoming_hash=bench.store.put(data),
            incoming_path=str(file) if isinstance(file, Uploaded) else kept_path(file),
            file_hash=bench.store.put(stored),
            voxel_hash=voxel_hash,
            annotations=tuple(result.annotations.values()),
            reserved=result.facts.reserved,
            conflicts=conflict_values(result.merged.conflicts, newest.geometry.voxel_ml),
            findings=result.facts.findings,
        )
        rejected = [drawings[class_id] for class_id in sorted(result.erased)]
        event = {
            "file": str(file), "base": base.number, "classes": list(_names(result.drawn)),
            "erased": list(_names(result.erased)), "merge": merge_newer, "reason": reason,
        }  # fmt: skip
        after = _write(bench, newest, new, rejected, event)
        read_image(bench, newest.case_id)  # what was drawn just now has no mean HU yet
    return Corrected(
        address=newest.address,
        base=base.number,
        before=newest.number,
        after=after,
        changes=_changes(newest, present, result),
        corrected=_names(result.drawn),
        erased={BY_ID[c].name: drawings[c].model for c in sorted(result.erased)},
        no_longer_accepted=_names(
            {c for c in accepted if result.annotations[c].class_hash != newest.annotations[c].class_hash}
        ),
        conflicts=result.merged.conflicts,
        voxel_ml=newest.geometry.voxel_ml,
        notes=notes,
    )


def _require_newest(session: Session, base: CaseFile, newest: CaseFile, merge_newer: bool) -> None:
    if base.version_id == newest.version_id:
        return
    where = f"{base.address}@{base.number}"
    if not merge_newer:
        since = [v for v in queries.history(session, base.case_id) if v.number > base.number]
        made = ", ".join(f"{v.number} {v.kind} by {v.author}" for v in since)
        raise StaleParentError(
            f"{where}: is no longer the newest ({made}), and nothing is written; give --merge to merge your "
            f"changes with those, or check {base.address}@{newest.number} out and correct that one"
        )
    if difference := base.geometry.difference(newest.geometry):
        raise GridError(
            f"{where}: lies on another grid than the newest version {newest.number} ({difference}), so the two "
            f"cannot be merged; check {base.address}@{newest.number} out and correct that one"
        )


def _bytes_of(file: Path | Uploaded) -> bytes:
    if isinstance(file, Uploaded):
        return file.data
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; give the corrected mask, .nii.gz or .nii") from error


def _read(
    data: bytes, file: Path | Uploaded, base: CaseFile, before: RunLengths
) -> tuple[RunLengths, tuple[str, ...]]:
    """The person's mask on the base's grid (uint8), and what is worth knowing of the file."""
    geometry, runs = decode_mask(data, str(file))
    where = f"{base.address}@{base.number}"
    try:
        theirs, turned = aligned(runs, geometry, base.geometry)
    except GridError as error:
        raise GridError(
            f"{file}: does not lie on the grid of {where}: {error}; check that version out with "
            "`maskledger checkout --for itksnap` and save the mask on that grid, without cropping or resampling"
        ) from error
    allowed = {*CLASS_IDS, *(value for value in before.voxels() if is_reserved(value))}
    unknown = {value: n for value, n in theirs.voxels().items() if value not in allowed}
    if unknown:
        shown = ", ".join(f"{value} ({n} voxels)" for value, n in sorted(unknown.items())[:10])
        reserved = "".join(f", {value}" for value in sorted(allowed - set(CLASS_IDS)))
        raise LabelValueError(
            f"{file}: label values {shown} mean nothing in {where}, where 0 to 14{reserved} do; paint those "
            "voxels with the class that they are"
        )
    notes = [f"{file}: {note}" for note in (geometry.note, turned) if note]
    return theirs.remap({}), tuple(notes)


def _result(
    author: str, newest: CaseFile, before: RunLengths, theirs: RunLengths, present: RunLengths
) -> _Result:
    """Merge the person's changes into the newest mask, and say what each class is then.

    Args:
        author: The person.
        newest: The newest version.
        before: The mask that the person started from.
        theirs: What they made of it.
        present: The newest version's mask; `before` itself where nobody else changed it.
    """
    origins = {c: row.origin for c, row in newest.annotations.items() if row.origin is not None}
    merged = merge(present, theirs, CORRECTION, base=before, origins=origins)
    facts = examine(merged.runs, newest.geometry)
    touched = {value for value, change in diff(before, theirs).items() if change.changed}
    changed = touched & {value for value, change in diff(present, merged.runs).items() if change.changed}
    drawn = frozenset(changed & facts.census.keys())
    erased = frozenset(c for c in changed - drawn if c in newest.annotated)
    rows = rederived(
        newest.annotations,
        facts,
        dict.fromkeys(drawn, Drawn(Origin.CORRECTED, author=author)),
        said_of_erased(erased, facts),
    )
    return _Result(merged, facts, {row.class_id: row for row in rows}, drawn, erased)


def _write(
    bench: Workbench,
    newest: CaseFile,
    new: NewVersion,
    rejected: Collection[Drawing],
    event: dict[str, object],
) -> int:
    """Book version, decisions and event; returns the version's number."""
    with bench.catalog.writing() as session:
        version = writes.add_version(session, newest.case_id, newest.version_id, new)
        for drawing in rejected:
            writes.add_decision(
                session, newest.case_id, drawing.class_id, drawing.class_hash, Verdict.REJECTED,
                reason=f"erased: {new.message}", person=bench.author, model_id=drawing.model_id,
            )  # fmt: skip
        writes.add_event(
            session, author=bench.author, action="correct", subject=newest.address,
            parameters={**event, "version": version.number}, program_version=bench.program_version,
        )  # fmt: skip
    return version.number


def _changes(newest: CaseFile, present: RunLengths, result: _Result) -> tuple[ChangedClass, ...]:
    voxel_ml = newest.geometry.voxel_ml
    found = []
    for value, change in diff(present, result.merged.runs).items():
        if not change.changed:
            continue
        was, now = newest.annotations.get(value), result.annotations.get(value)
        found.append(
            ChangedClass(
                value,
                change,
                change.gained * voxel_ml,
                change.lost * voxel_ml,
                (was.status if was else None, now.status if now else None),
                (was.origin if was else None, now.origin if now else None),
            )
        )
    return tuple(found)


def _names(class_ids: Collection[int]) -> tuple[str, ...]:
    return tuple(BY_ID[class_id].name for class_id in sorted(class_ids))
