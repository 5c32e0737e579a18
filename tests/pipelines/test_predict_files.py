"""Files of no catalog through a student: on every grid, from DICOM, from an exported file, and what is refused."""

import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from dicom_files import write_series
from typer.testing import CliRunner

from app.cli import app
from app.workspace import create_workspace, open_workspace
from curation.components import keep_largest
from curation.errors import CurationError
from curation.geometry import Geometry
from curation.rle import RunLengths
from curation.volumes import decode_image, decode_mask, encode_image
from db import writes
from db.models import ModelKind
from pipelines.children import ChildFailedError
from pipelines.predict import TrainedModel
from pipelines.predict_files import FileModel, FilesRequest, predict_files, registered_model
from pipelines.prediction_book import read_book
from pipelines.profiles import parse_profile
from pipelines.runs import Workers
from pipelines.training.exported import export_student
from pipelines.training.jobs import ExportOrder, Job, Reporter, TrainingError
from pipelines.training.precision import Precision
from pipelines.training.student import STAGES, build_network
from pipelines.training.student_predict import Student

pytestmark = pytest.mark.long

PROFILE = """
[student]
margin_mm = 15

[student.coarse]
size = [24, 24, 24]
channels = [4, 8, 8, 16, 16]
epochs = 1

[student.fine]
size = [32, 24, 24]
channels = [4, 8, 8, 16, 16]
epochs = 1
pad = true
"""
BOOKED = {"mask": "straight.nii.gz", "image_hash": "00", "model": "student", "model_identity": {}}
HALF_A_LINE = '{"mask": "straight.nii.g'
SHAPE = (30, 26, 20)
AFFINE = np.array([[4.0, 0, 0, -60], [0, 4, 0, -50], [0, 0, 5, -40], [0, 0, 0, 1]])


def ct(seed: int) -> np.ndarray:
    """A body of noise in air, int16 HU, RAS."""
    rng = np.random.default_rng(seed)
    image = rng.normal(-1000, 10, SHAPE)
    image[4:-4, 4:-4] = rng.normal(0, 150, (SHAPE[0] - 8, SHAPE[1] - 8, SHAPE[2]))
    return image.astype(np.int16)


def write_nifti(file: Path, array: np.ndarray, geometry: Geometry, *, packed: bool = True) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode_image(array, geometry, packed=packed))
    return file


@dataclass(frozen=True)
class Scene:
    """A workspace with a student of untrained weights, and what a run over a folder of images left."""

    workspace: Path
    model: Path
    images: Path
    out: Path
    done: Result


def maskledger(*words: object, workspace: Path | None = None) -> Result:
    """Run a command; its networks run in a child process, as ever."""
    environment = {"MASKLEDGER_WORKSPACE": str(workspace) if workspace else None, "OMP_NUM_THREADS": "1"}
    return CliRunner().invoke(app, [str(word) for word in words], env=environment, catch_exceptions=False)


def make_student(workspace: Path) -> Path:
    """Register a student as a training leaves it, but for its weights, which are drawn at random."""
    profile = parse_profile(PROFILE, "tiny.toml", name="tiny")
    assert profile.student is not None
    folder = workspace / "runs" / "student" / "model"
    folder.mkdir(parents=True)
    torch.manual_seed(4)
    digest = hashlib.sha256()
    for name in STAGES:
        stage = getattr(profile.student, name)
        weights = build_network(name, stage).state_dict()
        torch.save(
            {"stage": stage.model_dump(), "weights": weights, "curve": [], "dsc": 0.0}, folder / f"{name}.pt"
        )
        digest.update((folder / f"{name}.pt").read_bytes())
    said = {"kind": "student", "margin_mm": 15.0, "weights_hash": digest.hexdigest()}
    (folder / "model.json").write_text(json.dumps(said))
    with open_workspace(workspace) as ws, ws.catalog.writing() as session:
        writes.add_model(
            session, name="student", kind=ModelKind.STUDENT, dataset_version_id=None,
            profile=profile.model_dump(mode="json"), origins=["original"], code_version="0-test",
            weights_path="runs/student/model", weights_hash=digest.hexdigest(), metrics={}, curves=[], run_id=None,
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    root = tmp_path_factory.mktemp("files")
    workspace, images, out = root / "workspace", root / "images", root / "masks"
    create_workspace(workspace)
    model = make_student(workspace)
    ras = Geometry(SHAPE, AFFINE)
    write_nifti(images / "straight_0000.nii.gz", ct(0), ras)
    # The same patient, axes turned to inferior, posterior, left.
    turned = ras.turned((2, 1, 0), (True, True, True))
    write_nifti(images / "turned_0000.nii", ct(0).transpose(2, 1, 0)[::-1, ::-1, ::-1], turned, packed=False)
    write_series(root / "series", (ct(0)[::-1, ::-1].transpose(2, 1, 0) + 1024).astype(np.int16), step_mm=5.0)
    nan = ct(1).astype(np.float32)
    nan[3, 4, 5] = np.nan
    write_nifti(images / "nan_0000.nii.gz", nan, ras)
    write_nifti(images / "flat_0000.nii.gz", ct(2)[:, :, :1], Geometry((30, 26, 1), AFFINE))
    write_nifti(images / "grey_0000.nii.gz", (ct(3) % 256).astype(np.int16), ras)
    (images / "cut_0000.nii.gz").write_bytes((images / "straight_0000.nii.gz").read_bytes()[:900])
    out.mkdir()
    (out / "predictions.jsonl").write_text(f"{json.dumps(BOOKED)}\n{HALF_A_LINE}")
    done = maskledger(
        "predict", "student", images, root / "series", root / "gone.nii.gz", "--out", out, "--device", "cpu", "--json",
        workspace=workspace,
    )  # fmt: skip
    return Scene(workspace, model, images, out, done)


def mask_of(file: Path) -> tuple[Geometry, np.ndarray]:
    geometry, runs = decode_mask(file.read_bytes(), file.name)
    return geometry, runs.to_array()


@pytest.fixture(scope="module")
def expected(scene: Scene) -> np.ndarray:
    """What the student itself says of the patient, RAS."""
    student = Student.load(scene.model, keep_largest=True, precision=Precision.of_job("cpu"))
    return student.predict(ct(0), (4.0, 4.0, 5.0)).labels


def test_good_images_are_predicted_and_bad_ones_named(scene: Scene):
    assert scene.done.exit_code == 1, scene.done.stderr
    said = json.loads(scene.done.stdout)
    assert said["counts"] == {"predicted": 3}
    assert sorted(Path(m["mask"]).name for m in said["masks"]) == [
        "series.nii.gz", "straight.nii.gz", "turned.nii.gz"
    ]  # fmt: skip
    lines = sorted(line.replace(f"{scene.images.parent}/", "") for line in said["refused"])
    assert lines == [
        "gone.nii.gz: no such file or folder; give a NIfTI file or the folder of a DICOM series",
        "images/cut_0000.nii.gz: the gzip stream is cut off; fetch or write the file again",
        "images/flat_0000.nii.gz: 30 × 26 × 1 voxels: one slice is not a volume, and the networks know organs by "
        "what lies above and below; give the whole scan",
        "images/grey_0000.nii.gz: not in HU: values from 0 to 255: grey levels of a window, not HU; give the CT in "
        "Hounsfield units, as its scanner wrote it, or add --any-values",
        "images/nan_0000.nii.gz: voxels are NaN or infinite; give them a value (air: -1024)",
    ]


def test_nothing_but_whole_masks_and_the_book_lies_in_the_folder(scene: Scene):
    assert sorted(p.name for p in scene.out.iterdir()) == [
        "predictions.jsonl", "series.nii.gz", "straight.nii.gz", "turned.nii.gz"
    ]  # fmt: skip


def test_a_mask_lies_on_its_images_own_grid(scene: Scene, expected: np.ndarray):
    geometry, labels = mask_of(scene.out / "straight.nii.gz")
    assert expected.any()
    assert geometry.difference(Geometry(SHAPE, AFFINE)) is None
    assert np.array_equal(labels, expected)
    geometry, labels = mask_of(scene.out / "turned.nii.gz")
    assert (geometry.axis_codes, geometry.shape) == ("IPL", (20, 26, 30))
    assert np.array_equal(geometry.to_ras(labels), expected)


def test_a_dicom_series_gets_its_mask_in_its_own_place(scene: Scene):
    geometry, labels = mask_of(scene.out / "series.nii.gz")
    # Pixels of 0.7 × 0.9 mm from (12, 150, -40) on, towards left and posterior: see write_series.
    assert np.allclose(geometry.affine, [[-0.7, 0, 0, 12], [0, -0.9, 0, 150], [0, 0, 5, -40], [0, 0, 0, 1]])
    student = Student.load(scene.model, keep_largest=True, precision=Precision.of_job("cpu"))
    assert np.array_equal(geometry.to_ras(labels), student.predict(ct(0), (0.7, 0.9, 5.0)).labels)


def test_the_book_says_what_each_mask_is(scene: Scene, expected: np.ndarray):
    line = read_book(scene.out / "predictions.jsonl")["straight.nii.gz"]
    assert line["mask_hash"] == hashlib.sha256((scene.out / "straight.nii.gz").read_bytes()).hexdigest()
    assert line["image"] == str(scene.images / "straight_0000.nii.gz")
    assert line["model"] == "student"
    for row in line["classes"].values():
        voxels = int((expected == row["value"]).sum())
        # 4 × 4 × 5 mm is 0.08 ml.
        assert (row["voxels"], row["volume_ml"]) == (voxels, pytest.approx(voxels * 0.08))
        assert 0 < row["confidence"] <= 1
    assert {row["value"] for row in line["classes"].values()} == set(np.unique(expected).tolist()) - {0}


def test_masks_that_are_there_are_left_and_others_are_not_drawn_over(scene: Scene, tmp_path: Path):
    out = shutil.copytree(scene.out, tmp_path / "out")
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.iterdir()}
    images = [
        scene.images / f"{name}_0000.nii{'' if name == 'turned' else '.gz'}"
        for name in ("straight", "turned")
    ]
    again = maskledger("predict", "student", *images, "--out", out, workspace=scene.workspace)
    assert again.exit_code == 0, again.stderr
    assert again.stdout == f"predict with student into {out}: 2 predicted before\n"
    # Another image of the same name, and a mask that somebody drew.
    other = write_nifti(tmp_path / "straight_0000.nii.gz", ct(9), Geometry(SHAPE, AFFINE))
    third = write_nifti(tmp_path / "drawn_0000.nii.gz", ct(9), Geometry(SHAPE, AFFINE))
    shutil.copy(out / "turned.nii.gz", out / "drawn.nii.gz")
    refused = maskledger("predict", "student", other, third, "--out", out, workspace=scene.workspace)
    assert refused.exit_code == 1
    assert [line for line in refused.stderr.splitlines() if line.startswith("refused")] == [
        f"refused: {other}: {out}/straight.nii.gz is there and was predicted on another image, {images[0]}; give "
        "another --out, or take it away",
        f"refused: {third}: {out}/drawn.nii.gz is there and is no mask that `predict` wrote; give another --out, or "
        "take it away",
    ]
    (out / "drawn.nii.gz").unlink()
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.iterdir()} == before


def test_a_mask_that_was_booked_and_never_written_is_predicted(scene: Scene):
    """As after a kill between book and mask; the book ended in half a line, see `scene`."""
    book = (scene.out / "predictions.jsonl").read_text().splitlines()
    assert book[:2] == [json.dumps(BOOKED), HALF_A_LINE]
    assert len(book) == 5
    assert (scene.out / "straight.nii.gz").is_file()


@pytest.fixture(scope="module")
def exported(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("export") / "student.pt"
    done = maskledger("models", "export", "student", "--out", file, "--json", workspace=scene.workspace)
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["name"], said["code_version"], said["margin_mm"]) == ("student", "0-test", 15.0)
    assert (said["classes"]["1"], said["classes"]["14"]) == ("liver", "tumor")
    return file


def test_an_exported_student_predicts_the_same_without_a_workspace(
    scene: Scene, exported: Path, tmp_path: Path
):
    alone = tmp_path / "else" / "renamed.pt"
    alone.parent.mkdir()
    shutil.copy(exported, alone)
    image = scene.images / "turned_0000.nii"
    done = maskledger("predict", alone, image, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    mask = tmp_path / "out" / "turned.nii.gz"
    assert mask.read_bytes() == (scene.out / "turned.nii.gz").read_bytes()
    # The same weights: what the registered student predicted counts as predicted.
    there = maskledger("predict", alone, image, "--out", scene.out)
    assert there.stdout == f"predict with student into {scene.out}: 1 predicted before\n"


def test_what_predict_is_asked_to_do_with_pieces_holds_for_files_too(
    scene: Scene, exported: Path, tmp_path: Path
):
    image = scene.images / "turned_0000.nii"
    done = maskledger("predict", exported, image, "--components", "all", "--out", tmp_path / "all")
    assert done.exit_code == 0, done.stderr
    geometry, every_piece = mask_of(tmp_path / "all" / "turned.nii.gz")
    _, largest = mask_of(scene.out / "turned.nii.gz")
    # In RAS, as the student does it: of pieces of one size the first stays.
    in_ras = RunLengths.from_array(np.ascontiguousarray(geometry.to_ras(every_piece)))
    assert np.array_equal(keep_largest(in_ras).to_array(), geometry.to_ras(largest))
    booked = read_book(tmp_path / "all" / "predictions.jsonl")["turned.nii.gz"]
    assert booked["model_identity"]["predict"] == {"keep_largest": False}
    for word, said in (
        ("--tta", "only a teacher predicts mirrored inputs"),
        ("--probabilities", "keeps maps for"),
    ):
        with pytest.raises(CurationError, match=said):
            maskledger("predict", exported, image, word, "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_an_exported_file_opens_with_torch_alone_and_tells_where_it_is_from(scene: Scene, exported: Path):
    stages = torch.load(exported, weights_only=True)["stages"]
    ours = torch.load(scene.model / "fine.pt", weights_only=True)["weights"]
    assert all(torch.equal(stages["fine"]["weights"][key], tensor) for key, tensor in ours.items())
    facts = json.loads(zipfile.ZipFile(exported).read("archive/maskledger.json"))
    assert facts["weights_hash"] == json.loads((scene.model / "model.json").read_text())["weights_hash"]
    assert facts["profile"]["name"] == "tiny"


def test_a_damaged_weight_is_noticed(exported: Path, tmp_path: Path):
    """One bit of one weight, which torch itself does not notice."""
    data = bytearray(exported.read_bytes())
    weights = torch.load(exported, weights_only=True)["stages"]["fine"]["weights"]
    largest = max(weights.values(), key=lambda tensor: tensor.numel())
    data[data.index(largest.numpy().tobytes()) + 5] ^= 1
    file = tmp_path / "student.pt"
    file.write_bytes(data)
    torch.load(file, weights_only=True)
    found = r"student\.pt: the weights are damaged \(checksum .* instead of .*\); copy or export it again"
    with pytest.raises(TrainingError, match=found):
        Student.load(file, keep_largest=True, precision=Precision.of_job("cpu"))


def test_cases_of_the_catalog_that_no_network_should_see_are_refused_before_one_is_started(tmp_path: Path):
    workspace, labels, images = tmp_path / "workspace", tmp_path / "labels", tmp_path / "images"
    create_workspace(workspace)
    make_student(workspace)
    shapes = {"flat": (30, 26, 1), "grey": SHAPE}
    for name, shape in shapes.items():
        values = ct(1)[:, :, : shape[2]] if name == "flat" else (ct(1) % 256).astype(np.int16)
        write_nifti(images / f"{name}_0000.nii.gz", values, Geometry(shape, AFFINE))
        write_nifti(labels / f"{name}.nii.gz", (values > 50).astype(np.uint8), Geometry(shape, AFFINE))
    maskledger("ingest", "--source", "S", "--labels", labels, "--images", images, workspace=workspace)
    done = maskledger("predict", "student", "missing spleen", workspace=workspace)
    assert done.exit_code == 1
    said = done.stderr.replace(f"{images}/", "").splitlines()
    assert [line for line in said if line.startswith("refused")] == [
        "refused: flat_0000.nii.gz: 30 × 26 × 1 voxels: one slice is not a volume, and the networks know organs by "
        "what lies above and below; give the whole scan",
        "refused: grey_0000.nii.gz: not in HU: values from 0 to 255: grey levels of a window, not HU; give the CT in "
        "Hounsfield units, as its scanner wrote it",
    ]
    assert not (workspace / "runs" / "predict-student").exists()


def test_what_torch_saved_of_another_network_is_refused(scene: Scene):
    with pytest.raises(CurationError, match=r"fine\.pt: not a student that `maskledger models export` wrote"):
        maskledger("predict", scene.model / "fine.pt", scene.images, "--out", "m")


def test_a_teacher_predicts_a_dicom_series_too(trained_teacher, tmp_path: Path):
    """The phantom that it was validated on, as a scanner would export it: pixels of 8 mm, slices 8 mm apart."""
    case = trained_teacher.job["cases"][3]
    geometry, hu = decode_image(Path(case["image"]).read_bytes(), case["image"])
    ras = geometry.to_ras(hu)
    stored = (ras[::-1, ::-1].transpose(2, 1, 0) + 1024).astype(np.int16)
    series = write_series(tmp_path / "phantom", stored, step_mm=8.0, PixelSpacing=[8, 8])
    model = registered_model(
        TrainedModel(1, "teacher", ModelKind.TEACHER, trained_teacher.model_dir, trained_teacher.profile)
    )
    outcome = predict_files(model, FilesRequest([series], tmp_path / "out", device="cpu"), Workers(jobs=1))
    assert (outcome.counts, outcome.refused) == ({"predicted": 1}, [])
    drawn_on, labels = mask_of(tmp_path / "out" / "phantom.nii.gz")
    # Columns to the left from x = 12, rows to posterior from y = 150, slices up from z = -40.
    assert np.allclose(drawn_on.affine, [[-8, 0, 0, 12], [0, -8, 0, 150], [0, 0, 8, -40], [0, 0, 0, 1]])
    _, reference = mask_of(Path(case["mask"]))
    liver, found = geometry.to_ras(reference) == 1, drawn_on.to_ras(labels) == 1
    assert 2 * (liver & found).sum() / (liver.sum() + found.sum()) > 0.5  # it knows where the liver is


def test_where_the_child_fails_its_log_stays_and_the_copies_of_scans_go(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    profile = parse_profile(PROFILE, "tiny.toml", name="tiny")
    gone = FileModel("gone", ModelKind.STUDENT, tmp_path / "gone", profile, "00")
    series = scene.images.parent / "series"
    with pytest.raises(ChildFailedError):
        predict_files(gone, FilesRequest([series], tmp_path / "out", device="cpu"), Workers(jobs=1))
    assert len(list(tmp_path.rglob("predict.log"))) == 1
    assert list(tmp_path.rglob("*.nii")) == []


def test_weights_that_are_not_the_registered_ones_are_not_exported(scene: Scene, tmp_path: Path):
    order = ExportOrder(file=tmp_path / "x.pt", facts={"weights_hash": "12345678" * 8})
    job = Job(
        task="student_export", work_dir=tmp_path, profile=parse_profile(PROFILE, "tiny.toml", name="tiny"),
        model_dir=scene.model, export=order,
    )  # fmt: skip
    with pytest.raises(
        TrainingError, match=r"the weights are not those that were registered \(.* instead of 1234567"
    ):
        export_student(job, Reporter(io.StringIO()))
    assert not order.file.exists()
