"""The student's loss: Dice + cross entropy, blind to voxels, and to a case's classes, of which nobody knows."""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from curation.labels import BACKGROUND, UNRESOLVED_RANGE

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

    With `missing` it is the marginal loss (Shi et al., Marginal loss and exclusion loss for partially supervised
    multi-organ segmentation, Medical Image Analysis 2021): a sample's missing classes M are one class with its
    background. With p the softmax, a background voxel has the probability ::

        q_0 = p_0 + Σ_{m in M} p_m

    in the cross entropy, and a class has its Dice over the samples in which it is not missing; a class missing in
    all of them has none. The background has no Dice here, so the merged class has none either. `nested` classes
    lie inside others (a tumor in its organ): one of them that is missing may be under any label. The sample says
    nothing of it, neither way, so p is the softmax over the other classes there
    (docs/decisions/0016-what-is-missing.md).
    """

    weights: Tensor

    def __init__(self, classes: int, weights: Tensor | None = None, *, nested: Collection[int] = ()) -> None:
        """`weights` (classes,) weigh the voxels of each class in the cross entropy; None: all the same."""
        super().__init__()
        self.classes = classes
        self.nested = frozenset(nested)
        self.register_buffer("weights", torch.ones(classes) if weights is None else weights)

    def forward(self, logits: Tensor, labels: Tensor, missing: Tensor | None = None) -> Tensor:
        """Loss of one batch.

        Args:
            logits: (N, classes, X, Y, Z).
            labels: (N, 1, X, Y, Z), label values 0 to classes − 1 and reserved ones.
            missing: (N, classes) bool, on the CPU: what nobody looked for in each sample; None: nothing.

        Returns:
            A scalar; without gradient where every voxel is reserved.
        """
        known = labels < FIRST_RESERVED
        target = torch.where(known, labels, 0).long()
        logits = logits.float()
        if missing is not None:
            logits = self._without_nested(logits, missing)
        log_share = F.log_softmax(logits, 1)
        of_target = log_share.gather(1, target)
        if missing is not None:
            of_target = self._merged(log_share, of_target, target, missing)
        weight = self.weights[target] * known
        entropy = -(of_target * weight).sum() / weight.sum().clamp(min=_SMOOTH)

        share = log_share.exp()
        if not known.all():
            share = share * known
        at_target = of_target.exp() * known
        if missing is None:
            dice = self._dice_of_all(share, at_target, target, known)
            return entropy + 1 - dice[1:].mean()
        looked_for = ~missing.to(logits.device)
        dice = self._dice_where(looked_for, share, at_target, target, known)
        counts = looked_for.any(0)[1:]
        return entropy + ((1 - dice[1:]) * counts).sum() / counts.sum().clamp(min=1)

    def _dice_of_all(self, share: Tensor, at_target: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Dice of each class (classes,) over the batch as one volume."""
        flat = target.flatten()
        overlap = torch.zeros(self.classes, device=share.device).index_add(0, flat, at_target.flatten())
        predicted = share.sum((0, 2, 3, 4))
        drawn = torch.bincount(flat[known.flatten()], minlength=self.classes)
        return _dice(overlap, predicted, drawn)

    def _dice_where(
        self, looked_for: Tensor, share: Tensor, at_target: Tensor, target: Tensor, known: Tensor
    ) -> Tensor:
        """Dice of each class (classes,) over the samples in which it was looked for: (N, classes)."""
        samples = len(target)
        # Sample and class in one index, so that one pass over the voxels sums both.
        place = target.flatten(1) + self.classes * torch.arange(samples, device=target.device)[:, None]

        def per_sample(values: Tensor) -> Tensor:
            sums = torch.zeros(samples * self.classes, device=values.device)
            return sums.index_add(0, place.flatten(), values.flatten()).reshape(samples, self.classes)

        overlap = per_sample(at_target)
        predicted = share.sum((2, 3, 4))
        drawn = per_sample(known.to(share.dtype))
        return _dice(*((part * looked_for).sum(0) for part in (overlap, predicted, drawn)))

    def _without_nested(self, logits: Tensor, missing: Tensor) -> Tensor:
        """The scores, those of a sample's missing nested classes out of the running."""
        out = torch.zeros_like(missing)
        out[:, list(self.nested)] = missing[:, list(self.nested)]
        return logits.masked_fill(out.to(logits.device)[:, :, None, None, None], -torch.inf)

    def _merged(self, log_share: Tensor, of_target: Tensor, target: Tensor, missing: Tensor) -> Tensor:
        """Log probability of each voxel's label; background together with the missing classes that it may hide."""
        merged = []
        for n, row in enumerate(missing):
            hidden = [c for c in row.nonzero().flatten().tolist() if c not in self.nested]
            own = of_target[n]
            if hidden:
                together = log_share[n, [BACKGROUND, *hidden]].logsumexp(0, keepdim=True)
                own = torch.where(target[n] == BACKGROUND, together, own)
            merged.append(own)
        return torch.stack(merged)


def _dice(overlap: Tensor, predicted: Tensor, drawn: Tensor) -> Tensor:
    return (2 * overlap + _SMOOTH) / (predicted + drawn + _SMOOTH)


def balancing_weights(voxels: Tensor, looked_at: Tensor | None = None) -> Tensor:
    """Weights that let a class count as the square root of its voxels, from voxel counts (classes,).

    Unweighted, an organ of 0.1 % of the voxels is given up in the first steps, when "background everywhere" is
    the quickest gain, and a training of a few hundred steps does not bring it back; weighted by the inverse of its
    voxels it spills over its borders. Classes without a voxel get 0.

    `looked_at` (classes,): among how many voxels each class was looked for; None: among all. A tumor drawn in one
    case of ten where the other nine do not know of it is as frequent as it is in that one.
    """
    share = voxels / (voxels.sum() if looked_at is None else looked_at.clamp(min=1))
    return torch.where(voxels > 0, share.clamp(min=1e-12).rsqrt(), 0.0)
