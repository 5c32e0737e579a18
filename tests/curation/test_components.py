"""Connected pieces found on runs are those that cc3d and scipy find on voxels."""

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from curation.components import component_sizes, drop_small, find_components, keep_largest
from curation.rle import RunLengths

MASKS = arrays(
    np.uint8,
    array_shapes(min_dims=3, max_dims=3, max_side=8),
    elements=st.sampled_from([0, 0, 0, 0, 1, 2, 14, 200]),
)
ALL_26 = np.ones((3, 3, 3))


def pieces_of(array: np.ndarray, value: int) -> list[np.ndarray]:
    """Boolean masks of the 26-connected pieces, by cc3d, in order of their first voxel in file order."""
    labels = cc3d.connected_components((array == value).astype(np.uint8), connectivity=26)
    pieces = [labels == n for n in range(1, int(labels.max(initial=0)) + 1)]
    return sorted(pieces, key=lambda piece: int(np.argmax(piece.ravel(order="F"))))


@given(MASKS)
def test_sizes_agree_with_scipy(array):
    for value in (1, 2, 14, 200):
        labels, count = ndimage.label(array == value, structure=ALL_26)
        expected = sorted(np.bincount(labels.ravel(), minlength=count + 1)[1:].tolist(), reverse=True)
        assert component_sizes(RunLengths.from_array(array), value) == expected


@given(MASKS)
def test_pieces_agree_with_cc3d_voxel_by_voxel(array):
    runs = RunLengths.from_array(array)
    found = find_components(runs)
    expected = [(value, piece) for value in (1, 2, 14, 200) for piece in pieces_of(array, value)]
    assert len(found.voxels) == len(expected)
    for number, (value, piece) in enumerate(expected):
        assert found.value[number] == value
        assert found.voxels[number] == piece.sum()
        own = runs.keep(found.of_run == number)
        assert np.array_equal(own.to_array() != 0, piece)


@given(MASKS)
def test_keep_largest_keeps_the_first_of_the_largest_pieces_of_every_organ(array):
    expected = array.copy()
    for value in (1, 2):
        pieces = pieces_of(array, value)
        if pieces:
            sizes = [int(piece.sum()) for piece in pieces]
            kept = pieces[sizes.index(max(sizes))]
            expected[(array == value) & ~kept] = 0
    # Tumor (14) and the unresolved pair (200) are no organs: they may come in pieces.
    runs = RunLengths.from_array(array)
    assert keep_largest(runs).same_as(RunLengths.from_array(expected))
    assert keep_largest(keep_largest(runs)).same_as(keep_largest(runs))


def test_of_two_equal_pieces_the_first_in_file_order_stays():
    array = np.zeros((5, 1, 2), np.uint8)
    array[3:, 0, 0] = 4  # voxels 3 and 4 of the file
    array[:2, 0, 1] = 4  # voxels 5 and 6; not a neighbour: two voxels away along X
    kept = keep_largest(RunLengths.from_array(array)).to_array()
    assert kept[:, 0, 0].tolist() == [0, 0, 0, 4, 4]
    assert not kept[:, 0, 1].any()


@pytest.mark.parametrize(
    ("second", "pieces"),
    [((1, 1, 1), 1), ((1, 1, 0), 1), ((0, 1, 1), 1), ((2, 0, 0), 2), ((2, 1, 1), 2), ((0, 0, 2), 2)],
)
def test_a_corner_is_enough_to_be_connected(second, pieces):
    array = np.zeros((3, 3, 3), np.uint8)
    array[0, 0, 0] = array[second] = 3
    assert len(component_sizes(RunLengths.from_array(array), 3)) == pieces


def test_the_end_of_a_row_does_not_touch_the_beginning_of_the_next_and_a_slice_not_the_one_after():
    array = np.zeros((4, 3, 2), np.uint8)
    array[3, 0, 0] = array[0, 1, 0] = 3  # consecutive in the file, four voxels apart in space
    array[1, 2, 0] = 5  # last row of slice 0 …
    array[1, 0, 1] = 5  # … and first row of slice 1: consecutive rows, two rows apart in space
    runs = RunLengths.from_array(array)
    assert component_sizes(runs, 3) == [1, 1]
    assert component_sizes(runs, 5) == [1, 1]


def test_keep_largest_of_named_values_leaves_the_others():
    array = np.zeros((7, 1, 1), np.uint8)
    array[[0, 2, 3, 5], 0, 0] = 14, 14, 14, 1
    assert keep_largest(RunLengths.from_array(array), [14]).to_array().ravel().tolist() == [
        0,
        0,
        14,
        14,
        0,
        1,
        0,
    ]


@given(MASKS, st.integers(0, 9))
def test_drop_small_drops_what_is_smaller(array, min_voxels):
    expected = array.copy()
    for value in (1, 2, 14, 200):
        for piece in pieces_of(array, value):
            if piece.sum() < min_voxels:
                expected[piece] = 0
    runs = RunLengths.from_array(array)
    assert drop_small(runs, min_voxels).same_as(RunLengths.from_array(expected))
    assert drop_small(runs, 8**3 + 1, [2]).same_as(runs.without([2]))


def test_a_mask_without_voxels_has_no_pieces():
    empty = RunLengths.empty((3, 3, 3))
    assert component_sizes(empty, 1) == []
    assert keep_largest(empty).same_as(empty)
    assert drop_small(empty, 5).same_as(empty)
