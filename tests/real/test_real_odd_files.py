"""Odd files from other projects' test suites: read like nibabel reads them, or refused with reason and remedy."""

import itertools
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from nibabel.cmdline import convert

from curation.census import take_census
from curation.errors import CurationError
from curation.mappings import apply_mapping, load_builtin
from curation.rle import RunLengths
from curation.volumes import Geometry, decode_image, decode_mask
from pipelines.correct import correct
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.runs import Workers
from pipelines.score import score_folders

# Every NIfTI-like file of data/odd_nifti outside niivue_nifti_space, and what decoding it as a mask says
# (None: it is read).
GRAY = "voxel values change like an image's, not a mask's; give the label map instead"
NOT_INTEGER = "are not integers; save labels as integers (nearest neighbour where the mask was resampled)"
HALF = "half of a .hdr/.img pair; join the two with `nib-convert NAME.hdr NAME.nii.gz`"
PLAIN = "save a label map or image of plain integers or floats"
ODD = {
    "nibabel/analyze.hdr": "an Analyze header, which has no orientation; convert it to .nii.gz from its original",
    "nibabel/anatomical.nii": GRAY,
    "nibabel/example4d.nii.gz": "shape (128, 96, 24, 2) instead of three axes; save one 3D volume per file",
    "nibabel/example_nifti2.nii.gz": "shape (32, 20, 12, 2) instead of three axes; save one 3D volume per file",
    "nibabel/functional.nii": "shape (17, 21, 3, 20) instead of three axes; save one 3D volume per file",
    "nibabel/nifti1.hdr": HALF,
    "nibabel/nifti2.hdr": HALF,
    "nibabel/reoriented_anat_moved.nii": NOT_INTEGER,
    "nibabel/resampled_anat_moved.nii": NOT_INTEGER,
    "nibabel/row_major.dconn.nii": "shape (1, 1, 1, 1, 10, 10) instead of three axes; save one 3D volume per file",
    "nibabel/standard.nii.gz": None,
    "nibabel/test.mgz": "a FreeSurfer volume; convert it with `nib-convert NAME.mgz NAME.nii.gz`",
    "niivue-images/CT_AVM.nii.gz": NOT_INTEGER,
    "niivue-images/CT_pitch.nii.gz": None,  # gray values, but uint8 and few of them: the mapping refuses it
    "niivue/LAS_drawing_correct.nii.gz": None,
    "niivue/LAS_drawing_incorrect.nii.gz": None,
    "niivue/aal.nii.gz": None,
    "niivue/complex_image.nii.gz": f"voxels are complex numbers; {PLAIN}",
    "niivue/ct_perfusion.nii.gz": f"voxels are colors (RGB); {PLAIN}",
    "niivue/draw.nii.gz": None,
    "niivue/hippo.nii.gz": None,
    "niivue/labels256.nii.gz": None,
    "niivue/lesion.nii.gz": None,
    "niivue/low_res.nii.gz": None,
    "niivue/mha.mha": "a MetaImage file; convert it to .nii.gz with 3D Slicer or SimpleITK",
    "niivue/minimal.nii.gz": "neither sform nor qform is set, so nothing says which side is left; "
    "set the orientation, for a mask by copying its image's header",
    "niivue/ras.hdr": HALF,
    "niivue/ras.img": HALF,
    "niivue/shear.nii.gz": "a grid sheared by 18.5 degrees; resample image and mask to right angles",
}


def read(path: Path) -> tuple[Geometry, RunLengths]:
    return decode_mask(path.read_bytes(), path.name)


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_read_like_nibabel_reads_them_or_refused(shared, name):
    path, said = shared / "data" / "odd_nifti" / name, ODD[name]
    if said is not None:
        with pytest.raises(CurationError) as caught:
            read(path)
        message = str(caught.value)
        assert message.startswith(f"{path.name}: ")
        assert message.endswith(said)
        assert "\n" not in message
        return
    geometry, runs = read(path)
    image = nibabel.load(path)
    assert np.array_equal(runs.to_array(), np.rint(np.asanyarray(image.dataobj)))
    assert np.array_equal(geometry.affine, image.affine)


def test_every_odd_file_is_in_the_list_above(shared):
    folder = shared / "data" / "odd_nifti"
    files = {str(p.relative_to(folder)) for p in folder.rglob("*.*") if p.is_file()}
    assert {name for name in files if not name.startswith("niivue_nifti_space/")} == set(ODD)


def test_a_gray_image_with_few_values_is_refused_by_its_mapping(shared):
    path = shared / "data" / "odd_nifti" / "niivue-images" / "CT_pitch.nii.gz"
    with pytest.raises(
        CurationError, match=r"^CT_pitch.nii.gz: label values .* are not in mapping 'flare23' \(1-14\)"
    ):
        apply_mapping(read(path)[1], load_builtin("flare23"), path.name)


def test_all_48_orientations_of_one_volume_are_one_volume_in_the_patient(shared):
    paths = sorted((shared / "data" / "odd_nifti" / "niivue_nifti_space").glob("*.nii.gz"))
    assert len(paths) == 48
    seen = []
    for path in paths:
        geometry, image = decode_image(path.read_bytes(), path.name)
        assert geometry.axis_codes == "".join(nibabel.aff2axcodes(nibabel.load(path).affine)), path.name
        # Two classes: a bright and a middling band of the gray values.
        labels = np.where(image > 60, 1, np.where(image > 30, 2, 0)).astype(np.uint8)
        census = take_census(RunLengths.from_array(labels), geometry)
        ras = geometry.to_ras(labels)
        seen.append((path.name, geometry, census, ras))
    _, first_geometry, first, first_ras = seen[0]
    assert first.keys() == {1, 2}
    for name, geometry, census, ras in seen:
        assert np.array_equal(ras, first_ras), name
        turned = [g.turned(*zip(*g.ras_axes, strict=True)).affine for g in (geometry, first_geometry)]
        assert np.allclose(*turned, atol=1e-3), name
        for value, found in census.items():
            expected = first[value]
            assert found.voxels == expected.voxels, name
            assert found.volume_ml == pytest.approx(expected.volume_ml), name
            assert found.centroid_mm == pytest.approx(expected.centroid_mm, abs=1e-3), name
            assert (found.components, found.largest_share) == (expected.components, expected.largest_share), (
                name
            )
            assert found.touches_border == expected.touches_border, name


@pytest.mark.parametrize("name", [name for name, said in ODD.items() if said is None])
def test_what_is_read_lies_where_simpleitk_lays_it(shared, name):
    path = shared / "data" / "odd_nifti" / name
    geometry, runs = read(path)
    image = SimpleITK.ReadImage(str(path))
    # SimpleITK arrays are (Z, Y, X), its millimetres LPS.
    assert np.array_equal(runs.to_array(), np.rint(SimpleITK.GetArrayFromImage(image)).T)
    for corner in itertools.product(*((0, n - 1) for n in geometry.shape)):
        left, posterior, superior = image.TransformIndexToPhysicalPoint(corner)
        at = (geometry.affine @ [*corner, 1])[:3]
        assert at == pytest.approx((-left, -posterior, superior), abs=1e-2), geometry.note


@pytest.mark.parametrize("name", ["niivue/ras.hdr", "nibabel/test.mgz", "niivue/mha.mha"])
def test_the_remedy_for_another_format_makes_a_file_that_is_read(shared, tmp_path, name):
    path, out = shared / "data" / "odd_nifti" / name, tmp_path / "converted.nii.gz"
    if path.suffix == ".mha":
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(out))
        left, posterior, superior = SimpleITK.ReadImage(str(path)).GetOrigin()
        origin = np.array([-left, -posterior, superior])
        expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).T
    else:
        convert.main([str(path), str(out)])
        origin = nibabel.load(path).affine[:3, 3]
        expected = np.asanyarray(nibabel.load(path).dataobj)
    if expected.ndim > 3:  # the MGH file holds two volumes
        with pytest.raises(CurationError, match="instead of three axes; save one 3D volume per file"):
            decode_image(out.read_bytes(), out.name)
        return
    geometry, voxels = decode_image(out.read_bytes(), out.name)
    assert np.allclose(voxels, expected, rtol=1e-5)
    assert np.allclose(geometry.affine[:3, 3], origin, atol=1e-3)


def test_the_amos_prediction_with_the_wrong_spacing_is_neither_scored_nor_taken(shared, bench, tmp_path):
    amos = shared / "data" / "amos"
    for folder, name in (("reference", "amos_0013_flare13"), ("prediction", "amos_0013_pred")):
        (tmp_path / folder).mkdir()
        shutil.copy(amos / f"{name}.nii.gz", tmp_path / folder / "A.nii.gz")
    # As SimpleITK reads the two headers.
    spacings = [
        SimpleITK.ReadImage(str(tmp_path / folder / "A.nii.gz")).GetSpacing()
        for folder in ("prediction", "reference")
    ]
    said = "spacing ({:.3g}, {:.3g}, {:.3g}) against ({:.3g}, {:.3g}, {:.3g}) mm".format(
        *spacings[0], *spacings[1]
    )
    flare = load_builtin("flare23")
    scored = score_folders(Workers(jobs=1), tmp_path / "reference", tmp_path / "prediction", flare)
    assert [
        said in line and line.endswith("resample it onto the reference's grid") for line in scored.refused
    ] == [True]
    ingest(bench, IngestRequest(source="S", mapping=flare, labels=tmp_path / "reference"))
    taken = import_predictions(bench, tmp_path / "prediction", "M", flare)
    assert [said in line for line in taken.refused] == [True]
    with pytest.raises(CurationError) as caught:
        correct(bench, "S/A", tmp_path / "prediction" / "A.nii.gz", "x")
    assert said in str(caught.value)
