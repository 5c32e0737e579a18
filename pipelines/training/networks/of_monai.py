"""Other students by name: MONAI's networks, in the same two-stage frame as the paper's."""

import math
from collections.abc import Sequence

from monai.networks.nets import SegResNet, UNet
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.training.networks.blocks import initialize


class AnySize(nn.Module):
    """A network that wants axes of a multiple of 2^n voxels, for inputs of any size.

    Input (N, 1, X, Y, Z) is continued at its far ends with its last voxels, and the logits are cut to its size:
    MONAI's skips do not fit where an odd size was rounded on the way down.
    """

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        lacking = [-n % self.multiple for n in size]
        if any(lacking):
            # torch wants the last axis first
            x = F.pad(x, [n for axis in reversed(lacking) for n in (0, axis)], mode="replicate")
        logits: Tensor = self.network(x)
        return logits[:, :, : size[0], : size[1], : size[2]]


def of_monai(name: str, classes: int, channels: Sequence[int], *, dropout: float) -> nn.Module:
    """A network with as many levels as `channels`, He-initialized.

    Args:
        name: "unet": residual U-Net with strided convolutions, two units a level. "segresnet": Myronenko's
            encoder-decoder; its channels double at every level, from the first of `channels` on.
        classes: Background included.
        channels: Of each level, the finest first.
        dropout: As in the paper's networks, of each unit ("unet") or of the input ("segresnet").

    Raises:
        ValueError: No such network.
    """
    levels = len(channels)
    network: nn.Module
    if name == "unet":
        network = UNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=classes,
            channels=channels,
            strides=(2,) * (levels - 1),
            num_res_units=2,
            dropout=dropout,
        )
    elif name == "segresnet":
        network = SegResNet(
            spatial_dims=3,
            init_filters=channels[0],
            in_channels=1,
            out_channels=classes,
            dropout_prob=dropout or None,
            # MONAI's eight groups, or as many as the channels can be parted into.
            norm=("GROUP", {"num_groups": math.gcd(8, channels[0])}),
            # (1, 2, 2, 4) is MONAI's default for four levels; a fifth has four blocks, too.
            blocks_down=(1, 2, 2, *(4,) * (levels - 3)),
            blocks_up=(1,) * (levels - 1),
        )
    else:
        raise ValueError(f"no network '{name}'; there are unet and segresnet")
    initialize(network)
    return AnySize(network, 2 ** (levels - 1))
