"""Combined predictions: majority voxel by voxel, and classes that agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from curation.combine import agreeing, majority
from curation.rle import RunLengths


def row(*values: int) -> RunLengths:
    return RunLengths.from_array(np.array(values, np.uint8).reshape(-1, 1, 1))


def test_of_two_masks_the_majority_is_what_both_say():
    assert majority([row(1, 1, 0, 3), row(1, 3, 3, 3)]).same_as(row(1, 0, 0, 3))


def test_of_three_masks_two_suffice():
    assert majority([row(1, 1, 2), row(1, 2, 3), row(3, 2, 1)]).same_as(row(1, 2, 0))


@given(
    array_shapes(min_dims=3, max_dims=3, max_side=5).flatmap(
        lambda shape: st.lists(
            arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 14])), min_size=2, max_size=5
        )
    )
)
def test_the_majority_agrees_with_counting_every_voxel(masks):
    stacked = np.stack(masks)
    expected = np.zeros(masks[0].shape, np.uint8)
    for value in (1, 2, 14):
        expected[2 * (stacked == value).sum(axis=0) > len(masks)] = value
    assert majority([RunLengths.from_array(mask) for mask in masks]).same_as(RunLengths.from_array(expected))


def test_classes_that_agree_are_taken_as_the_first_mask_draws_them():
    first, second = row(1, 1, 1, 3, 3, 0), row(1, 1, 0, 0, 3, 3)
    # Liver 2·2 / (3 + 2) = 0.8; spleen 2·1 / (2 + 2) = 0.5.
    assert agreeing([first, second], 0.8).same_as(row(1, 1, 1, 0, 0, 0))
    assert agreeing([first, second], 0.5).same_as(first)
    assert agreeing([second, first], 0.8).same_as(row(1, 1, 0, 0, 0, 0))


def test_a_class_that_one_mask_does_not_draw_is_not_agreed_on():
    assert len(agreeing([row(4, 4), row(0, 0)], 0.0)) == 0


def test_every_two_of_three_masks_must_agree():
    assert len(agreeing([row(1, 1, 0), row(1, 1, 0), row(0, 1, 1)], 0.9)) == 0


@pytest.mark.parametrize("number", [1, 8])
def test_a_majority_of_one_or_of_too_many_is_refused(number):
    with pytest.raises(ValueError, match=f"{number} masks"):
        majority([row(1)] * number)
