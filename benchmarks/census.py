"""Census and components of a 512×512×300 mask, side by side with the tools people would use instead.

Run ``python benchmarks/census.py [MASK.nii.gz …]``: every way of doing the same work on the same file,
in one process on one core, medians of five, results checked equal. Without files it draws a mask of 13 organs.
"""

import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import cc3d
import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from curation.census import take_census
from curation.components import keep_largest
from curation.volumes import decode_mask

REPEATS = 5
SHAPE, SPACING_MM = (512, 512, 300), (0.8, 0.8, 2.5)


def draw_mask(seed: int = 23) -> NDArray[np.uint8]:
    """13 organs as ellipsoids with ragged borders, (X, Y, Z), about 5 % foreground as in abdominal scans."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, np.uint8, order="F")
    for organ in range(1, 14):
        centre, radii = rng.integers((120, 140, 60), (390, 370, 240)), rng.integers((25, 25, 20), (70, 60, 55))
        low = np.maximum(centre - radii, 0)
        axes = [np.arange(a, min(c + r + 1, n)) for a, c, r, n in zip(low, centre, radii, SHAPE, strict=True)]
        x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
        offsets = (along - c for along, c in zip((x, y, z), centre, strict=True))
        depth = sum((offset / radius) ** 2 for offset, radius in zip(offsets, radii, strict=True))
        ragged = depth + rng.normal(0, 0.02, depth.shape) < 1
        box = mask[np.ix_(*axes)]
        mask[np.ix_(*axes)] = np.where(ragged, np.uint8(organ), box)
    return mask


def census_ours(path: Path) -> dict[int, int]:
    geometry, runs = decode_mask(path.read_bytes(), path.name)
    return {value: c.voxels for value, c in take_census(runs, geometry, with_components=False).items()}


def census_ours_with_components(path: Path) -> dict[int, int]:
    geometry, runs = decode_mask(path.read_bytes(), path.name)
    return {value: c.voxels for value, c in take_census(runs, geometry).items()}


def census_numpy(path: Path) -> dict[int, int]:
    values, counts = np.unique(nibabel.load(path).get_fdata(), return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True) if v}


def census_simpleitk(path: Path) -> dict[int, int]:
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(SimpleITK.ReadImage(str(path)))
    return {value: shape.GetNumberOfPixels(value) for value in shape.GetLabels()}


def census_cc3d(path: Path) -> dict[int, int]:
    counts = cc3d.statistics(np.asarray(nibabel.load(path).dataobj))["voxel_counts"]
    return {value: int(n) for value, n in enumerate(counts.tolist()) if value and n}


def largest_ours(path: Path) -> dict[int, int]:
    _, runs = decode_mask(path.read_bytes(), path.name)
    return keep_largest(runs, runs.voxels()).voxels()


def largest_cc3d(path: Path) -> dict[int, int]:
    mask = np.asarray(nibabel.load(path).dataobj)
    labels = cc3d.connected_components(mask, connectivity=26)
    found = cc3d.statistics(labels)
    value = mask[tuple(slices_first(labels, found).T)]
    largest: dict[int, int] = {}
    for of_value, voxels in zip(value.tolist(), found["voxel_counts"].tolist()[1:], strict=True):
        largest[of_value] = max(largest.get(of_value, 0), voxels)
    return dict(sorted(largest.items()))


def slices_first(labels: NDArray[np.integer], found: dict) -> NDArray[np.int64]:
    """One voxel of each component, to look its class up."""
    places = []
    for label, box in enumerate(found["bounding_boxes"][1:], start=1):
        inside = np.argwhere(labels[box] == label)[0]
        places.append([s.start + int(i) for s, i in zip(box, inside, strict=True)])
    return np.array(places)


def peak_mb(work: Callable[[], object]) -> float:
    """How far one run of `work` raises the resident memory of a fresh fork, in MB."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def child(answer: Connection) -> None:
        before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        work()
        answer.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)

    process = context.Process(target=child, args=(theirs,))
    process.start()
    grown = ours.recv()
    process.join()
    return float(grown) / 1e6


def measure(title: str, ways: dict[str, Callable[[], dict[int, int]]]) -> None:
    """Print one row per way: wall and processor time, peak memory; all must give the same counts.

    On a busy machine the wall time is the neighbours' too; the processor time is the work's own.
    """
    print(f"\n{title}\n{'':44}{'median ms':>10}{'min–max':>16}{'cpu ms':>9}{'peak MB':>9}{'times ours':>12}")
    peaks = {name: peak_mb(work) for name, work in ways.items()}
    expected, base = None, 0.0
    for name, work in ways.items():
        wall, cpu = [], []
        for _ in range(REPEATS):
            start, cpu_start = time.perf_counter(), time.process_time()
            counts = work()
            wall.append((time.perf_counter() - start) * 1000)
            cpu.append((time.process_time() - cpu_start) * 1000)
        expected = expected or counts
        assert counts == expected, f"{name} counts differently"
        median, own = statistics.median(wall), statistics.median(cpu)
        base = base or own
        span = f"{min(wall):.0f}–{max(wall):.0f}"
        print(f"{name:44}{median:10.1f}{span:>16}{own:9.1f}{peaks[name]:9.0f}{own / base:12.1f}")


def measure_file(path: Path) -> None:
    """Measure every way of every work on one mask."""
    geometry, runs = decode_mask(path.read_bytes(), path.name)
    voxels = runs.voxels()
    shape = "×".join(str(n) for n in geometry.shape)
    print(f"\n# {path.name}: {shape}, {len(runs)} runs, {len(voxels)} values, {sum(voxels.values())} voxels")
    measure(
        "census of a file",
        {
            "maskledger (box, border, centroid, hash)": lambda: census_ours(path),
            "maskledger, with components": lambda: census_ours_with_components(path),
            "np.unique(nibabel get_fdata)": lambda: census_numpy(path),
            "SimpleITK LabelShapeStatistics": lambda: census_simpleitk(path),
            "nibabel + cc3d.statistics": lambda: census_cc3d(path),
        },
    )
    measure(
        "largest component of every value",
        {
            "maskledger": lambda: largest_ours(path),
            "nibabel + cc3d": lambda: largest_cc3d(path),
        },
    )


def main(files: list[str]) -> None:
    """Measure the given masks, or a drawn one, on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = folder / "drawn.nii.gz"
        if not files:
            nibabel.save(nibabel.Nifti1Image(draw_mask(), np.diag([*SPACING_MM, 1.0])), drawn)
        for path in [Path(file) for file in files] or [drawn]:
            measure_file(path)


if __name__ == "__main__":
    main(sys.argv[1:])
