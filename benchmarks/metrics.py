"""DSC + NSD of 14 classes of one real pair: ours beside surface-distance and MONAI. Run: python benchmarks/metrics.py

The pair is the largest of the golden ones beside the project (512×512×82, decoded beforehand). Every tool scores the
same classes with the same tolerances; the largest difference between its NSD and ours is printed, too. The
slice rule and the DSC limit are the protocol's, so all three get the same masks, cut to the classes' slices. All run on
one core; MONAI would else take two.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curation.labels import BY_ID, CLASS_IDS
from curation.metrics import LEAST_DSC_FOR_NSD, SLICE_LIMITED_IDS, score
from curation.volumes import decode_mask

Scores = dict[int, float]
Masks = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table; arguments default to the command line's."""
    golden = Path(__file__).resolve().parents[2] / "shared" / "golden" / "flare23_metrics"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, default=golden / "reference" / "amos_0013_perturbed.nii.gz")
    parser.add_argument(
        "--prediction", type=Path, default=golden / "prediction" / "amos_0013_perturbed.nii.gz"
    )
    parser.add_argument("--repeats", type=int, default=5, help="ours; the others run once (default 5)")
    given = parser.parse_args(arguments)
    # Before torch is loaded, which counts the cores then.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    geometry, reference = decode_mask(given.reference.read_bytes(), given.reference.name)
    _, prediction = decode_mask(given.prediction.read_bytes(), given.prediction.name)
    spacing_mm = geometry.spacing_mm
    voxels = reference.to_array(), prediction.to_array()

    def ours() -> Scores:
        return {class_id: one.nsd for class_id, one in score(reference, prediction, geometry).items()}

    wanted, seconds = measured(ours, given.repeats)
    print(f"{given.reference.name}, {' × '.join(map(str, geometry.shape))} voxels")
    print(f"{'ours':<20}{seconds * 1000:>10.0f} ms  median of {given.repeats}")
    for name, tool in (("surface-distance", surface_distance_tool), ("MONAI", monai_tool)):
        try:
            surface_dice = tool(spacing_mm)
        except ImportError:
            print(f"{name:<20}  not installed")
            continue

        def theirs(surface_dice: Callable[[Masks, float], float] = surface_dice) -> Scores:
            return scored(*voxels, geometry.ras_axes[2][0], surface_dice)

        found, seconds = measured(theirs, 1)
        apart = max(abs(found[class_id] - wanted[class_id]) for class_id in CLASS_IDS)
        print(f"{name:<20}{seconds * 1000:>10.0f} ms  one run, largest difference in NSD {apart:.4f}")


def measured(work: Callable[[], Scores], repeats: int) -> tuple[Scores, float]:
    """The result and the median of the wall times in seconds."""
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begun)
    return result, statistics.median(seconds)


def scored(
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    axis: int,
    surface_dice: Callable[[Masks, float], float],
) -> Scores:
    """The protocol over voxels, as the official script goes about it, with a tool's surface dice."""
    found = {}
    for class_id in CLASS_IDS:
        a, b = reference == class_id, prediction == class_id
        if not a.any() or not b.any():
            found[class_id] = float(a.any() == b.any())
            continue
        if class_id in SLICE_LIMITED_IDS:
            drawn = np.flatnonzero(a.any(axis=tuple(i for i in range(3) if i != axis)))
            cut = tuple(slice(drawn[0], drawn[-1]) if i == axis else slice(None) for i in range(3))
            a, b = a[cut], b[cut]
        dsc = 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
        found[class_id] = 0.0
        if dsc >= LEAST_DSC_FOR_NSD:
            found[class_id] = round(surface_dice((a, b), BY_ID[class_id].tolerance_mm), 4)
    return found


def surface_distance_tool(spacing_mm: tuple[float, float, float]) -> Callable[[Masks, float], float]:
    """google-deepmind/surface-distance."""
    import surface_distance

    def surface_dice(masks: Masks, tolerance_mm: float) -> float:
        with warnings.catch_warnings():
            # It uses names that SciPy has renamed.
            warnings.simplefilter("ignore", DeprecationWarning)
            distances = surface_distance.compute_surface_distances(*masks, spacing_mm)
        return surface_distance.compute_surface_dice_at_tolerance(distances, tolerance_mm)

    return surface_dice


def monai_tool(spacing_mm: tuple[float, float, float]) -> Callable[[Masks, float], float]:
    """MONAI's compute_surface_dice, with the same surface elements (use_subvoxels)."""
    import torch
    from monai.metrics import compute_surface_dice

    def surface_dice(masks: Masks, tolerance_mm: float) -> float:
        a, b = (torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in masks)
        with warnings.catch_warnings():
            # It calls itself by an argument that it has deprecated.
            warnings.simplefilter("ignore", FutureWarning)
            found = compute_surface_dice(
                b, a, [tolerance_mm], include_background=True, spacing=spacing_mm, use_subvoxels=True
            )
        return float(found)

    return surface_dice


if __name__ == "__main__":
    main()
