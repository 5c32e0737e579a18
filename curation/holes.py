"""Holes: pockets of background inside a solid organ, found between the runs of its rows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.census import ClassCensus
from curation.components import find_components
from curation.geometry import Geometry
from curation.labels import BY_ID, TUMOR_ID
from curation.rle import RunLengths
from curation.status import Finding, Severity

# Liver, kidneys, spleen, pancreas. Hollow organs and vessels may be drawn by their wall; adrenals are too thin.
_SOLID = (1, 2, 3, 4, 13)
# Together. Below it are single voxels that a network left out, and what experts leave: AMOS 0013's liver encloses
# 0.83 ml. Our choice.
_NOTED_ML, _WARNED_ML = 1.0, 5.0


@dataclass(frozen=True, eq=False)
class Holes:
    """The pockets of one class: voxels of each, and a voxel (x, y, z) in the middle of the largest."""

    voxels: NDArray[np.int64]
    place: tuple[int, int, int]


def find_holes(runs: RunLengths, class_id: int, among: Collection[int] = (TUMOR_ID,)) -> Holes | None:
    """Find the background that a class encloses, alone or together with the classes `among`.

    A pocket consists of gaps between two runs of a row. It is a hole where, in all four rows beside it, each of
    its voxels has the class, one of `among` or the pocket itself; pockets that touch at a corner count as
    one. What is open to another class or to the outside is none.

    Returns:
        The holes; None where there is none.
    """
    own = runs.select([class_id, *among])
    width, height, depth = runs.shape
    between = (own.row[1:] == own.row[:-1]) & (own.start[1:] > own.stop[:-1])
    between &= (own.value[1:] == class_id) | (own.value[:-1] == class_id)
    before = np.flatnonzero(between)
    # Nothing else may stand in the gap: of all runs, the next one is the one behind it.
    all_starts, gap_stop = runs.flat_start, own.flat_start[before + 1]
    next_run = np.searchsorted(all_starts, own.flat_stop[before])
    before = before[all_starts[next_run] == gap_stop]
    if not len(before):
        return None
    gaps = RunLengths(
        runs.shape, np.ones(len(before), np.uint8), own.row[before], own.stop[before], own.start[before + 1]
    )
    pieces = find_components(gaps)
    # What may stand beside a hole, in file order: the drawn runs and the gaps, which overlap nowhere.
    start = np.concatenate((own.flat_start, gaps.flat_start))
    order = np.argsort(start, kind="stable")
    start, stop = start[order], np.concatenate((own.flat_stop, gaps.flat_stop))[order]
    covered = np.concatenate(([0], np.cumsum(stop - start)))
    z, y = np.divmod(gaps.row, height)
    closed = np.ones(len(pieces.voxels), np.bool_)
    for dy, dz in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        inside = (y + dy >= 0) & (y + dy < height) & (z + dz >= 0) & (z + dz < depth)
        shift = (dy + dz * height) * width
        beside = _before(gaps.flat_stop + shift, start, stop, covered) - _before(
            gaps.flat_start + shift, start, stop, covered
        )
        closed[pieces.of_run[~inside | (beside < gaps.lengths)]] = False
    if not closed.any():
        return None
    largest = int(np.argmax(np.where(closed, pieces.voxels, 0)))
    of_largest = np.flatnonzero(pieces.of_run == largest)
    middle = of_largest[len(of_largest) // 2]
    return Holes(
        pieces.voxels[closed],
        (int(gaps.start[middle] + gaps.stop[middle] - 1) // 2, int(y[middle]), int(z[middle])),
    )


def _before(
    at: NDArray[np.int64], start: NDArray[np.int64], stop: NDArray[np.int64], covered: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Voxels of the stretches [start, stop) that lie before each place `at` of the file order."""
    begun = np.searchsorted(start, at)
    last = (begun - 1).clip(min=0)
    return covered[begun] - np.where(begun > 0, (stop[last] - at).clip(min=0), 0)


def holes_in_organ(census: Mapping[int, ClassCensus], runs: RunLengths, geometry: Geometry) -> list[Finding]:
    """Solid organs that enclose background of a millilitre or more."""
    findings = []
    for class_id in _SOLID:
        # An organ smaller than that cannot hold it: spares the tiny ones the search.
        if class_id not in census or census[class_id].volume_ml < _NOTED_ML:
            continue
        holes = find_holes(runs, class_id)
        ml = float(holes.voxels.sum()) * geometry.voxel_ml if holes else 0.0
        if holes is None or ml < _NOTED_ML:
            continue
        x, y, z = holes.place
        count = len(holes.voxels)
        findings.append(
            Finding(
                "holes_in_organ",
                Severity.WARNING if ml >= _WARNED_ML else Severity.INFO,
                class_id,
                ml,
                _NOTED_ML,
                f"{BY_ID[class_id].title} encloses {ml:.2f} ml of background in "
                f"{count} hole{'s' if count > 1 else ''}, less than {_NOTED_ML:g} ml is usual; look at the largest, "
                f"{float(holes.voxels.max()) * geometry.voxel_ml:.2f} ml around voxel ({x}, {y}, {z}).",
            )
        )
    return findings
