"""What a training and a prediction refuse before they start. No process of theirs is ever reached here."""

import os
from functools import partial

import numpy as np
import pytest
from frozen_cohort import FLARE, STRONG
from sqlalchemy import select
from volume_files import SHAPE, boxes, write_image, write_volume

from curation.errors import CurationError
from curation.labels import ORGAN_IDS
from db import writes
from db.models import ModelKind, SourceRevision
from db.retractions import revision_subject
from pipelines.freeze import FreezeRequest, freeze
from pipelines.ingest import IngestRequest, ingest
from pipelines.predict import predict
from pipelines.profiles import load_profile
from pipelines.retract import retract
from pipelines.review import absent
from pipelines.train import TrainRequest, train

GALLBLADDER = 9


@pytest.fixture(autouse=True)
def _no_training(monkeypatch):
    def started(*_):
        raise AssertionError("a training process was started")

    monkeypatch.setattr("pipelines.train.run_child", started)
    monkeypatch.setattr("pipelines.predict.run_child", started)


def refusal(bench, kind=ModelKind.TEACHER, dataset=None, **options):
    """What a training on the strong cases, or on a dataset, says; it has to say something."""
    dataset = dataset or freeze(bench, FreezeRequest("d", "strong")).address
    with pytest.raises(CurationError) as error:
        train(bench, TrainRequest(kind, dataset, load_profile("quick"), "m", **options))
    return str(error.value)


def starts(bench, kind=ModelKind.TEACHER, dataset=None, **options):
    """Whether a training on the strong cases, or on a dataset, gets as far as its process."""
    dataset = dataset or freeze(bench, FreezeRequest("d", "strong")).address
    with pytest.raises(AssertionError, match="a training process was started"):
        train(bench, TrainRequest(kind, dataset, load_profile("quick"), "m", **options))
    return True


def take(bench, folder, mask=STRONG, name="X", image=None, source="N"):
    """Ingest one more case, with an image of noise in HU or the given one."""
    write_volume(folder / source / "l" / f"{name}.nii.gz", mask)
    file = folder / source / "i" / f"{name}_0000.nii.gz"
    write_volume(file, image) if image is not None else write_image(file, mask.shape)
    ingest(
        bench,
        IngestRequest(
            source=source, mapping=FLARE, labels=folder / source / "l", images=folder / source / "i"
        ),
    )
    return file


def test_an_image_that_changed_after_ingest_is_named_with_the_remedy(cohort, tmp_path):
    other = np.random.default_rng(1).integers(-1000, 1000, SHAPE).astype(np.int16)
    file = write_volume(tmp_path / "i" / "C1_0000.nii.gz", other)
    found = refusal(cohort)
    assert found == (
        f"S/C1: {file} has changed since it was ingested; bring the file back, or ingest the source anew and "
        "freeze again"
    )


def test_an_image_that_was_only_touched_is_taken(cohort, tmp_path):
    os.utime(tmp_path / "i" / "C1_0000.nii.gz", (1, 1))
    assert starts(cohort)


def test_an_image_cut_short_or_with_nan_voxels_is_named(cohort, tmp_path):
    file = tmp_path / "i" / "C2_0000.nii.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert refusal(cohort).startswith(f"S/C2: {file}: ")
    voxels = np.random.default_rng(0).normal(0, 300, SHAPE).astype(np.float32)
    voxels[3, 3, 3] = np.nan
    write_volume(file, voxels)
    assert refusal(cohort) == f"S/C2: {file}: voxels are NaN or infinite; give them a value (air: -1024)"


def test_an_image_on_another_grid_than_its_mask_is_named(cohort, tmp_path):
    write_image(tmp_path / "i" / "C0_0000.nii.gz", (12, 10, 9))
    write_image(tmp_path / "i" / "C3_0000.nii.gz", (12, 10, 9))
    found = refusal(cohort)
    assert found.startswith(f"S/C0: {tmp_path}/i/C0_0000.nii.gz is not on its mask's grid: ")
    assert found.endswith("ingest it anew (and 1 more members)")


@pytest.mark.parametrize("kind", [ModelKind.TEACHER, ModelKind.STUDENT])
def test_an_image_that_is_not_hu_is_refused_unless_allowed(kind, cohort, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.int16)
    take(cohort, tmp_path, name="MR", image=grey)
    found = refusal(cohort, kind=kind)
    assert found.startswith(
        "N/MR: the image is not in HU (values from 0 to 255: grey levels of a window, not HU)"
    )
    assert found.endswith("train with --allow not-hu")
    assert starts(cohort, kind=kind, allow=frozenset({"not-hu"}))


def test_a_volume_of_one_slice_is_refused(cohort, tmp_path):
    slice_ = np.zeros((60, 10, 1), np.uint8)
    for place, organ in enumerate(ORGAN_IDS):
        slice_[4 * place : 4 * place + 3, 2:5, 0] = organ
    take(cohort, tmp_path, slice_, "FLAT")
    assert refusal(cohort) == (
        "N/FLAT: 60 × 10 × 1 voxels: one slice is not a volume, and the networks know organs by what lies above and "
        "below; freeze without it"
    )


def test_one_slice_and_an_image_that_is_not_hu_are_not_predicted(bench, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.int16)
    mr = take(bench, tmp_path, name="MR", image=grey)
    flat = take(bench, tmp_path, np.ones((9, 8, 1), np.uint8), "FLAT")
    profile = load_profile("quick").model_dump(mode="json")
    with bench.catalog.writing() as session:
        writes.add_model(session, "t", ModelKind.TEACHER, profile=profile, weights_path=str(tmp_path))
    assert predict(bench, "t", 'source = "N"').refused == [
        f"{flat}: 9 × 8 × 1 voxels: one slice is not a volume, and the networks know organs by what lies above and "
        "below; give the whole scan",
        f"{mr}: not in HU: values from 0 to 255: grey levels of a window, not HU; give the CT in Hounsfield units, as "
        "its scanner wrote it",
    ]


def test_an_organ_that_nobody_drew_is_refused_for_a_teacher_alone(bench, tmp_path):
    mask = boxes(dict.fromkeys((organ for organ in ORGAN_IDS if organ != GALLBLADDER), 4))
    for name in ("A", "B"):
        take(bench, tmp_path, mask, name)
        absent(bench, f"N/{name}", ["gallbladder"], "taken out")
    assert refusal(bench) == (
        "d@1: no member to train on has gallbladder drawn, which a teacher would learn as background; "
        "freeze more cases, or train with --allow undrawn-organ"
    )
    assert starts(bench, allow=frozenset({"undrawn-organ"}))
    assert starts(bench, ModelKind.STUDENT)


def test_a_tainted_dataset_is_refused_unless_allowed(cohort):
    dataset = freeze(cohort, FreezeRequest("d", "strong")).address
    with cohort.catalog.reading() as session:
        revision = session.scalar(select(SourceRevision.name))
    retract(cohort, partial(revision_subject, source="S", revision=revision), "wrong patients")
    found = refusal(cohort, dataset=dataset)
    assert found.startswith(f"d@1 is tainted: revision {revision} of S was retracted on ")
    assert found.endswith("(wrong patients); freeze it anew, or train with --allow tainted")
    assert starts(cohort, dataset=dataset, allow=frozenset({"tainted"}))


def test_a_word_that_allows_nothing_is_refused(cohort):
    found = refusal(cohort, allow=frozenset({"all"}))
    assert found == "--allow all: nothing is called so; give tainted, not-hu, undrawn-organ"
