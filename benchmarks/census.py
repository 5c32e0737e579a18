"""Census and components of masks, side by side with the tools people would use instead.

Run ``python -m benchmarks.census [MASK.nii.gz …]``: every way of doing the same work on the same file, in one
process on one core, medians of five, results checked equal. Without files it draws a 512×512×300 mask of 13
organs with 2,000 specks, and takes three real masks of KiTS19 along where `../shared/data` has them.
"""

import contextlib
import io
import logging
import math
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import cc3d
import nibabel
import numpy as np
import SimpleITK
from isal import isal_zlib
from numpy.typing import NDArray

from curation import compiled
from curation.census import take_census
from curation.components import drop_small, keep_largest
from curation.rle import CHUNK_BYTES
from curation.volumes import decode_mask
from pipelines.workers import worker_pool

REPEATS = 5
SHAPE, SPACING_MM = (512, 512, 300), (0.8, 0.8, 2.5)
KITS19 = Path("../shared/data/kits19")
# The one with most voxels, a usual one, and one of uint16 (case_00160 is 252×512×796, case_00015 uint16).
REAL = ("case_00160", "case_00002", "case_00015")
# What one of two processes counts in the trial of both cores.
MASKS_PER_PROCESS = 60


def draw_mask(seed: int = 23) -> NDArray[np.uint8]:
    """13 organs as ellipsoids with ragged borders, (X, Y, Z), about 5 % foreground as in abdominal scans."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, np.uint8, order="F")
    for organ in range(1, 14):
        centre, radii = (
            rng.integers((120, 140, 60), (390, 370, 240)),
            rng.integers((25, 25, 20), (70, 60, 55)),
        )
        low = np.maximum(centre - radii, 0)
        axes = [np.arange(a, min(c + r + 1, n)) for a, c, r, n in zip(low, centre, radii, SHAPE, strict=True)]
        x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
        offsets = (along - c for along, c in zip((x, y, z), centre, strict=True))
        depth = sum((offset / radius) ** 2 for offset, radius in zip(offsets, radii, strict=True))
        ragged = depth + rng.normal(0, 0.02, depth.shape) < 1
        box = mask[np.ix_(*axes)]
        mask[np.ix_(*axes)] = np.where(ragged, np.uint8(organ), box)
    return mask


def add_specks(mask: NDArray[np.uint8], specks: int = 2000, seed: int = 5) -> None:
    """Scatter single voxels of every class, as a model's output has them."""
    rng = np.random.default_rng(seed)
    places = tuple(rng.integers(0, SHAPE, (specks, 3)).T)
    mask[places] = rng.integers(1, 14, specks)


def bare_decompression(path: Path, expected: dict[int, int]) -> dict[int, int]:
    """What no census can do without: isal unpacks the file, and nobody looks."""
    data, inflate = path.read_bytes(), isal_zlib.decompressobj(31)
    while data:
        inflate.decompress(data, CHUNK_BYTES)
        data = inflate.unconsumed_tail
    return expected


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


def census_monai(path: Path, expected: dict[int, int]) -> dict[int, int]:
    """DataAnalyzer's statistics without components and histogram; the mask stands for its image, too."""
    import torch
    from monai.apps.auto3dseg import DataAnalyzer

    torch.set_num_threads(1)
    # Its report of what it does would stand between the rows of the table.
    logging.disable(logging.INFO)
    with (
        tempfile.TemporaryDirectory() as out,
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(action="ignore"),
    ):
        case = {"image": str(path.resolve()), "label": str(path.resolve())}
        analyzer = DataAnalyzer(
            {"training": [case]}, dataroot="/", output_path=f"{out}/stats.yaml", device="cpu", worker=0,
            image_key="image", label_key="label", do_ccp=False, hist_bins=0,
        )  # fmt: skip
        said = analyzer.get_all_case_stats()["stats_by_cases"][0]["label_stats"]
    # It says shares of the volume in single precision instead of counts.
    shares = {
        int(v): each["foreground_percentage"] for v, each in zip(said["labels"], said["label"], strict=True)
    }
    voxels = math.prod(nibabel.load(path).shape)
    assert all(math.isclose(shares[v] * voxels, n, rel_tol=1e-5) for v, n in expected.items())
    assert shares.keys() - {0} == expected.keys()
    return expected


def largest_ours(path: Path) -> dict[int, int]:
    _, runs = decode_mask(path.read_bytes(), path.name)
    return keep_largest(runs, runs.voxels()).voxels()


def largest_and_not_small(path: Path) -> dict[int, int]:
    _, runs = decode_mask(path.read_bytes(), path.name)
    return drop_small(keep_largest(runs, runs.voxels()), 10).voxels()


def largest_monai(path: Path) -> dict[int, int]:
    import torch
    from monai.transforms import KeepLargestConnectedComponent

    mask = np.asarray(nibabel.load(path).dataobj)
    values = [int(v) for v in np.unique(mask) if v]
    kept = KeepLargestConnectedComponent(applied_labels=values, independent=True, connectivity=3)(
        torch.from_numpy(mask[None].astype(np.uint8))
    )
    counts = np.bincount(np.asarray(kept).ravel())
    return {value: int(n) for value, n in enumerate(counts.tolist()) if value and n}


def count_many(path: Path) -> int:
    """What a worker of an ingest does all day; numba is loaded before."""
    for _ in range(MASKS_PER_PROCESS):
        census_ours(path)
    return MASKS_PER_PROCESS


def warm_up(path: Path) -> None:
    compiled.load()
    census_ours(path)
    time.sleep(0.5)  # so that the other process takes the other job


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


def resident_mb() -> float:
    """Resident memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def peak_mb(work: Callable[[], object]) -> float:
    """How far one run of `work` raises the resident memory of a fresh fork, in MB."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def child(answer: Connection) -> None:
        before = resident_mb()
        work()
        answer.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6 - before)

    process = context.Process(target=child, args=(theirs,))
    process.start()
    grown = ours.recv()
    process.join()
    return float(grown)


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


def numpy_alone(path: Path) -> str:
    """The census before the compiled loops are loaded, as in a command that reads a few masks."""
    peak = peak_mb(lambda: census_ours(path))
    wall = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        census_ours(path)
        wall.append((time.perf_counter() - start) * 1000)
    return f"{statistics.median(wall):.1f} ms, {peak:.0f} MB"


def measure_file(path: Path, before: str) -> None:
    """Measure every way of every work on one mask; `before`: what `numpy_alone` said."""
    geometry, runs = decode_mask(path.read_bytes(), path.name)
    voxels = runs.voxels()
    shape = "×".join(str(n) for n in geometry.shape)
    name = path.name if path.parent.name not in REAL else path.parent.name
    print(f"\n# {name}: {shape}, {len(runs)} runs, {len(voxels)} values, {sum(voxels.values())} voxels")
    print(f"census before compiled loops are loaded (numpy): {before}")
    measure(
        "census of a file",
        {
            "maskledger (box, border, centroid, hash)": lambda: census_ours(path),
            "maskledger, with components": lambda: census_ours_with_components(path),
            "isal decompression alone": lambda: bare_decompression(path, voxels),
            "np.unique(nibabel get_fdata)": lambda: census_numpy(path),
            "SimpleITK LabelShapeStatistics": lambda: census_simpleitk(path),
            "MONAI DataAnalyzer": lambda: census_monai(path, voxels),
            "nibabel + cc3d.statistics": lambda: census_cc3d(path),
        },
    )
    measure(
        "largest component of every value",
        {
            "maskledger": lambda: largest_ours(path),
            "maskledger, small pieces dropped as well": lambda: largest_and_not_small(path),
            "MONAI KeepLargestConnectedComponent": lambda: largest_monai(path),
            "nibabel + cc3d": lambda: largest_cc3d(path),
        },
    )


def measure_two_processes(path: Path) -> None:
    """How many masks two worker processes count in the time in which one counts its own."""
    if len(os.sched_getaffinity(0)) < 2:
        print("two processes: this machine has one core")
        return
    rates = {1: [0.0], 2: [0.0]}
    with worker_pool(2) as pool:
        list(pool.map(warm_up, [path] * 2))
        for _ in range(REPEATS):
            for processes in rates:
                start = time.perf_counter()
                done = sum(pool.map(count_many, [path] * processes))
                rates[processes].append(done / (time.perf_counter() - start))
    one, two = (statistics.median(rate[1:]) for rate in rates.values())
    print(f"masks a second: one process {one:.0f}, two processes {two:.0f} = {two / one:.2f} times")


def main(files: list[str]) -> None:
    """Measure the given masks, or a drawn one and real ones, on one core; then both cores on the first."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(file) for file in files]
        if not files:
            mask = draw_mask()
            add_specks(mask)
            drawn = Path(name) / "drawn.nii.gz"
            nibabel.save(nibabel.Nifti1Image(mask, np.diag([*SPACING_MM, 1.0])), drawn)
            real = (KITS19 / case / "segmentation.nii.gz" for case in REAL)
            paths = [drawn, *(path for path in real if path.exists())]
        before = {path: numpy_alone(path) for path in paths}
        resident = resident_mb()
        compiled.load()
        print(f"numba and the compiled loops: {resident_mb() - resident:.0f} MB, once per process")
        for path in paths:
            measure_file(path, before[path])
        os.sched_setaffinity(0, cores)
        print()
        measure_two_processes(paths[0])


if __name__ == "__main__":
    main(sys.argv[1:])
