"""Frozen datasets: what they fix, how they split, and what nnU-Net is given."""

import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from volume_files import SHAPE, boxes, write_image, write_volume

from curation.errors import CurationError, UsageError
from curation.labels import ORGAN_IDS
from curation.mappings import load_builtin
from curation.status import Origin
from db.models import Role
from pipelines.complement import complement
from pipelines.export import MissingPolicy, export_nnunet
from pipelines.freeze import FreezeRequest, freeze, frozen_members
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions

FLARE = load_builtin("flare23")
LIVER, SPLEEN, TUMOR = 1, 3, 14
STRONG = boxes(dict.fromkeys(ORGAN_IDS, 4))


@pytest.fixture
def cohort(bench, tmp_path):
    """Ten cases with images: four strong, six with a tumor alone."""
    for number in range(10):
        mask = STRONG if number < 4 else boxes({TUMOR: 3})
        write_volume(tmp_path / "l" / f"C{number}.nii.gz", mask)
        write_image(tmp_path / "i" / f"C{number}_0000.nii.gz")
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l", images=tmp_path / "i"))
    return bench


def splits(bench, address):
    _, members = frozen_members(bench, address)
    return {case.address: (str(member.split), member.fold) for case, member in members}


def test_the_validation_share_is_drawn_from_strong_and_weak_alike(cohort):
    frozen = freeze(cohort, FreezeRequest("d", "", val_share=0.5, seed=3))
    assert (frozen.members, frozen.train, frozen.val) == (10, 5, 5)
    found = splits(cohort, "d@1")
    strong_in_val = [a for a, (split, _) in found.items() if split == "val" and int(a[-1]) < 4]
    assert len(strong_in_val) == 2  # half of four strong, three of six weak


def test_the_same_request_on_an_unchanged_catalog_is_the_same_version(cohort):
    request = FreezeRequest("d", "strong", val_share=0.25, seed=1)
    assert freeze(cohort, request) == freeze(cohort, request)
    other = freeze(cohort, FreezeRequest("d", "strong", val_share=0.25, seed=2))
    assert other.address == "d@2"


def test_folds_differ_by_one_case_at_most(cohort):
    freeze(cohort, FreezeRequest("d", "", folds=3))
    folds = [fold for _, fold in splits(cohort, "d").values()]
    assert sorted(folds.count(k) for k in range(3)) == [3, 3, 4]


def test_cases_of_one_patient_stay_on_one_side(bench, tmp_path):
    for number in range(12):
        write_volume(tmp_path / "l" / f"C{number}.nii.gz", boxes({LIVER: 3}))
    rows = "".join(f"C{n},P{n // 3}\n" for n in range(12))
    (tmp_path / "cases.csv").write_text("case,patient\n" + rows)
    ingest(
        bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l", cases=tmp_path / "cases.csv")
    )
    freeze(bench, FreezeRequest("d", "", val_share=0.5))
    _, members = frozen_members(bench, "d")
    sides = {}
    for case, member in members:
        sides.setdefault(case.patient, set()).add(member.split)
    assert all(len(side) == 1 for side in sides.values())
    assert len({member.split for _, member in members}) == 2


def test_test_cases_and_cases_without_labels_are_left_out_and_counted(cohort, tmp_path):
    write_volume(tmp_path / "lt" / "T.nii.gz", STRONG)
    ingest(cohort, IngestRequest(source="T", mapping=FLARE, labels=tmp_path / "lt", role=Role.TEST))
    write_image(tmp_path / "iu" / "U_0000.nii.gz")
    ingest(cohort, IngestRequest(source="U", mapping=FLARE, images=tmp_path / "iu"))
    frozen = freeze(cohort, FreezeRequest("d", ""))
    assert frozen.members == 10
    assert frozen.left_out == {"test cases": 1, "cases with no annotated class": 1}
    assert freeze(cohort, FreezeRequest("e", "", include_test=True)).members == 11


def test_a_frozen_dataset_keeps_the_version_that_it_was_frozen_with(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", 'case = "S/C5"'))
    write_volume(tmp_path / "l" / "C5.nii.gz", boxes({TUMOR: 5}))
    ingest(cohort, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l"))
    _, ((case, _),) = frozen_members(cohort, "d@1")
    assert (case.number, case.annotations[TUMOR].voxels) == (1, 3)


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (FreezeRequest("d", "missing liver and strong"), "finds 0 cases and none to freeze"),
        (FreezeRequest("d", "", val_share=0.2, folds=5), "--val and --folds exclude each other"),
        (FreezeRequest("d", "", val_share=1.0), "at least 0 and below 1"),
        (FreezeRequest("d", "", folds=1), "at least 2 folds"),
        (FreezeRequest("d", "", folds=11), "only 10 patients"),
        (FreezeRequest("a@b", ""), "may not be empty or contain"),
    ],
)
def test_what_cannot_be_frozen_is_wrong_usage(cohort, request_, complaint):
    with pytest.raises(UsageError, match=complaint):
        freeze(cohort, request_)


def test_export_has_nnunets_layout_and_the_frozen_split(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", "strong", val_share=0.25))
    folder = tmp_path / "Dataset501_D"
    assert export_nnunet(cohort, "d@1", folder) == 4
    assert sorted(p.name for p in (folder / "labelsTr").iterdir()) == [f"C{n}.nii.gz" for n in range(4)]
    assert sorted(p.name for p in (folder / "imagesTr").iterdir()) == [f"C{n}_0000.nii.gz" for n in range(4)]
    assert all(p.is_symlink() for p in (folder / "imagesTr").iterdir())
    description = json.loads((folder / "dataset.json").read_text())
    assert description["labels"]["left_kidney"] == 13
    assert description["numTraining"] == 4
    assert description["overwrite_image_reader_writer"] == "NibabelIOWithReorient"
    (fold,) = json.loads((folder / "splits_final.json").read_text())
    assert (len(fold["train"]), len(fold["val"])) == (3, 1)
    written = np.asarray(nib.load(folder / "labelsTr" / "C0.nii.gz").dataobj)
    assert np.array_equal(written, STRONG)


@pytest.mark.long
def test_nnunets_own_integrity_check_accepts_an_export(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", "", val_share=0.2))
    export_nnunet(cohort, "d", tmp_path / "Dataset501_D")
    check = (
        "import sys; from nnunetv2.experiment_planning.verify_dataset_integrity import "
        "verify_dataset_integrity as v; v(sys.argv[1], num_processes=1)"
    )
    env = {f"nnUNet_{name}": str(tmp_path) for name in ("raw", "preprocessed", "results")}
    done = subprocess.run(
        [sys.executable, "-c", check, str(tmp_path / "Dataset501_D")],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "verify_dataset_integrity Done" in done.stdout


@pytest.fixture
def complemented(cohort, tmp_path):
    """The same cohort, its tumor cases complemented with a liver."""
    liver = np.zeros(SHAPE, np.uint8)
    liver[4:8, 4:8, 4:8] = LIVER
    for number in range(4, 10):
        write_volume(tmp_path / "p" / f"C{number}.nii.gz", liver)
    import_predictions(cohort, tmp_path / "p", "M", FLARE)
    complement(cohort, "missing liver", "M")
    return cohort


def test_without_pseudo_labels_a_complemented_member_is_what_it_was_before(complemented, tmp_path):
    raw = (Origin.ORIGINAL, Origin.CORRECTED)
    freeze(complemented, FreezeRequest("raw", "", origins=raw))
    freeze(complemented, FreezeRequest("all", ""))
    export_nnunet(complemented, "raw", tmp_path / "raw")
    export_nnunet(complemented, "all", tmp_path / "all")
    before = np.asarray(nib.load(tmp_path / "l" / "C7.nii.gz").dataobj)
    exported = np.asarray(nib.load(tmp_path / "raw" / "labelsTr" / "C7.nii.gz").dataobj)
    assert np.array_equal(exported, before)
    with_pseudo = np.asarray(nib.load(tmp_path / "all" / "labelsTr" / "C7.nii.gz").dataobj)
    assert int((with_pseudo == LIVER).sum()) == 64


def test_background_of_a_case_with_missing_classes_can_be_ignored_or_refused(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    export_nnunet(cohort, "d", tmp_path / "ignored", MissingPolicy.IGNORE)
    weak = np.asarray(nib.load(tmp_path / "ignored" / "labelsTr" / "C9.nii.gz").dataobj)
    # Tumor 14, then nnU-Net's ignore label: the highest value + 1.
    assert {int(v) for v in np.unique(weak)} == {14, 15}
    labels = json.loads((tmp_path / "ignored" / "dataset.json").read_text())["labels"]
    assert labels["ignore"] == 15
    with pytest.raises(CurationError, match="classes are missing"):
        export_nnunet(cohort, "d", tmp_path / "refused", MissingPolicy.REFUSE)
    assert not (tmp_path / "refused").exists()


def test_unresolved_voxels_become_nnunets_ignore_label(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({1: 5, 2: 3}))
    write_image(tmp_path / "i" / "A_0000.nii.gz")
    kits = load_builtin("kits19")
    ingest(bench, IngestRequest(source="S", mapping=kits, labels=tmp_path / "l", images=tmp_path / "i"))
    freeze(bench, FreezeRequest("d", ""))
    export_nnunet(bench, "d", tmp_path / "out")
    written = np.asarray(nib.load(tmp_path / "out" / "labelsTr" / "A.nii.gz").dataobj)
    assert {int(v): int(n) for v, n in zip(*np.unique(written, return_counts=True), strict=True) if v} == {15: 5, 14: 3}


def test_an_export_never_writes_into_an_existing_folder(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        export_nnunet(cohort, "d", tmp_path / "out")


def test_an_export_that_fails_leaves_nothing_behind(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    (tmp_path / "i" / "C3_0000.nii.gz").unlink()
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(CurationError, match=r"C3_0000\.nii\.gz: the image is not there"):
        export_nnunet(cohort, "d", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_the_same_version_exported_twice_is_byte_identical(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", "", folds=2))
    for name in ("one", "two"):
        export_nnunet(cohort, "d", tmp_path / name)
    for path in sorted((tmp_path / "one").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_an_image_that_is_not_packed_is_packed_for_nnunet(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", STRONG)
    image = write_image(tmp_path / "i" / "A_0000.nii")
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l", images=tmp_path / "i"))
    freeze(bench, FreezeRequest("d", ""))
    export_nnunet(bench, "d", tmp_path / "out")
    packed = nib.load(tmp_path / "out" / "imagesTr" / "A_0000.nii.gz")
    assert np.array_equal(np.asarray(packed.dataobj), np.asarray(nib.load(image).dataobj))
