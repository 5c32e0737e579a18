"""The teacher: a real nnU-Net, trained on tiny phantoms in a child process, killed, resumed, predicting."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from training_child import CHILD_ENVIRONMENT, PROJECT, run_job

from curation.labels import ORGAN_IDS
from pipelines.curves import curve_series
from pipelines.trace import Trace
from pipelines.training.jobs import JobCase, Reporter, TrainingError
from pipelines.training.teacher_dataset import NnunetFolders, lay_out

LIVER = 1


class Silent:
    def write(self, text):
        pass

    def flush(self):
        pass


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def values(file):
    return np.asarray(nib.load(file).dataobj)


def predict_job(teacher, cases, **settings):
    profile = teacher.profile.model_copy(
        update={"predict": teacher.profile.predict.model_copy(update=settings)}
    )
    return {
        "task": "predict",
        "profile": profile.model_dump(mode="json"),
        "device": "cpu",
        "model_dir": str(teacher.model_dir),
        "cases": cases,
    }


@pytest.fixture(scope="module")
def predicted(trained_teacher, tiny_cohort, tmp_path_factory):
    """Predictions of both unseen cases: (work folder, job, events)."""
    folder = tmp_path_factory.mktemp("predicted")
    names = ("PHANTOM_T0000", "PHANTOM_T0001")
    cases = [tiny_cohort.case(name, out=str(folder / f"{name}.nii.gz")) for name in names]
    job = predict_job(trained_teacher, cases)
    code, events = run_job(folder, job)
    assert code == 0, events
    return folder, job, events


@pytest.mark.long
def test_the_stages_come_in_order_and_count_to_their_end(trained_teacher):
    progress = [event for event in trained_teacher.events if event["event"] == "progress"]
    stages = list(dict.fromkeys(event["stage"] for event in progress))
    assert stages == ["plan", "preprocess", "train"]
    last = {event["stage"]: (event["step"], event["of"]) for event in progress}
    # 4 cases, twice in `plan` (labels, fingerprint); 4 epochs of 30 steps.
    assert last == {"plan": (8, 8), "preprocess": (4, 4), "train": (120, 120)}


@pytest.mark.long
def test_whoever_watches_sees_curves_that_never_go_back(trained_teacher):
    trace = Trace()
    for event in trained_teacher.events:
        if event["event"] == "progress":
            trace.add(event)
    series = curve_series(trace.points)
    assert set(series) == {"train loss", "train epoch_loss", "train val_loss", "train val_dice"}
    assert all(steps == sorted(set(steps)) for steps, _ in series.values())
    # 4 epochs of 30 steps.
    assert series["train val_dice"][0] == [30, 60, 90, 120]


@pytest.mark.long
def test_training_lowers_the_loss_and_reports_a_curve_per_class(trained_teacher):
    curves = trained_teacher.events[-1]["curves"]
    assert [row["epoch"] for row in curves] == [1, 2, 3, 4]
    assert curves[-1]["loss"] < curves[0]["loss"] - 0.5
    assert set(curves[0]["val_dice_per_class"]) == {str(organ) for organ in ORGAN_IDS}


@pytest.mark.long
def test_the_model_folder_is_whole_and_hashed(trained_teacher):
    folder = trained_teacher.model_dir
    assert {file.name for file in folder.iterdir()} == {
        "weights.pt", "plans.json", "dataset.json", "profile.json", "model.json",
    }  # fmt: skip
    digest = hashlib.sha256((folder / "weights.pt").read_bytes()).hexdigest()
    assert trained_teacher.events[-1]["weights_hash"] == digest
    assert str(trained_teacher.work_dir) not in (folder / "dataset.json").read_text()


@pytest.mark.long
def test_the_split_is_the_jobs_own_although_there_are_fewer_than_five_cases(trained_teacher):
    split_file = next(trained_teacher.work_dir.glob("nnunet/preprocessed/*/splits_final.json"))
    (split,) = json.loads(split_file.read_text())
    assert split == {
        "train": ["00000_PHANTOM_0000", "00001_PHANTOM_0001", "00002_PHANTOM_0002"],
        "val": ["00003_PHANTOM_0003"],
    }


@pytest.mark.long
def test_mirroring_leaves_out_the_axis_between_left_and_right(trained_teacher):
    # nnU-Net's arrays are (z, y, x) here: the grid is isotropic, so its planner does not transpose.
    model = json.loads((trained_teacher.model_dir / "model.json").read_text())
    assert model["mirror_axes"] == [0, 1]


@pytest.mark.long
def test_the_profiles_patch_and_channels_are_in_the_plans(trained_teacher):
    plans = json.loads((trained_teacher.model_dir / "plans.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    assert configuration["patch_size"] == [32, 32, 40]
    assert configuration["architecture"]["arch_kwargs"]["features_per_stage"][:3] == [8, 16, 32]


@pytest.mark.long
def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_been(trained_teacher, teacher_job, tmp_path):
    job_file = tmp_path / "job.json"
    job_file.write_text(json.dumps({"work_dir": str(tmp_path), **teacher_job}))
    command = [sys.executable, "-m", "pipelines.training", str(job_file)]
    with subprocess.Popen(command, cwd=PROJECT, env=CHILD_ENVIRONMENT, stdout=subprocess.PIPE) as child:
        for line in child.stdout:
            event = json.loads(line)
            if event.get("message") == "epoch 2 of 4 done":
                child.send_signal(signal.SIGKILL)  # it is in the third epoch by now
                break
    assert child.returncode == -signal.SIGKILL

    code, events = run_job(tmp_path, teacher_job)
    assert code == 0
    steps = [event["step"] for event in events if event.get("stage") == "train"]
    assert steps[0] == 61  # two epochs of 30 steps were saved
    assert not [event for event in events if event.get("stage") == "preprocess"]
    whole, resumed = (run[-1]["curves"] for run in (trained_teacher.events, events))
    assert [row["loss"] for row in resumed] == pytest.approx([row["loss"] for row in whole], abs=1e-3)


@pytest.mark.long
def test_a_finished_training_started_again_trains_nothing_and_gives_the_same_weights(
    trained_teacher, teacher_job, tmp_path
):
    # A copy: it packs the model anew, which tests in other processes may be reading.
    work_dir = shutil.copytree(trained_teacher.work_dir, tmp_path / "work")
    code, events = run_job(work_dir, teacher_job)
    assert code == 0
    assert not [event for event in events if event.get("stage") == "train"]
    assert events[-1]["weights_hash"] == trained_teacher.events[-1]["weights_hash"]


@pytest.mark.long
def test_the_work_folder_of_another_job_is_refused(trained_teacher, teacher_job, tmp_path):
    work_dir = shutil.copytree(trained_teacher.work_dir, tmp_path / "work")
    code, events = run_job(work_dir, {**teacher_job, "seed": 4})
    assert code == 1
    assert events[-1]["reason"].endswith("holds a training of another job")


@pytest.mark.long
def test_the_liver_of_an_unseen_case_is_found(predicted, tiny_cohort):
    folder, _, _ = predicted
    truth = values(tiny_cohort.case("PHANTOM_T0000")["mask"]) == LIVER
    assert dice(values(folder / "PHANTOM_T0000.nii.gz") == LIVER, truth) > 0.7


@pytest.mark.long
def test_predictions_stay_on_the_images_grid_and_within_the_13_organs(predicted, tiny_cohort):
    folder, _, events = predicted
    image = nib.load(tiny_cohort.case("PHANTOM_T0001")["image"])
    mask = nib.load(folder / "PHANTOM_T0001.nii.gz")
    assert mask.shape == image.shape
    assert np.allclose(mask.affine, image.affine, atol=1e-4)
    assert mask.get_data_dtype() == np.uint8
    assert set(np.unique(mask.dataobj)) <= {0, *ORGAN_IDS}
    (event,) = [event for event in events if event.get("case") == "Phantom/PHANTOM_T0001"]
    assert 0.5 < event["classes"]["1"]["confidence"] <= 1


@pytest.mark.long
def test_an_image_stored_in_another_orientation_gets_the_same_mask_in_its_own(
    predicted, trained_teacher, tiny_cohort, tmp_path
):
    folder, _, _ = predicted
    image = nib.load(tiny_cohort.case("PHANTOM_T0000")["image"])
    # z first, then y and x backwards: S, P, L.
    order = nib.orientations.axcodes2ornt("SPL")
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), order))
    nib.save(turned, tmp_path / "turned.nii.gz")
    case = {"case": "X/turned", "image": str(tmp_path / "turned.nii.gz"), "out": str(tmp_path / "out.nii.gz")}
    code, _ = run_job(tmp_path / "work", predict_job(trained_teacher, [case]))
    assert code == 0
    mask = nib.load(tmp_path / "out.nii.gz")
    assert nib.aff2axcodes(mask.affine) == ("S", "P", "L")
    back = np.asarray(nib.as_closest_canonical(mask).dataobj)
    assert np.array_equal(back, values(folder / "PHANTOM_T0000.nii.gz"))


@pytest.mark.long
def test_a_bad_case_does_not_stop_the_others_and_test_time_augmentation_runs(
    trained_teacher, tiny_cohort, tmp_path
):
    (tmp_path / "text.nii.gz").write_text("this is no image")
    cases = [
        {"case": "X/bad", "image": str(tmp_path / "text.nii.gz"), "out": str(tmp_path / "bad.nii.gz")},
        tiny_cohort.case("PHANTOM_T0000", out=str(tmp_path / "good.nii.gz")),
    ]
    job = predict_job(trained_teacher, cases, tta=True, probabilities=True)
    code, events = run_job(tmp_path / "work", job)
    assert code == 1
    (problem,) = [event for event in events if event["event"] == "problem"]
    assert problem["case"] == "X/bad"
    assert "text.nii.gz" in problem["reason"]
    assert not (tmp_path / "bad.nii.gz").exists()
    truth = values(tiny_cohort.case("PHANTOM_T0000")["mask"]) == LIVER
    mask = values(tmp_path / "good.nii.gz")
    assert dice(mask == LIVER, truth) > 0.7
    (told,) = [event for event in events if event["event"] == "case"]
    assert 0 < told["classes"]["1"]["tta_disagreement"] < 0.5
    percent = values(told["probability"])
    assert np.array_equal(percent > 0, mask > 0)
    assert set(np.unique(percent).tolist()) <= {0, *range(5, 100, 5)}
    # The mean of the steps, each 0 to 5 % too low and the last 5 % at most: on the image's grid, after components.
    assert percent[mask == LIVER].mean() / 100 == pytest.approx(told["classes"]["1"]["confidence"], abs=0.08)


@pytest.mark.long
def test_without_mirrored_passes_nothing_is_said_of_their_disagreement(predicted):
    _, _, events = predicted
    told = [event for event in events if event["event"] == "case"]
    assert {said["tta_disagreement"] for event in told for said in event["classes"].values()} == {None}
    assert [event["probability"] for event in told] == [None, None]


@pytest.mark.long
def test_the_labels_are_those_that_nnunets_own_export_gives(predicted, tiny_cohort):
    import torch
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape as export,
    )

    from pipelines.training.jobs import Job
    from pipelines.training.predict_teacher import Teacher

    folder, job, _ = predicted
    case = tiny_cohort.case("PHANTOM_T0000")
    teacher = Teacher(Job.model_validate({"work_dir": str(folder), **job}))
    image = Path(case["image"])
    prepared = teacher.read(image, image.read_bytes())
    computed = teacher.compute(prepared)
    ours, _ = teacher._on_image(computed.logits, computed.properties)
    theirs = export(
        computed.logits, teacher.plans, teacher.configuration, teacher.labels, prepared.properties,
        num_threads_torch=torch.get_num_threads(),
    )  # fmt: skip
    assert np.array_equal(ours, theirs.transpose(2, 1, 0))


@pytest.mark.long
def test_a_finished_prediction_is_reported_again_but_not_computed_again(predicted):
    folder, job, events = predicted
    file = folder / "PHANTOM_T0000.nii.gz"
    before = file.stat().st_mtime_ns
    code, again = run_job(folder, job)
    assert code == 0
    assert file.stat().st_mtime_ns == before
    cases = [[event for event in run if event["event"] == "case"] for run in (events, again)]
    assert cases[0] == cases[1]


def test_mean_confidence_is_the_winners_mean_probability():
    import torch

    from pipelines.training.predict_teacher import mean_confidence

    # Three voxels, classes 0 to 2. Odds of the winner against each other class 3:1, 8:1 and 2:1:
    # probabilities 3/5, 8/10 and 2/4. Class 1 wins the first two, class 0 the third, class 2 none.
    logits = torch.log(torch.tensor([[1.0, 1, 2], [3, 8, 1], [1, 1, 1]])).reshape(3, 1, 1, 3)
    assert mean_confidence(logits) == {1: pytest.approx((0.6 + 0.8) / 2)}


def test_one_training_case_is_too_few(tiny_cohort, tiny_profile, tmp_path):
    cases = [tiny_cohort.case("PHANTOM_0000", split="train")]
    profile = tiny_profile.model_dump(mode="json")
    code, events = run_job(tmp_path, {"task": "teacher_train", "profile": profile, "cases": cases})
    assert code == 1
    assert events == [
        {
            "event": "problem",
            "case": None,
            "reason": "1 training case(s)",
            "remedy": "a teacher needs at least 2 with all organs",
        }
    ]


def test_tumor_becomes_background_and_reserved_voxels_the_ignore_label(tiny_cohort, tmp_path):
    case = tiny_cohort.case("PHANTOM_0000", split="train")
    source = nib.load(case["mask"])
    mask = np.zeros(source.shape, np.uint8)
    mask[0, 0, :6] = [1, 13, 14, 200, 255, 0]
    nib.save(nib.Nifti1Image(mask, source.affine), tmp_path / "mask.nii.gz")
    job_case = JobCase.model_validate({**case, "mask": str(tmp_path / "mask.nii.gz")})
    (raw,) = lay_out([job_case], NnunetFolders(tmp_path / "nnunet"), Reporter(Silent()))
    # 14 is the highest of nnU-Net's 13 organ values plus 1.
    assert values(raw.label)[0, 0, :6].tolist() == [1, 13, 0, 14, 14, 0]
    description = json.loads((tmp_path / "nnunet/raw/Dataset001_maskledger/dataset.json").read_text())
    assert description["labels"]["ignore"] == 14
    assert description["overwrite_image_reader_writer"] == "NibabelIOWithReorient"


def test_a_mask_on_another_grid_than_its_image_is_named(tiny_cohort, tmp_path):
    case = tiny_cohort.case("PHANTOM_0000", split="train")
    source = nib.load(case["mask"])
    cut = np.asarray(source.dataobj)[:, :, 1:]
    nib.save(nib.Nifti1Image(cut, source.affine), tmp_path / "cut.nii.gz")
    job_case = JobCase.model_validate({**case, "mask": str(tmp_path / "cut.nii.gz")})
    with pytest.raises(TrainingError, match=r"Phantom/PHANTOM_0000: .*cut\.nii\.gz is not on the grid of"):
        lay_out([job_case], NnunetFolders(tmp_path / "nnunet"), Reporter(Silent()))


def test_a_volume_of_one_slice_is_named(tmp_path):
    for name in ("image", "mask"):
        nib.save(nib.Nifti1Image(np.ones((9, 8, 1), np.uint8), np.eye(4)), tmp_path / f"{name}.nii.gz")
    case = JobCase(
        case="S/FLAT", image=tmp_path / "image.nii.gz", mask=tmp_path / "mask.nii.gz", split="train"
    )
    with pytest.raises(TrainingError) as said:
        lay_out([case], NnunetFolders(tmp_path / "nnunet"), Reporter(Silent()))
    assert str(said.value) == (
        f"S/FLAT: {tmp_path}/image.nii.gz: 9 × 8 × 1 voxels: one slice is not a volume, and the networks know organs "
        "by what lies above and below; leave it out"
    )
