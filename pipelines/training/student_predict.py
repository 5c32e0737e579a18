"""Coarse-to-fine inference: no sliding window; any size, any orientation, back on the file's own grid."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from curation.components import component_sizes, drop_small, keep_largest
from curation.errors import first_line
from curation.labels import CLASS_IDS
from curation.probability import percent_steps
from curation.rle import RunLengths
from curation.volumes import Geometry, decode_image, encode_mask
from pipelines.profiles import StudentStage
from pipelines.training.exported import read_exported
from pipelines.training.finished import PredictedMask, predict_all
from pipelines.training.jobs import Job, Reporter, TrainingError
from pipelines.training.precision import Precision
from pipelines.training.saved import UnreadableError, read_saved
from pipelines.training.student import CLASSES, STAGES, StageName, build_network
from pipelines.training.student_volumes import Box, Placement, foreground_box
from pipelines.training.worker import MODEL_FILE

# Pieces of the coarse result below this share of the largest are noise; adrenals touch kidneys at its resolution.
_SPECK = 0.02

# What ends the reading of a model's description, or the building of a network of what was saved.
_BROKEN = (OSError, ValueError, LookupError, TypeError, RuntimeError)


def predict_with_student(job: Job, reporter: Reporter) -> None:
    """Predict every case of the job that is not yet there. A bad case is reported and the others go on.

    Raises:
        TrainingError: The model folder is not whole, or a GPU is asked for and there is none.
    """
    assert job.model_dir is not None, "the worker reads model.json before it comes here"
    student = Student.load(
        job.model_dir,
        keep_largest=job.profile.predict.keep_largest,
        precision=Precision.of_job(job.device),
    )
    predictor = _CasePredictor(student, probabilities=job.profile.predict.probabilities)
    predict_all(predictor, job.cases, reporter, remedy="see log.txt; repair it or leave it out")
    reporter.done()


class _CasePredictor:
    """The steps of a student's prediction; one pass only, so nothing is said of mirrored ones."""

    def __init__(self, student: "Student", *, probabilities: bool) -> None:
        self._student = student
        self._probabilities = probabilities
        self.identity = {**student.identity, "probabilities": probabilities}
        self.device = student.precision.device

    def read(self, image: Path, data: bytes) -> tuple[Geometry, NDArray[Any]]:
        """The file's grid, and its HU in RAS."""
        geometry, image_hu = decode_image(data, str(image))
        if not np.isfinite(image_hu).all():
            raise TrainingError(f"{image}: holds values that are no numbers; repair it or leave it out")
        return geometry, geometry.to_ras(image_hu)

    def compute(self, prepared: tuple[Geometry, NDArray[Any]]) -> tuple[Geometry, "Prediction"]:
        """Both networks, one after the other."""
        geometry, image_hu = prepared
        found = self._student.predict(image_hu, geometry.spacing_ras_mm, with_probability=self._probabilities)
        return geometry, found

    def finish(self, computed: tuple[Geometry, "Prediction"]) -> PredictedMask:
        """Mask and map in the file's own axes, as files."""
        geometry, found = computed

        def encoded(array: NDArray[np.uint8]) -> bytes:
            return encode_mask(RunLengths.from_array(geometry.from_ras(array)), geometry)

        return PredictedMask(
            encoded(found.labels),
            found.confidence,
            probability=None if found.percent is None else encoded(found.percent),
            note=found.note,
        )


@dataclass(frozen=True)
class Prediction:
    """What a student finds in one image.

    Attributes:
        labels: Label values, uint8, (X, Y, Z) in RAS.
        confidence: Mean probability per class id with voxels.
        note: What a person should know, or None.
        percent: The map of the labels' probabilities (`curation.probability`), of the same shape, if asked for.
    """

    labels: NDArray[np.uint8]
    confidence: dict[int, float]
    note: str | None
    percent: NDArray[np.uint8] | None = None


class Student:
    """A trained student, ready to predict."""

    def __init__(
        self,
        networks: dict[StageName, nn.Module],
        stages: dict[StageName, StudentStage],
        *,
        margin_mm: float,
        keep_largest: bool,
        precision: Precision,
        weights_hash: str = "",
    ) -> None:
        self.identity = {"weights": weights_hash, "keep_largest": keep_largest}
        self.networks = {
            name: network.eval().to(precision.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
            for name, network in networks.items()
        }
        self.stages = stages
        self.margin_mm = margin_mm
        self.keep_largest = keep_largest
        self.precision = precision

    @classmethod
    def load(cls, folder: Path, *, keep_largest: bool, precision: Precision) -> "Student":
        """Load what `train_student` wrote; or, where `folder` is a file, what `export_student` did.

        Raises:
            TrainingError: Files are absent, damaged or no student's.
        """
        networks: dict[StageName, nn.Module] = {}
        stages: dict[StageName, StudentStage] = {}
        part = MODEL_FILE
        try:
            margin_mm, weights_hash, saved = _saved(folder)
            for name in STAGES:
                part = f"{name}.pt"
                stages[name] = StudentStage.model_validate(saved[name]["stage"])
                networks[name] = build_network(name, stages[name])
                networks[name].load_state_dict(saved[name]["weights"])
        except _BROKEN as error:
            raise TrainingError(
                f"{folder}: not a whole student ({part}: {first_line(error)}); train it again"
            ) from error
        return cls(
            networks,
            stages,
            margin_mm=margin_mm,
            keep_largest=keep_largest,
            precision=precision,
            weights_hash=weights_hash,
        )

    def predict(
        self,
        image_hu: NDArray[Any],
        spacing_mm: tuple[float, float, float],
        *,
        with_probability: bool = False,
    ) -> Prediction:
        """Segment one CT.

        Args:
            image_hu: HU, (X, Y, Z) in RAS; any size, int16 or float32.
            spacing_mm: Voxel size along x, y, z.
            with_probability: Make the map of probabilities, too.
        """
        box, note = self._locate(image_hu, spacing_mm)
        placed, logits = self._run("fine", image_hu, box)
        # First axis fastest, as in most files: then runs are found, and the file is written, line after line.
        labels = np.zeros(image_hu.shape, np.uint8, order="F")
        crop = labels[box.slices]
        # A map in steps of percent is compared exactly, and half precision would round across them.
        probability = placed.decide(logits, crop, exact=with_probability)
        percent = None
        if with_probability:
            percent = np.zeros(image_hu.shape, np.uint8, order="F")
            percent[box.slices] = percent_steps(probability.astype(np.float32, copy=False), crop)
        if self.keep_largest:
            crop[...] = keep_largest(RunLengths.from_array(crop)).to_array()
            if percent is not None:
                percent[labels == 0] = 0
        return Prediction(labels, _mean_per_class(crop, probability), note, percent)

    def _locate(
        self, image_hu: NDArray[Any], spacing_mm: tuple[float, float, float]
    ) -> tuple[Box, str | None]:
        """Find the organs with the coarse network: the box to look closer at, and a note where it found none."""
        whole = Box.whole(image_hu.shape)
        placed, logits = self._run("coarse", image_hu, whole)
        winner = logits.argmax(0).to(torch.uint8).cpu().numpy()
        found = foreground_box(_without_specks(winner))
        if found is None:
            return whole, "the coarse network found no organ; the fine one saw the whole image"
        return placed.box_back(found).grown(self.margin_mm, spacing_mm, whole.shape), None

    def _run(self, name: StageName, image_hu: NDArray[Any], box: Box) -> tuple[Placement, Tensor]:
        """Class scores (classes, *size) of one network for a part of the image, and how that part lay in it."""
        stage = self.stages[name]
        placed = Placement.plan(box.shape, stage.size, pad=stage.pad)
        crop: NDArray[Any] | Tensor = image_hu[box.slices]
        if self.precision.device.type != "cpu":
            crop = torch.from_numpy(np.ascontiguousarray(crop)).to(self.precision.device)
        at_input = placed.image(crop, stage.window_hu)[None]
        with torch.inference_mode(), self.precision.autocast():
            logits: Tensor = self.networks[name](at_input.contiguous(memory_format=torch.channels_last_3d))
        return placed, logits[0].float()


def _saved(model: Path) -> tuple[float, str, Mapping[StageName, dict[str, Any]]]:
    """Margin in mm, weights' hash, and what was saved of each stage, from a model's folder or exported file."""
    if model.is_file():
        facts, stages = read_exported(model)
        return facts.margin_mm, facts.weights_hash, stages
    said = json.loads((model / MODEL_FILE).read_text(encoding="utf-8"))
    saved: dict[StageName, dict[str, Any]] = {}
    for name in STAGES:
        file = model / f"{name}.pt"
        try:
            saved[name] = read_saved(file)
        except UnreadableError as error:
            raise TrainingError(
                f"{model}: not a whole student ({file.name}: {error}); train it again"
            ) from error
    return float(said["margin_mm"]), str(said["weights_hash"]), saved


def _without_specks(foreground: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Drop small pieces of the coarse result: a speck far away would blow the box up.

    Not everything but the largest piece: organs that do not touch are pieces of their own.
    """
    runs = RunLengths.from_array(foreground)
    largest = max(component_sizes(runs, 1), default=0)
    return drop_small(runs, math.ceil(_SPECK * largest)).to_array()


def _mean_per_class(labels: NDArray[np.uint8], probability: NDArray[np.floating[Any]]) -> dict[int, float]:
    """Mean probability over the voxels of each class that has any."""
    classes = CLASSES["fine"]
    voxels = np.zeros(classes)
    sums = np.zeros(classes)
    for z in range(labels.shape[2]):  # slice by slice: bincount makes int64 and float64 of what it counts
        plane, share = labels[:, :, z].ravel(order="F"), probability[:, :, z].ravel(order="F")
        drawn = np.flatnonzero(plane)
        classes_drawn = plane[drawn]
        voxels += np.bincount(classes_drawn, minlength=classes)
        sums += np.bincount(classes_drawn, weights=share[drawn], minlength=classes)
    return {c: float(sums[c] / voxels[c]) for c in CLASS_IDS if voxels[c]}
