"""The building blocks of both student networks: convolution units, residual and anisotropic blocks, resizing.

Facts from the published configuration of Zhang, Wang, Yang: Efficient context-aware network for abdominal
multi-organ segmentation, arXiv 2109.10601. All tensors are (N, C, X, Y, Z), axes in RAS.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Extent = tuple[int, int, int]
CUBE: Extent = (3, 3, 3)
POINT: Extent = (1, 1, 1)
IN_PLANE: Extent = (3, 3, 1)
THROUGH_PLANE: Extent = (1, 1, 3)

# PyTorch's own; added to the variance.
_EPS = 1e-5
# For normalizing on a CPU: floats of a row that is summed at once, and of a piece that stays in the cache.
_ROW_FLOATS = 256
_CACHED_FLOATS = 1 << 17


class InstanceNorm(nn.InstanceNorm3d):
    """Instance normalization without learned scale; a single voxel passes unchanged.

    PyTorch refuses to normalize one voxel (its variance is zero). One voxel is what the pyramid's pooling
    leaves of small inputs: 64 voxels an axis are 4 at the bottom, and 1 after pooling by 4.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:].numel() == 1:
            return x
        if len(x) == 1:
            # The same for one sample, but it takes channels-last memory as it is: a quarter of a step's time.
            return F.batch_norm(x, None, None, training=True, eps=self.eps)
        return super().forward(x)


class ConvNorm(nn.Sequential):
    """Convolution without bias, then instance normalization. Padding keeps the size at stride 1."""

    def __init__(self, inputs: int, outputs: int, extent: Extent, stride: int = 1) -> None:
        padding = (extent[0] // 2, extent[1] // 2, extent[2] // 2)
        super().__init__(
            nn.Conv3d(inputs, outputs, extent, stride=stride, padding=padding, bias=False),
            InstanceNorm(outputs, eps=_EPS),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self[0](x)
        # Nobody else holds what the convolution made, so without a gradient it can change in place.
        in_place = not torch.is_grad_enabled() and len(x) == 1 and x.device.type == "cpu"
        in_place &= x.dtype == torch.float32 and x.shape[2:].numel() > 1
        if in_place and x.is_contiguous(memory_format=torch.channels_last_3d):
            return normalize_in_place(x, _EPS)
        return self[1](x)


def normalize_in_place(x: Tensor, eps: float) -> Tensor:
    """Instance normalization of one sample in channels-last memory, (1, C, X, Y, Z) float32, on a CPU.

    PyTorch's takes twice the time: it looks at one voxel's few channels at a time, and writes to new memory.
    """
    channels, voxels = x.shape[1], x.shape[2:].numel()
    # Several voxels side by side are a row: long enough for the processor's wide registers.
    beside = math.gcd(voxels, max(1, _ROW_FLOATS // channels))
    rows = x.permute(0, 2, 3, 4, 1).view(-1, beside * channels)
    chunks = rows.split(max(1, _CACHED_FLOATS // rows.shape[1]))

    def per_channel(sums: Tensor) -> Tensor:
        return sums.view(beside, channels).sum(0, dtype=torch.float64) / voxels

    mean = per_channel(rows.sum(0))
    centre = mean.float().repeat(beside)
    squares = torch.zeros(rows.shape[1], dtype=torch.float64)
    for chunk in chunks:
        squares += (chunk - centre).square_().sum(0)
    # The deviation of the centre from the mean is of float32's rounding and cancels out in the variance.
    scale = (per_channel(squares) + eps).rsqrt()
    torch.addcmul((-mean * scale).float().repeat(beside), rows, scale.float().repeat(beside), out=rows)
    return x


class ConvUnit(nn.Sequential):
    """Convolution → instance normalization → dropout of whole channels → ReLU."""

    def __init__(self, inputs: int, outputs: int, extent: Extent, stride: int = 1, *, dropout: float) -> None:
        activation = nn.ReLU(inplace=True)
        tail = [nn.Dropout3d(dropout), activation] if dropout else [activation]
        super().__init__(ConvNorm(inputs, outputs, extent, stride), *tail)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut: ReLU(norm(conv(unit(x))) + shortcut(x)).

    The published blocks have extents (3×3×3, 3×3×3) in the encoder and (3×3×1, 1×1×3), the anisotropic
    ones, in the decoder. `project` gives the shortcut its own 1×1×1 convolution: the first block of every
    stage has one even where channels and stride stay the same (without it 9.37 M parameters would be 9.34 M).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        extents: tuple[Extent, Extent] = (CUBE, CUBE),
        stride: int = 1,
        *,
        dropout: float,
        project: bool,
    ) -> None:
        super().__init__()
        if not project and (inputs != outputs or stride != 1):
            raise ValueError(f"a shortcut from {inputs} to {outputs} channels (stride {stride}) must project")
        self.unit = ConvUnit(inputs, outputs, extents[0], stride, dropout=dropout)
        self.conv = ConvNorm(outputs, outputs, extents[1])
        self.shortcut = ConvNorm(inputs, outputs, POINT, stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(self.unit(x)).add_(self.shortcut(x)), inplace=True)


def anisotropic_block(channels: int, *, dropout: float) -> ResidualBlock:
    """The decoder's block: 3×3×1 within the axial plane, then 1×1×3 across it: 12·c² weights, not 54·c²."""
    return ResidualBlock(channels, channels, (IN_PLANE, THROUGH_PLANE), dropout=dropout, project=True)


def residual_stage(
    inputs: int, outputs: int, stride: int = 1, *, blocks: int = 2, dropout: float
) -> nn.Sequential:
    """Residual blocks of 3×3×3 convolutions; the first changes channels and size."""
    first = ResidualBlock(inputs, outputs, stride=stride, dropout=dropout, project=True)
    rest = [ResidualBlock(outputs, outputs, dropout=dropout, project=False) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def resize_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """Trilinear resize to a size (X, Y, Z). Not by a factor: an odd size was rounded up on the way down."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="trilinear", align_corners=True)


def initialize(network: nn.Module) -> None:
    """He-normal weights, zero biases (the paper, Table 3)."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def count_parameters(network: nn.Module) -> int:
    """Number of learned values."""
    return sum(p.numel() for p in network.parameters())


def check_input(x: Tensor, stages: int) -> None:
    """Refuse inputs that the strides would shrink below two voxels.

    Raises:
        ValueError: An axis is too short for `stages` stages; the message says how long it has to be.
    """
    least = 2 ** (stages - 1) + 1
    if min(x.shape[2:]) < least:
        raise ValueError(
            f"input of {tuple(x.shape[2:])} voxels is too small for {stages} stages; "
            f"every axis needs {least} or more"
        )
