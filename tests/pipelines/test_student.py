"""Training a student on cases of two cubes: what it tells, going on after a kill, and what is refused."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from two_cubes import LIVER, PROFILE, SPLEEN, cubes, job_in, run, stage, write_case

from curation.volumes import decode_mask
from pipelines.profiles import Profile, StudentProfile
from pipelines.training.jobs import Reporter, TrainingError
from pipelines.training.precision import Precision
from pipelines.training.student import STAGES, train_student
from pipelines.training.student_loop import learning_rate
from pipelines.training.student_predict import Student, predict_with_student

pytestmark = pytest.mark.usefixtures("one_thread")


def test_training_tells_its_stages_its_curves_and_what_it_found(trained_student):
    events = trained_student["events"]
    done = events[-1]
    stages = [e["stage"] for e in events if e["event"] == "progress"]
    assert list(dict.fromkeys(stages)) == ["preprocess", "coarse", "fine"]
    assert done["event"] == "done"
    assert Path(done["weights"]) == trained_student["work"] / "model"
    # Six epochs and eight, validated half way and at the end.
    assert [(p["stage"], p["epoch"]) for p in done["curves"]] == [
        *(("coarse", e) for e in range(1, 7)), *(("fine", e) for e in range(1, 9))
    ]  # fmt: skip
    assert [p["epoch"] for p in done["curves"] if "dsc" in p] == [3, 6, 4, 8]
    assert done["metrics"]["fine_dsc"] > 0.7
    assert done["metrics"]["device"] in ("cpu, float32", "cpu, bfloat16")
    fine = [p["loss"] for p in done["curves"] if p["stage"] == "fine"]
    assert fine[-1] < fine[0] / 2


def test_a_finished_training_started_again_only_says_so(trained_student, cube_cases, tmp_path):
    shutil.copytree(trained_student["work"], tmp_path / "work")
    again = run(train_student, job_in(tmp_path / "work", cube_cases))
    assert {e.get("stage") for e in again} == {"preprocess", None}
    assert again[-1] == trained_student["events"][-1] | {"weights": str(tmp_path / "work" / "model")}


class PowerCut(Exception):
    """Stands for a kill: nothing after it runs, and only what is on disk remains."""


class DyingReporter(Reporter):
    """Reporter of a process that dies at a step of a stage."""

    def __init__(self, stage: str, step: int) -> None:
        super().__init__(io.StringIO())
        self.at = stage, step

    def progress(self, stage: str, step: int, of: int, message: str = "", **figures: float) -> None:
        if stage == self.at[0] and step >= self.at[1]:
            raise PowerCut
        super().progress(stage, step, of, message, **figures)


@pytest.mark.parametrize(("stage_name", "step"), [("coarse", 25), ("fine", 33)])
def test_a_killed_training_goes_on_to_the_same_weights(
    stage_name, step, trained_student, cube_cases, tmp_path, monkeypatch
):
    """Dropout, transforms and order included; checkpoints are every 10 steps, epochs have 8."""
    monkeypatch.setattr("pipelines.training.student_loop._REPORT_EVERY_S", 0)
    job = job_in(tmp_path, cube_cases, cache_dir=trained_student["work"] / "cache")
    for other in {"coarse", "fine"} - {stage_name}:  # that stage is done already
        (tmp_path / "model").mkdir()
        shutil.copy(trained_student["work"] / "model" / f"{other}.pt", tmp_path / "model")
    with pytest.raises(PowerCut):
        train_student(job, DyingReporter(stage_name, step))
    resumed = run(train_student, job)
    first = next(e for e in resumed if e.get("stage") == stage_name)
    assert first["step"] == step // 10 * 10 + 1
    assert resumed[-1]["curves"] == trained_student["events"][-1]["curves"]
    for name in STAGES:
        ours = torch.load(tmp_path / "model" / f"{name}.pt", weights_only=True)["weights"]
        theirs = torch.load(trained_student["work"] / "model" / f"{name}.pt", weights_only=True)["weights"]
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.long
def test_killed_with_signal_9_a_training_process_goes_on(trained_student, cube_cases, tmp_path):
    job = job_in(tmp_path / "work", cube_cases, cache_dir=trained_student["work"] / "cache")
    file = tmp_path / "job.json"
    file.write_text(job.model_dump_json())
    command = [sys.executable, "-m", "pipelines.training", str(file)]
    root = Path(__file__).resolve().parents[2]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=settings) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event.get("stage") == "fine" and event["step"] >= 12:
                break
        os.kill(process.pid, signal.SIGKILL)
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=root, env=settings, check=True)
    events = [json.loads(line) for line in finished.stdout.splitlines()]
    assert {e.get("stage") for e in events} == {"preprocess", "fine", None}
    assert events[-1]["curves"] == trained_student["events"][-1]["curves"]


def test_other_settings_do_not_go_on_from_a_checkpoint(trained_student, cube_cases, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.training.student_loop._REPORT_EVERY_S", 0)
    job = job_in(tmp_path, cube_cases, cache_dir=trained_student["work"] / "cache")
    with pytest.raises(PowerCut):
        train_student(job, DyingReporter("coarse", 12))
    wider = StudentProfile(coarse=stage(channels=(8, 8, 8, 8, 8)), fine=stage())
    other = job_in(tmp_path, cube_cases, profile=Profile(name="other", student=wider))
    with pytest.raises(
        TrainingError, match=r"checkpoint\.pt: belongs to a training with other settings; continue"
    ):
        train_student(other, Reporter(io.StringIO()))


def test_a_finished_stage_of_other_settings_is_refused_before_any_training(
    trained_student, cube_cases, tmp_path
):
    """Else the fine network would be trained beside a coarse one that the profile does not say."""
    (tmp_path / "model").mkdir()
    shutil.copy(trained_student["work"] / "model" / "coarse.pt", tmp_path / "model")
    other = PROFILE.student.model_copy(update={"coarse": stage(network="unet")})
    job = job_in(tmp_path, cube_cases, profile=Profile(name="other", student=other))
    with pytest.raises(
        TrainingError, match=r"model/coarse\.pt: belongs to a training with other settings; continue"
    ):
        train_student(job, Reporter(io.StringIO()))


def test_a_checkpoint_that_does_not_fit_is_named_with_what_to_do(
    trained_student, cube_cases, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipelines.training.student_loop._REPORT_EVERY_S", 0)
    job = job_in(tmp_path, cube_cases, cache_dir=trained_student["work"] / "cache")
    with pytest.raises(PowerCut):
        train_student(job, DyingReporter("coarse", 12))
    file = tmp_path / "coarse" / "checkpoint.pt"
    saved = torch.load(file, weights_only=True)

    def refused() -> str:
        with pytest.raises(TrainingError) as error:
            train_student(job, Reporter(io.StringIO()))
        assert str(error.value).startswith(f"{file}: ")
        return str(error.value).removeprefix(f"{file}: ")

    torch.save({**saved, "network": {"weight": torch.ones(2)}}, file)
    assert refused() == (
        "holds another architecture than this network; "
        "delete it to start this stage anew, or train in another folder"
    )
    for other in ({**saved, "missing": "marginal"}, saved["network"]):
        torch.save(other, file)
        assert refused().startswith("belongs to a training with other settings; continue with the profile")
    for damaged in (file.read_bytes()[:1000], b"text", b""):
        file.write_bytes(damaged)
        assert refused().startswith("cannot be read (")
        assert refused().endswith("; delete it to start this stage anew")


def test_a_loss_that_is_no_number_ends_the_training_with_what_to_lower(cube_cases, tmp_path):
    hot = stage(learning_rate=1e30, warmup_epochs=0)
    profile = Profile(name="hot", student=StudentProfile(coarse=hot, fine=hot))
    job = job_in(tmp_path, cube_cases, profile=profile)
    with pytest.raises(
        TrainingError, match=r"the loss is nan at step \d+; lower learning_rate in the profile"
    ):
        train_student(job, Reporter(io.StringIO()))


def test_a_dataset_without_training_members_is_refused(cube_cases, tmp_path):
    with pytest.raises(
        TrainingError, match="the dataset has no training member; freeze it with a smaller --val"
    ):
        run(train_student, job_in(tmp_path, cube_cases[4:]))


def test_monais_networks_are_trained_and_rebuilt_for_a_prediction(cube_cases, tmp_path):
    """U-Net, then SegResNet, in the same frame; one case misses the spleen. Twelve steps teach how, not what."""
    image, truth = cubes(9)
    weak = write_case(tmp_path, "W", image, np.where(truth == LIVER, truth, 0).astype(np.uint8))
    short = {"epochs": 3, "steps_per_epoch": 4, "validate_every": 3, "learning_rate": 0.003}
    profile = Profile(
        name="others",
        student=StudentProfile(
            coarse=stage(network="unet", **short),
            fine=stage(network="segresnet", channels=(4, 8, 16, 32, 64), batch_size=1, pad=True, **short),
            margin_mm=10,
            missing="marginal",
        ),
    )
    members = (*cube_cases, weak.model_copy(update={"missing": (SPLEEN,)}))
    done = run(train_student, job_in(tmp_path / "work", members, profile=profile))[-1]
    for name in STAGES:
        losses = [p["loss"] for p in done["curves"] if p["stage"] == name]
        assert losses[-1] < losses[0]
    wanted = weak.model_copy(update={"mask": None, "out": tmp_path / "out" / "W.nii.gz"})
    job = job_in(tmp_path / "p", (wanted,), task="predict", model_dir=Path(done["weights"]), profile=profile)
    assert [e["event"] for e in run(predict_with_student, job)] == ["case", "progress", "done"]
    geometry, _ = decode_mask(wanted.out.read_bytes(), "out")
    assert geometry.shape == image.shape
    student = Student.load(Path(done["weights"]), keep_largest=True, precision=Precision.of_job("cpu"))
    kinds = [type(student.networks[name].network).__name__ for name in STAGES]
    assert kinds == ["UNet", "SegResNet"]


def test_a_bad_case_is_named_once_and_the_training_goes_on(cube_cases, tmp_path):
    truncated = tmp_path / "C9_0000.nii.gz"
    truncated.write_bytes(cube_cases[0].image.read_bytes()[:500])
    bad = cube_cases[0].model_copy(update={"case": "CUBES/C9", "image": truncated})
    # Not fewer channels: with 2 the bf16 convolutions of a CPU gave NaN in one run of fifteen.
    short = stage(epochs=1, steps_per_epoch=2)
    profile = Profile(name="short", student=StudentProfile(coarse=short, fine=short))
    events = run(train_student, job_in(tmp_path / "work", (*cube_cases, bad), profile=profile))
    problems = [e for e in events if e["event"] == "problem"]
    assert [p["case"] for p in problems] == ["CUBES/C9"]
    assert str(truncated) in problems[0]["reason"]
    assert events[-1]["event"] == "done"


def test_a_mask_with_nothing_drawn_is_left_out_with_a_reason(tmp_path):
    image, labels = cubes(0)
    empty = write_case(tmp_path, "E", image, np.zeros_like(labels))
    stream = io.StringIO()
    with pytest.raises(TrainingError, match="no training member is left"):
        train_student(job_in(tmp_path / "work", (empty,)), Reporter(stream))
    problem = json.loads(stream.getvalue().splitlines()[0])
    assert problem["reason"] == "CUBES/E: nothing is drawn in E.nii.gz"
    assert problem["remedy"] == "leave the case out of the dataset"


def test_a_profile_without_a_student_is_refused(cube_cases, tmp_path):
    with pytest.raises(TrainingError, match=r"profile bare has no \[student\] tables"):
        run(train_student, job_in(tmp_path, cube_cases, profile=Profile(name="bare")))


def test_learning_rate_warms_up_linearly_and_falls_by_half_a_cosine():
    of = stage(epochs=10, warmup_epochs=2, learning_rate=0.01)
    rates = [learning_rate(of, step, steps_per_epoch=5) for step in range(50)]
    assert rates[0] == pytest.approx(0.001)  # 10 warm-up steps
    assert rates[9] == pytest.approx(0.01)
    assert rates[30] == pytest.approx(0.005)  # half way between 10 and 50
    assert 0 < rates[49] < 0.0001
    assert rates[10:] == sorted(rates[10:], reverse=True)
