"""Diff of two masks: counts by hand, by numpy and by SimpleITK."""

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from curation.diff import ValueChange, changed_per_slice, diff
from curation.errors import GridError
from curation.labels import CLASS_IDS
from curation.rle import RunLengths

LIVER, SPLEEN, KIDNEY = 1, 3, 200
VALUES = st.sampled_from([0, 0, 0, 1, 2, 14, 200, 255])
PAIRS = array_shapes(min_dims=3, max_dims=3, max_side=6).flatmap(
    lambda shape: st.tuples(*[arrays(np.uint8, shape, elements=VALUES)] * 2)
)


def runs(array):
    return RunLengths.from_array(array)


def test_gained_lost_and_common_of_a_bar_that_moved():
    before, after = np.zeros((10, 2, 2), np.uint8), np.zeros((10, 2, 2), np.uint8)
    before[0:6, 0, 0] = LIVER
    after[2:9, 0, 0] = LIVER  # common 2..5, lost 0..1, gained 6..8
    before[0:2, 1, 1] = KIDNEY
    found = diff(runs(before), runs(after))
    assert found[LIVER] == ValueChange(gained=3, lost=2, common=4)
    assert found[LIVER].dice == 8 / 13  # 2·4 / (6 + 7)
    assert found[KIDNEY] == ValueChange(lost=2)
    assert found[KIDNEY].dice == 0.0


def test_a_voxel_that_goes_from_one_class_to_another_is_lost_to_one_and_gained_by_the_other():
    before, after = np.full((3, 1, 1), LIVER, np.uint8), np.full((3, 1, 1), LIVER, np.uint8)
    after[1] = SPLEEN
    found = diff(runs(before), runs(after))
    assert (found[LIVER], found[SPLEEN]) == (ValueChange(lost=1, common=2), ValueChange(gained=1))


def test_a_class_that_is_in_neither_has_dice_one_and_is_unchanged():
    found = diff(RunLengths.empty((2, 2, 2)), RunLengths.empty((2, 2, 2)))
    assert list(found) == list(CLASS_IDS)
    assert all(change.dice == 1.0 and not change.changed for change in found.values())


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(GridError, match="shapes"):
        diff(RunLengths.empty((2, 2, 2)), RunLengths.empty((2, 2, 3)))


@given(PAIRS)
def test_every_count_is_numpys(pair):
    before, after = pair
    found = diff(runs(before), runs(after))
    assert set(found) == {*CLASS_IDS, *np.unique(before).tolist(), *np.unique(after).tolist()} - {0}
    for value, change in found.items():
        was, now = before == value, after == value
        assert change.gained == (now & ~was).sum()
        assert change.lost == (was & ~now).sum()
        assert change.common == (was & now).sum()


def test_dice_is_simpleitks():
    rng = np.random.default_rng(5)
    before, after = (rng.choice(np.array([0, 1, 3, 200], np.uint8), (9, 8, 7)) for _ in range(2))
    measures = SimpleITK.LabelOverlapMeasuresImageFilter()
    measures.Execute(SimpleITK.GetImageFromArray(before), SimpleITK.GetImageFromArray(after))
    found = diff(runs(before), runs(after))
    for value in (1, 3, 200):
        assert found[value].dice == pytest.approx(measures.GetDiceCoefficient(value))


@given(PAIRS, st.sampled_from([1, 2, 200]), st.integers(0, 2))
def test_changed_voxels_per_slice_are_numpys_along_every_axis(pair, value, axis):
    before, after = pair
    others = tuple(a for a in range(3) if a != axis)
    expected = ((before == value) != (after == value)).sum(axis=others)
    assert np.array_equal(changed_per_slice(runs(before), runs(after), value, axis), expected)
