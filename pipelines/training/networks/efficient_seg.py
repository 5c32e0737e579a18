"""EfficientSegNet, the student's fine network: residual encoder, context block, slim anisotropic decoder.

Facts from the published configuration of Zhang, Wang, Yang: Efficient context-aware network for abdominal
multi-organ segmentation, arXiv 2109.10601, 9.37 M parameters at channels 16 to 256.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.training.networks.blocks import (
    CUBE,
    POINT,
    ConvNorm,
    ConvUnit,
    anisotropic_block,
    check_input,
    initialize,
    residual_stage,
    resize_to,
)

FULL_CHANNELS = (16, 32, 64, 128, 256)


class ContextBlock(nn.Module):
    """What the whole volume says to each place of the lowest resolution.

    On a quarter of the channels, two branches: a pyramid (as is, and averaged over 2³ and 4³ voxels) and
    an anisotropic one (averaged over everything but one axis at a time, then a convolution of extent 3 along
    that axis). Each is summed at full size; both are joined, added to the input and widened again.
    """

    def __init__(self, channels: int, *, dropout: float) -> None:
        super().__init__()
        inner = max(channels // 4, 1)
        self.reduce = ConvUnit(channels, inner, POINT, dropout=dropout)
        self.into_pyramid = ConvUnit(inner, inner, POINT, dropout=dropout)
        self.pyramid = nn.ModuleDict({str(n): ConvNorm(inner, inner, CUBE) for n in (1, 2, 4)})
        self.out_of_pyramid = ConvUnit(inner, inner, CUBE, dropout=dropout)
        self.into_strips = ConvUnit(inner, inner, POINT, dropout=dropout)
        self.strips = nn.ModuleList(
            ConvNorm(inner, inner, extent) for extent in ((3, 1, 1), (1, 3, 1), (1, 1, 3))
        )
        self.out_of_strips = ConvUnit(inner, inner, CUBE, dropout=dropout)
        self.join = ConvNorm(2 * inner, inner, POINT)
        self.refine = ConvUnit(inner, inner, CUBE, dropout=dropout)
        self.widen = nn.Conv3d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        reduced = self.reduce(x)

        levels = self.into_pyramid(reduced)
        pyramid = torch.zeros_like(levels)
        for pooling, conv in self.pyramid.items():
            # Small inputs leave fewer voxels than the pooling wants: then it takes all there are.
            window = [min(int(pooling), n) for n in size]
            pyramid = pyramid + resize_to(conv(F.avg_pool3d(levels, window)), size)

        lines = self.into_strips(reduced)
        strips = torch.zeros_like(lines)
        for axis, conv in enumerate(self.strips, start=2):
            others = [a for a in (2, 3, 4) if a != axis]
            strips = strips + conv(lines.mean(others, keepdim=True)).expand_as(strips)

        branches = [self.out_of_pyramid(F.relu(pyramid)), self.out_of_strips(F.relu(strips))]
        joined = self.join(torch.cat(branches, 1))
        return self.widen(self.refine(F.relu(reduced + joined)))


class EfficientSegNet(nn.Module):
    """Logits for every class of a whole (cropped) volume at once.

    Input (N, 1, X, Y, Z) of any size from 17 voxels an axis, output (N, classes, X, Y, Z). Skips are added,
    not concatenated: the deeper side is first brought to the skip's channels by a 1×1×1 unit.
    """

    def __init__(
        self, classes: int, channels: Sequence[int] = FULL_CHANNELS, *, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([residual_stage(1, channels[0], dropout=dropout)])
        self.encoder.extend(residual_stage(a, b, stride=2, dropout=dropout) for a, b in pairwise(channels))
        self.context = ContextBlock(channels[-1], dropout=dropout)
        upwards = list(pairwise(reversed(channels)))
        self.narrow = nn.ModuleList(ConvUnit(a, b, POINT, dropout=dropout) for a, b in upwards)
        self.decoder = nn.ModuleList(anisotropic_block(b, dropout=dropout) for _, b in upwards)
        self.head = nn.Conv3d(channels[0], classes, 1, bias=False)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, len(self.encoder))
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        x = self.context(skips.pop())
        for narrow, block in zip(self.narrow, self.decoder, strict=True):
            skip = skips.pop()
            x = block(resize_to(narrow(x), skip.shape[2:]) + skip)
        return self.head(x)
