"""The student's loss: Dice + cross entropy, blind to voxels that nobody can say anything about."""

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from curation.labels import UNRESOLVED_RANGE

# Unresolved structures (200–239) and ignore (255) are the label values from here on.
FIRST_RESERVED = UNRESOLVED_RANGE.start


class DiceCrossEntropy(nn.Module):
    """Mean Dice loss over the foreground classes of the whole batch, plus mean cross entropy over its voxels.

    Voxels with a reserved label count in neither. Dice takes the batch as one volume: in a single weakly
    labelled case most classes are empty, and an empty class has no Dice worth following.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.dice = DiceLoss(include_background=False, batch=True)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of one batch.

        Args:
            logits: (N, classes, X, Y, Z).
            labels: (N, 1, X, Y, Z), label values 0 to classes − 1 and reserved ones.

        Returns:
            A scalar; 0 with gradient where every voxel is reserved.
        """
        known = labels < FIRST_RESERVED
        target = torch.where(known, labels, 0).long()
        log_share = F.log_softmax(logits.float(), 1)
        entropy = -(log_share.gather(1, target) * known).sum() / known.sum().clamp(min=1)
        one_hot = torch.zeros_like(log_share).scatter_(1, target, 1.0)
        # Where the mask is 0 both sides are: such a voxel adds nothing to intersection or sums.
        return entropy + self.dice(log_share.exp() * known, one_hot * known)
