"""Cases of two cubes, which a student learns in seconds: a bright one called liver and a dark one called spleen."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from curation.geometry import Geometry
from curation.rle import RunLengths
from curation.volumes import encode_image, encode_mask
from pipelines.profiles import Profile, StudentProfile, StudentStage
from pipelines.training.jobs import Job, JobCase, Reporter

RAS_5MM = np.diag([5.0, 5.0, 5.0, 1.0])
LIVER, SPLEEN = 1, 3


def cubes(seed: int, shape: tuple[int, int, int] = (36, 30, 32)) -> tuple[np.ndarray, np.ndarray]:
    """A body of 0 HU with a bright cuboid called liver and a dark one called spleen; HU and labels, RAS."""
    rng = np.random.default_rng(seed)
    image = np.full(shape, -1000.0)
    labels = np.zeros(shape, np.uint8)
    image[4:-4, 4:-4, 2:-2] = 0
    for label, x, hu in ((SPLEEN, 7, -200), (LIVER, 20, 200)):
        at = np.array([x, 9, 9]) + rng.integers(-2, 3, 3)
        part = tuple(slice(a, a + n) for a, n in zip(at, (8, 9, 10), strict=True))
        image[part], labels[part] = hu, label
    return image + rng.normal(0, 10, shape), labels


def write_case(folder: Path, name: str, image: np.ndarray, labels: np.ndarray, affine=RAS_5MM) -> JobCase:
    """Image and mask as files, for training."""
    folder.mkdir(parents=True, exist_ok=True)
    geometry = Geometry(image.shape, affine)
    image_file, mask_file = folder / f"{name}_0000.nii.gz", folder / f"{name}.nii.gz"
    image_file.write_bytes(encode_image(image.astype(np.int16), geometry))
    mask_file.write_bytes(encode_mask(RunLengths.from_array(labels), geometry))
    return JobCase(case=f"CUBES/{name}", image=image_file, mask=mask_file, split="train")


def stage(**changes: Any) -> StudentStage:
    """A stage of 64 steps."""
    quick = {
        "size": (24, 24, 24), "channels": (4, 8, 8, 16, 16), "dropout": 0, "epochs": 8,
        "steps_per_epoch": 8, "warmup_epochs": 1, "learning_rate": 0.02, "flips": "",
        "validate_every": 4, "checkpoint_every": 10,
    }  # fmt: skip
    return StudentStage(**(quick | changes))


PROFILE = Profile(
    name="cubes",
    student=StudentProfile(
        coarse=stage(dropout=0.05, flips="x", epochs=6, validate_every=3),
        fine=stage(
            size=(32, 24, 24), channels=(8, 8, 16, 16, 16), pad=True, augment=True, batch_size=1, balance=True
        ),
        margin_mm=10,
    ),
)


def job_in(work: Path, cases: tuple[JobCase, ...], **changes: Any) -> Job:
    fields = {"task": "student_train", "work_dir": work, "profile": PROFILE, "device": "cpu", "cases": cases}
    return Job(**(fields | changes))


def run(task: Any, job: Job) -> list[dict[str, Any]]:
    """Run a task in this process; returns its events."""
    stream = io.StringIO()
    task(job, Reporter(stream))
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Networks this small spend their time waiting for the second thread, above all on a busy machine."""
    import torch  # not with this module: the tests beside the trainings' need none

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
