"""What a teacher's training says when memory, a checkpoint or the preprocessed data fail it."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from training_child import run_job
from volume_files import SHAPE, boxes, write_volume

from pipelines.training import teacher_preprocessing
from pipelines.training.jobs import Job, Reporter, TrainingError
from pipelines.training.precision import Precision
from pipelines.training.prepared_files import PreparedFiles
from pipelines.training.teacher import train_to_the_end
from pipelines.training.teacher_folders import NnunetFolders, RawCase

PLANS = {
    "transpose_forward": [0, 1, 2],
    "image_reader_writer": "NibabelIOWithReorient",
    "foreground_intensity_properties_per_channel": {},
    "configurations": {
        "3d_fullres": {
            "data_identifier": "nnUNetPlans_3d_fullres",
            **dict.fromkeys(teacher_preprocessing._CONFIGURATION_KEYS, ""),
        }
    },
}
DATASET = {"labels": {"background": 0, "liver": 1}, "channel_names": {"0": "CT"}}


class Silent:
    def write(self, text):
        pass

    def flush(self):
        pass


def failing(error, job, folder="."):
    """A trainer whose first act fails; no GPU is needed to run out of its memory."""

    def initialize():
        raise error

    return SimpleNamespace(
        initialize=initialize,
        output_folder="",
        device="cuda:0",
        batch_size=2,
        configuration_manager=SimpleNamespace(patch_size=[48, 192, 192]),
        preprocessed_dataset_folder=str(folder),
    ), Job.model_validate({"work_dir": "/nowhere", **job})


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_without_memory_it_says_what_to_lower(error, teacher_job):
    trainer, job = failing(error, teacher_job)
    with pytest.raises(TrainingError) as said:
        train_to_the_end(job, trainer)
    assert str(said.value) == (
        f"cuda:0: not enough memory for batches of 2 with a patch of 48 × 192 × 192 ({str(error).splitlines()[0]}); "
        "lower patch_size, batch_size or base_features in [teacher] of profile 'tiny'"
    )


def test_as_many_gpus_train_as_a_batch_has_samples_and_more_are_refused(teacher_job, monkeypatch):
    from pipelines.training.teacher_processes import process_count

    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    gpu, cpu = (Precision(torch.device(name), torch.float16) for name in ("cuda", "cpu"))
    plans = {"configurations": {"3d_fullres": {"batch_size": 2}}}

    def count(precision, processes=None):
        job = Job.model_validate({"work_dir": "/nowhere", **teacher_job, "processes": processes})
        return process_count(job, plans, precision)

    assert [count(gpu), count(cpu), count(gpu, 1), count(cpu, 2)] == [2, 1, 1, 2]
    with pytest.raises(TrainingError, match="9 GPUs were asked for and 8 are here; lower --gpus"):
        count(gpu, 9)
    with pytest.raises(
        TrainingError, match="a batch of 2 cannot be spread over 4 processes; lower --gpus or"
    ):
        count(gpu, 4)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (np.full(SHAPE, np.nan, np.float32), "voxels are NaN or infinite"),
        (None, "ImageFileError: File "),
    ],
)
def test_a_case_that_nnunet_cannot_use_is_named(content, found, tmp_path):
    image, label = tmp_path / "i.nii.gz", write_volume(tmp_path / "l.nii.gz", boxes({1: 8}))
    image.write_text("no image") if content is None else write_volume(image, content)
    case = RawCase("00000_C", "S/C", image, label, "train")
    with pytest.raises(TrainingError) as said:
        list(teacher_preprocessing.analyze_all([case], 100, PreparedFiles(tmp_path / "prepared")))
    assert str(said.value).startswith(f"S/C: {image} is not usable ({found}")
    assert str(said.value).endswith("; repair it or leave it out")


class Deadly:
    """Ends the process that unpickles it, as the system does where memory runs out."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_process_that_is_killed_over_a_case_is_told_with_the_case(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    monkeypatch.setattr(teacher_preprocessing, "_POOL_FROM_CASES", 1)
    case = RawCase("00000_C", "S/C", tmp_path / "i.nii.gz", tmp_path / "l.nii.gz", "train")
    with pytest.raises(TrainingError) as said:
        list(teacher_preprocessing._map_cases(print, [(case, Deadly())]))
    assert str(said.value) == (
        "S/C: a process that worked on this case or one of the next was killed; most often memory was short: "
        "close other programs and train again, which goes on with what is left"
    )


@pytest.mark.long
def test_a_case_whose_data_kill_the_augmentation_is_named(trained_teacher, teacher_job, tmp_path):
    (folder,) = trained_teacher.work_dir.glob("nnunet/preprocessed/*/nnUNetPlans_3d_fullres")
    shutil.copytree(folder, tmp_path / "data")
    dead = RuntimeError("One or more background workers are no longer alive. Exiting.")
    trainer, job = failing(dead, teacher_job, tmp_path / "data")
    with pytest.raises(
        TrainingError, match=r"was ended, though all data can be read; most often memory or /dev/shm"
    ):
        train_to_the_end(job, trainer)
    broken = tmp_path / "data" / "00001_PHANTOM_0001_seg.b2nd"
    whole = broken.read_bytes()
    broken.unlink()  # it is a link to the cache
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"Phantom/PHANTOM_0001: its preprocessed data cannot be read"):
        train_to_the_end(job, trainer)


@pytest.mark.long
def test_a_checkpoint_of_another_network_is_refused(trained_teacher, teacher_job, tmp_path):
    work_dir = tmp_path / "work"
    shutil.copytree(trained_teacher.work_dir, work_dir)
    (checkpoint,) = work_dir.glob("nnunet/results/*/*/fold_0/checkpoint_final.pth")
    held = torch.load(checkpoint, weights_only=False)
    held["network_weights"] = {f"other.{key}": value for key, value in held["network_weights"].items()}
    torch.save(held, checkpoint)
    code, events = run_job(work_dir, teacher_job)
    assert code == 1
    assert events[-1]["reason"].startswith(
        f"{checkpoint}: is of another network than this training's PlainConvUNet"
    )
    assert events[-1]["remedy"] == "delete it to begin anew, or train with the profile that it was made with"


@pytest.mark.long  # imports nnU-Net
@pytest.mark.parametrize("held", [b"", b"weights\n"], ids=["empty", "text"])
def test_a_teacher_with_weights_that_torch_cannot_read_is_refused_in_one_line(tiny_profile, tmp_path, held):
    from pipelines.training.predict_teacher import Teacher

    for name in ("model.json", "plans.json", "dataset.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "weights.pt").write_bytes(held)
    job = Job(task="predict", work_dir=tmp_path, profile=tiny_profile, model_dir=tmp_path)
    with pytest.raises(TrainingError, match=r"^\S+: not a whole teacher \([^\n]+\); train it again$"):
        Teacher(job)


def test_a_preprocessing_that_stopped_goes_on_with_the_case_that_was_in_work(tmp_path, monkeypatch):
    (tmp_path / "nnunet").mkdir()
    cases = []
    for index in range(3):
        for name in ("image", "label"):
            (tmp_path / f"{name}{index}").write_text(f"{name} {index}")
        files = (tmp_path / f"image{index}", tmp_path / f"label{index}")
        cases.append(RawCase(f"{index}_C", f"S/C{index}", *files, "train"))
    built = []

    def build(case, folder, *_, dies_at=None):
        built.append(case.case)
        files = [folder / (case.key + ending) for ending in teacher_preprocessing.PREPROCESSED_ENDINGS]
        for file in files:
            file.write_text(case.case)
            if case.case == dies_at:
                raise KeyboardInterrupt
        return files

    kept = PreparedFiles(tmp_path / "prepared")
    given = (cases, NnunetFolders(tmp_path / "nnunet"), PLANS, DATASET, kept, Reporter(Silent()))
    monkeypatch.setattr(teacher_preprocessing, "_build", lambda *rest: build(*rest, dies_at="S/C1"))
    with pytest.raises(KeyboardInterrupt):
        teacher_preprocessing.preprocess(*given)
    monkeypatch.setattr(teacher_preprocessing, "_build", build)
    teacher_preprocessing.preprocess(*given)
    assert built == ["S/C0", "S/C1", "S/C1", "S/C2"]
    folder = Path(tmp_path / "nnunet/preprocessed/Dataset001_maskledger/nnUNetPlans_3d_fullres")
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        f"{index}_C{ending}" for index in range(3) for ending in teacher_preprocessing.PREPROCESSED_ENDINGS
    )

    # Where the disk knows no second names, a file is copied, whole.
    def link(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr("os.link", link)
    folders = NnunetFolders(tmp_path / "elsewhere")
    folders.root.mkdir()
    teacher_preprocessing.preprocess(cases, folders, *given[2:])
    copied = folders.preprocessed / "nnUNetPlans_3d_fullres" / "2_C.pkl"
    assert copied.read_text() == "S/C2"
    assert copied.stat().st_nlink == 1
    assert len(built) == 4
