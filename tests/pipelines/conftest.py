"""Fixtures of the training tests: a tiny cohort, nnU-Net and student, made once for all test processes of a run.

And a cohort of ten cases in the catalog, to freeze and export.
"""

import fcntl
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from frozen_cohort import take_in_cohort
from training_child import run_job
from two_cubes import cubes, job_in, one_torch_thread, run, write_case

from pipelines.phantom_cohort import write_cohort
from pipelines.profiles import Profile, parse_profile
from pipelines.runs import Workbench
from pipelines.training.jobs import JobCase

TINY_PROFILE = """
[teacher]
epochs = 4
steps_per_epoch = 30
val_steps_per_epoch = 1
optimizer = "adamw"
learning_rate = 0.005
batch_size = 2
patch_size = [32, 32, 40]
base_features = 8
max_features = 32
deep_supervision = false
augmentation = "light"
mirror = true
bf16_on_cpu = true
checkpoint_every = 1

[predict]
tta = false
"""


@dataclass(frozen=True)
class TinyCohort:
    """Four strong training phantoms at 8 mm (about 48 × 35 × 38 voxels) and two unseen ones."""

    folder: Path

    def case(self, name: str, **fields: Any) -> dict[str, Any]:
        """A case of a job file; `fields` replace what the cohort says."""
        image = "imagesTs" if "_T" in name else "imagesTr"
        label = image.replace("images", "labels")
        return {
            "case": f"Phantom/{name}",
            "image": str(self.folder / image / f"{name}_0000.nii.gz"),
            "mask": str(self.folder / label / f"{name}.nii.gz"),
            **fields,
        }


@dataclass(frozen=True)
class TrainedTeacher:
    """A teacher trained for 120 steps: it knows where the liver is, little more."""

    work_dir: Path
    model_dir: Path
    profile: Profile
    job: dict[str, Any]
    events: list[dict[str, Any]]


@pytest.fixture
def cohort(bench: Workbench, tmp_path: Path) -> Workbench:
    """S/C0 to S/C9 in the catalog (see `frozen_cohort`)."""
    take_in_cohort(bench, tmp_path)
    return bench


@pytest.fixture(scope="session")
def tiny_profile() -> Profile:
    return parse_profile(TINY_PROFILE, "tiny.toml", name="tiny")


# Makes a folder of this name once, however many test processes ask for it, and gives it to all of them.
MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> MakeOnce:
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def make_once(name: str, make: Callable[[Path], object]) -> Path:
        folder, whole = shared / name, shared / f"{name}.whole"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not whole.exists():
                folder.mkdir()
                make(folder)
                whole.touch()
        return folder

    return make_once


@pytest.fixture(scope="session")
def tiny_cohort(make_once: MakeOnce) -> TinyCohort:
    def make(folder: Path) -> None:
        write_cohort(folder, train=4, test=2, strong=4, spacing_mm=8.0, seed=1)

    return TinyCohort(make_once("cohort", make))


@pytest.fixture(scope="session")
def teacher_job(tiny_cohort: TinyCohort, tiny_profile: Profile) -> dict[str, Any]:
    """A training job without its work_dir: three cases to train, one to validate."""
    splits = ("train", "train", "train", "val")
    cases = [tiny_cohort.case(f"PHANTOM_{i:04d}", split=split) for i, split in enumerate(splits)]
    profile = tiny_profile.model_dump(mode="json")
    return {"task": "teacher_train", "profile": profile, "device": "cpu", "seed": 3, "cases": cases}


@pytest.fixture(scope="session")
def trained_teacher(
    teacher_job: dict[str, Any], tiny_profile: Profile, make_once: MakeOnce
) -> TrainedTeacher:
    def make(work_dir: Path) -> None:
        code, events = run_job(work_dir, teacher_job)
        assert code == 0, (events[-1:], (work_dir / "log.txt").read_text()[-2000:])
        (work_dir / "events.json").write_text(json.dumps(events))

    work_dir = make_once("teacher", make)
    events = json.loads((work_dir / "events.json").read_text())
    return TrainedTeacher(work_dir, Path(events[-1]["weights"]), tiny_profile, teacher_job, events)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    with one_torch_thread():
        yield


@pytest.fixture(scope="session")
def cube_cases(make_once: MakeOnce) -> tuple[JobCase, ...]:
    """Four cases of two cubes to learn from and one to validate on."""

    def make(folder: Path) -> None:
        made = [write_case(folder, f"C{i}", *cubes(i)) for i in range(5)]
        (folder / "cases.json").write_text(json.dumps([case.model_dump(mode="json") for case in made]))

    folder = make_once("cubes", make)
    *train, last = (JobCase(**fields) for fields in json.loads((folder / "cases.json").read_text()))
    return (*train, last.model_copy(update={"split": "val"}))


@pytest.fixture(scope="session")
def trained_student(cube_cases: tuple[JobCase, ...], make_once: MakeOnce) -> dict[str, Any]:
    """A student trained without a break: its folder, not to be changed, and its events."""
    from pipelines.training.student import train_student

    def make(work: Path) -> None:
        with one_torch_thread():  # as every test that holds its own training against this one
            (work / "events.json").write_text(json.dumps(run(train_student, job_in(work, cube_cases))))

    work = make_once("student", make)
    return {"work": work, "events": json.loads((work / "events.json").read_text())}
