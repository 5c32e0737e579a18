"""What changed between two masks of one grid: per value the voxels gained, lost and kept, and where they lie."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.labels import CLASS_IDS
from curation.rle import RunLengths, overlay


@dataclass(frozen=True)
class ValueChange:
    """One value in two masks, in voxels: there only afterwards, only before, in both."""

    gained: int = 0
    lost: int = 0
    common: int = 0

    @property
    def changed(self) -> bool:
        """True if any voxel took or left this value."""
        return bool(self.gained or self.lost)

    @property
    def dice(self) -> float:
        """Overlap of before and after, 0 to 1. Where both are empty nothing differs: 1, as FLARE scores it."""
        both = 2 * self.common + self.gained + self.lost
        return 2 * self.common / both if both else 1.0


def diff(before: RunLengths, after: RunLengths) -> dict[int, ValueChange]:
    """Compare two masks value by value.

    Returns:
        A change for each of the 14 classes and for every other value that occurs in either mask, ascending.

    Raises:
        GridError: The shapes differ.
    """
    pairs = overlay(before, after).pairs()
    values = sorted({*CLASS_IDS, *(value for pair in pairs for value in pair if value)})
    gained, lost, common = (dict.fromkeys(values, 0) for _ in range(3))
    for (was, now), voxels in pairs.items():
        if was == now:
            common[was] = voxels
            continue
        if was:
            lost[was] += voxels
        if now:
            gained[now] += voxels
    return {value: ValueChange(gained[value], lost[value], common[value]) for value in values}


def changed_per_slice(before: RunLengths, after: RunLengths, value: int, axis: int) -> NDArray[np.int64]:
    """Voxels that took or left one value, counted by their place along one of the file's axes.

    Args:
        before: A mask.
        after: Another one on the same grid.
        value: Label value.
        axis: 0 to 2, of the file's own axes; 0 is the fastest.

    Returns:
        A count per slice, of length ``shape[axis]``.

    Raises:
        GridError: The shapes differ.
    """
    joint = overlay(before, after)
    changed = joint.runs(((joint.a == value) != (joint.b == value)).astype(np.uint8))
    width, height, depth = changed.shape
    if axis:
        place = changed.row // height if axis == 2 else changed.row % height
        length = depth if axis == 2 else height
        return np.bincount(place, weights=changed.lengths, minlength=length).astype(np.int64)
    # Runs lie along this axis: each adds one to every slice from its start up to its stop.
    begun = np.bincount(changed.start, minlength=width + 1)
    ended = np.bincount(changed.stop, minlength=width + 1)
    return np.cumsum(begun - ended)[:width]
