"""Prediction with a teacher: the model loaded once, then case by case a mask on the image's own grid."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.export_prediction import (
    convert_predicted_logits_to_segmentation_with_correct_shape,
)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from curation.components import keep_largest
from curation.errors import CurationError
from curation.rle import RunLengths
from curation.volumes import decode_geometry, encode_mask
from pipelines.training.finished import PredictedMask, predict_once
from pipelines.training.jobs import Job, JobCase, Reporter, TrainingError
from pipelines.training.precision import Precision
from pipelines.training.teacher import WEIGHTS_FILE, use_all_threads
from pipelines.training.teacher_folders import CONFIGURATION
from pipelines.training.worker import MODEL_FILE


def predict_with_teacher(job: Job, reporter: Reporter) -> None:
    """Predict every case of the job that is not yet there. A bad case is reported and the others go on.

    Raises:
        TrainingError: The model folder is not whole.
    """
    use_all_threads()
    teacher = Teacher(job)
    for index, case in enumerate(job.cases):
        try:
            _predict_case(teacher, case, reporter)
        except (CurationError, OSError) as error:
            reason, _, remedy = str(error).partition("; ")
            reporter.problem(case.case, reason, remedy or "repair the file or leave the case out")
        except Exception as error:
            # Whatever nnU-Net or torch throw at one case: the others are not to wait for it.
            found = f"{type(error).__name__}: {error}".splitlines()[0]
            reporter.problem(case.case, f"{case.image}: {found}", "see log.txt; repair it or leave it out")
        reporter.progress("predict", index + 1, len(job.cases), case.case)
    reporter.done()


class Teacher:
    """A trained teacher, ready to predict."""

    def __init__(self, job: Job) -> None:
        assert job.model_dir is not None, "the worker reads model.json before it comes here"
        folder = job.model_dir
        try:
            model = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
            plans = json.loads((folder / "plans.json").read_text(encoding="utf-8"))
            self.dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
            weights = torch.load(folder / WEIGHTS_FILE, map_location="cpu", weights_only=True)
        except (OSError, ValueError, RuntimeError) as error:
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
        self._predictor = nnUNetPredictor(
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

    def predict(self, image: Path) -> tuple[np.ndarray, dict[int, float]]:
        """Predict one image.

        Returns:
            Label values, uint8, (X, Y, Z) in RAS, on the image's own grid; and per class id with voxels
            the mean softmax probability over the voxels given to it, on the network's grid.
        """
        preprocessor = self.configuration.preprocessor_class(verbose=False)
        data, _, properties = preprocessor.run_case(
            [str(image)], None, self.plans, self.configuration, self.dataset
        )
        if not np.isfinite(data).all():
            raise TrainingError(f"{image}: holds values that are no numbers; repair it or leave it out")
        # nnU-Net autocasts on CUDA itself.
        cpu = self.precision.device.type == "cpu" and self._bf16_on_cpu
        with self.precision.autocast() if cpu else nullcontext():
            logits = self._predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
        confidence = mean_confidence(logits)
        labels = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, self.plans, self.configuration, self.labels, properties,
            num_threads_torch=torch.get_num_threads(),
        )  # fmt: skip
        # nnU-Net's reader turns to RAS and reverses the axes.
        return np.ascontiguousarray(labels.transpose(2, 1, 0)), confidence


def mean_confidence(logits: torch.Tensor) -> dict[int, float]:
    """Mean probability of each class over the voxels where it wins; classes that win nowhere are left out.

    Args:
        logits: (classes, z, y, x), of any float dtype; background is class 0.
    """
    sums = torch.zeros(len(logits), dtype=torch.float64)
    voxels = torch.zeros(len(logits), dtype=torch.int64)
    for z in range(logits.shape[1]):  # slice by slice: a softmax of the whole volume would double the memory
        probability, winner = torch.softmax(logits[:, z].float(), 0).max(0)
        voxels += torch.bincount(winner.ravel(), minlength=len(logits))
        sums += torch.bincount(winner.ravel(), weights=probability.ravel().double(), minlength=len(logits))
    return {c: float(sums[c] / voxels[c]) for c in range(1, len(logits)) if voxels[c]}


def _predict_case(teacher: Teacher, case: JobCase, reporter: Reporter) -> None:
    def predict() -> PredictedMask:
        with case.image.open("rb") as stream:
            geometry = decode_geometry(stream, str(case.image))
        labels, confidence = teacher.predict(case.image)
        runs = RunLengths.from_array(geometry.from_ras(labels))
        if teacher.profile.keep_largest:
            runs = keep_largest(runs)
        return PredictedMask(encode_mask(runs, geometry), confidence)

    predict_once(case, teacher.identity, teacher.precision.device, reporter, predict)
