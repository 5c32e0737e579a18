"""Prediction with a teacher: the model loaded once, then case by case a mask on the image's own grid."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray

from curation.components import keep_largest
from curation.probability import percent_steps
from curation.rle import RunLengths
from curation.volumes import Geometry, decode_geometry, encode_mask
from pipelines.training.finished import PredictedMask, predict_all
from pipelines.training.jobs import Job, Reporter, TrainingError
from pipelines.training.mirrored import MirroredPredictor
from pipelines.training.precision import Precision
from pipelines.training.saved import UnreadableError, read_saved
from pipelines.training.teacher import WEIGHTS_FILE, use_all_threads
from pipelines.training.teacher_folders import CONFIGURATION
from pipelines.training.worker import MODEL_FILE


def predict_with_teacher(job: Job, reporter: Reporter) -> None:
    """Predict every case of the job that is not yet there. A bad case is reported and the others go on.

    Raises:
        TrainingError: The model folder is not whole.
    """
    use_all_threads()
    predict_all(Teacher(job), job.cases, reporter, remedy="see log.txt; repair it or leave it out")
    reporter.done()


@dataclass(frozen=True)
class _Prepared:
    """A case as nnU-Net's network takes it: (1, z, y, x) float32, and what leads back to the image's grid."""

    geometry: Geometry
    data: NDArray[np.float32]
    properties: dict[str, Any]


@dataclass(frozen=True)
class _Computed:
    """Logits on the network's grid, and what was measured there."""

    geometry: Geometry
    properties: dict[str, Any]
    logits: torch.Tensor
    confidence: dict[int, float]
    disagreement: dict[int, float]


class Teacher:
    """A trained teacher, ready to predict."""

    def __init__(self, job: Job) -> None:
        assert job.model_dir is not None, "the worker reads model.json before it comes here"
        folder = job.model_dir
        try:
            model = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
            plans = json.loads((folder / "plans.json").read_text(encoding="utf-8"))
            self.dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
            weights = read_saved(folder / WEIGHTS_FILE)
        except (OSError, ValueError, UnreadableError) as error:
            raise TrainingError(f"{folder}: not a whole teacher ({error}); train it again") from error
        self.profile = job.profile.predict
        self.identity = {"weights": model["weights_hash"], "predict": self.profile.model_dump(mode="json")}
        self.plans = PlansManager(plans)
        self.configuration = self.plans.get_configuration(CONFIGURATION)
        self.labels = self.plans.get_label_manager(self.dataset)
        self.precision = Precision.of_job(job.device)
        self._bf16_on_cpu = job.profile.teacher.bf16_on_cpu

        network = nnUNetTrainer.build_network_architecture(
            self.plans,
            self.configuration,
            1,
            self.labels.num_segmentation_heads,
            enable_deep_supervision=False,
        )
        mirror_axes = tuple(model["mirror_axes"]) if self.profile.tta else ()
        self._predictor = MirroredPredictor(
            tile_step_size=self.profile.tile_step,
            use_mirroring=bool(mirror_axes),
            device=self.precision.device,
            allow_tqdm=False,
        )
        self._predictor.manual_initialization(
            network,
            self.plans,
            self.configuration,
            [weights],
            self.dataset,
            "LedgerTrainer",
            mirror_axes or None,
        )

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.precision.device

    def read(self, image: Path, data: bytes) -> _Prepared:
        """Read an image and bring it to the network's grid, as nnU-Net does."""
        geometry = decode_geometry(data, str(image))
        preprocessor = self.configuration.preprocessor_class(verbose=False)
        prepared, _, properties = preprocessor.run_case(
            [str(image)], None, self.plans, self.configuration, self.dataset
        )
        if not np.isfinite(prepared).all():
            raise TrainingError(f"{image}: holds values that are no numbers; repair it or leave it out")
        return _Prepared(geometry, prepared, properties)

    def compute(self, prepared: _Prepared) -> _Computed:
        """Run the network over all windows, mirrored where the profile says so."""
        # nnU-Net autocasts on CUDA itself.
        cpu = self.precision.device.type == "cpu" and self._bf16_on_cpu
        with self.precision.autocast() if cpu else nullcontext():
            logits, disputed = self._predictor.predict_logits_with_dispute(torch.from_numpy(prepared.data))
        disagreement = {} if disputed is None else mean_dispute(logits, disputed)
        return _Computed(
            prepared.geometry, prepared.properties, logits, mean_confidence(logits), disagreement
        )

    def finish(self, computed: _Computed) -> PredictedMask:
        """Bring the result to the image's grid, keep the largest pieces, encode."""
        geometry = computed.geometry
        labels, percent = self._on_image(computed.logits, computed.properties)
        runs = RunLengths.from_array(geometry.from_ras(labels))
        if self.profile.keep_largest:
            runs = keep_largest(runs)
        probability = None
        if percent is not None:
            of_kept = np.where(runs.to_array() == 0, 0, geometry.from_ras(percent)).astype(np.uint8)
            probability = encode_mask(RunLengths.from_array(of_kept), geometry)
        return PredictedMask(
            encode_mask(runs, geometry), computed.confidence, computed.disagreement, probability
        )

    def _on_image(
        self, logits: torch.Tensor, properties: dict[str, Any]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Labels on the image's grid, uint8, (X, Y, Z) in RAS; and, if asked for, the map of their probabilities.

        Slice by slice: nnU-Net's own way to probabilities holds all classes of the whole image in float32.
        """
        shape = properties["shape_after_cropping_and_before_resampling"]
        spacing = [properties["spacing"][axis] for axis in self.plans.transpose_forward]
        scores = torch.as_tensor(
            self.configuration.resampling_fn_probabilities(logits, shape, self._spacing(spacing), spacing)
        )
        labels = np.zeros(properties["shape_before_cropping"], np.uint8)
        percent = np.zeros_like(labels) if self.profile.probabilities else None
        inside = tuple(slice(begin, end) for begin, end in properties["bbox_used_for_cropping"])
        for at in range(scores.shape[1]):
            of_slice = scores[:, at].float()
            winner = of_slice.argmax(0).to(torch.uint8).numpy()
            labels[inside][at] = winner
            if percent is not None:
                percent[inside][at] = percent_steps(torch.softmax(of_slice, 0).amax(0).numpy(), winner)

        def to_ras(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
            # nnU-Net's reader turns to RAS and reverses the axes.
            return np.ascontiguousarray(array.transpose(self.plans.transpose_backward).transpose(2, 1, 0))

        return to_ras(labels), None if percent is None else to_ras(percent)

    def _spacing(self, image_spacing: list[float]) -> list[float]:
        """Of the network's grid; a two-dimensional configuration leaves the first axis as it is."""
        own = list(self.configuration.spacing)
        return own if len(own) == len(image_spacing) else [image_spacing[0], *own]


def mean_confidence(logits: torch.Tensor) -> dict[int, float]:
    """Mean probability of each class over the voxels where it wins; classes that win nowhere are left out.

    Args:
        logits: (classes, z, y, x), of any float dtype; background is class 0.
    """
    return _mean_where_it_wins(logits, lambda _, of_slice: torch.softmax(of_slice, 0).amax(0))


def mean_dispute(logits: torch.Tensor, disputed: torch.Tensor) -> dict[int, float]:
    """Mean dispute of each class over the voxels where it wins; classes that win nowhere are left out.

    Args:
        logits: (classes, z, y, x), averaged over the mirrored passes; background is class 0.
        disputed: Each voxel's dispute, 0 to 1, (z, y, x); see `MirroredPredictor`.
    """
    means = _mean_where_it_wins(logits, lambda z, _: disputed[z])
    return {c: min(1.0, mean) for c, mean in means.items()}


def _mean_where_it_wins(
    logits: torch.Tensor, value: Callable[[int, torch.Tensor], torch.Tensor]
) -> dict[int, float]:
    """Mean over the voxels where a class wins of what `value` makes of each slice's number and float32 logits."""
    sums = torch.zeros(len(logits), dtype=torch.float64)
    voxels = torch.zeros(len(logits), dtype=torch.int64)
    for z in range(logits.shape[1]):  # slice by slice: a softmax of the whole volume would double the memory
        of_slice = logits[:, z].float()
        winner = of_slice.argmax(0).ravel()
        voxels += torch.bincount(winner, minlength=len(logits))
        sums += torch.bincount(winner, weights=value(z, of_slice).ravel().double(), minlength=len(logits))
    return {c: float(sums[c] / voxels[c]) for c in range(1, len(logits)) if voxels[c]}
