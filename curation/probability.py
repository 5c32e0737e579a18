"""Maps of how probable a prediction found each voxel's class: stored in steps of percent, compared exactly.

A map is a label map on its mask's grid: 0 where the mask draws nothing, elsewhere the probability of the class drawn
there, in percent, rounded down to a step. Rounded down, because then "below a step" is the same for the map and
for what it was made of. The last step stands for all above it, too: between 95 % and certain lies noise, which would
not compress, and no doubt.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from curation.errors import UsageError
from curation.labels import IGNORE
from curation.rle import RunLengths, overlay

STEP_PERCENT = 5
HIGHEST_PERCENT = 95
STEPS = frozenset(range(STEP_PERCENT, HIGHEST_PERCENT + 1, STEP_PERCENT))


def percent_steps(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The map of a mask.

    Args:
        probability: Of the class of each voxel, 0 to 1; any shape; in float32, half is too coarse for the steps.
        mask: Label values of the same shape.

    Returns:
        Percent in steps, uint8: 0 where the mask is 0, elsewhere 5 to 95. What is less probable than one step
        is one step, so that the map draws what the mask draws.
    """
    # A float32 may have 0.95 a little below itself.
    steps = np.floor(probability * np.float32(100 / STEP_PERCENT) + np.float32(1e-4))
    percent = np.clip(steps * STEP_PERCENT, STEP_PERCENT, HIGHEST_PERCENT).astype(np.uint8)
    return np.where(mask == 0, 0, percent).astype(np.uint8)


def threshold_percent(below: float) -> int:
    """A threshold as a map can tell it.

    Raises:
        UsageError: It lies between two steps, or beyond them.
    """
    percent = round(below * 100, 6)
    if percent not in STEPS:
        lower = min(max(int(percent // STEP_PERCENT) * STEP_PERCENT, STEP_PERCENT), HIGHEST_PERCENT)
        near = f"{lower / 100:.2f}"
        if lower < percent < HIGHEST_PERCENT:
            near += f" or {(lower + STEP_PERCENT) / 100:.2f}"
        raise UsageError(
            f"probability {below:g}: maps of probabilities have steps of {STEP_PERCENT} % up to {HIGHEST_PERCENT} %; "
            f"take {near}"
        )
    return int(percent)


def newly_drawn(kept: RunLengths, merged: RunLengths, drawn: Collection[int]) -> RunLengths:
    """The voxels that a merge has newly drawn, with their class.

    Args:
        kept: The mask before, without the classes that were released to be drawn again.
        merged: The mask after.
        drawn: Classes that may come from the prediction.
    """
    joint = overlay(kept, merged)
    new = np.isin(joint.b, list(drawn)) & (joint.a != joint.b)
    return joint.runs(np.where(new, joint.b, 0).astype(np.uint8))


def unsure_classes(filled: RunLengths, of_map: RunLengths, below_percent: int) -> frozenset[int]:
    """The classes of which every voxel is less probable than `below_percent`."""
    found = overlay(filled, of_map).pairs()
    sure = {value for value, percent in found if percent >= below_percent}
    return frozenset(value for value, _ in found if value) - sure


def ignore_uncertain(
    merged: RunLengths, drawn: RunLengths, map_percent: RunLengths, below_percent: int
) -> tuple[RunLengths, dict[int, int]]:
    """Turn what a prediction has drawn and was not sure of into voxels to ignore.

    A class of which no voxel is sure is not touched: that is for the caller to leave out.

    Args:
        merged: The mask with the prediction's voxels in it.
        drawn: Just those of the prediction's voxels that stand in `merged`, with their class; 0 elsewhere.
        map_percent: The prediction's map.
        below_percent: Less than this is uncertain.

    Returns:
        The mask, and per class how many of its voxels are ignored now.

    Raises:
        GridError: The shapes differ.
    """
    of_class = overlay(drawn, map_percent)
    uncertain = (of_class.a != 0) & (of_class.b < below_percent)
    doubt = of_class.runs(np.where(uncertain, of_class.a, 0).astype(np.uint8))
    joint = overlay(merged, doubt)
    ignored = joint.runs(np.where(joint.b != 0, IGNORE, joint.a).astype(np.uint8))
    return ignored, doubt.voxels()
