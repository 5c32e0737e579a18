"""nnU-Net's trainer with a profile's settings, events, whole checkpoints, and no left-right mirroring."""

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch.nn.parallel import DistributedDataParallel

from curation.errors import kind_and_first_line
from pipelines.profiles import TeacherProfile
from pipelines.training.jobs import Reporter, TrainingError
from pipelines.training.precision import Precision

# Of the arrays that nnU-Net's reader gives, (z, y, x), before the plans' transposition.
LEFT_RIGHT_AXIS = 2
REPORT_EVERY_S = 0.5
LATEST, FINAL = "checkpoint_latest.pth", "checkpoint_final.pth"


class LedgerTrainer(nnUNetTrainer):
    """nnU-Net's own training loop. `configure` has to be called before `initialize`.

    (It is no argument of the constructor because nnU-Net saves the constructor's arguments in checkpoints.)
    """

    device: torch.device
    is_ddp: bool
    network: Any

    def configure(self, profile: TeacherProfile, seed: int, precision: Precision, reporter: Reporter) -> None:
        """Take the settings of a profile."""
        self.profile = profile
        self.seed = seed
        self.reporter = reporter
        self.num_epochs = profile.epochs
        self.num_iterations_per_epoch = profile.steps_per_epoch
        self.num_val_iterations_per_epoch = profile.val_steps_per_epoch
        self.initial_lr = profile.learning_rate
        self.weight_decay = profile.weight_decay
        self.enable_deep_supervision = profile.deep_supervision
        self.save_every = profile.checkpoint_every
        self.bf16 = profile.bf16_on_cpu and self.device.type == "cpu" and precision.dtype == torch.bfloat16
        self._steps_done = 0
        self._next_report = 0.0
        if self.is_ddp and precision.device.type == "cpu":
            # nnU-Net takes for granted that several processes have GPUs.
            self.device, self.grad_scaler = precision.device, None

    def initialize(self) -> None:
        """nnU-Net's; for several processes on a CPU without what of it asks for GPUs."""
        if not (self.is_ddp and self.device.type == "cpu"):
            super().initialize()
            return
        self.is_ddp = False
        super().initialize()
        self.is_ddp = True
        self._set_batch_size_and_oversample()
        self.network = DistributedDataParallel(self.network)
        self.loss = self._build_loss()

    @property
    def mirror_axes(self) -> tuple[int, ...]:
        """Axes of the transposed arrays along which mirroring leaves left on the left; () if switched off."""
        if not self.profile.mirror:
            return ()
        forward = self.plans_manager.transpose_forward
        return tuple(axis for axis, source in enumerate(forward) if source != LEFT_RIGHT_AXIS)

    def configure_optimizers(self) -> tuple[Any, Any]:
        """nnU-Net's SGD, or AdamW; either with its polynomial decay."""
        if self.profile.optimizer == "sgd":
            return super().configure_optimizers()
        optimizer = torch.optim.AdamW(
            self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay
        )
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, bool, Any, Any]:
        """nnU-Net's choice, but for the axis that separates left from right; `light` turns by 10 degrees."""
        rotation, dummy_2d, initial_patch_size, _ = (
            super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        self.inference_allowed_mirroring_axes = self.mirror_axes
        if self.profile.augmentation == "light":
            rotation, dummy_2d = (-np.pi / 18, np.pi / 18), False
            # Room for the rotation at the corners, so that few voxels come from outside the crop.
            initial_patch_size = np.array([round(1.15 * n) for n in self.configuration_manager.patch_size])
        return rotation, dummy_2d, initial_patch_size, self.mirror_axes

    def get_training_transforms(
        self,
        patch_size: Any,
        rotation_for_DA: Any,
        deep_supervision_scales: Any,
        mirror_axes: tuple[int, ...],
        *rest: Any,
        **named: Any,
    ) -> BasicTransform:
        """nnU-Net's transforms, or the `light` ones: cheap enough for a CPU that also has to train."""
        if self.profile.augmentation == "nnunet":
            return nnUNetTrainer.get_training_transforms(
                patch_size, rotation_for_DA, deep_supervision_scales, mirror_axes, *rest, **named
            )
        transforms: list[BasicTransform] = [
            SpatialTransform(
                patch_size, patch_center_dist_from_border=0, random_crop=False, p_elastic_deform=0,
                p_rotation=0.2, rotation=rotation_for_DA, p_scaling=0.2, scaling=(0.85, 1.2),
                p_synchronize_scaling_across_axes=1, border_mode_seg="constant", padding_value_seg=-1,
            ),
            RandomTransform(GaussianNoiseTransform(noise_variance=(0, 0.05)), apply_probability=0.1),
            RandomTransform(
                MultiplicativeBrightnessTransform(BGContrast((0.8, 1.2)), synchronize_channels=False),
                apply_probability=0.15,
            ),
            RandomTransform(
                ContrastTransform(BGContrast((0.8, 1.2)), preserve_range=True, synchronize_channels=False),
                apply_probability=0.15,
            ),
        ]  # fmt: skip
        if mirror_axes:
            transforms.append(MirrorTransform(allowed_axes=mirror_axes))
        transforms.append(RemoveLabelTansform(-1, 0))
        if deep_supervision_scales is not None:
            transforms.append(DownsampleSegForDSTransform(ds_scales=deep_supervision_scales))
        return ComposeTransforms(transforms)

    def on_train_epoch_start(self) -> None:
        """Begin an epoch with a seed of its own, so that a resumed training draws the same batches."""
        super().on_train_epoch_start()
        # Each process of several draws its own.
        seed_everything(self.seed + 1000 * self.current_epoch + self.local_rank)
        self._steps_done = self.current_epoch * self.num_iterations_per_epoch

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step; autocasts to bf16 on a CPU where the profile asks for it and the CPU has the units."""
        outcome = self._bf16_step(batch) if self.bf16 else super().train_step(batch)
        loss = float(outcome["loss"])
        self._steps_done += 1
        of = self.num_epochs * self.num_iterations_per_epoch
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in step {self._steps_done} of {of}; lower learning_rate"
            )
        if time.monotonic() > self._next_report:
            self._next_report = time.monotonic() + REPORT_EVERY_S
            message = f"epoch {self.current_epoch + 1} of {self.num_epochs}"
            self.reporter.progress("train", self._steps_done, of, message, loss=round(loss, 4))
        return outcome

    def _bf16_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        target = batch["target"]
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = self.network(batch["data"])
        # The loss sums over many voxels: in float32.
        output = [level.float() for level in output] if isinstance(output, list | tuple) else output.float()
        loss = self.loss(output, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)  # as nnUNetTrainer.train_step
        self.optimizer.step()
        return {"loss": loss.detach().numpy()}

    def on_epoch_end(self) -> None:
        """Report the epoch; nnU-Net keeps the checkpoints."""
        super().on_epoch_end()
        epoch = self.current_epoch
        step = epoch * self.num_iterations_per_epoch
        of = self.num_epochs * self.num_iterations_per_epoch
        last = self.curves()[-1]
        message = f"epoch {epoch} of {self.num_epochs} done"
        # Not "loss", which is that of one step: a curve of both would go back at every epoch's end.
        figures = {
            "epoch_loss": last["loss"], "val_loss": last["val_loss"], "val_dice": last["val_dice"],
        }  # fmt: skip
        self.reporter.progress("train", step, of, message, **figures)

    def curves(self) -> list[dict[str, Any]]:
        """Per epoch: loss, val_loss, mean pseudo Dice and that of each class id (NaN: not in the batches)."""
        logged = self.logger.local_logger.my_fantastic_logging
        classes = self.label_manager.foreground_labels
        rows = zip(
            logged["train_losses"], logged["val_losses"], logged["mean_fg_dice"],
            logged["dice_per_class_or_region"], strict=False,
        )  # fmt: skip
        return [
            {
                "epoch": epoch + 1,
                "loss": float(loss),
                "val_loss": float(val_loss),
                "val_dice": float(dice),
                "val_dice_per_class": {str(c): float(d) for c, d in zip(classes, per_class, strict=True)},
            }
            for epoch, (loss, val_loss, dice, per_class) in enumerate(rows)
        ]

    def save_checkpoint(self, filename: str) -> None:
        """Write beside and rename: a process killed while it saves leaves the last checkpoint whole."""
        beside = Path(f"{filename}.part")
        super().save_checkpoint(str(beside))
        # Of several processes the first one saves: to another, its half-written file would look finished.
        if self.local_rank == 0 and beside.is_file():
            beside.replace(filename)

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        """nnU-Net's, in words where the file is of another network or no checkpoint at all.

        Raises:
            TrainingError: The weights do not fit the plans, or the file cannot be read.
        """
        try:
            super().load_checkpoint(filename_or_checkpoint)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            found = kind_and_first_line(error)
            name = filename_or_checkpoint if isinstance(filename_or_checkpoint, str) else "the checkpoint"
            if "state_dict" in str(error):
                architecture = self.configuration_manager.network_arch_class_name.rpartition(".")[2]
                raise TrainingError(
                    f"{name}: is of another network than this training's {architecture} ({found}); "
                    "delete it to begin anew, or train with the profile that it was made with"
                ) from error
            raise TrainingError(f"{name}: cannot be read ({found}); delete it to go on without it") from error

    def plot_network_architecture(self) -> None:
        """No picture: it needs a package that nnU-Net itself calls broken."""


def seed_everything(seed: int) -> None:
    """Seed the three generators that nnU-Net's loader, its transforms and its weights draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (nnU-Net's loader draws from the global one)
    torch.manual_seed(seed)
