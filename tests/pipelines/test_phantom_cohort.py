"""A phantom cohort on disk: names, resumption, and that its files are what the generator drew."""

import nibabel as nib
import numpy as np
import pytest

from curation.errors import UsageError
from curation.phantom import make_phantom
from pipelines.phantom_cohort import write_cohort

FIGURES = {"train": 3, "test": 1, "strong": 1, "spacing_mm": 10.0, "seed": 2}


def test_the_cohort_has_images_partial_labels_and_the_truth_apart(tmp_path):
    assert write_cohort(tmp_path, **FIGURES) == 4
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.nii.gz")}
    names = [f"PHANTOM_000{i}" for i in range(3)]
    assert files == {
        *(f"imagesTr/{name}_0000.nii.gz" for name in names),
        *(f"labelsTr/{name}.nii.gz" for name in names),
        *(f"truthTr/{name}.nii.gz" for name in names),
        "imagesTs/PHANTOM_T0000_0000.nii.gz",
        "labelsTs/PHANTOM_T0000.nii.gz",
    }
    # The last training case is the strong one, the test case comes after it.
    strong, test = make_phantom(2, 2, 10.0), make_phantom(2, 3, 10.0)
    image = nib.load(tmp_path / "imagesTr/PHANTOM_0002_0000.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj), strong.image)
    assert np.allclose(image.affine, strong.affine, atol=1e-4)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    labels = nib.load(tmp_path / "labelsTr/PHANTOM_0002.nii.gz")
    assert np.array_equal(np.asarray(labels.dataobj), strong.organs)
    truth = nib.load(tmp_path / "labelsTs/PHANTOM_T0000.nii.gz")
    assert np.array_equal(np.asarray(truth.dataobj), test.truth)


def test_a_second_call_writes_only_what_is_not_there(tmp_path):
    write_cohort(tmp_path, **FIGURES)
    gone = tmp_path / "labelsTr/PHANTOM_0001.nii.gz"
    before = gone.read_bytes()
    gone.unlink()
    steps = []
    assert write_cohort(tmp_path, **FIGURES, progress=lambda done, of: steps.append((done, of))) == 1
    assert gone.read_bytes() == before
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_folder_made_with_other_figures_is_refused(tmp_path):
    write_cohort(tmp_path, **FIGURES)
    with pytest.raises(UsageError, match=r"phantom\.json: made with .* give another folder or remove it"):
        write_cohort(tmp_path, **(FIGURES | {"seed": 3}))
