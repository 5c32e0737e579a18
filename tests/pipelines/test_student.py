"""The student on cases of two cubes: training, going on after a kill, and finding the cubes on any grid."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from curation.geometry import Geometry
from curation.rle import RunLengths
from curation.volumes import decode_geometry, decode_mask, encode_image, encode_mask
from pipelines.case_copies import delete_copies, find_copies
from pipelines.profiles import Profile, StudentProfile, StudentStage
from pipelines.training.exported import export_student
from pipelines.training.jobs import ExportOrder, Job, JobCase, Reporter, TrainingError
from pipelines.training.precision import Precision
from pipelines.training.student import STAGES, train_student
from pipelines.training.student_data import Cache, TrainingStream
from pipelines.training.student_loop import learning_rate
from pipelines.training.student_predict import Student, predict_with_student
from pipelines.training.student_transforms import LABEL, table_1

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
    folder.mkdir(parents=True, exist_ok=True)
    geometry = Geometry(image.shape, affine)
    image_file, mask_file = folder / f"{name}_0000.nii.gz", folder / f"{name}.nii.gz"
    image_file.write_bytes(encode_image(image.astype(np.int16), geometry))
    mask_file.write_bytes(encode_mask(RunLengths.from_array(labels), geometry))
    return JobCase(case=f"CUBES/{name}", image=image_file, mask=mask_file, split="train")


def stage(**changes: Any) -> StudentStage:
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


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small spend their time waiting for the second thread, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[JobCase, ...]:
    """Four cases to learn from and one to validate on."""
    folder = tmp_path_factory.mktemp("cubes")
    made = [write_case(folder, f"C{i}", *cubes(i)) for i in range(5)]
    return (*made[:4], made[4].model_copy(update={"split": "val"}))


def job_in(work: Path, cases: tuple[JobCase, ...], **changes: Any) -> Job:
    fields = {"task": "student_train", "work_dir": work, "profile": PROFILE, "device": "cpu", "cases": cases}
    return Job(**(fields | changes))


def run(task: Any, job: Job) -> list[dict[str, Any]]:
    """Run a task in this process; returns its events."""
    stream = io.StringIO()
    task(job, Reporter(stream))
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cases: tuple[JobCase, ...]) -> dict[str, Any]:
    """A student trained without a break: its folder and its events."""
    work = tmp_path_factory.mktemp("student")
    return {"work": work, "events": run(train_student, job_in(work, cases))}


def test_training_tells_its_stages_its_curves_and_what_it_found(trained):
    events = trained["events"]
    done = events[-1]
    stages = [e["stage"] for e in events if e["event"] == "progress"]
    assert list(dict.fromkeys(stages)) == ["preprocess", "coarse", "fine"]
    assert done["event"] == "done"
    assert Path(done["weights"]) == trained["work"] / "model"
    # Six epochs and eight, validated half way and at the end.
    assert [(p["stage"], p["epoch"]) for p in done["curves"]] == [
        *(("coarse", e) for e in range(1, 7)), *(("fine", e) for e in range(1, 9))
    ]  # fmt: skip
    assert [p["epoch"] for p in done["curves"] if "dsc" in p] == [3, 6, 4, 8]
    assert done["metrics"]["fine_dsc"] > 0.7
    fine = [p["loss"] for p in done["curves"] if p["stage"] == "fine"]
    assert fine[-1] < fine[0] / 2


def test_a_finished_training_started_again_only_says_so(trained, cases):
    again = run(train_student, job_in(trained["work"], cases))
    assert {e.get("stage") for e in again} == {"preprocess", None}
    assert again[-1] == trained["events"][-1]


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
    stage_name, step, trained, cases, tmp_path, monkeypatch
):
    """Dropout, transforms and order included; checkpoints are every 10 steps, epochs have 8."""
    monkeypatch.setattr("pipelines.training.student_loop._REPORT_EVERY_S", 0)
    job = job_in(tmp_path, cases, cache_dir=trained["work"] / "cache")
    for other in {"coarse", "fine"} - {stage_name}:  # that stage is done already
        (tmp_path / "model").mkdir()
        shutil.copy(trained["work"] / "model" / f"{other}.pt", tmp_path / "model")
    with pytest.raises(PowerCut):
        train_student(job, DyingReporter(stage_name, step))
    resumed = run(train_student, job)
    first = next(e for e in resumed if e.get("stage") == stage_name)
    assert first["step"] == step // 10 * 10 + 1
    assert resumed[-1]["curves"] == trained["events"][-1]["curves"]
    for name in STAGES:
        ours = torch.load(tmp_path / "model" / f"{name}.pt", weights_only=True)["weights"]
        theirs = torch.load(trained["work"] / "model" / f"{name}.pt", weights_only=True)["weights"]
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.long
def test_killed_with_signal_9_a_training_process_goes_on(trained, cases, tmp_path):
    job = job_in(tmp_path / "work", cases, cache_dir=trained["work"] / "cache")
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
    finished = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, cwd=root, env=settings, check=True
    )
    events = [json.loads(line) for line in finished.stdout.splitlines()]
    assert {e.get("stage") for e in events} == {"preprocess", "fine", None}
    assert events[-1]["curves"] == trained["events"][-1]["curves"]


def test_other_settings_do_not_go_on_from_a_checkpoint(trained, cases, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.training.student_loop._REPORT_EVERY_S", 0)
    job = job_in(tmp_path, cases, cache_dir=trained["work"] / "cache")
    with pytest.raises(PowerCut):
        train_student(job, DyingReporter("coarse", 12))
    wider = StudentProfile(coarse=stage(channels=(8, 8, 8, 8, 8)), fine=stage())
    other = job_in(tmp_path, cases, profile=Profile(name="other", student=wider))
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: belongs to a training with other settings; continue"):
        train_student(other, Reporter(io.StringIO()))


def test_a_finished_stage_of_other_settings_is_refused_before_any_training(trained, cases, tmp_path):
    """Else the fine network would be trained beside a coarse one that the profile does not say."""
    (tmp_path / "model").mkdir()
    shutil.copy(trained["work"] / "model" / "coarse.pt", tmp_path / "model")
    other = PROFILE.student.model_copy(update={"coarse": stage(network="unet")})
    job = job_in(tmp_path, cases, profile=Profile(name="other", student=other))
    with pytest.raises(TrainingError, match=r"model/coarse\.pt: belongs to a training with other settings; continue"):
        train_student(job, Reporter(io.StringIO()))


def test_a_checkpoint_that_does_not_fit_is_named_with_what_to_do(trained, cases, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.training.student_loop._REPORT_EVERY_S", 0)
    job = job_in(tmp_path, cases, cache_dir=trained["work"] / "cache")
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


def test_a_loss_that_is_no_number_ends_the_training_with_what_to_lower(cases, tmp_path):
    hot = stage(learning_rate=1e30, warmup_epochs=0)
    profile = Profile(name="hot", student=StudentProfile(coarse=hot, fine=hot))
    job = job_in(tmp_path, cases, profile=profile)
    with pytest.raises(TrainingError, match=r"the loss is nan at step \d+; lower learning_rate in the profile"):
        train_student(job, Reporter(io.StringIO()))


def test_a_dataset_without_training_members_is_refused(cases, tmp_path):
    with pytest.raises(TrainingError, match="the dataset has no training member; freeze it with a smaller --val"):
        run(train_student, job_in(tmp_path, cases[4:]))


def test_monais_networks_are_trained_and_rebuilt_for_a_prediction(cases, tmp_path):
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
    members = (*cases, weak.model_copy(update={"missing": (SPLEEN,)}))
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


def test_a_bad_case_is_named_once_and_the_training_goes_on(cases, tmp_path):
    truncated = tmp_path / "C9_0000.nii.gz"
    truncated.write_bytes(cases[0].image.read_bytes()[:500])
    bad = cases[0].model_copy(update={"case": "CUBES/C9", "image": truncated})
    # Not fewer channels: with 2 the bf16 convolutions of a CPU gave NaN in one run of fifteen.
    short = stage(epochs=1, steps_per_epoch=2)
    profile = Profile(name="short", student=StudentProfile(coarse=short, fine=short))
    events = run(train_student, job_in(tmp_path / "work", (*cases, bad), profile=profile))
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


def test_a_profile_without_a_student_is_refused(cases, tmp_path):
    with pytest.raises(TrainingError, match=r"profile bare has no \[student\] tables"):
        run(train_student, job_in(tmp_path, cases, profile=Profile(name="bare")))


def test_a_second_student_finds_the_coarse_images_in_the_cache(cases, tmp_path):
    """Other masks of the same images: only labels are prepared again, and images where the crop is another."""
    cache = Cache(tmp_path / "cache")
    image, labels = cubes(0)
    weak = write_case(tmp_path, "W", image, np.where(labels == LIVER, labels, 0)).model_copy(
        update={"image": cases[0].image}
    )
    full = cache.prepare(cases[0], stage(), None)
    other = cache.prepare(weak, stage(), None)
    assert other.image_file == full.image_file
    assert other.labels_file != full.labels_file
    fine = cache.prepare(cases[0], stage(), 10.0), cache.prepare(weak, stage(), 10.0)
    assert fine[0].image_file != fine[1].image_file
    assert set(fine[1].load()[LABEL].unique().tolist()) == {0, LIVER}


def test_a_purge_finds_what_the_cache_holds_of_a_case_and_nothing_else(cases, tmp_path):
    cache = Cache(tmp_path / "runs" / "prepared")
    gone, kept = (cache.prepare(case, stage(), None) for case in cases[:2])
    delete_copies(find_copies(tmp_path, [cases[0].case]))
    assert not gone.image_file.exists()
    assert not gone.labels_file.exists()
    assert kept.image_file.exists()
    assert kept.labels_file.exists()
    assert find_copies(tmp_path, [cases[0].case]) == []


def test_a_changed_mask_under_a_known_name_is_prepared_anew(tmp_path):
    image, labels = cubes(1)
    case = write_case(tmp_path, "C", image, labels)
    cache = Cache(tmp_path / "cache")
    before = cache.prepare(case, stage(), None)
    write_case(tmp_path, "C", image, np.where(labels == SPLEEN, 200, labels).astype(np.uint8))
    after = cache.prepare(case, stage(), None)
    assert set(before.load()[LABEL].unique().tolist()) == {0, LIVER, SPLEEN}
    assert set(after.load()[LABEL].unique().tolist()) == {0, LIVER, 200}


def test_every_epoch_sees_every_member_once_in_its_own_order(cases, tmp_path):
    cache = Cache(tmp_path / "cache")
    members = [cache.prepare(case, stage(), None) for case in cases[:4]]
    stream = TrainingStream(members, table_1("", intensity=False), seed=3, positions=40)
    whole = [member.load()["image"] for member in members]
    seen = [next(i for i, w in enumerate(whole) if torch.equal(stream[p]["image"], w)) for p in range(40)]
    epochs = [seen[first : first + 4] for first in range(0, 40, 4)]
    assert all(sorted(epoch) == [0, 1, 2, 3] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_learning_rate_warms_up_linearly_and_falls_by_half_a_cosine():
    of = stage(epochs=10, warmup_epochs=2, learning_rate=0.01)
    rates = [learning_rate(of, step, steps_per_epoch=5) for step in range(50)]
    assert rates[0] == pytest.approx(0.001)  # 10 warm-up steps
    assert rates[9] == pytest.approx(0.01)
    assert rates[30] == pytest.approx(0.005)  # half way between 10 and 50
    assert 0 < rates[49] < 0.0001
    assert rates[10:] == sorted(rates[10:], reverse=True)


AXES = {
    "RAS": RAS_5MM,
    "LPS": np.diag([-5.0, -5.0, 5.0, 1.0]),
    "IPL": np.array([[0, 0, -5.0, 0], [0, -5.0, 0, 0], [-5.0, 0, 0, 0], [0, 0, 0, 1]]),
}


@pytest.mark.parametrize("axes", AXES)
def test_a_mask_lies_on_the_grid_of_its_image_whatever_its_axes(axes, tmp_path, monkeypatch):
    """The stand-in marks what is brighter than the mean; at its own size nothing is resized, so all is exact."""
    image = np.full((20, 24, 22), -100.0)
    image[3:7, 5:11, 8:10] = image[12:14, 5:11, 8:10] = 100  # asymmetric: a wrong flip would show
    ras_shape = image.shape
    order = [axis for axis, _ in Geometry((1, 1, 1), AXES[axes]).ras_axes]
    shape = tuple(ras_shape[order.index(axis)] for axis in range(3))
    geometry = Geometry(shape, AXES[axes])
    stored = geometry.from_ras(image)
    case = write_case(tmp_path, "T", stored, np.zeros(shape, np.uint8), AXES[axes])
    assert decode_geometry(case.image.read_bytes(), "T").axis_codes == axes

    student = student_that(Says(0, 2), Says(14), ras_shape)
    monkeypatch.setattr(Student, "load", lambda *_args, **_settings: student)
    wanted = case.model_copy(update={"mask": None, "out": tmp_path / "out" / "T.nii.gz"})
    events = run(predict_with_student, job_in(tmp_path, (wanted,), task="predict", model_dir=tmp_path))
    assert [e["event"] for e in events] == ["case", "progress", "done"]
    assert "found no organ" in events[1]["message"]
    found_geometry, found = decode_mask(wanted.out.read_bytes(), "out")
    assert found_geometry.difference(geometry) is None
    assert np.array_equal(found.to_array(), np.where(stored > 0, 14, 0))


def test_a_trained_student_segments_a_case_it_has_not_seen(trained, tmp_path):
    image, labels = cubes(77, (41, 31, 35))
    case = write_case(tmp_path, "T", image, labels)
    wanted = case.model_copy(update={"mask": None, "out": tmp_path / "out" / "T.nii.gz"})
    job = job_in(tmp_path, (wanted,), task="predict", model_dir=trained["work"] / "model")
    told = run(predict_with_student, job)[0]
    assert told["file"] == str(wanted.out)
    assert 0.3 < told["classes"][str(LIVER)]["confidence"] <= 1
    assert told["seconds"] > 0
    assert told["peak_memory_mb"] > 50  # torch alone is more
    _, found = decode_mask(wanted.out.read_bytes(), "out")
    ours = found.to_array()
    for label in (LIVER, SPLEEN):
        both = ((ours == label) & (labels == label)).sum()
        assert 2 * both / ((ours == label).sum() + (labels == label).sum()) > 0.5


def test_outputs_that_are_there_are_told_again_without_work(trained, cases, tmp_path):
    wanted = cases[0].model_copy(update={"out": tmp_path / "C0.nii.gz"})
    job = job_in(tmp_path, (wanted,), task="predict", model_dir=trained["work"] / "model")
    first = run(predict_with_student, job)
    written = wanted.out.stat().st_mtime_ns
    assert run(predict_with_student, job) == first
    assert wanted.out.stat().st_mtime_ns == written


def test_a_bad_image_does_not_stop_the_others(trained, cases, tmp_path):
    text = tmp_path / "text.nii.gz"
    text.write_text("not a volume")
    bad = JobCase(case="CUBES/text", image=text, out=tmp_path / "text_out.nii.gz")
    good = cases[0].model_copy(update={"out": tmp_path / "good.nii.gz"})
    job = job_in(tmp_path, (bad, good), task="predict", model_dir=trained["work"] / "model")
    events = run(predict_with_student, job)
    assert [e["event"] for e in events] == ["problem", "progress", "case", "progress", "done"]
    assert str(text) in events[0]["reason"]
    assert not bad.out.exists()


class Says(nn.Module):
    """A network that is sure of one class wherever the z-scored input is above 0, and of background elsewhere."""

    def __init__(self, label: int, classes: int = 15) -> None:
        super().__init__()
        self.label = label
        self.classes = classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), self.classes, *x.shape[2:])
        logits[:, 0] = 5.0
        logits[:, self.label] += torch.where(x[:, 0] > 0, 10.0, 0.0)
        return logits


def student_that(coarse: nn.Module, fine: nn.Module, size: tuple[int, int, int]) -> Student:
    return Student(
        {"coarse": coarse, "fine": fine},
        {"coarse": stage(size=size), "fine": stage(size=size, pad=True)},
        margin_mm=10.0,
        keep_largest=True,
        precision=Precision(torch.device("cpu"), torch.float32),
    )


def test_where_the_coarse_network_finds_nothing_the_fine_one_sees_everything():
    image = np.full((20, 20, 20), -100.0, np.float32)
    image[5:9, 5:9, 5:9] = 100
    found = student_that(Says(0, 2), Says(LIVER), (20, 20, 20)).predict(image, (5.0, 5.0, 5.0))
    assert found.note is not None
    assert "found no organ" in found.note
    assert np.array_equal(found.labels == LIVER, image > 0)


def test_the_fine_network_sees_the_box_of_the_coarse_one_and_its_margin():
    """Foreground at 5..9, margin 10 mm = 2 voxels: the box is 3..11. One voxel far away is less than 2 % of 64."""
    image = np.full((20, 20, 20), -100.0, np.float32)
    image[5:9, 5:9, 5:9] = 100
    image[18, 18, 18] = 100
    seen: list[tuple[int, ...]] = []

    class Watched(Says):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((int((x > 0).sum()), *x.shape[2:]))
            return super().forward(x)

    found = student_that(Says(1, 2), Watched(LIVER), (20, 20, 20)).predict(image, (5.0, 5.0, 5.0))
    assert found.note is None
    # Padded with air at -325 to 20³: the mean lies below -100, so the whole 8³ box is above it.
    assert seen == [(8**3, 20, 20, 20)]
    assert found.labels[18, 18, 18] == 0


def test_of_an_organ_the_largest_piece_stays_and_of_tumors_all():
    image = np.full((20, 20, 20), -100.0, np.float32)
    image[5:9, 5:9, 5:9] = 100
    image[11:13, 5:7, 5:7] = 100
    organ = student_that(Says(0, 2), Says(LIVER), (20, 20, 20)).predict(image, (5.0, 5.0, 5.0))
    tumor = student_that(Says(0, 2), Says(14), (20, 20, 20)).predict(image, (5.0, 5.0, 5.0))
    assert ((organ.labels == LIVER).sum(), (tumor.labels == 14).sum()) == (64, 64 + 8)
    # softmax over the logits 10, 5 and thirteen times 0
    sure = np.exp(10) / (np.exp(10) + np.exp(5) + 13)
    assert organ.confidence == {LIVER: pytest.approx(sure, abs=1e-3)}


def test_weights_of_another_architecture_are_refused_in_one_line_that_names_the_file(trained, tmp_path):
    shutil.copytree(trained["work"] / "model", tmp_path / "model")
    saved = torch.load(tmp_path / "model" / "fine.pt", weights_only=True)
    saved["stage"]["network"] = "unet"
    torch.save(saved, tmp_path / "model" / "fine.pt")
    with pytest.raises(TrainingError) as error:
        Student.load(tmp_path / "model", keep_largest=True, precision=Precision.of_job("cpu"))
    assert str(error.value) == (
        f"{tmp_path / 'model'}: not a whole student "
        "(fine.pt: Error(s) in loading state_dict for AnySize); train it again"
    )


def test_the_map_of_probabilities_draws_what_the_mask_draws_in_steps_of_percent():
    image = np.full((20, 20, 20), -100.0, np.float32)
    image[5:9, 5:9, 5:9] = 100
    image[11:13, 5:7, 5:7] = 100  # dropped: not the largest piece
    student = student_that(Says(0, 2), Says(LIVER), (20, 20, 20))
    found = student.predict(image, (5.0, 5.0, 5.0), with_probability=True)
    # exp(10) / (exp(10) + exp(5) + 13) is 0.993, and 95 stands for all above it.
    assert np.array_equal(found.percent, np.where(found.labels == LIVER, 95, 0))
    assert (found.labels == LIVER).sum() == 64
    assert student.predict(image, (5.0, 5.0, 5.0)).percent is None


@pytest.mark.parametrize("weights", [None, b"", b"text", b"PK cut"])
def test_a_folder_that_is_no_whole_student_is_refused(weights, tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"kind": "student", "margin_mm": 20, "weights_hash": "x"}))
    if weights is not None:
        (tmp_path / "coarse.pt").write_bytes(weights)
    found = rf"^{tmp_path}: not a whole student \(.+\); train it again$"
    with pytest.raises(TrainingError, match=found):
        Student.load(tmp_path, keep_largest=True, precision=Precision(torch.device("cpu"), torch.float32))
    order = ExportOrder(file=tmp_path / "x.pt", facts={"weights_hash": "x"})
    job = Job(task="student_export", work_dir=tmp_path, profile=PROFILE, model_dir=tmp_path, export=order)
    with pytest.raises(TrainingError, match=found):
        export_student(job, Reporter(io.StringIO()))
