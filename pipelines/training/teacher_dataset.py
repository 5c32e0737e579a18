"""From a job's cases to nnU-Net's plans: raw dataset, split, fingerprint, plans.

Every step leaves whole files behind and skips those that are there, so a killed job goes on where it stopped.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from curation.errors import CurationError
from curation.images import why_no_volume
from curation.labels import CLASSES, ORGAN_IDS, TUMOR_ID, is_reserved
from curation.volumes import decode_geometry, decode_mask, encode_mask
from pipelines.case_copies import nnunet_key
from pipelines.profiles import TeacherProfile
from pipelines.training.jobs import JobCase, Reporter, TrainingError
from pipelines.training.prepared_files import PreparedFiles
from pipelines.training.teacher_folders import DATASET, PLANS, NnunetFolders, RawCase, write_json
from pipelines.training.teacher_preprocessing import analyze_all
from pipelines.whole_files import write_whole

# nnU-Net's ignore label has to be the highest value + 1: the tumor is not among the teacher's classes.
IGNORED = max(ORGAN_IDS) + 1
# The fingerprint samples this many intensities over the whole dataset (nnU-Net's figure) ...
_INTENSITY_SAMPLES = 10**8
# ... but no more per case than this, which with few small cases would draw each voxel hundreds of times.
_INTENSITY_SAMPLES_PER_CASE = 10**6


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
    cases: list[RawCase],
    folders: NnunetFolders,
    profile: TeacherProfile,
    cache: PreparedFiles,
    reporter: Reporter,
) -> dict[str, Any]:
    """Take the fingerprint and let nnU-Net's planner work within the profile; returns the plans."""
    from pipelines.training.teacher_planner import make_plans

    fingerprint_file = folders.preprocessed / "dataset_fingerprint.json"
    if not fingerprint_file.is_file():
        write_json(fingerprint_file, _fingerprint(cases, cache, reporter))
    plans_file = folders.preprocessed / f"{PLANS}.json"
    if not plans_file.is_file():
        make_plans(DATASET, plans_file, profile)
    plans: dict[str, Any] = json.loads(plans_file.read_text(encoding="utf-8"))
    return plans


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
    if flat := why_no_volume(geometry.shape):
        raise TrainingError(f"{case.case}: {case.image}: {flat}; leave it out")
    reserved = {value: IGNORED for value in runs.voxels() if is_reserved(value)}
    if not label.is_file():
        write_whole(label, encode_mask(runs.remap({TUMOR_ID: 0, **reserved}), geometry))
    return bool(reserved)


def _fingerprint(cases: list[RawCase], cache: PreparedFiles, reporter: Reporter) -> dict[str, Any]:
    """Shapes, spacings and intensities of annotated voxels, as DatasetFingerprintExtractor reports them."""
    samples = min(_INTENSITY_SAMPLES // len(cases), _INTENSITY_SAMPLES_PER_CASE)
    analyses = []
    for analysis in analyze_all(cases, samples, cache):
        analyses.append(analysis)
        step = len(cases) + len(analyses)
        reporter.progress("plan", step, 2 * len(cases), f"fingerprint of {cases[len(analyses) - 1].case}")
    intensities = np.concatenate([analysis.intensities for analysis in analyses])
    if not len(intensities):
        raise TrainingError("no case has an annotated voxel; a teacher needs complete masks")
    low, median, high = np.percentile(intensities, (0.5, 50, 99.5))
    return {
        "shapes_after_crop": [analysis.shape for analysis in analyses],
        "spacings": [analysis.spacing_mm for analysis in analyses],
        "foreground_intensity_properties_per_channel": {
            "0": {
                "mean": intensities.mean(dtype=np.float64), "std": intensities.std(dtype=np.float64),
                "min": intensities.min(), "max": intensities.max(),
                "median": median, "percentile_00_5": low, "percentile_99_5": high,
            }
        },
        "median_relative_size_after_cropping": np.median([analysis.relative_size for analysis in analyses]),
    }  # fmt: skip
