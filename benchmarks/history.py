"""Diff of two versions and blame over ten of a 512×512×300 mask, side by side with numpy + nibabel and SimpleITK.

Run ``python -m benchmarks.history``: every way reads the same files, in one process on one core, medians of five,
results checked equal.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from benchmarks.census import SPACING_MM, draw_mask, measure
from curation.blame import ChainVersion, blame
from curation.diff import diff
from curation.rle import RunLengths
from curation.volumes import Geometry, decode_mask, encode_mask

VERSIONS = 10
# How a result names what it counts: by label value and, below it, gained, lost, common or the version.
PLACE = 256


def versions() -> Iterator[NDArray[np.uint8]]:
    """A mask that grows class by class, and whose borders all move by a voxel in every other version."""
    whole = draw_mask()
    mask = np.zeros_like(whole)
    for number in range(1, VERSIONS + 1):
        drawn = 4 + number  # 5 organs at first, 13 from the ninth version on
        mask = np.where(mask == 0, np.where(whole <= drawn, whole, 0), mask)
        if number % 2 == 0:
            mask = np.roll(mask, (1, 0, 0), (0, 1, 2))
        yield mask


def write_chain(folder: Path) -> list[Path]:
    """Store the versions as maskledger does; returns their files, the oldest first."""
    files = []
    for number, mask in enumerate(versions(), 1):
        geometry = Geometry((mask.shape[0], mask.shape[1], mask.shape[2]), np.diag([*SPACING_MM, 1.0]))
        path = folder / f"version_{number:02}.nii.gz"
        path.write_bytes(encode_mask(RunLengths.from_array(mask), geometry))
        files.append(path)
    return files


def diff_ours(before: Path, after: Path) -> dict[int, int]:
    changes = diff(*(decode_mask(path.read_bytes(), path.name)[1] for path in (before, after)))
    counts = {
        PLACE * value + place: voxels
        for value, change in changes.items()
        for place, voxels in enumerate((change.gained, change.lost, change.common))
    }
    return {key: voxels for key, voxels in counts.items() if voxels}


def from_pairs(pairs: dict[tuple[int, int], int]) -> dict[int, int]:
    """What a diff counts, from the voxels of every (value before, value after)."""
    counts: dict[int, int] = {}
    for (was, now), voxels in pairs.items():
        for value, place in ((now, 0), (was, 1)) if was != now else ((was, 2),):
            if value:
                counts[PLACE * value + place] = counts.get(PLACE * value + place, 0) + voxels
    return dict(sorted(counts.items()))


def diff_numpy(before: Path, after: Path) -> dict[int, int]:
    a, b = (np.asarray(nibabel.load(path).dataobj).ravel(order="F") for path in (before, after))
    counts = np.bincount(a.astype(np.uint16) * PLACE + b, minlength=PLACE * PLACE)
    return from_pairs({divmod(int(code), PLACE): int(counts[code]) for code in np.flatnonzero(counts)})


def counted(image: SimpleITK.Image) -> dict[int, int]:
    """Label value to voxels."""
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(image)
    return {value: shape.GetNumberOfPixels(value) for value in shape.GetLabels()}


def wide(path: Path) -> SimpleITK.Image:
    return SimpleITK.ReadImage(str(path), SimpleITK.sitkUInt16)


def diff_simpleitk(before: Path, after: Path) -> dict[int, int]:
    pairs = counted(wide(before) * PLACE + wide(after))
    return from_pairs({divmod(code, PLACE): voxels for code, voxels in pairs.items()})


def blame_ours(files: list[Path]) -> dict[int, int]:
    found = blame(
        ChainVersion(number, decode_mask(path.read_bytes(), path.name)[1])
        for number, path in enumerate(files, 1)
    )
    return {PLACE * value + version: voxels for (value, version), voxels in found.voxels.items()}


def blame_numpy(files: list[Path]) -> dict[int, int]:
    first = np.asarray(nibabel.load(files[0]).dataobj)
    before, who = np.zeros_like(first), np.zeros_like(first)
    for number, path in enumerate(files, 1):
        now = np.asarray(nibabel.load(path).dataobj)
        who[now != before] = number
        before = now
    who[before == 0] = 0
    counts = np.bincount((before.astype(np.uint16) * PLACE + who).ravel(order="F"))
    return {int(code): int(counts[code]) for code in np.flatnonzero(counts) if code}


def blame_simpleitk(files: list[Path]) -> dict[int, int]:
    before = wide(files[0]) * 0
    who = before
    for number, path in enumerate(files, 1):
        now = wide(path)
        changed = SimpleITK.NotEqual(now, before)
        who = SimpleITK.MaskNegated(who, changed) + SimpleITK.Cast(changed, SimpleITK.sitkUInt16) * number
        before = now
    return counted(SimpleITK.Mask(before * PLACE + who, SimpleITK.Cast(before > 0, SimpleITK.sitkUInt8)))


def main() -> None:
    """Measure on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with tempfile.TemporaryDirectory() as name:
        files = write_chain(Path(name))
        runs = len(decode_mask(files[-1].read_bytes(), files[-1].name)[1])
        print(f"\n# {VERSIONS} versions of a drawn mask, 512×512×300, {runs} runs in the last")
        ways: dict[str, Callable[[], dict[int, int]]] = {
            "maskledger": lambda: diff_ours(files[-2], files[-1]),
            "numpy + nibabel": lambda: diff_numpy(files[-2], files[-1]),
            "SimpleITK": lambda: diff_simpleitk(files[-2], files[-1]),
        }
        measure("diff of the last two: read both, count per class", ways)
        ways = {
            "maskledger": lambda: blame_ours(files),
            "numpy + nibabel": lambda: blame_numpy(files),
            "SimpleITK": lambda: blame_simpleitk(files),
        }
        measure(f"blame over {VERSIONS}: read all, count per class and version", ways)


if __name__ == "__main__":
    main()
