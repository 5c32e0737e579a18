"""The coarse 3D U-Net of the student: it finds where in the whole image the organs are.

Facts from the published configuration beside arXiv 2109.10601: 2.68 M parameters at channels 8 to 128.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.training.networks.blocks import check_input, initialize, residual_stage, resize_to

FULL_CHANNELS = (8, 16, 32, 64, 128)


class CoarseUNet(nn.Module):
    """Logits for every class of a whole volume, scaled down.

    Input (N, 1, X, Y, Z) of any size from 17 voxels an axis, output (N, classes, X, Y, Z). Max pooling of 3
    at stride 2 on the way down, trilinear resizing and concatenated skips on the way up.
    """

    def __init__(
        self, classes: int, channels: Sequence[int] = FULL_CHANNELS, *, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            residual_stage(a, b, dropout=dropout) for a, b in pairwise([1, *channels])
        )
        self.decoder = nn.ModuleList(
            residual_stage(a + b, b, blocks=1, dropout=dropout) for a, b in pairwise(reversed(channels))
        )
        self.head = nn.Conv3d(channels[0], classes, 1, bias=False)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, len(self.encoder))
        skips: list[Tensor] = []
        for stage in self.encoder:
            x = stage(F.max_pool3d(x, 3, stride=2, padding=1) if skips else x)
            skips.append(x)
        x = skips.pop()
        for block in self.decoder:
            skip = skips.pop()
            x = block(torch.cat([resize_to(x, skip.shape[2:]), skip], 1))
        return self.head(x)
