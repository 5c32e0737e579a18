"""Verify: does the store hold what the catalog's rows promise, byte for byte?"""

from dataclasses import dataclass, field

from curation.census import take_census
from curation.errors import CurationError
from curation.volumes import decode_mask, voxel_hash
from db import stored_files
from db.store import Store
from db.stored_files import StoredFile
from pipelines.runs import Workbench, map_cases


@dataclass
class Verification:
    """What was looked at, and every damage and oddity as one line for the user."""

    files: int = 0
    bytes: int = 0
    damage: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    file: StoredFile
    store: Store
    deep: bool


@dataclass(frozen=True)
class _Checked:
    size: int = 0
    damage: str | None = None


def verify(bench: Workbench, *, deep: bool = False) -> Verification:
    """Check every stored file against its hash, and the rows against the files.

    Args:
        bench: Catalog and store to compare.
        deep: Also decode every mask and compare voxel hash and voxel counts with the rows.

    Returns:
        Damage (lost or changed files, rows that contradict their mask) and notes (files that no row
        needs; a run that was killed leaves such files, and they do no harm).
    """
    result = Verification()
    with bench.catalog.reading() as session:
        files = stored_files.stored_files(session)
    bench.progress.start("verify", len(files))
    jobs = [_Job(file, bench.store, deep) for file in files]
    for checked in map_cases(bench, _check, jobs, len(jobs)):
        result.files += 1
        result.bytes += checked.size
        if checked.damage:
            result.damage.append(checked.damage)
        bench.progress.step(result.files)
    bench.progress.finish()
    strays = set(bench.store.hashes()) - {file.hash for file in files}
    result.noted.extend(f"{bench.store.path(digest)}: no row needs this file" for digest in sorted(strays))
    result.damage.sort()
    return result


def _check(job: _Job) -> _Checked:
    """Compare one stored file with its name and, if deep, with its rows. Touches no database."""
    file = job.file
    if damage := job.store.damage(file.hash):
        return _Checked(damage=f"{damage}; needed by {file.needed_by}")
    size = job.store.path(file.hash).stat().st_size
    if job.deep and file.voxel_hash is not None:
        return _Checked(size, _deep_damage(file, job.store.get(file.hash)))
    return _Checked(size)


def _deep_damage(file: StoredFile, data: bytes) -> str | None:
    try:
        geometry, runs = decode_mask(data, file.needed_by)
    except CurationError as error:
        return str(error)
    if voxel_hash(runs, geometry) != file.voxel_hash:
        return f"{file.needed_by}: the row's voxel hash is not that of the stored mask; restore the catalog"
    if file.voxels is not None:
        census = {value: c.voxels for value, c in take_census(runs, geometry, with_components=False).items()}
        if census != file.voxels:
            return f"{file.needed_by}: rows count {file.voxels} voxels, the mask has {census}; restore the catalog"
    return None
