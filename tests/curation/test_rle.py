"""Run lengths say the same as the voxels they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from curation.errors import GridError
from curation.rle import RunBuilder, RunLengths, overlay

VALUES = st.sampled_from([0, 0, 0, 1, 2, 14, 200, 255])
SHAPES = array_shapes(min_dims=3, max_dims=3, max_side=6)
MASKS = arrays(np.uint8, SHAPES, elements=VALUES)
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(*[arrays(np.uint8, shape, elements=VALUES)] * 2))


@given(MASKS)
def test_an_array_comes_back_from_its_runs(array):
    back = RunLengths.from_array(array).to_array()
    assert back.dtype == np.uint8
    assert np.array_equal(back, array)


@given(MASKS)
def test_runs_are_canonical(array):
    runs = RunLengths.from_array(array)
    assert (runs.value != 0).all()
    assert (runs.start < runs.stop).all()
    assert (runs.stop <= array.shape[0]).all()
    assert (np.diff(runs.flat_start) > 0).all()
    touching = (runs.stop[:-1] == runs.start[1:]) & (runs.row[:-1] == runs.row[1:])
    assert not (touching & (runs.value[:-1] == runs.value[1:])).any()


def test_runs_of_a_small_mask_by_hand():
    array = np.zeros((4, 2, 2), np.uint8)
    array[1:3, 0, 0] = 5
    array[2:, 1, 1] = 5  # row y + Y * z = 1 + 2 * 1 = 3
    array[3, 1, 1] = 7
    runs = RunLengths.from_array(array)
    assert runs.value.tolist() == [5, 5, 7]
    assert runs.row.tolist() == [0, 3, 3]
    assert runs.start.tolist() == [1, 2, 3]
    assert runs.stop.tolist() == [3, 3, 4]
    assert runs.lengths.tolist() == [2, 1, 1]
    assert runs.voxels() == {5: 3, 7: 1}


def test_a_stretch_over_several_rows_is_split_at_each():
    full = RunLengths.from_array(np.ones((3, 2, 2), np.uint8))
    assert full.row.tolist() == [0, 1, 2, 3]
    assert full.start.tolist() == [0, 0, 0, 0]
    assert full.stop.tolist() == [3, 3, 3, 3]


@given(MASKS, st.integers(1, 40))
def test_chunks_of_any_length_give_the_same_runs(array, length):
    flat = array.ravel(order="F")
    builder = RunBuilder(array.shape)
    for at in range(0, len(flat), length):
        builder.feed(flat[at : at + length])
    assert builder.finish().same_as(RunLengths.from_array(array))


def test_values_are_converted_before_background_is_dropped():
    # A file with scl_inter = -1 holds its background as 1.
    builder = RunBuilder((4, 1, 1), lambda raw: raw.astype(np.int64) - 1)
    builder.feed(np.array([1, 1, 3, 0], np.uint8))
    runs = builder.finish()
    assert list(zip(runs.value.tolist(), runs.start.tolist(), runs.stop.tolist(), strict=True)) == [
        (2, 2, 3),
        (-1, 3, 4),
    ]


@pytest.mark.parametrize("voxels", [11, 13])
def test_a_volume_of_the_wrong_length_is_not_finished(voxels):
    builder = RunBuilder((3, 2, 2))
    builder.feed(np.zeros(voxels, np.uint8))
    with pytest.raises(GridError, match=rf"{voxels} voxels came for a volume of \(3, 2, 2\) = 12"):
        builder.finish()


@given(MASKS, st.integers(1, 50))
def test_slabs_are_the_voxels_in_file_order(array, max_bytes):
    slabs = list(RunLengths.from_array(array).slabs(max_bytes))
    assert np.array_equal(np.concatenate(slabs), array.ravel(order="F"))
    row_bytes = array.shape[0]
    assert all(len(slab) <= max(max_bytes, row_bytes) and len(slab) % row_bytes == 0 for slab in slabs)


@given(MASKS)
def test_every_second_voxel_is_the_arrays_slice_with_steps_of_two(array):
    thinned = RunLengths.from_array(array).every_second()
    assert thinned.same_as(RunLengths.from_array(array[::2, ::2, ::2]))


@given(MASKS)
def test_voxels_counts_every_value_but_background(array):
    values, counts = np.unique(array[array != 0], return_counts=True)
    assert RunLengths.from_array(array).voxels() == dict(zip(values.tolist(), counts.tolist(), strict=True))


@given(MASKS)
def test_select_and_without_share_the_voxels_out(array):
    runs = RunLengths.from_array(array)
    assert np.array_equal(runs.select([2, 14]).to_array(), np.where(np.isin(array, [2, 14]), array, 0))
    assert np.array_equal(runs.without([2, 14]).to_array(), np.where(np.isin(array, [2, 14]), 0, array))


@given(MASKS)
def test_remap_changes_drops_and_rejoins(array):
    table = np.arange(256, dtype=np.uint8)
    table[[1, 2, 14]] = 2, 2, 0
    remapped = RunLengths.from_array(array).remap({1: 2, 14: 0})
    assert remapped.same_as(RunLengths.from_array(table[array]))


def test_remap_of_wide_values_to_small_ones_is_uint8():
    runs = RunLengths.from_array(np.array([[[300]], [[-4]], [[0]]], np.int32))
    assert runs.remap({300: 1}).value.dtype == np.int64  # -4 stays, and does not fit
    small = runs.remap({300: 1, -4: 255})
    assert small.value.dtype == np.uint8
    assert small.value.tolist() == [1, 255]


@given(MASKS)
def test_same_as_means_voxel_by_voxel(array):
    runs = RunLengths.from_array(array)
    changed = array.copy()
    changed[0, 0, 0] = 9 if array[0, 0, 0] != 9 else 8
    assert runs.same_as(RunLengths.from_array(array.astype(np.int16)))
    assert not runs.same_as(RunLengths.from_array(changed))


@given(PAIRS)
def test_overlay_counts_pairs_as_numpy_does(pair):
    a, b = pair
    joint = overlay(RunLengths.from_array(a), RunLengths.from_array(b))
    expected: dict[tuple[int, int], int] = {}
    for both in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True):
        if both != (0, 0):
            expected[both] = expected.get(both, 0) + 1
    assert joint.pairs() == expected


@given(PAIRS)
def test_overlay_gives_both_masks_back(pair):
    a, b = (RunLengths.from_array(array) for array in pair)
    joint = overlay(a, b)
    assert joint.runs(joint.a).same_as(a)
    assert joint.runs(joint.b).same_as(b)
    assert (joint.start // a.shape[0] == (joint.stop - 1) // a.shape[0]).all()  # no stretch crosses a row


def test_overlay_of_masks_on_different_grids_is_refused():
    with pytest.raises(GridError, match=r"\(2, 3, 4\) and \(2, 3, 5\)"):
        overlay(RunLengths.empty((2, 3, 4)), RunLengths.empty((2, 3, 5)))


def test_an_empty_mask_has_no_runs():
    empty = RunLengths.empty((2, 3, 4))
    assert len(empty) == 0
    assert empty.voxels() == {}
    assert not empty.to_array().any()
    assert empty.to_array().shape == (2, 3, 4)
    assert overlay(empty, empty).pairs() == {}
