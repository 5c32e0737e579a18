"""A folder for an annotation tool: image and mask on one grid for every reader, and what the labels are called."""

import re

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from reviewed_case import FLARE, LIVER, drawn_liver, newest
from volume_files import AFFINE, SHAPE, write_image, write_volume

from curation.errors import GridError, UsageError
from curation.labels import CLASSES
from pipelines.checkout import Tool, checkout_for
from pipelines.correct import correct
from pipelines.ingest import IngestRequest, ingest

_TILT = np.radians(12)
_OBLIQUE = np.eye(4)
_OBLIQUE[1:3, 1:3] = [[np.cos(_TILT), -np.sin(_TILT)], [np.sin(_TILT), np.cos(_TILT)]]


def along(codes: str) -> np.ndarray:
    """An affine with the file's axes towards these directions, off the origin."""
    turn = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(codes), SHAPE)
    shifted = AFFINE.copy()
    shifted[:3, 3] = (-101.3, 17.7, 1200.1)
    return shifted @ turn


def make_case(bench, folder, affine=AFFINE, image_affine=None):
    write_volume(folder / "l" / "A.nii.gz", drawn_liver(), affine)
    write_image(folder / "i" / "A_0000.nii.gz", affine=affine if image_affine is None else image_affine)
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=folder / "l", images=folder / "i"))


@pytest.mark.parametrize(
    "affine", [AFFINE, along("IPL"), along("LPS"), along("ASR"), _OBLIQUE @ along("LAS")],
    ids=["RAS", "IPL", "LPS", "ASR", "oblique"],
)  # fmt: skip
def test_every_reader_sees_image_and_mask_on_the_same_grid(bench, tmp_path, affine):
    make_case(bench, tmp_path, affine)
    done = checkout_for(bench, "S/A", tmp_path / "out", Tool.ITKSNAP)
    image, mask = nib.load(done.image), nib.load(done.mask)
    assert image.shape == mask.shape
    for name in ("get_sform", "get_qform"):
        assert np.array_equal(getattr(image, name)(), getattr(mask, name)())
    assert np.allclose(mask.affine, affine, atol=1e-4)
    itk_image, itk_mask = sitk.ReadImage(str(done.image)), sitk.ReadImage(str(done.mask))
    for name in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(itk_image, name)() == getattr(itk_mask, name)()
    assert np.array_equal(np.asarray(mask.dataobj), drawn_liver())
    source = nib.load(tmp_path / "i" / "A_0000.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj), np.asarray(source.dataobj))


@pytest.mark.parametrize("affine", [along("RAS"), along("IPL"), _OBLIQUE @ along("LAS")])
def test_what_itk_saves_again_comes_back_as_no_change(bench, tmp_path, affine):
    make_case(bench, tmp_path, affine)
    done = checkout_for(bench, "S/A", tmp_path / "out", Tool.ITKSNAP)
    sitk.WriteImage(sitk.ReadImage(str(done.mask)), str(done.mask))
    assert correct(bench, done.address, done.mask, "looked").changes == ()


def test_a_slightly_other_header_of_the_image_becomes_the_masks(bench, tmp_path):
    """Within the tolerance of ingest; tools refuse what they see differ in the last digits."""
    nudged = AFFINE.copy()
    nudged[0, 3] += 0.001
    make_case(bench, tmp_path, AFFINE, nudged)
    done = checkout_for(bench, "S/A", tmp_path / "out", Tool.SLICER)
    assert np.array_equal(nib.load(done.image).affine, nib.load(done.mask).affine)


def test_an_image_on_another_grid_is_refused_and_no_folder_is_left(bench, tmp_path):
    make_case(bench, tmp_path)
    write_image(tmp_path / "i" / "A_0000.nii.gz", (12, 10, 9))  # changed since it was ingested
    with pytest.raises(
        GridError, match=r"shape \(12, 10, 9\) against \(12, 10, 8\); `maskledger checkout S/A@1"
    ):
        checkout_for(bench, "S/A", tmp_path / "out", Tool.ITKSNAP)
    assert not list(tmp_path.glob("*out*"))


def test_without_its_image_the_mask_is_alone_and_the_note_says_why(bench, tmp_path):
    make_case(bench, tmp_path)
    (tmp_path / "i" / "A_0000.nii.gz").unlink()
    done = checkout_for(bench, "S/A", tmp_path / "out", Tool.ITKSNAP)
    assert done.image is None
    assert "A_0000.nii.gz: No such file or directory; the mask is alone" in done.note
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["A_labels.txt", "A_mask.nii.gz"]


def test_an_image_without_a_mask_is_given_an_empty_one(bench, tmp_path):
    write_image(tmp_path / "i" / "A_0000.nii.gz", affine=along("IPL"))
    ingest(bench, IngestRequest(source="S", mapping=FLARE, images=tmp_path / "i"))
    done = checkout_for(bench, "S/A", tmp_path / "out", Tool.ITKSNAP)
    mask = np.asarray(nib.load(done.mask).dataobj).copy()
    assert not mask.any()
    mask[2:4, 2:4, 2:4] = LIVER
    write_volume(done.mask, mask, nib.load(done.mask).affine)
    assert correct(bench, done.address, done.mask, "drawn by hand").corrected == ("liver",)
    assert newest(bench).annotations[LIVER].voxels == 8


def test_a_folder_that_exists_is_refused(bench, tmp_path):
    make_case(bench, tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already; give a new folder"):
        checkout_for(bench, "S/A", tmp_path / "out", Tool.ITKSNAP)


def test_itk_snap_reads_value_color_and_name_of_every_label(bench, tmp_path):
    make_case(bench, tmp_path)
    done = checkout_for(bench, "S/A", tmp_path / "out", Tool.ITKSNAP)
    # IDX R G B A VIS MSH "LABEL", as the file's own head says.
    line = re.compile(r'^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+([01])\s+([01])\s+"([^"]*)"$')
    rows = [line.match(text).groups() for text in done.labels.read_text().splitlines() if text[0] != "#"]
    named = {int(row[0]): row[7] for row in rows}
    assert named[0] == "Clear Label"
    assert {c.id: c.title for c in CLASSES}.items() <= named.items()
    assert (named[200], named[201], named[255]) == ("Kidney without side", "Adrenal without side", "Ignore")
    liver = next(row for row in rows if row[0] == "1")
    assert "#{:02x}{:02x}{:02x}".format(*map(int, liver[1:4])) == CLASSES[0].color


def test_slicer_reads_value_name_and_color_of_every_label(bench, tmp_path):
    make_case(bench, tmp_path)
    done = checkout_for(bench, "S/A", tmp_path / "out", Tool.SLICER)
    rows = [text.split() for text in done.labels.read_text().splitlines() if text[0] != "#"]
    assert done.labels.name == "A_labels.ctbl"
    assert all(len(row) == 6 for row in rows)  # id name r g b a
    assert [row[1] for row in rows if row[0] in ("2", "200")] == ["Right_kidney", "Kidney_without_side"]


def test_the_commands_name_the_version_and_quote_what_a_shell_would_split(bench, tmp_path):
    write_volume(tmp_path / "l" / "a b.nii.gz", drawn_liver())
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l"))
    done = checkout_for(bench, "S/a b", tmp_path / "out", Tool.ITKSNAP)
    mask = tmp_path / "out" / "a b_mask.nii.gz"
    assert done.take_back == f"maskledger correct 'S/a b@1' '{mask}' --reason \"…\""
    assert done.open_with.startswith(f"itksnap -g '{mask}' -s '{mask}' -l ")
