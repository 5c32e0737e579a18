"""The files of an export: links where bytes can stay as they are, copies and rewritten masks otherwise."""

import gzip
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from curation.errors import CurationError
from curation.labels import is_reserved
from curation.rle import RunLengths
from curation.volumes import encode_mask
from db.freezing import FrozenMember
from db.store import Store
from pipelines.case_masks import read_mask
from pipelines.exports.content import IGNORE_LABEL, Content
from pipelines.exports.request import MissingPolicy
from pipelines.runs import Workbench, map_cases
from pipelines.whole_folders import DISK_FULL


@dataclass(frozen=True)
class MaskJob:
    """One mask that has to be written anew: `dropped` classes become background, reserved values ignored."""

    address: str
    file_hash: str
    dropped: frozenset[int]
    background_ignored: bool
    target: Path


def place_masks(bench: Workbench, content: Content, folder: Path) -> int:
    """Put the members' masks into a folder, each as ``NAME.nii.gz``; returns how many are links.

    The catalog's rows tell whether a mask can stay as it is; only the others are decoded.

    Raises:
        CurationError: A mask is not in the store or cannot be read.
    """
    folder.mkdir(exist_ok=True)
    rewritten, linked = [], 0
    for member in content.members:
        target = folder / f"{content.names[member.case_id]}.nii.gz"
        if member.file_hash is None:
            raise CurationError(
                f"{member.address}@{member.number}: no mask is stored; run `maskledger verify`"
            )
        dropped = member.states.left_out(content.origins)
        if dropped or content.ignores(member):
            rewritten.append(_job(content, member, member.file_hash, dropped, target))
        else:
            linked += _place(stored_file(bench.store, member), target, content.request.copy)
    write = partial(_rewrite, store=bench.store)
    bench.progress.start(f"export {content.version.address}: masks", len(content.members))
    for done, problem in enumerate(
        map_cases(bench, write, rewritten, len(rewritten)), len(content.members) - len(rewritten) + 1
    ):
        if problem:
            raise CurationError(problem)
        bench.progress.step(done)
    bench.progress.finish()
    return linked


def _job(
    content: Content, member: FrozenMember, file_hash: str, dropped: frozenset[int], target: Path
) -> MaskJob:
    ignored = content.request.missing is MissingPolicy.IGNORE and bool(content.missing(member))
    return MaskJob(f"{member.address}@{member.number}", file_hash, dropped, ignored, target)


def stored_file(store: Store, member: FrozenMember) -> Path:
    """Where a member's mask is kept.

    Raises:
        CurationError: It is not there.
    """
    assert member.file_hash is not None, "checked by the caller"
    path = store.path(member.file_hash).resolve()
    if not path.is_file():
        raise CurationError(
            f"{path}: the mask of {member.address}@{member.number} is not in the store; run `maskledger verify`"
        )
    return path


def _rewrite(job: MaskJob, *, store: Store) -> str | None:
    """Write one mask as the policies want it; returns the reason where that cannot be done.

    Raises:
        OSError: The disk is full, which `new_folder` turns into an error that names it.
    """
    try:
        geometry, runs = read_mask(store, job.file_hash, job.address, job.dropped)
        job.target.write_bytes(encode_mask(_ignoring(runs, job.background_ignored), geometry))
    except (CurationError, OSError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        return f"{job.address}: {error}; run `maskledger verify`"
    return None


def _ignoring(runs: RunLengths, background: bool) -> RunLengths:
    """The same mask with reserved values, and background where asked for, as the ignore label."""
    reserved = {value: IGNORE_LABEL for value in runs.voxels() if is_reserved(value)}
    runs = runs.remap(reserved) if reserved else runs
    return fill_background(runs, IGNORE_LABEL) if background else runs


def fill_background(runs: RunLengths, value: int) -> RunLengths:
    """The same mask with a value in every background voxel, without unfolding it."""
    # Background and runs alternate in the file's order: edge, start, stop, start, stop, …, edge.
    edges = np.zeros(2 * len(runs) + 2, np.int64)
    edges[1:-1:2], edges[2:-1:2] = runs.flat_start, runs.flat_stop
    edges[-1] = np.prod(runs.shape, dtype=np.int64)
    values = np.full(len(edges) - 1, value, np.uint8)
    values[1::2] = runs.value
    return RunLengths.from_flat(runs.shape, edges[:-1], edges[1:], values)


def place_images(content: Content, folder: Path, suffix: str = "", packed: bool = False) -> int:
    """Put the members' images into a folder, each as ``NAME`` + suffix + ending; returns how many are links.

    Args:
        content: Its members all have an image.
        folder: Made here.
        suffix: Behind the name, e.g. nnU-Net's ``_0000``.
        packed: Compress what is not, for a reader that wants one file ending.
    """
    folder.mkdir()
    linked = 0
    for member in content.members:
        assert member.image is not None, "Content.check has seen to it"
        ending = ".nii.gz" if packed else _ending(member.image)
        target = folder / f"{content.names[member.case_id]}{suffix}{ending}"
        if packed and not member.image.name.endswith(".gz"):
            _copy(member.image, target, packed=True)
        else:
            linked += _place(member.image.resolve(), target, content.request.copy)
    return linked


def image_name(content: Content, member: FrozenMember) -> str:
    """The file name of an image that was placed unpacked."""
    assert member.image is not None, "Content.check has seen to it"
    return f"{content.names[member.case_id]}{_ending(member.image)}"


def _ending(image: Path) -> str:
    return ".nii.gz" if image.name.endswith(".gz") else ".nii"


def _place(source: Path, target: Path, copy: bool) -> bool:
    """Link, or copy where links are not wanted or the file system has none; returns whether it is a link."""
    if not copy:
        try:
            target.symlink_to(source)
        except OSError:
            pass
        else:
            return True
    _copy(source, target)
    return False


def _copy(source: Path, target: Path, packed: bool = False) -> None:
    """Copy a file, compressed where asked for.

    Raises:
        CurationError: The file cannot be read, or not be written under that name.
        OSError: The disk is full, which `new_folder` turns into an error that names it.
    """
    try:
        if packed:
            # Without a time in the header the same image gives the same bytes.
            with (
                source.open("rb") as unpacked,
                gzip.GzipFile(target, "wb", compresslevel=1, mtime=0) as stream,
            ):
                shutil.copyfileobj(unpacked, stream)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise CurationError(
            f"{source}: cannot be exported as {target.name} ({error.strerror}); "
            "make the file readable, or give source and case shorter names"
        ) from error
