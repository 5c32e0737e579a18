"""The census agrees with counting voxels, by hand and by SimpleITK."""

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from curation.census import class_hash, take_census
from curation.rle import RunLengths
from curation.volumes import Geometry

MASKS = arrays(
    np.uint8,
    array_shapes(min_dims=3, max_dims=3, max_side=7),
    elements=st.sampled_from([0, 0, 1, 2, 14, 200]),
)
IPL = np.array([[0, 0, -0.8, 90], [0, -0.7, 0, 100], [-2.5, 0, 0, 1200], [0, 0, 0, 1.0]])


def test_the_census_of_a_box_by_hand():
    array = np.zeros((10, 10, 10), np.uint8)
    array[2:4, 3:6, 4:8] = 1  # 2 * 3 * 4 = 24 voxels
    array[9, 9, 9] = 1  # one more, on the border, in a piece of its own
    census = take_census(RunLengths.from_array(array), Geometry((10, 10, 10), IPL))
    assert list(census) == [1]
    liver = census[1]
    assert liver.voxels == 25
    assert liver.volume_ml == pytest.approx(25 * 0.8 * 0.7 * 2.5 / 1000)  # 0.035 ml
    assert liver.bbox == (2, 3, 4, 10, 10, 10)
    assert liver.touches_border
    assert liver.components == 2
    assert liver.largest_share == 24 / 25
    # Mean indices: x (24 * 2.5 + 9) / 25 = 2.76, y (24 * 4 + 9) / 25 = 4.2, z (24 * 5.5 + 9) / 25 = 5.64; in the
    # patient: x = 90 - 0.8 * 5.64, y = 100 - 0.7 * 4.2, z = 1200 - 2.5 * 2.76.
    assert liver.centroid_mm == pytest.approx((85.488, 97.06, 1193.1))


@pytest.mark.parametrize("at", [(0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2)])
def test_each_of_the_six_faces_counts_as_border(at):
    array = np.zeros((3, 3, 3), np.uint8)
    array[1, 1, 1] = 2
    array[at] = 3
    census = take_census(RunLengths.from_array(array), Geometry((3, 3, 3), np.eye(4)))
    assert not census[2].touches_border
    assert census[3].touches_border


@given(MASKS)
def test_the_census_agrees_with_simpleitk(array):
    census = take_census(RunLengths.from_array(array), Geometry(array.shape, IPL))
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing((2.5, 0.7, 0.8))
    image.SetOrigin((-90, -100, 1200))  # LPS
    image.SetDirection((0, 0, 1, 0, 1, 0, -1, 0, 0))
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(image)
    assert sorted(census) == sorted(shape.GetLabels())
    for value, found in census.items():
        low, size = np.array(shape.GetBoundingBox(value)).reshape(2, 3).tolist()
        left, posterior, superior = shape.GetCentroid(value)
        assert found.voxels == shape.GetNumberOfPixels(value)
        assert found.volume_ml == pytest.approx(shape.GetPhysicalSize(value) / 1000)
        assert found.bbox == (*low, *(at + n for at, n in zip(low, size, strict=True)))
        assert found.centroid_mm == pytest.approx((-left, -posterior, superior))
        assert found.touches_border == (shape.GetNumberOfPixelsOnBorder(value) > 0)


@given(MASKS)
def test_class_hashes_follow_their_own_class_alone(array):
    runs = RunLengths.from_array(array)
    census = take_census(runs, Geometry(array.shape, IPL), with_components=False)
    other = array.copy()
    at = np.unravel_index(0, array.shape)
    other[at] = 9
    for value, found in census.items():
        assert found.class_hash == class_hash(runs, value)
        assert (found.components, found.largest_share) == (0, 0.0)
        same = class_hash(RunLengths.from_array(other), value) == found.class_hash
        assert same == (array[at] != value)


def test_the_same_shape_of_another_class_or_type_has_the_same_hash_but_not_in_another_volume():
    array = np.zeros((4, 4, 4), np.uint8)
    array[1:3, 1:3, 1:3] = 2
    runs = RunLengths.from_array(array)
    assert class_hash(runs, 2) == class_hash(RunLengths.from_array(array.astype(np.int16)), 2)
    padded = RunLengths.from_array(np.pad(array, ((0, 0), (0, 0), (0, 1))))
    assert class_hash(runs, 2) != class_hash(padded, 2)


def test_a_mask_without_voxels_has_an_empty_census():
    assert take_census(RunLengths.empty((3, 3, 3)), Geometry((3, 3, 3), np.eye(4))) == {}
