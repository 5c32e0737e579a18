"""The census of a mask: what can be counted of each value, from its runs alone."""

from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from curation.components import find_components
from curation.rle import RunLengths
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
    height = runs.shape[1]
    census = {}
    for value, voxels in runs.voxels().items():
        own = runs.keep(runs.value == value)
        z, y = np.divmod(own.row, height)
        length = own.lengths
        low = (int(own.start.min()), int(y.min()), int(z[0]))
        high = (int(own.stop.max()), int(y.max()) + 1, int(z[-1]) + 1)
        # The middle of a run of voxel centres is (start + stop - 1) / 2.
        middle = [
            float(((own.start + own.stop - 1) * length).sum()) / 2 / voxels,
            float((y * length).sum()) / voxels,
            float((z * length).sum()) / voxels,
            1.0,
        ]
        x_mm, y_mm, z_mm = (geometry.affine @ middle)[:3].tolist()
        sizes = pieces.voxels[pieces.value == value] if pieces else None
        census[value] = ClassCensus(
            voxels=voxels,
            volume_ml=voxels * geometry.voxel_ml,
            bbox=(*low, *high),
            touches_border=0 in low or any(h == n for h, n in zip(high, runs.shape, strict=True)),
            centroid_mm=(x_mm, y_mm, z_mm),
            components=0 if sizes is None else len(sizes),
            largest_share=0.0 if sizes is None else float(sizes.max()) / voxels,
            class_hash=_hash(own),
        )
    return census


def class_hash(runs: RunLengths, value: int) -> str:
    """Name what is drawn of one value, whatever the other values do: blake3 over shape and runs."""
    return _hash(runs.select([value]))


def _hash(own: RunLengths) -> str:
    digest = blake3(np.array(own.shape, "<i8").tobytes())
    for column in (own.row, own.start, own.stop):
        digest.update(column.astype("<i4").tobytes())
    return str(digest.hexdigest())
