"""Masks of public datasets and odd files from other projects' test suites: read like nibabel reads them, or refused."""

from pathlib import Path

import cc3d
import nibabel
import numpy as np
import pytest
import SimpleITK

from curation.census import ClassCensus, take_census
from curation.components import component_sizes
from curation.errors import CurationError
from curation.mappings import apply_mapping, load_builtin
from curation.merge import COMPLEMENT, merge
from curation.quality import check_mask
from curation.rle import RunLengths
from curation.status import Severity
from curation.volumes import Geometry, decode_image, decode_mask, encode_and_hash, voxel_hash

KITS19 = [
    f"case_{n:05}"
    for n in (0, 1, 2, 4, 6, 11, 12, 15, 17, 23, 24, 28, 29, 30, 37, 39, 40, 41, 45, 47, 60, 61, 120, 125, 160, 175)
]
# Every NIfTI-like file of data/odd_nifti outside niivue_nifti_space, and what decoding it as a mask says
# (None: it is read).
GRAY = "voxel values change like an image's, not a mask's; give the label map instead"
NOT_INTEGER = "are not integers; save labels as integers (nearest neighbour where the mask was resampled)"
HALF = "half of a .hdr/.img pair; save it as a single .nii.gz"
PLAIN = "save a label map or image of plain integers or floats"
ODD = {
    "nibabel/analyze.hdr": "an Analyze header, which has no orientation; convert it to NIfTI from its original",
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
    "nibabel/test.mgz": "not a NIfTI file; convert it to NIfTI (.nii.gz)",
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
    "niivue/mha.mha": "a MetaImage file; convert it to NIfTI",
    "niivue/minimal.nii.gz": "neither sform nor qform is set, so nothing says which side is left; "
    "set the orientation, for a mask by copying its image's header",
    "niivue/ras.hdr": HALF,
    "niivue/ras.img": "not a NIfTI file; convert it to NIfTI (.nii.gz)",
    "niivue/shear.nii.gz": "a grid sheared by 18.5 degrees; resample image and mask to right angles",
}


def read(path: Path) -> tuple[Geometry, RunLengths]:
    return decode_mask(path.read_bytes(), path.name)


def read_mapped(path: Path, mapping: str) -> tuple[Geometry, RunLengths]:
    geometry, runs = read(path)
    return geometry, apply_mapping(runs, load_builtin(mapping), path.name)


def assert_like_simpleitk(path: Path, census: dict[int, ClassCensus]) -> None:
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(SimpleITK.Cast(SimpleITK.ReadImage(str(path)), SimpleITK.sitkUInt16))
    assert sorted(census) == sorted(shape.GetLabels())
    for value, found in census.items():
        left, posterior, superior = shape.GetCentroid(value)
        low, size = np.array(shape.GetBoundingBox(value)).reshape(2, 3).tolist()
        assert found.voxels == shape.GetNumberOfPixels(value)
        assert found.volume_ml == pytest.approx(shape.GetPhysicalSize(value) / 1000, rel=1e-5)
        assert found.centroid_mm == pytest.approx((-left, -posterior, superior), abs=1e-2)
        assert found.bbox == (*low, *(at + n for at, n in zip(low, size, strict=True)))


@pytest.mark.parametrize("case", KITS19)
def test_kits19_masks_are_read_counted_and_named_alike_before_and_after_storing(shared, case):
    path = shared / "data" / "kits19" / case / "segmentation.nii.gz"
    geometry, runs = read(path)
    assert geometry.axis_codes == "IPL"
    assert_like_simpleitk(path, take_census(runs, geometry))
    mapped = apply_mapping(runs, load_builtin("kits19"), path.name)
    voxels = runs.voxels()
    assert mapped.voxels() == {200: voxels[1], 14: voxels[2]}
    data, name = encode_and_hash(mapped, geometry)
    stored_geometry, stored = decode_mask(data, "stored")
    assert stored.same_as(mapped)
    assert geometry.difference(stored_geometry) is None
    assert voxel_hash(stored, stored_geometry) == name


def test_the_list_of_kits19_cases_is_whole(shared):
    assert sorted(folder.name for folder in (shared / "data" / "kits19").iterdir()) == KITS19


@pytest.mark.parametrize("case", ["case_00015", "case_00061"])
def test_kits23_is_the_same_grid_and_knows_cysts(shared, case):
    old, _ = read(shared / "data" / "kits19" / case / "segmentation.nii.gz")
    new, runs = read_mapped(shared / "data" / "kits23" / case / "segmentation.nii.gz", "kits23")
    assert old.difference(new) is None
    assert set(runs.voxels()) == {14, 200}


def test_an_interpolated_mask_does_not_fit_its_image(shared):
    case = "case_00015/segmentation.nii.gz"
    old, _ = read(shared / "data" / "kits19" / case)
    other, _ = read(shared / "data" / "kits19_interpolated" / case)
    assert old.difference(other) == "shape (75, 512, 512) against (75, 461, 461)"


def test_annotators_float64_files_are_read(shared):
    folder = shared / "data" / "kits23" / "case_00061" / "instances"
    for path in sorted(folder.glob("*.nii.gz")):
        _, runs = read(path)
        assert runs.voxels() == {1: int((nibabel.load(path).get_fdata() == 1).sum())}


def test_amos_is_mapped_as_its_publishers_values_say(shared):
    folder = shared / "data" / "amos"
    geometry, runs = read_mapped(folder / "amos_0013.nii.gz", "amos22")
    ours_geometry, ours = read(folder / "amos_0013_flare13.nii.gz")
    assert runs.same_as(ours)
    assert geometry.difference(ours_geometry) is None
    assert voxel_hash(runs, geometry) == voxel_hash(ours, ours_geometry)
    assert_like_simpleitk(folder / "amos_0013_flare13.nii.gz", take_census(ours, geometry))
    assert [f.severity for f in check_mask(take_census(ours, geometry), ours, geometry)] == [Severity.INFO]


def test_the_prediction_for_amos_has_another_spacing(shared):
    folder = shared / "data" / "amos"
    geometry, _ = read(folder / "amos_0013.nii.gz")
    prediction, runs = read(folder / "amos_0013_pred.nii.gz")
    assert runs.voxels().keys() == {1}  # float32 that holds integers
    assert "spacing" in (geometry.difference(prediction) or "")


def test_totalsegmentators_own_values_are_mapped(shared):
    folder = shared / "data" / "totalsegmentator"
    geometry, runs = read_mapped(folder / "example_seg.nii.gz", "totalsegmentator")
    _, ours = read(folder / "example_ct_sm_flare13.nii.gz")
    assert runs.same_as(ours)
    findings = check_mask(take_census(runs, geometry), runs, geometry)
    # The pancreas of this model output is torn in three, two of them about as large.
    pancreas = cc3d.connected_components(runs.to_array() == 4, connectivity=26)
    assert component_sizes(runs, 4) == sorted(np.bincount(pancreas.ravel())[1:].tolist(), reverse=True)
    assert len(component_sizes(runs, 4)) == 3
    assert [f.class_id for f in findings if f.check == "organ_in_pieces"] == [4]


def test_one_models_output_complements_anothers_liver(shared):
    folder = shared / "data" / "totalsegmentator"
    _, liver = read_mapped(folder / "example_seg_roi_subset.nii.gz", "totalsegmentator")
    _, offered = read_mapped(folder / "example_seg_fast.nii.gz", "totalsegmentator")
    assert liver.voxels().keys() == {1}
    merged = merge(liver, offered, COMPLEMENT, take=range(2, 14))
    a, b = liver.to_array(), offered.to_array()
    expected = np.where((a == 0) & (b > 1), b, a)
    assert np.array_equal(merged.runs.to_array(), expected)
    assert sum(c.voxels for c in merged.conflicts) == int(((a == 1) & (b > 1)).sum())
    assert merged.filled.keys() == offered.voxels().keys() - {1}


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
    with pytest.raises(CurationError, match=r"^CT_pitch.nii.gz: label values .* are not in mapping 'flare23' \(1-14\)"):
        read_mapped(path, "flare23")


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
            assert (found.components, found.largest_share) == (expected.components, expected.largest_share), name
            assert found.touches_border == expected.touches_border, name
