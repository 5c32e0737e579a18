"""nnU-Net's raw layout, accepted by nnU-Net's own check."""

import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from frozen_cohort import FLARE, LIVER, STRONG, TUMOR, voxels
from volume_files import AFFINE, boxes, write_image, write_volume

from curation.mappings import load_builtin
from pipelines.export import export
from pipelines.exports.request import ExportRequest, MissingPolicy
from pipelines.freeze import FreezeRequest, freeze
from pipelines.ingest import IngestRequest, ingest


def accepted_by_nnunet(folder):
    """Run what `nnUNetv2_plan_and_preprocess --verify_dataset_integrity` runs; returns what it says."""
    check = (
        "import sys; from nnunetv2.experiment_planning.verify_dataset_integrity import "
        "verify_dataset_integrity as v; v(sys.argv[1], num_processes=1)"
    )
    env = {f"nnUNet_{name}": str(folder.parent) for name in ("raw", "preprocessed", "results")}
    done = subprocess.run(
        [sys.executable, "-c", check, str(folder)],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "verify_dataset_integrity Done" in done.stdout
    return done.stdout


def test_the_folder_has_nnunets_layout_and_the_frozen_split(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", "strong", val_share=0.25))
    folder = tmp_path / "Dataset501_D"
    assert export(cohort, ExportRequest("d@1", folder)).cases == 4
    assert sorted(p.name for p in folder.iterdir()) == [
        "dataset.json", "imagesTr", "labelsTr", "maskledger.json", "splits_final.json",
    ]  # fmt: skip
    assert sorted(p.name for p in (folder / "labelsTr").iterdir()) == [f"C{n}.nii.gz" for n in range(4)]
    assert sorted(p.name for p in (folder / "imagesTr").iterdir()) == [f"C{n}_0000.nii.gz" for n in range(4)]
    assert (folder / "imagesTr" / "C0_0000.nii.gz").readlink() == tmp_path / "i" / "C0_0000.nii.gz"
    description = json.loads((folder / "dataset.json").read_text())
    assert description["labels"]["left_kidney"] == 13
    assert "ignore" not in description["labels"]
    assert description["numTraining"] == 4
    assert description["overwrite_image_reader_writer"] == "NibabelIOWithReorient"
    (split,) = json.loads((folder / "splits_final.json").read_text())
    assert (len(split["train"]), len(split["val"])) == (3, 1)
    assert sorted(split["train"] + split["val"]) == ["C0", "C1", "C2", "C3"]


def test_each_fold_validates_on_its_own_members(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", "", folds=3))
    export(cohort, ExportRequest("d", tmp_path / "out"))
    splits = json.loads((tmp_path / "out" / "splits_final.json").read_text())
    names = {f"C{n}" for n in range(10)}
    assert len(splits) == 3
    assert sorted(name for split in splits for name in split["val"]) == sorted(names)
    assert all(set(split["train"]) == names - set(split["val"]) for split in splits)


@pytest.mark.long
@pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)
def test_nnunets_own_integrity_check_accepts_links(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", "", val_share=0.2))
    export(cohort, ExportRequest("d", tmp_path / "Dataset501_D"))
    said = accepted_by_nnunet(tmp_path / "Dataset501_D")
    assert "Warning" not in said
    assert "Error" not in said


@pytest.mark.long
@pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)
def test_nnunets_own_integrity_check_accepts_ignored_voxels_in_every_orientation(bench, tmp_path):
    # Slices first and head down, as KiTS stores them; with its kidneys unresolved.
    turned = np.array([[0, 0, 2.0, 5], [0, -2.0, 0, 9], [-2.5, 0, 0, 3], [0, 0, 0, 1]])
    for name, affine in (("A", AFFINE), ("B", turned)):
        write_volume(tmp_path / "l" / f"{name}.nii.gz", boxes({1: 5, 2: 3}), affine)
        write_image(tmp_path / "i" / f"{name}_0000.nii.gz", affine=affine)
    kits = load_builtin("kits19")
    ingest(bench, IngestRequest(source="S", mapping=kits, labels=tmp_path / "l", images=tmp_path / "i"))
    freeze(bench, FreezeRequest("d", ""))
    folder = tmp_path / "Dataset502_D"
    export(bench, ExportRequest("d", folder, missing=MissingPolicy.IGNORE))
    assert json.loads((folder / "dataset.json").read_text())["labels"]["ignore"] == 15
    said = accepted_by_nnunet(folder)
    assert "Warning" not in said
    assert "Error" not in said


def test_an_image_that_is_not_packed_is_packed(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", STRONG)
    image = write_image(tmp_path / "i" / "A_0000.nii")
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l", images=tmp_path / "i"))
    freeze(bench, FreezeRequest("d", ""))
    export(bench, ExportRequest("d", tmp_path / "out"))
    packed = tmp_path / "out" / "imagesTr" / "A_0000.nii.gz"
    assert packed.read_bytes()[:2] == b"\x1f\x8b"
    assert np.array_equal(voxels(packed), np.asarray(nib.load(image).dataobj))
    assert LIVER in voxels(tmp_path / "out" / "labelsTr" / "A.nii.gz")
    assert TUMOR not in voxels(tmp_path / "out" / "labelsTr" / "A.nii.gz")
