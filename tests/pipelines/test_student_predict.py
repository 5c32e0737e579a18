"""Predicting with a student: the box, the grid, components, the map, and models that are not whole."""

import io
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from two_cubes import LIVER, PROFILE, RAS_5MM, SPLEEN, cubes, job_in, run, stage, write_case

from curation.geometry import Geometry
from curation.volumes import decode_geometry, decode_mask
from pipelines.training.exported import export_student
from pipelines.training.jobs import ExportOrder, Job, JobCase, Reporter, TrainingError
from pipelines.training.precision import Precision
from pipelines.training.student_predict import Student, predict_with_student

pytestmark = pytest.mark.usefixtures("one_thread")

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


def test_a_trained_student_segments_a_case_it_has_not_seen(trained_student, tmp_path):
    image, labels = cubes(77, (41, 31, 35))
    case = write_case(tmp_path, "T", image, labels)
    wanted = case.model_copy(update={"mask": None, "out": tmp_path / "out" / "T.nii.gz"})
    job = job_in(tmp_path, (wanted,), task="predict", model_dir=trained_student["work"] / "model")
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


def test_outputs_that_are_there_are_told_again_without_work(trained_student, cube_cases, tmp_path):
    wanted = cube_cases[0].model_copy(update={"out": tmp_path / "C0.nii.gz"})
    job = job_in(tmp_path, (wanted,), task="predict", model_dir=trained_student["work"] / "model")
    first = run(predict_with_student, job)
    written = wanted.out.stat().st_mtime_ns
    assert run(predict_with_student, job) == first
    assert wanted.out.stat().st_mtime_ns == written


def test_a_bad_image_does_not_stop_the_others(trained_student, cube_cases, tmp_path):
    text = tmp_path / "text.nii.gz"
    text.write_text("not a volume")
    bad = JobCase(case="CUBES/text", image=text, out=tmp_path / "text_out.nii.gz")
    good = cube_cases[0].model_copy(update={"out": tmp_path / "good.nii.gz"})
    job = job_in(tmp_path, (bad, good), task="predict", model_dir=trained_student["work"] / "model")
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


def test_weights_of_another_architecture_are_refused_in_one_line_that_names_the_file(
    trained_student, tmp_path
):
    shutil.copytree(trained_student["work"] / "model", tmp_path / "model")
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
    (tmp_path / "model.json").write_text(
        json.dumps({"kind": "student", "margin_mm": 20, "weights_hash": "x"})
    )
    if weights is not None:
        (tmp_path / "coarse.pt").write_bytes(weights)
    found = rf"^{tmp_path}: not a whole student \(.+\); train it again$"
    with pytest.raises(TrainingError, match=found):
        Student.load(tmp_path, keep_largest=True, precision=Precision(torch.device("cpu"), torch.float32))
    order = ExportOrder(file=tmp_path / "x.pt", facts={"weights_hash": "x"})
    job = Job(task="student_export", work_dir=tmp_path, profile=PROFILE, model_dir=tmp_path, export=order)
    with pytest.raises(TrainingError, match=found):
        export_student(job, Reporter(io.StringIO()))
