"""Stage 3 of the method: train the coarse-to-fine student on complemented masks."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import monai
import torch
from torch import nn

from curation.errors import CurationError
from curation.labels import CLASS_IDS
from pipelines.profiles import Missing, StudentProfile, StudentStage
from pipelines.training.jobs import Job, JobCase, Reporter, TrainingError
from pipelines.training.networks.coarse_unet import CoarseUNet
from pipelines.training.networks.efficient_seg import EfficientSegNet
from pipelines.training.networks.of_monai import of_monai
from pipelines.training.precision import Precision
from pipelines.training.saved import save_whole
from pipelines.training.student_data import Cache, Prepared, derive_seed, prepare_all
from pipelines.training.student_loop import NetworkTraining, check_settings, load_saved
from pipelines.whole_files import write_whole

StageName = Literal["coarse", "fine"]
STAGES: tuple[StageName, ...] = ("coarse", "fine")
# Background included. The coarse network only says where organs are: two classes are learned soonest, and a kidney
# taken for a liver spoils no box. It has 2.68 M parameters with 2 classes as with 15.
CLASSES: dict[StageName, int] = {"coarse": 2, "fine": len(CLASS_IDS) + 1}


def build_network(name: StageName, stage: StudentStage) -> nn.Module:
    """The network of one stage, He-initialized: the paper's, or another that the stage names."""
    if stage.network != "paper":
        return of_monai(stage.network, CLASSES[name], stage.channels, dropout=stage.dropout)
    kind = CoarseUNet if name == "coarse" else EfficientSegNet
    return kind(CLASSES[name], stage.channels, dropout=stage.dropout)


def train_student(job: Job, reporter: Reporter) -> None:
    """Train the coarse network, then the fine one, and write both to `work_dir`/model.

    A case that cannot be prepared is reported and left out of both stages. Events: progress of the stages
    preprocess, coarse and fine, a problem per bad case, done.

    Raises:
        TrainingError: The profile has no student, no member is there to train on, or the folder holds a network
            of other settings; and see NetworkTraining.
    """
    profile = job.profile.student
    if profile is None:
        raise TrainingError(f"profile {job.profile.name} has no [student] tables; add them or take another")
    if not job.split("train"):
        raise TrainingError(
            "the dataset has no training member; freeze it with a smaller --val or with more cases"
        )
    monai.data.set_track_meta(False)  # plain tensors: nothing here needs MONAI's affine books
    precision = Precision.of_job(job.device)
    model = job.work_dir / "model"
    for name, stage in _stages(profile):  # before hours go into a stage that ends beside another's network
        if (file := model / f"{name}.pt").is_file():
            check_settings(file, load_saved(file, torch.device("cpu")), stage, profile.missing)
    prepared = _prepare(job, profile, reporter)
    for name, stage in _stages(profile):
        file = model / f"{name}.pt"
        if not file.is_file():
            _train_stage(job, name, stage, profile.missing, prepared[name], precision, file, reporter)
    _finish(profile, precision, model, reporter)


def _stages(profile: StudentProfile) -> tuple[tuple[StageName, StudentStage], ...]:
    return ("coarse", profile.coarse), ("fine", profile.fine)


def _prepare(
    job: Job, profile: StudentProfile, reporter: Reporter
) -> dict[StageName, dict[str, list[Prepared]]]:
    """Bring all members to the inputs of both stages: stage → split → members."""
    cache = Cache(job.cache_dir or job.work_dir / "cache")
    members = [case for case in job.cases if case.split is not None]
    bad: set[str] = set()

    def on_problem(member: JobCase, error: CurationError) -> None:
        if member.case not in bad:
            reason, _, remedy = str(error).partition("; ")
            reporter.problem(member.case, reason, remedy)
        bad.add(member.case)

    of = len(STAGES) * len(members)
    step = 0
    found: dict[StageName, dict[str, list[Prepared]]] = {}
    for name, stage in _stages(profile):
        splits: dict[str, list[Prepared]] = {"train": [], "val": []}
        margin_mm = None if name == "coarse" else profile.margin_mm
        for member, ready in zip(
            members, prepare_all(cache, members, stage, margin_mm, on_problem), strict=True
        ):
            step += 1
            reporter.progress("preprocess", step, of, member.case)
            if ready is not None and member.split is not None:
                splits[member.split].append(ready)
        found[name] = splits
    if not found["fine"]["train"]:
        raise TrainingError("no training member is left; look at the problems above")
    return found


def _train_stage(
    job: Job,
    name: StageName,
    stage: StudentStage,
    missing: Missing,
    members: dict[str, list[Prepared]],
    precision: Precision,
    file: Path,
    reporter: Reporter,
) -> None:
    seed = derive_seed(job.seed, name)
    torch.manual_seed(seed)
    training = NetworkTraining(
        build_network(name, stage),
        stage,
        members["train"],
        members["val"],
        folder=job.work_dir / name,
        seed=seed,
        precision=precision,
        classes=CLASSES[name],
        missing=missing,
    )
    weights = training.run(
        lambda step, of, loss: reporter.progress(name, step, of, f"{name} network", loss=loss)
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    standing = training.standing
    save_whole(
        file,
        {
            "stage": stage.model_dump(),
            "missing": missing,
            "weights": weights,
            "curve": standing.curve,
            "dsc": standing.best_dsc,
        },
    )
    # The optimizer's state is twice the size of the network and of no more use.
    for leftover in (training.checkpoint, training.best):
        leftover.unlink(missing_ok=True)


def _finish(profile: StudentProfile, precision: Precision, model: Path, reporter: Reporter) -> None:
    digest = hashlib.sha256()
    metrics: dict[str, Any] = {"device": str(precision)}
    curves: list[dict[str, Any]] = []
    for name in STAGES:
        file = model / f"{name}.pt"
        digest.update(file.read_bytes())
        saved = torch.load(file, map_location="cpu", weights_only=True)
        metrics[f"{name}_dsc"] = saved["dsc"]
        curves += [{"stage": name, **point} for point in saved["curve"]]
    description = {"kind": "student", "margin_mm": profile.margin_mm, "weights_hash": digest.hexdigest()}
    write_whole(model / "model.json", json.dumps(description, indent=1).encode())
    reporter.done(weights=str(model), weights_hash=digest.hexdigest(), metrics=metrics, curves=curves)
