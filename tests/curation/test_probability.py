"""Maps of probabilities: steps of percent, rounded down, so that a threshold on a step tells the same as the values."""

import numpy as np
import pytest

from curation.errors import GridError, UsageError
from curation.labels import IGNORE
from curation.probability import ignore_uncertain, percent_steps, threshold_percent
from curation.rle import RunLengths


def test_a_probability_is_rounded_down_to_a_step_and_the_highest_stands_for_all_above():
    probability = np.array([0.02, 0.07, 0.5, 0.599, 0.6, 0.949, 0.95, 0.999, 1.0, 0.9], np.float32)
    mask = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 0], np.uint8)
    assert percent_steps(probability, mask).tolist() == [5, 5, 50, 55, 60, 90, 95, 95, 95, 0]


def test_every_step_stays_itself_in_single_precision():
    steps = np.arange(5, 100, 5)
    mask = np.ones(len(steps), np.uint8)
    assert percent_steps((steps / 100).astype(np.float32), mask).tolist() == steps.tolist()


def test_below_a_step_is_the_same_for_the_map_and_for_the_probabilities():
    probability = np.random.default_rng(0).random(10_000).astype(np.float32) * 0.94 + 0.05
    percent = percent_steps(probability, np.ones(10_000, np.uint8))
    for step in range(10, 100, 5):
        near = np.abs(probability - step / 100) < 1e-4
        assert np.array_equal((percent < step)[~near], (probability < step / 100)[~near])


def test_thresholds_are_steps():
    assert [threshold_percent(p / 100) for p in range(5, 100, 5)] == list(range(5, 100, 5))
    with pytest.raises(UsageError, match=r"steps of 5 % up to 95 %; take 0\.60 or 0\.65"):
        threshold_percent(0.61)


def test_uncertain_voxels_are_ignored_and_counted_by_class_and_what_else_is_drawn_stays():
    merged = np.array([[[1]], [[1]], [[3]], [[3]], [[0]], [[14]]], np.uint8)
    drawn = np.array([[[0]], [[1]], [[3]], [[3]], [[0]], [[0]]], np.uint8)
    percent = np.array([[[10]], [[50]], [[60]], [[55]], [[0]], [[5]]], np.uint8)
    runs, ignored = ignore_uncertain(*map(RunLengths.from_array, (merged, drawn, percent)), 60)
    assert runs.to_array().ravel().tolist() == [1, IGNORE, 3, IGNORE, 0, 14]
    assert ignored == {1: 1, 3: 1}


def test_a_map_of_another_shape_is_an_error():
    small, large = (RunLengths.empty((2, 2, n)) for n in (2, 3))
    with pytest.raises(GridError):
        ignore_uncertain(small, small, large, 50)
