"""The teacher: nnU-Net, planned, preprocessed and trained on the strong cases of one job."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from curation.errors import CurationError
from curation.labels import ORGAN_IDS
from pipelines.case_copies import nnunet_key
from pipelines.training.jobs import Job, Reporter, TrainingError
from pipelines.training.prepared_files import PreparedFiles
from pipelines.training.teacher_dataset import lay_out, plan
from pipelines.training.teacher_folders import (
    AUGMENTERS_VARIABLE,
    CONFIGURATION,
    NnunetFolders,
    write_json,
)
from pipelines.training.teacher_preprocessing import preprocess, unreadable_case
from pipelines.training.worker import MODEL_FILE
from pipelines.whole_files import write_whole

WEIGHTS_FILE = "weights.pt"


def train_teacher(job: Job, reporter: Reporter) -> None:
    """Train on the job's cases and leave the model in `work_dir/model`.

    Goes on where a killed run of the same job stopped: complete labels, fingerprint, plans and preprocessed
    cases are kept, training resumes from the latest checkpoint and draws the batches it would have drawn.

    Raises:
        TrainingError: Too few cases, an unusable case, another job's folder, a loss that is not a number.
    """
    if len(job.split("train")) < 2:
        raise TrainingError(
            f"{len(job.split('train'))} training case(s); a teacher needs at least 2 with all organs"
        )
    _claim(job)
    folders = NnunetFolders(job.work_dir / "nnunet")
    # From here on nnU-Net may be imported.
    folders.enter()
    from pipelines.training.precision import Precision

    precision = Precision.of_job(job.device)
    use_all_threads()
    cases = lay_out([case for case in job.cases if case.split], folders, reporter)
    cache = _cache(job)
    plans = plan(cases, folders, job.profile.teacher, cache, reporter)
    dataset = json.loads((folders.raw / "dataset.json").read_text(encoding="utf-8"))
    preprocess(cases, folders, plans, dataset, cache, reporter)
    trainer = _train(job, folders, plans, precision, reporter)
    model_dir = job.work_dir / "model"
    weights_hash = _package(job, trainer, plans, model_dir)
    curves = trainer.curves()
    metrics = {key: curves[-1][key] for key in ("loss", "val_loss", "val_dice")} | {"device": str(precision)}
    reporter.done(weights=str(model_dir), weights_hash=weights_hash, metrics=metrics, curves=curves)


def _claim(job: Job) -> None:
    """Make sure that a work folder serves one job: a half-done other one would be continued in its place."""
    digest = hashlib.sha256(
        job.model_dump_json(exclude={"device", "processes", "work_dir"}).encode()
    ).hexdigest()
    file = job.work_dir / "job.sha256"
    if not file.is_file():
        write_whole(file, digest.encode())
    elif file.read_text(encoding="utf-8") != digest:
        raise TrainingError(f"{job.work_dir}: holds a training of another job; give it a folder of its own")


def _cache(job: Job) -> PreparedFiles:
    return PreparedFiles(job.cache_dir or job.work_dir / "prepared")


def use_all_threads() -> None:
    """Let torch use every core that this process may run on, unless OMP_NUM_THREADS says another number."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))


def _train(
    job: Job, folders: NnunetFolders, plans: dict[str, Any], precision: Any, reporter: Reporter
) -> Any:
    """Run nnU-Net's training loop, from the latest checkpoint if there is one; returns the trainer."""
    from pipelines.training.teacher_processes import process_count, train_together
    from pipelines.training.teacher_trainer import FINAL

    processes = process_count(job, plans, precision)
    if processes > 1 and not any(folders.results.glob(f"*/fold_0/{FINAL}")):
        train_together(job, plans, processes, reporter)
    trainer = build_trainer(job, plans, precision, reporter)
    train_to_the_end(job, trainer)
    return trainer


def build_trainer(job: Job, plans: dict[str, Any], precision: Any, reporter: Reporter) -> Any:
    """nnU-Net's trainer for a job whose cases are preprocessed. Its folders have to be entered."""
    from pipelines.training.teacher_trainer import LedgerTrainer, seed_everything

    if precision.device.type == "cpu":
        # In this process: a second one for augmentation takes a core from the training, and in one
        # process a resumed training draws what an uninterrupted one would have drawn.
        os.environ[AUGMENTERS_VARIABLE] = "0"
    seed_everything(job.seed)
    raw = NnunetFolders(job.work_dir / "nnunet").raw
    dataset = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    # nnUNetTrainer takes this key out of the plans.
    trainer = LedgerTrainer(
        {**plans, "continue_training": False}, CONFIGURATION, 0, dataset, precision.device
    )
    trainer.configure(job.profile.teacher, job.seed, precision, reporter)
    return trainer


def train_to_the_end(job: Job, trainer: Any) -> None:
    """Load the final checkpoint, or train until there is one, from the latest on.

    Raises:
        TrainingError: No memory, a checkpoint of another network, unreadable data, a loss that is not a number.
    """
    import torch

    from pipelines.training.teacher_trainer import FINAL, LATEST

    output = Path(trainer.output_folder)
    # As nnU-Net's own run_training: every patch has the same size, so the fastest convolution is looked for once.
    torch.backends.cudnn.benchmark = True
    try:
        trainer.initialize()
        for checkpoint in (output / FINAL, output / LATEST):
            if checkpoint.is_file():
                trainer.load_checkpoint(str(checkpoint))
                break
        if not (output / FINAL).is_file():
            trainer.run_training()
    except CurationError:
        raise
    except Exception as error:
        # torch has an exception for a GPU's memory, and none for a machine's.
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error):
            raise _too_large(job, trainer, error) from error
        _blame_data(job, trainer, error)
        raise


def _too_large(job: Job, trainer: Any, error: Exception) -> TrainingError:
    patch = " × ".join(map(str, trainer.configuration_manager.patch_size))
    found = (str(error).splitlines() or [type(error).__name__])[0]
    return TrainingError(
        f"{trainer.device}: not enough memory for batches of {trainer.batch_size} with a patch of {patch} ({found}); "
        f"lower patch_size, batch_size or base_features in [teacher] of profile '{job.profile.name}'"
    )


def _blame_data(job: Job, trainer: Any, error: Exception) -> None:
    """Say which case it was if a training stopped because of its data, or that it was the memory for them."""
    used = [case.case for case in job.cases if case.split]
    cases = {nnunet_key(index, case): case for index, case in enumerate(used)}
    broken = unreadable_case(cases, Path(trainer.preprocessed_dataset_folder))
    if broken is not None:
        # In the cache lie the very same files, under a second name.
        folders = f"{job.work_dir} and {_cache(job).folder}"
        raise TrainingError(f"{broken}; repair the disk, delete {folders}, and train again") from error
    if "background workers are no longer alive" in str(error):
        raise TrainingError(
            "a process that augments the data was ended, though all data can be read; most often memory or /dev/shm "
            f"is short: close other programs, or start with {AUGMENTERS_VARIABLE}=4"
        ) from error


def _package(job: Job, trainer: Any, plans: dict[str, Any], model_dir: Path) -> str:
    """Write the model folder (weights, plans, dataset, profile, model.json); returns the weights' sha256.

    model.json comes last: a folder with it is complete.
    """
    import torch

    beside = model_dir.with_name(".model.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    network = getattr(trainer.network, "_orig_mod", trainer.network)
    weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    torch.save(weights, beside / WEIGHTS_FILE)
    weights_hash = hashlib.sha256((beside / WEIGHTS_FILE).read_bytes()).hexdigest()
    # Paths of the training's cases are nobody's business where the model goes.
    dataset = {key: value for key, value in trainer.dataset_json.items() if key != "dataset"}
    write_json(beside / "plans.json", plans)
    write_json(beside / "dataset.json", dataset)
    write_json(beside / "profile.json", job.profile.model_dump(mode="json"))
    write_json(
        beside / MODEL_FILE,
        {
            "kind": "teacher",
            "classes": list(ORGAN_IDS),
            "mirror_axes": list(trainer.mirror_axes),
            "seed": job.seed,
            "weights_hash": weights_hash,
        },
    )
    shutil.rmtree(model_dir, ignore_errors=True)
    beside.replace(model_dir)
    return weights_hash
