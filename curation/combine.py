"""Several predictions of one case become one: by majority of voxels, or by classes that agree."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from curation.labels import CLASS_IDS
from curation.metrics import agreement
from curation.rle import RunLengths, overlay

# Their values share one integer per stretch, eight bits each.
MOST_MASKS = 7


def majority(masks: Sequence[RunLengths]) -> RunLengths:
    """Give every voxel the value that more than half of the masks have there, else background.

    Of two masks that is what both say.

    Raises:
        GridError: The shapes differ.
        ValueError: Fewer than two masks, or more than MOST_MASKS.
    """
    if not 2 <= len(masks) <= MOST_MASKS:
        raise ValueError(f"{len(masks)} masks; a majority is taken of 2 to {MOST_MASKS}")
    together = masks[0]
    for mask in masks[1:]:
        joint = overlay(together, mask)
        together = joint.runs(joint.a.astype(np.int64) * 256 + joint.b)
    codes, of_run = np.unique(together.value, return_inverse=True)
    winners = [_winner([code >> (8 * i) & 255 for i in range(len(masks))]) for code in codes.tolist()]
    return RunLengths.from_flat(
        together.shape, together.flat_start, together.flat_stop, np.array(winners, np.uint8)[of_run]
    )


def _winner(votes: list[int]) -> int:
    most = max(set(votes), key=votes.count)
    return most if 2 * votes.count(most) > len(votes) else 0


def agreeing(masks: Sequence[RunLengths], least_dice: float) -> RunLengths:
    """Take the classes, as the first mask draws them, on which every two masks agree.

    Args:
        masks: On one grid; the first is the one that is trusted most.
        least_dice: Dice that a class must reach between every two masks; a class that a mask does not
            draw at all is not agreed on.

    Raises:
        GridError: The shapes differ.
    """
    agreed = set(CLASS_IDS)
    for a, b in combinations(masks, 2):
        dice = agreement(a, b, agreed & a.voxels().keys() & b.voxels().keys())
        agreed = {class_id for class_id, value in dice.items() if value >= least_dice}
    return masks[0].select(agreed)
