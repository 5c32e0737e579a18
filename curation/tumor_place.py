"""Where tumors lie: far from every organ that was drawn is no place for one."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from curation.census import ClassCensus
from curation.components import find_components
from curation.geometry import Geometry
from curation.labels import BY_ID, ORGAN_IDS, TUMOR_ID
from curation.rle import RunLengths
from curation.status import Finding, Severity

# With fewer organs drawn, a tumor may well lie in one of the others.
_ENOUGH_ORGANS = 5
# From the nearest organ's box. Nodes and peritoneal tumors lie nearer; the scanner's table does not. Our choice.
_FAR_MM = 50.0


def tumor_far_from_organs(
    census: Mapping[int, ClassCensus], runs: RunLengths, geometry: Geometry
) -> list[Finding]:
    """Tumor pieces whose box is further than 50 mm from the box of every organ, where five or more are drawn."""
    organs = [class_id for class_id in ORGAN_IDS if class_id in census]
    if TUMOR_ID not in census or len(organs) < _ENOUGH_ORGANS:
        return []
    own = runs.select([TUMOR_ID])
    pieces = find_components(own)
    low, high = _boxes(own, pieces.of_run, len(pieces.voxels))
    boxes = np.array([census[class_id].bbox for class_id in organs])
    # Gap between the boxes along each of the file's axes, 0 where they overlap; (pieces, organs, 3).
    apart = np.maximum(boxes[None, :, :3] - high[:, None], low[:, None] - boxes[None, :, 3:]).clip(min=0)
    to_organ_mm = np.sqrt(((apart * np.array(geometry.spacing_mm)) ** 2).sum(axis=2))
    distance_mm = to_organ_mm.min(axis=1)
    far = distance_mm > _FAR_MM
    if not far.any():
        return []
    worst = int(np.argmax(distance_mm))
    x, y, z = ((low[worst] + high[worst] - 1) // 2).tolist()
    nearest = organs[int(np.argmin(to_organ_mm[worst]))]
    ml = float(pieces.voxels[far].sum()) * geometry.voxel_ml
    count = int(far.sum())
    return [
        Finding(
            "tumor_far_from_organs",
            Severity.WARNING,
            TUMOR_ID,
            float(distance_mm[worst]),
            _FAR_MM,
            f"{count} piece{'s' if count > 1 else ''} of the tumor ({ml:.2f} ml) lie{'' if count > 1 else 's'} up to "
            f"{distance_mm[worst]:.0f} mm from every organ (the nearest is the {BY_ID[nearest].title.lower()}), at "
            f"most {_FAR_MM:.0f} mm is usual; look around voxel ({x}, {y}, {z}) whether it lies outside the body.",
        )
    ]


def _boxes(
    own: RunLengths, piece: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The box of each piece, in voxels of the file's axes: where it begins and one past its end, (pieces, 3)."""
    z, y = np.divmod(own.row, own.shape[1])
    low = np.full((count, 3), np.iinfo(np.int32).max, np.int64)
    high = np.zeros((count, 3), np.int64)
    for axis, (first, last) in enumerate(((own.start, own.stop), (y, y + 1), (z, z + 1))):
        np.minimum.at(low[:, axis], piece, first)
        np.maximum.at(high[:, axis], piece, last)
    return low, high
