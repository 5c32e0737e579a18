"""Masks of public datasets: read like nibabel and SimpleITK read them."""

from pathlib import Path

import cc3d
import nibabel
import numpy as np
import pytest
import SimpleITK

from curation.census import ClassCensus, take_census
from curation.components import component_sizes
from curation.mappings import apply_mapping, load_builtin
from curation.merge import COMPLEMENT, merge
from curation.quality import check_mask
from curation.rle import RunLengths
from curation.status import Severity
from curation.volumes import Geometry, decode_mask, encode_and_hash, voxel_hash

KITS19 = [
    f"case_{n:05}"
    for n in (
        0,
        1,
        2,
        4,
        6,
        11,
        12,
        15,
        17,
        23,
        24,
        28,
        29,
        30,
        37,
        39,
        40,
        41,
        45,
        47,
        60,
        61,
        120,
        125,
        160,
        175,
    )
]


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
