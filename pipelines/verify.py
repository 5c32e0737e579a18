"""Verify: does the store hold what the catalog's rows promise, byte for byte, and are the rows sound?"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from curation.census import take_census
from curation.errors import CurationError
from curation.labels import BY_ID
from curation.probability import STEPS
from curation.rle import overlay
from curation.volumes import decode_and_hash, decode_mask
from db import soundness, stored_files
from db.batches import batches
from db.store import Store, StoredFileError, is_hash
from db.stored_files import Claim, Contents, StoredFile
from pipelines.runs import Workbench, map_cases

# What a deep verify holds of the catalog in memory at once: 14 rows per file.
_FILES_AT_ONCE = 500


@dataclass(frozen=True)
class Damage:
    """One damage as a line for the user; `file` is the stored file that is lost or no longer what it was."""

    line: str
    file: StoredFile | None = None


@dataclass
class Verification:
    """What was looked at, and every damage and oddity.

    `voxels` counts those that a deep look decoded. `noted` are files that no row needs; a run that was
    killed leaves such files, and they do no harm.
    """

    files: int = 0
    bytes: int = 0
    voxels: int = 0
    damages: list[Damage] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)

    @property
    def damage(self) -> list[str]:
        """The lines of all damages."""
        return [damage.line for damage in self.damages]


@dataclass(frozen=True)
class _Job:
    file: StoredFile
    store: Store
    contents: Mapping[Claim, Contents] | None = None


@dataclass(frozen=True)
class _Checked:
    size: int = 0
    voxels: int = 0
    damages: tuple[Damage, ...] = ()


def verify(bench: Workbench, *, deep: bool = False) -> Verification:
    """Check every stored file against its hash, the rows against the files, and the rows among themselves.

    Args:
        bench: Catalog and store to compare.
        deep: Also decode every mask and compare voxel hash, voxel counts and class hashes with the rows, of
            versions and of predictions.

    Returns:
        Damage (lost or changed files, rows that contradict their mask or each other) and notes.
    """
    result = Verification()
    # In this order: what a run that is under way puts there now is not taken for a file without a row.
    there = list(bench.store.hashes())
    with bench.catalog.reading() as session:
        files = stored_files.stored_files(session)
        result.damages.extend(Damage(line) for line in soundness.contradictions(session))
    bench.progress.start("verify", len(files))
    # Hashing leaves the interpreter alone, so threads share it well; decoding does not.
    threads = nullcontext(bench.executor) if deep or bench.executor else ThreadPoolExecutor(bench.jobs)
    with threads as executor:
        workers = replace(bench, executor=executor)
        for checked in map_cases(workers, _check, _jobs(bench, files, deep), len(files)):
            result.files += 1
            result.bytes += checked.size
            result.voxels += checked.voxels
            result.damages.extend(checked.damages)
            bench.progress.step(result.files)
    bench.progress.finish()
    if any(damage.file for damage in result.damages):
        result.damages = _still_needed(bench, result.damages)
    strays = sorted(set(there) - {file.hash for file in files})
    result.noted.extend(f"{bench.store.path(name)}: no row needs this file" for name in strays)
    result.damages.sort(key=lambda damage: damage.line)
    return result


def _jobs(bench: Workbench, files: list[StoredFile], deep: bool) -> Iterator[_Job]:
    """One job per file, with what its rows say of the voxels where that is to be compared."""
    if not deep:
        yield from (_Job(file, bench.store) for file in files)
        return
    for some in batches(files, _FILES_AT_ONCE):
        with bench.catalog.reading() as session:
            said = stored_files.contents(session, [claim for file in some for claim in file.claims])
        for file in some:
            yield _Job(file, bench.store, {claim: said[claim] for claim in file.claims})


def _still_needed(bench: Workbench, damages: list[Damage]) -> list[Damage]:
    """Leave out what was purged while we looked."""
    with bench.catalog.reading() as session:
        needed = stored_files.needed_hashes(session)
    return [damage for damage in damages if damage.file is None or damage.file.hash in needed]


def _check(job: _Job) -> _Checked:
    """Compare one stored file with its name and, if deep, with its rows. Touches no database."""
    file = job.file
    if not is_hash(file.hash):
        line = f"{file.needed_by}: the row's hash '{file.hash}' is no SHA-256; {soundness.REMEDY}"
        return _Checked(damages=(Damage(line),))
    try:
        data = job.store.intact(file.hash)
    except StoredFileError as error:
        return _Checked(damages=(Damage(f"{error}; needed by {file.needed_by}", file),))
    voxels, lines = _compare(file, data, job.contents) if job.contents else (0, [])
    if job.contents is not None and file.map_of:
        of_map, doubts = _compare_map(job, data)
        voxels, lines = voxels or of_map, lines + doubts
    return _Checked(len(data), voxels, tuple(Damage(line) for line in lines))


def _compare_map(job: _Job, data: bytes) -> tuple[int, list[str]]:
    """Hold a map of probabilities against the masks that it is of: it draws what they draw, in steps of percent."""
    name = f"probabilities of {job.file.needed_by}" if job.file.claims else job.file.needed_by
    try:
        geometry, of_map = decode_mask(data, name)
    except CurationError as error:
        return 0, [str(error)]
    x, y, z = geometry.shape
    if odd := sorted(of_map.voxels().keys() - STEPS):
        return x * y * z, [f"{name}: holds {odd[:3]}, which are no steps of percent; {soundness.REMEDY}"]
    lines = []
    for mask_hash in job.file.map_of:
        try:
            grid, mask = decode_mask(job.store.intact(mask_hash), name)
        except CurationError:
            continue  # said of the mask itself
        if grid.difference(geometry) or any((p == 0) != (v == 0) for p, v in overlay(of_map, mask).pairs()):
            lines.append(f"{name}: the map is not of this prediction's mask; {soundness.REMEDY}")
    return x * y * z, lines


def _compare(file: StoredFile, data: bytes, contents: Mapping[Claim, Contents]) -> tuple[int, list[str]]:
    """Decode a mask once and hold every row that names it against it."""
    try:
        geometry, runs, voxel_hash = decode_and_hash(data, file.needed_by)
    except CurationError as error:
        return 0, [str(error)]
    x, y, z = geometry.shape
    census = take_census(runs, geometry, with_components=False)
    found = Contents(
        {value: of_value.voxels for value, of_value in census.items()},
        {value: of_value.class_hash for value, of_value in census.items() if value in BY_ID},
    )
    lines = []
    for claim, said in contents.items():
        if claim.voxel_hash != voxel_hash:
            what = "the row's voxel hash is not that of the stored mask"
        elif difference := _difference(claim, said, found):
            what = difference
        else:
            continue
        lines.append(f"{claim.address}: {what}; {soundness.REMEDY}")
    return x * y * z, lines


def _difference(claim: Claim, said: Contents, found: Contents) -> str | None:
    """What a row says of a mask that the mask does not."""
    if claim.of == "version":
        counted = dict(found.voxels)
    else:
        # Of a prediction, classes alone are booked, those too that it found nowhere.
        counted = {value: n for value, n in found.voxels.items() if value in BY_ID}
        counted = dict.fromkeys(said.voxels, 0) | counted
    if counted != dict(said.voxels):
        return f"rows count {said.voxels} voxels, the mask has {counted}"
    if claim.of == "version" and found.class_hashes != dict(said.class_hashes):
        wrong = [c for c, name in found.class_hashes.items() if said.class_hashes.get(c) != name]
        names = ", ".join(BY_ID[class_id].name for class_id in wrong)
        return f"the rows' class hash is not that of the stored mask ({names})"
    return None
