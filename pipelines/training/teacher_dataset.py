"""From a job's cases to nnU-Net's preprocessed folder: raw dataset, fingerprint, plans, preprocessed cases.

Every step leaves whole files behind and skips those that are there, so a killed job goes on where it stopped.
nnU-Net's own drivers do the same work in a pool that says "background worker died" when a case is bad; here
the cases go through its per-case functions one by one, and a bad one is named.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from curation.errors import CurationError
from curation.labels import CLASSES, ORGAN_IDS, TUMOR_ID, is_reserved
from curation.volumes import decode_geometry, decode_mask, encode_mask
from pipelines.case_copies import nnunet_key
from pipelines.profiles import TeacherProfile
from pipelines.training.jobs import JobCase, Reporter, TrainingError
from pipelines.whole_files import write_whole

DATASET = "Dataset001_maskledger"
PLANS = "nnUNetPlans"
# How many processes nnU-Net uses for augmentation.
AUGMENTERS_VARIABLE = "nnUNet_n_proc_DA"
CONFIGURATION = "3d_fullres"
# nnU-Net's ignore label has to be the highest value + 1: the tumor is not among the teacher's classes.
IGNORED = max(ORGAN_IDS) + 1
# The fingerprint samples this many intensities over the whole dataset (nnU-Net's figure) ...
_INTENSITY_SAMPLES = 10**8
# ... but no more per case than this, which with few small cases would draw each voxel hundreds of times.
_INTENSITY_SAMPLES_PER_CASE = 10**6
# A pool of processes pays from here on: each imports nnU-Net and torch first, some 5 s.
_POOL_FROM_CASES = 24

Result = TypeVar("Result")


@dataclass(frozen=True)
class RawCase:
    """One case as nnU-Net sees it: `key` is its name there, `label` the converted mask."""

    key: str
    case: str
    image: Path
    label: Path
    split: str


@dataclass(frozen=True)
class NnunetFolders:
    """nnU-Net's three folders inside a job's work folder."""

    root: Path

    def enter(self) -> None:
        """Tell nnU-Net, in this process and its children, where its folders are. Before importing it."""
        for name in ("raw", "preprocessed", "results"):
            folder = self.root / name
            folder.mkdir(parents=True, exist_ok=True)
            os.environ[f"nnUNet_{name}"] = str(folder)

    @property
    def raw(self) -> Path:
        return self.root / "raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed" / DATASET

    @property
    def results(self) -> Path:
        return self.root / "results" / DATASET


def lay_out(cases: list[JobCase], folders: NnunetFolders, reporter: Reporter) -> list[RawCase]:
    """Write the raw dataset: converted labels, dataset.json, splits_final.json. Images stay where they are.

    Organs keep their values. Tumor becomes background: the teacher has 13 classes, as in the paper, whose
    complete labels know no tumor. Unresolved and ignored voxels become nnU-Net's ignore label, which leaves
    them out of the loss.

    Raises:
        TrainingError: A case has no mask, does not fit its image, or cannot be read; it is named.
    """
    raw_cases: list[RawCase] = []
    reserved = False
    for index, case in enumerate(cases):
        key = nnunet_key(index, case.case)
        label = folders.raw / "labelsTr" / f"{key}.nii.gz"
        reserved |= _convert_label(case, label)
        raw_cases.append(RawCase(key, case.case, case.image, label, case.split or "train"))
        reporter.progress("plan", index + 1, 2 * len(cases), f"labels of {case.case}")

    labels = {"background": 0} | {c.name: c.id for c in CLASSES if c.id in ORGAN_IDS}
    description = {
        "channel_names": {"0": "CT"},
        "labels": labels | ({"ignore": IGNORED} if reserved else {}),
        "numTraining": len(raw_cases),
        "file_ending": ".nii.gz",
        # nnU-Net's default reader does not reorient.
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
        "dataset": {c.key: {"images": [str(c.image)], "label": str(c.label)} for c in raw_cases},
    }
    train = [c.key for c in raw_cases if c.split == "train"]
    # Without validation cases the pseudo Dice is taken on the training cases: a curve, not a score.
    split = {"train": train, "val": [c.key for c in raw_cases if c.split == "val"] or train}
    write_json(folders.raw / "dataset.json", description)
    write_json(folders.preprocessed / "splits_final.json", [split])
    return raw_cases


def plan(
    cases: list[RawCase], folders: NnunetFolders, profile: TeacherProfile, reporter: Reporter
) -> dict[str, Any]:
    """Take the fingerprint and let nnU-Net's planner work within the profile; returns the plans."""
    from pipelines.training.teacher_planner import make_plans

    fingerprint_file = folders.preprocessed / "dataset_fingerprint.json"
    if not fingerprint_file.is_file():
        write_json(fingerprint_file, _fingerprint(cases, reporter))
    plans_file = folders.preprocessed / f"{PLANS}.json"
    if not plans_file.is_file():
        make_plans(DATASET, plans_file, profile)
    plans: dict[str, Any] = json.loads(plans_file.read_text(encoding="utf-8"))
    return plans


def preprocess(
    cases: list[RawCase], folders: NnunetFolders, plans: dict[str, Any], reporter: Reporter
) -> None:
    """Crop, normalize and resample every case that is not yet in nnU-Net's preprocessed folder."""
    output = folders.preprocessed / plans["configurations"][CONFIGURATION]["data_identifier"]
    output.mkdir(parents=True, exist_ok=True)
    (folders.root / "done").mkdir(exist_ok=True)
    todo = [case for case in cases if not _marker(output, case).is_file()]
    jobs = [(case, output, plans, folders.raw / "dataset.json") for case in todo]
    for done, case in enumerate(_map_cases(_preprocess_case, jobs), start=len(cases) - len(todo) + 1):
        reporter.progress("preprocess", done, len(cases), case)


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file whole; numpy numbers and arrays are taken as plain ones."""
    write_whole(file, json.dumps(content, indent=1, default=lambda value: value.tolist()).encode())


def _convert_label(case: JobCase, label: Path) -> bool:
    """Write a case's label for nnU-Net; True if it holds voxels to be ignored."""
    if case.mask is None:
        raise TrainingError(f"{case.case}: has no mask; a teacher learns from complete masks, leave it out")
    try:
        geometry, runs = decode_mask(case.mask.read_bytes(), str(case.mask))
        with case.image.open("rb") as stream:
            differs = decode_geometry(stream, str(case.image)).difference(geometry)
    except (CurationError, OSError) as error:
        raise TrainingError(f"{case.case}: {error}") from error
    if differs:
        raise TrainingError(f"{case.case}: {case.mask} is not on the grid of {case.image}: {differs}")
    reserved = {value: IGNORED for value in runs.voxels() if is_reserved(value)}
    if not label.is_file():
        write_whole(label, encode_mask(runs.remap({TUMOR_ID: 0, **reserved}), geometry))
    return bool(reserved)


def _fingerprint(cases: list[RawCase], reporter: Reporter) -> dict[str, Any]:
    """Shapes, spacings and intensities of annotated voxels, as DatasetFingerprintExtractor reports them."""
    samples = min(_INTENSITY_SAMPLES // len(cases), _INTENSITY_SAMPLES_PER_CASE)
    analyses = []
    for analysis in _map_cases(_analyze_case, [(case, samples) for case in cases]):
        analyses.append(analysis)
        step = len(cases) + len(analyses)
        reporter.progress("plan", step, 2 * len(cases), f"fingerprint of {cases[len(analyses) - 1].case}")
    intensities = np.concatenate([np.asarray(analysis[2][0], np.float32) for analysis in analyses])
    if not len(intensities):
        raise TrainingError("no case has an annotated voxel; a teacher needs complete masks")
    low, median, high = np.percentile(intensities, (0.5, 50, 99.5))
    return {
        "shapes_after_crop": [analysis[0] for analysis in analyses],
        "spacings": [analysis[1] for analysis in analyses],
        "foreground_intensity_properties_per_channel": {
            "0": {
                "mean": intensities.mean(dtype=np.float64), "std": intensities.std(dtype=np.float64),
                "min": intensities.min(), "max": intensities.max(),
                "median": median, "percentile_00_5": low, "percentile_99_5": high,
            }
        },
        "median_relative_size_after_cropping": np.median([analysis[4] for analysis in analyses]),
    }  # fmt: skip


def _analyze_case(case: RawCase, samples: int) -> Any:
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient

    with _naming(case):
        return DatasetFingerprintExtractor.analyze_case(
            [str(case.image)], str(case.label), NibabelIOWithReorient, samples
        )


def _preprocess_case(case: RawCase, output: Path, plans: dict[str, Any], dataset_json: Path) -> str:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    for partial in output.glob(f"{case.key}*"):
        partial.unlink()
    files = str(output / case.key), [str(case.image)], str(case.label)
    manager = PlansManager(plans)
    configuration = manager.get_configuration(CONFIGURATION)
    with _naming(case):
        configuration.preprocessor_class(verbose=False).run_case_save(
            *files, manager, configuration, str(dataset_json)
        )
    _marker(output, case).touch()
    return case.case


def _marker(output: Path, case: RawCase) -> Path:
    """Exists once all files of the preprocessed case are written."""
    # Not in `output`: nnU-Net tells its data format from the file endings there.
    return output.parents[2] / "done" / case.key


class _naming:
    """Turns whatever nnU-Net throws at a case into an error that says which case it was."""

    def __init__(self, case: RawCase) -> None:
        self._case = case

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            found = f"{type(error).__name__}: {error}".splitlines()[0]
            raise TrainingError(
                f"{self._case.case}: {self._case.image} is not usable ({found}); repair it or leave it out"
            ) from error


def _map_cases(function: Callable[..., Result], jobs: list[tuple[Any, ...]]) -> Iterator[Result]:
    """Apply `function` to each job in order, in a pool of processes where that pays."""
    workers = min(os.cpu_count() or 1, 8)
    if workers < 4 or len(jobs) < _POOL_FROM_CASES:
        yield from (function(*job) for job in jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(function, *job) for job in jobs]
        try:
            yield from (future.result() for future in futures)
        finally:
            for future in futures:
                future.cancel()
