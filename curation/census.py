"""The census of a mask: what can be counted of each value, from its runs alone."""

from dataclasses import dataclass

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from curation.components import find_components
from curation.rle import RunLengths, distinct
from curation.volumes import Geometry


@dataclass(frozen=True)
class ClassCensus:
    """What one value of a mask amounts to.

    `bbox` is (x0, y0, z0, x1, y1, z1), half open, in voxels of the file's own axes. `centroid_mm` is the mean
    voxel centre in RAS+ mm. `components` counts 26-connected pieces and `largest_share` is the part of the
    voxels in the largest of them; both are 0 if they were not asked for. `class_hash` changes exactly when a
    voxel of this value does.
    """

    voxels: int
    volume_ml: float
    bbox: tuple[int, int, int, int, int, int]
    touches_border: bool
    centroid_mm: tuple[float, float, float]
    components: int
    largest_share: float
    class_hash: str


def take_census(
    runs: RunLengths, geometry: Geometry, *, with_components: bool = True
) -> dict[int, ClassCensus]:
    """Measure every value of a mask, reserved ones too.

    Returns:
        Value to census, for the values that have voxels, ascending. That a class is not in it says only that
        it has no voxel; whether anyone looked is the annotation status.
    """
    assert runs.shape == geometry.shape
    pieces = find_components(runs) if with_components else None
    if not len(runs):
        return {}
    values, code = distinct(runs.value)
    # Sorted by value once, each class is a slice. Codes of one or two bytes sort in linear time.
    code = code.astype(np.min_scalar_type(len(values)))
    order = np.argsort(code, kind="stable")
    row, start, stop = (column[order] for column in (runs.row, runs.start, runs.stop))
    first = np.concatenate(([0], np.cumsum(np.bincount(code))))
    z = row // runs.shape[1]
    y = row - z * runs.shape[1]
    length = stop - start
    heads = first[:-1]
    lows = np.minimum.reduceat(start, heads), np.minimum.reduceat(y, heads), z[heads]
    highs = np.maximum.reduceat(stop, heads), np.maximum.reduceat(y, heads) + 1, z[first[1:] - 1] + 1
    # The middle of a run of voxel centres is (start + stop - 1) / 2.
    sums = [
        np.add.reduceat(np.multiply(along, length, dtype=np.int64), heads).tolist()
        for along in (start + stop - 1, y, z)
    ]
    counts = np.add.reduceat(length, heads, dtype=np.int64).tolist()
    census = {}
    for i, value in enumerate(values.tolist()):
        voxels = counts[i]
        low = (int(lows[0][i]), int(lows[1][i]), int(lows[2][i]))
        high = (int(highs[0][i]), int(highs[1][i]), int(highs[2][i]))
        middle = [sums[0][i] / 2 / voxels, sums[1][i] / voxels, sums[2][i] / voxels, 1.0]
        x_mm, y_mm, z_mm = (geometry.affine @ middle)[:3].tolist()
        own = slice(int(first[i]), int(first[i + 1]))
        sizes = pieces.voxels[pieces.value == value] if pieces else None
        census[value] = ClassCensus(
            voxels=voxels,
            volume_ml=voxels * geometry.voxel_ml,
            bbox=(*low, *high),
            touches_border=0 in low or any(h == n for h, n in zip(high, runs.shape, strict=True)),
            centroid_mm=(x_mm, y_mm, z_mm),
            components=0 if sizes is None else len(sizes),
            largest_share=0.0 if sizes is None else float(sizes.max()) / voxels,
            class_hash=_hash(runs.shape, row[own], start[own], stop[own]),
        )
    return census


def class_hash(runs: RunLengths, value: int) -> str:
    """Name what is drawn of one value, whatever the other values do: blake3 over shape and runs."""
    own = runs.select([value])
    return _hash(own.shape, own.row, own.start, own.stop)


def _hash(shape: tuple[int, int, int], *columns: NDArray[np.int32]) -> str:
    digest = blake3(np.array(shape, "<i8").tobytes())
    for column in columns:
        digest.update(np.ascontiguousarray(column, "<i4").view(np.uint8).data)
    return str(digest.hexdigest())
