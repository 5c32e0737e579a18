"""What the student makes of classes that nobody looked for in a case, see docs/decisions/0016-what-is-missing.md."""

from collections.abc import Sequence

import torch
from torch import Tensor

from curation.labels import BACKGROUND, CLASS_IDS, IGNORE, ORGAN_IDS, TUMOR_ID
from pipelines.open_classes import learns_no_background, leaves_background_out, open_classes
from pipelines.profiles import Missing
from pipelines.training.jobs import TrainingError
from pipelines.training.losses import FIRST_RESERVED
from pipelines.training.student_data import Prepared

# A tumor may lie under the label of the organ it grew in, where nobody looked for tumors.
NESTED = (TUMOR_ID,)


class MissingRule:
    """The setting `missing` of a profile, applied to one network's labels, loss and scores.

    Tensors `missing` are (N, 15) bool on the CPU, background first: per sample, what nobody looked for.
    """

    def __init__(
        self, setting: Missing, train: Sequence[Prepared], *, coarse: bool, sides_swap: bool
    ) -> None:
        """Look once at what the training members hold.

        Args:
            setting: The profile's.
            train: The members to learn from.
            coarse, sides_swap: See `open_classes`.

        Raises:
            TrainingError: Under this setting, no member would say where nothing is.
        """
        self.setting = setting
        self.coarse = coarse
        self.open = torch.zeros(len(CLASS_IDS) + 1, dtype=torch.bool)
        if setting == "background":
            return
        drawn = {value for member in train for value in member.labels().unique().tolist()}
        left_open = open_classes(drawn.intersection(CLASS_IDS), coarse=coarse, sides_swap=sides_swap)
        self.open[list(left_open)] = True
        if learns_no_background(setting, left_open, (member.missing for member in train), coarse=coarse):
            what = "an organ" if coarse else "a class"
            network = "coarse" if coarse else "fine"
            raise TrainingError(
                f'missing = "{setting}": every training case misses {what}, so that nothing tells the {network} '
                'network where no organ is; complement the cases first, or set missing = "background"'
            )

    def targets(self, labels: Tensor, missing: Tensor) -> Tensor:
        """The labels (N, 1, X, Y, Z) as this network is to learn them; what says nothing is 255.

        The coarse network has the label 1 for every organ and tumor, and for unresolved ones: a kidney without a
        side is an organ all the same. Background of a sample that misses organs may be organ and says nothing to it.
        The fine network learns from such background unless the setting is `ignore`.
        """
        said = labels
        if self.coarse:
            said = torch.where(labels == IGNORE, labels, (labels != BACKGROUND).to(labels.dtype))
        if leaves_background_out(self.setting, coarse=self.coarse):
            unsure = (missing & self.open).any(1)
            if unsure.any():
                where = (labels == BACKGROUND) & unsure.to(labels.device)[:, None, None, None, None]
                said = torch.where(where, IGNORE, said)
        return said

    def of_loss(self, missing: Tensor) -> Tensor | None:
        """The classes that each sample leaves open in the fine network's loss; None if there are none."""
        if self.coarse or self.setting == "background":
            return None
        left_open = missing & self.open
        return left_open if bool(left_open.any()) else None

    def referees(self, validation: Sequence[Prepared]) -> list[Prepared]:
        """The validation members that can say how good the network is.

        The coarse network's one class is all organs together: where a model drew some or nobody did, a score would be
        of what a model said. So it is scored on members whose organs a person drew, as long as there are any.
        """
        by_hand = [m for m in validation if not set(ORGAN_IDS) & {*m.missing, *m.pseudo}]
        return by_hand if self.coarse and by_hand else list(validation)

    def reference(self, member: Prepared, labels: Tensor) -> tuple[Tensor, set[int]]:
        """What a validation member is scored by: its labels, (1, X, Y, Z), and the classes that do not count.

        For the fine network all voxels count, whatever the setting: a class that was looked for is not on the
        background of a case in which others were not. The coarse network is scored outside of what a model drew.
        """
        if not self.coarse:
            return labels, set(member.pseudo)
        said = self.targets(labels[None], member.missing_mask()[None])[0]
        by_model = torch.isin(labels, torch.tensor(member.pseudo, dtype=labels.dtype, device=labels.device))
        return torch.where(by_model, IGNORE, said), set()

    def scored(self, found: Tensor, labels: Tensor, missing: Tensor) -> Tensor:
        """The fine network's classes `found` (1, X, Y, Z) with open nested ones counted as what they lie in.

        Where nobody looked for tumors, a tumor in the liver's label is liver; on background it is a class
        that is not scored in this case.
        """
        left_open = self.of_loss(missing[None])
        if left_open is None:
            return found
        for class_id in NESTED:
            if left_open[0, class_id]:
                found = torch.where((found == class_id) & (labels < FIRST_RESERVED), labels, found)
        return found

    def looked_at(self, members: Sequence[Prepared], voxels: Tensor) -> Tensor:
        """Among how many voxels each class was looked for: (classes,).

        Args:
            members: The training members.
            voxels: Known voxels per member and class, (members, classes).
        """
        of_member = voxels.sum(1, keepdim=True)
        looked_for = torch.ones(voxels.shape, dtype=torch.bool)
        for n, member in enumerate(members):
            left_open = self.of_loss(member.missing_mask()[None])
            if left_open is not None:
                looked_for[n] = ~left_open[0]
        return (of_member * looked_for).sum(0)
