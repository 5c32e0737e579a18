"""Training one network of the student: steps, schedule, validation; killed and started again it goes on."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from monai.data import DataLoader
from torch import Tensor, nn

from pipelines.profiles import Missing, StudentStage
from pipelines.training.jobs import TrainingError
from pipelines.training.losses import FIRST_RESERVED, DiceCrossEntropy, balancing_weights
from pipelines.training.missing import NESTED, MissingRule
from pipelines.training.precision import Precision
from pipelines.training.saved import UnreadableError, read_saved, save_whole
from pipelines.training.student_data import Prepared, TrainingStream, derive_seed
from pipelines.training.student_transforms import IMAGE, LABEL, MISSING, table_1

# Between two reports: often enough for a bar, seldom enough for a training of days.
_REPORT_EVERY_S = 0.3

Report = Callable[[int, int, float], None]  # step, steps, loss


def learning_rate(stage: StudentStage, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up, then half a cosine down to 0 (Table 3; that the warm-up is linear is ours)."""
    warmup = min(stage.warmup_epochs, stage.epochs - 1) * steps_per_epoch
    if step < warmup:
        return stage.learning_rate * (step + 1) / warmup
    share = (step - warmup) / (stage.epochs * steps_per_epoch - warmup)
    return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


@dataclass
class Standing:
    """Where a training stands, as its checkpoint keeps it. `losses` are those of the running epoch."""

    step: int = 0
    best_dsc: float | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


class NetworkTraining:
    """The training of one network on prepared members.

    What happens at a step follows from seed and step alone (samples, transforms, dropout, learning rate). So a
    checkpoint holds no random state, and a training that was killed goes on along the curve it would have had.
    """

    def __init__(
        self,
        network: nn.Module,
        stage: StudentStage,
        train: Sequence[Prepared],
        validation: Sequence[Prepared],
        *,
        folder: Path,
        seed: int,
        precision: Precision,
        classes: int,
        missing: Missing = "background",
    ) -> None:
        """Set up, or go on from the checkpoint in `folder`.

        The network gives scores for `classes` classes, background included; 2 means organ (or tumor) or not.
        `validation` chooses the best weights by the classes that are drawn there and not by a model; without any
        the last weights are taken. `missing`: what background says where classes were not looked for.

        Raises:
            TrainingError: The folder holds the checkpoint of other settings, or one that does not fit the network;
                or see MissingRule.
        """
        self.stage = stage
        self.missing = missing
        self.seed = seed
        self.precision = precision
        self.network = network.to(precision.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=stage.learning_rate, weight_decay=stage.weight_decay
        )
        self.scaler = torch.amp.GradScaler(precision.device.type, enabled=precision.dtype == torch.float16)
        self.classes = classes
        self.rule = MissingRule(missing, train, coarse=classes == 2, sides_swap="x" in stage.flips)
        self.validation = self.rule.referees(validation)
        weights = self._balance(train) if stage.balance else None
        self.loss = DiceCrossEntropy(classes, weights, nested=NESTED if classes > 2 else ())
        self.loss.to(precision.device)
        self.steps_per_epoch = stage.steps_per_epoch or math.ceil(len(train) / stage.batch_size)
        self.steps = stage.epochs * self.steps_per_epoch
        self.stream = TrainingStream(
            train,
            table_1(stage.flips, intensity=stage.augment),
            seed=seed,
            positions=self.steps * stage.batch_size,
        )
        self.checkpoint = folder / "checkpoint.pt"
        self.best = folder / "best.pt"
        folder.mkdir(parents=True, exist_ok=True)
        self.standing = self._resume()

    def run(self, report: Report) -> dict[str, Tensor]:
        """Train to the end; returns the best weights, on the CPU.

        Raises:
            TrainingError: The loss is not a number, or the GPU's memory is full.
        """
        reported = 0.0
        standing = self.standing
        for batch in self._batches():
            loss = self._learn(batch)
            standing.losses.append(loss)
            standing.step += 1
            if standing.step % self.steps_per_epoch == 0:
                self._end_epoch(standing.step // self.steps_per_epoch)
            if standing.step % self.stage.checkpoint_every == 0 or standing.step == self.steps:
                self._save()
            if time.monotonic() - reported > _REPORT_EVERY_S or standing.step == self.steps:
                reported = time.monotonic()
                report(standing.step, self.steps, loss)
        if self.best.is_file():
            best: dict[str, Tensor] = torch.load(self.best, map_location="cpu", weights_only=True)
            return best
        return {name: value.cpu() for name, value in self.network.state_dict().items()}

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        size = self.stage.batch_size
        on_gpu = self.precision.device.type == "cuda"
        # On a CPU the network needs the cores; beside a GPU they would idle.
        workers = min(8, (os.cpu_count() or 1) // 2) if on_gpu else 0
        positions = range(self.standing.step * size, len(self.stream))
        return iter(
            DataLoader(
                self.stream, batch_size=size, sampler=positions, num_workers=workers, pin_memory=on_gpu
            )
        )

    def _learn(self, batch: dict[str, Tensor]) -> float:
        """One step; returns its loss."""
        torch.manual_seed(derive_seed(self.seed, "step", self.standing.step))  # for dropout
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.stage, self.standing.step, self.steps_per_epoch)
        self.network.train()
        try:
            logits = self._logits(batch[IMAGE])
            missing = batch[MISSING]
            loss = self.loss(logits, self._targets(batch[LABEL], missing), self.rule.of_loss(missing))
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"no GPU memory left with input {self.stage.size} and batch {self.stage.batch_size}; "
                "lower batch_size, size or channels in the profile"
            ) from error
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {self.standing.step}; "
                f"lower learning_rate in the profile (it is {self.stage.learning_rate})"
            )
        return value

    def _logits(self, image: Tensor) -> Tensor:
        image = image.to(self.precision.device, memory_format=torch.channels_last_3d, non_blocking=True)
        with self.precision.autocast():
            logits: Tensor = self.network(image)
        return logits

    def _targets(self, labels: Tensor, missing: Tensor) -> Tensor:
        return self.rule.targets(labels.to(self.precision.device, non_blocking=True), missing)

    def _balance(self, members: Sequence[Prepared]) -> Tensor:
        """Class weights from the voxels of all members at the network's input."""
        voxels = torch.zeros(len(members), self.classes, dtype=torch.int64)
        for n, member in enumerate(members):
            labels = self._targets(member.labels()[None], member.missing_mask()[None])
            voxels[n] = torch.bincount(labels[labels < FIRST_RESERVED].cpu(), minlength=self.classes)
        return balancing_weights(voxels.sum(0).float(), self.rule.looked_at(members, voxels).float())

    def _end_epoch(self, epoch: int) -> None:
        standing = self.standing
        point = {"epoch": float(epoch), "loss": sum(standing.losses) / len(standing.losses)}
        standing.losses = []
        due = epoch % self.stage.validate_every == 0 or epoch == self.stage.epochs
        if self.validation and due:
            dsc = self._validate()
            if dsc is not None:
                point["dsc"] = dsc
                if standing.best_dsc is None or dsc >= standing.best_dsc:
                    standing.best_dsc = dsc
                    save_whole(self.best, self.network.state_dict())
        standing.curve.append(point)

    @torch.inference_mode()
    def _validate(self) -> float | None:
        """Mean DSC over validation members and the classes that a person drew in each, on the network's grid.

        None where there is no such class.
        """
        self.network.eval()
        scores: list[float] = []
        for member in self.validation:
            sample = member.load()
            labels, not_scored = self.rule.reference(member, sample[LABEL].to(self.precision.device))
            found = self._logits(sample[IMAGE][None])[0].argmax(0, keepdim=True)
            found = self.rule.scored(found, labels, sample[MISSING])
            known = labels < FIRST_RESERVED
            drawn = torch.bincount(labels[known].flatten(), minlength=self.classes)
            predicted = torch.bincount(found[known].flatten(), minlength=self.classes)
            both = torch.bincount(labels[known & (found == labels)].flatten(), minlength=self.classes)
            classes = [c for c in range(1, self.classes) if drawn[c] and c not in not_scored]
            scores += (2 * both[classes] / (drawn[classes] + predicted[classes])).tolist()
        return sum(scores) / len(scores) if scores else None

    def _resume(self) -> Standing:
        if not self.checkpoint.is_file():
            return Standing()
        saved = load_saved(self.checkpoint, self.precision.device)
        check_settings(self.checkpoint, saved, self.stage, self.missing)
        try:
            self.network.load_state_dict(saved["network"])
            self.optimizer.load_state_dict(saved["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise TrainingError(
                f"{self.checkpoint}: holds another architecture than this network; "
                "delete it to start this stage anew, or train in another folder"
            ) from error
        self.scaler.load_state_dict(saved["scaler"])
        return Standing(**saved["standing"])

    def _save(self) -> None:
        save_whole(
            self.checkpoint,
            {
                "stage": self.stage.model_dump(),
                "missing": self.missing,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "standing": vars(self.standing),
            },
        )


def load_saved(file: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint, or a finished stage.

    Raises:
        TrainingError: The file is cut, damaged or something else.
    """
    try:
        saved: dict[str, Any] = read_saved(file, device)
    except UnreadableError as error:
        raise TrainingError(
            f"{file}: cannot be read ({error}); delete it to start this stage anew"
        ) from error
    return saved


def check_settings(file: Path, saved: Mapping[str, Any], stage: StudentStage, missing: Missing) -> None:
    """Refuse what was trained with other settings, network included.

    Raises:
        TrainingError: The file does not say its settings, or says others.
    """
    try:
        # Read into settings, not compared as stored: a setting that did not exist then has its default.
        same = StudentStage.model_validate(saved["stage"]) == stage
        same = same and saved.get("missing", "background") == missing
    except (KeyError, TypeError, ValueError):
        same = False
    if not same:
        raise TrainingError(
            f"{file}: belongs to a training with other settings; "
            "continue with the profile it was started with, or start in another folder"
        )
