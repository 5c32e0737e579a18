"""Table 1 of the paper: random transforms of the fine stage in MONAI, and a flip that knows left from right."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import (
    Compose,
    MapTransform,
    RandAdjustContrastd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    Randomizable,
    RandomizableTransform,
    RandScaleIntensityd,
    RandZoomd,
)

from curation.labels import SIDED_PAIRS

IMAGE, LABEL = "image", "label"
# Which classes nobody looked for in the sample: (classes,) bool, background included.
MISSING = "missing"
_AXES = {"x": 0, "y": 1, "z": 2}


def swap_table() -> torch.Tensor:
    """What each of the 256 label values becomes in a mirrored patient: kidneys and adrenals change sides.

    Swapping twice changes nothing, so the table also says which class a value was before.
    """
    table = torch.arange(256, dtype=torch.uint8)
    for right, left in SIDED_PAIRS:
        table[right], table[left] = left, right
    return table


class RandFlipSidesd(RandomizableTransform, MapTransform):
    """Flip image and label along x (left–right in RAS) and swap the labels of paired organs with it.

    A mirrored right kidney looks like a left one and lies where the left one lies; called "right" still it
    would teach the network that sides mean nothing. What is missing changes sides, too: where nobody looked for
    the right kidney, the mirrored image has a left one that nobody looked for.
    """

    def __init__(self, keys: KeysCollection, label_key: str, prob: float) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.label_key = label_key
        self.table = swap_table()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Flip both with probability `prob`; arrays are (1, X, Y, Z)."""
        self.randomize(None)
        out = dict(data)
        if not self._do_transform:
            return out
        for key in self.key_iterator(out):
            out[key] = torch.flip(out[key], (1,))
        out[self.label_key] = self.table[out[self.label_key].long()]
        if MISSING in out:
            missing = out[MISSING]
            out[MISSING] = missing[self.table[: len(missing)].long()]
        return out


def table_1(flips: str, *, intensity: bool) -> Compose:
    """The transforms of one stage.

    Args:
        flips: Axes that are flipped with probability 0.5, any of "x", "y", "z"; "xyz" in the paper.
        intensity: Zoom and the four changes of intensity too; without, flips alone.
    """
    both = [IMAGE, LABEL]
    sigma = (0.5, 1.15)
    steps: list[Randomizable] = []
    for axis in flips:
        if axis == "x":
            steps.append(RandFlipSidesd(both, LABEL, prob=0.5))
        else:
            steps.append(RandFlipd(both, prob=0.5, spatial_axis=_AXES[axis]))
    if intensity:
        steps += [
            # The image is z-scored: edge values are air where the crop reaches the skin.
            RandZoomd(
                both,
                prob=0.15,
                min_zoom=0.9,
                max_zoom=1.2,
                mode=["trilinear", "nearest"],
                padding_mode="edge",
            ),
            RandGaussianNoised(IMAGE, prob=0.15, std=0.01),
            RandGaussianSmoothd(IMAGE, prob=0.15, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma),
            RandScaleIntensityd(IMAGE, prob=0.15, factors=0.3),
            # The paper names no range of gamma; this is nnU-Net's.
            RandAdjustContrastd(IMAGE, prob=0.15, gamma=(0.7, 1.5)),
        ]
    return Compose(steps)
