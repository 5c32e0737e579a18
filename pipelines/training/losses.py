"""The student's loss: Dice + cross entropy, blind to voxels that nobody can say anything about."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from curation.labels import UNRESOLVED_RANGE

# Unresolved structures (200–239) and ignore (255) are the label values from here on.
FIRST_RESERVED = UNRESOLVED_RANGE.start

# As in MONAI: keeps 0 / 0 away where a class is neither drawn nor predicted.
_SMOOTH = 1e-5


class DiceCrossEntropy(nn.Module):
    """Mean Dice loss over the foreground classes of the whole batch, plus mean cross entropy over its voxels.

    The value of MONAI's DiceCELoss (softmax, batch=True, include_background=False), which has no way to leave
    voxels out, in a third of its time on a CPU: 15 classes are never unfolded to one-hot. Voxels with a reserved
    label count in neither part. Dice takes the batch as one volume: in a single weakly labelled case most
    classes are empty, and an empty class has no Dice worth following.
    """

    weights: Tensor

    def __init__(self, classes: int, weights: Tensor | None = None) -> None:
        """`weights` (classes,) weigh the voxels of each class in the cross entropy; None: all the same."""
        super().__init__()
        self.classes = classes
        self.register_buffer("weights", torch.ones(classes) if weights is None else weights)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of one batch.

        Args:
            logits: (N, classes, X, Y, Z).
            labels: (N, 1, X, Y, Z), label values 0 to classes − 1 and reserved ones.

        Returns:
            A scalar; without gradient where every voxel is reserved.
        """
        known = labels < FIRST_RESERVED
        target = torch.where(known, labels, 0).long()
        log_share = F.log_softmax(logits.float(), 1)
        of_target = log_share.gather(1, target)
        weight = self.weights[target] * known
        entropy = -(of_target * weight).sum() / weight.sum().clamp(min=_SMOOTH)

        share = log_share.exp()
        if not known.all():
            share = share * known
        flat = target.flatten()
        overlap = torch.zeros(self.classes, device=logits.device)
        overlap = overlap.index_add(0, flat, (of_target.exp() * known).flatten())
        predicted = share.sum((0, 2, 3, 4))
        drawn = torch.bincount(flat[known.flatten()], minlength=self.classes)
        dice = (2 * overlap + _SMOOTH) / (predicted + drawn + _SMOOTH)
        return entropy + 1 - dice[1:].mean()


def balancing_weights(voxels: Tensor) -> Tensor:
    """Weights that let a class count as the square root of its voxels, from voxel counts (classes,).

    Unweighted, an organ of 0.1 % of the voxels is given up in the first steps, when "background everywhere" is
    the quickest gain, and a training of a few hundred steps does not bring it back; weighted by the inverse of its
    voxels it spills over its borders. Classes without a voxel get 0.
    """
    share = voxels / voxels.sum()
    return torch.where(voxels > 0, share.clamp(min=1e-12).rsqrt(), 0.0)
