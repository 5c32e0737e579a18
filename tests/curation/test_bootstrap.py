"""Paired bootstrap: resamples of two and three cases counted by hand, scipy, and what is not known."""

import itertools
import math
import time

import numpy as np
import pytest
from scipy import stats

from curation.bootstrap import Interval, mean_differences, paired_intervals
from curation.errors import UsageError

NAN = math.nan


def column(*values):
    return np.array(values, dtype=np.float64)[:, None]


def all_resamples(cases):
    """Every way to draw as many cases as there are, as counts: 4 of two cases, 27 of three."""
    draws = itertools.product(range(cases), repeat=cases)
    return np.array([np.bincount(draw, minlength=cases) for draw in draws], dtype=np.float64)


def test_two_cases_have_four_resamples():
    # Differences 0.1 and 0.3: both twice the first, both twice the second, and twice one of each.
    means = mean_differences(column(0.1, 0.3), all_resamples(2))[:, 0]
    assert sorted(means) == pytest.approx([0.1, 0.2, 0.2, 0.3])


def test_a_quarter_at_each_end_lies_beyond_both_bounds_of_two_cases():
    # 0.1 and 0.3 come with probability 1/4 each, more than the 2.5 % that are cut off.
    (found,) = paired_intervals(column(0.6, 0.9), column(0.5, 0.6))
    assert (found.difference, found.low, found.high) == pytest.approx((0.2, 0.1, 0.3))
    assert found.beyond_chance


def test_three_cases_of_which_one_differs():
    # The third is drawn k times, binomial (3, 1/3): never 8/27, thrice 1/27 = 3.7 %, still above 2.5 %.
    scores, baseline = column(0.5, 0.5, 0.8), column(0.5, 0.5, 0.5)
    (found,) = paired_intervals(scores, baseline)
    assert (found.difference, found.low, found.high) == pytest.approx((0.1, 0.0, 0.3))
    assert not found.beyond_chance
    # At 90 %, 5 % are cut off at each end: thrice is gone, twice (6/27 = 22 %) is the bound: 2 · 0.3 / 3.
    (narrower,) = paired_intervals(scores, baseline, level=0.9)
    assert (narrower.low, narrower.high) == pytest.approx((0.0, 0.2))


def test_the_draws_come_as_often_as_all_resamples_say():
    # Three cases, all bounds from the 27 resamples counted out.
    differences = np.array([[0.1, -0.2], [0.25, 0.4], [-0.05, 0.0]])
    exact = mean_differences(differences, all_resamples(3), [(0, 1)])
    found = paired_intervals(differences, np.zeros((3, 2)), [(0, 1)], resamples=20_000)
    for i, interval in enumerate(found):
        low, high = np.quantile(np.repeat(exact[:, i], 100), (0.025, 0.975))
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.01)


def test_scipy_finds_the_same_interval():
    generator = np.random.default_rng(5)
    baseline = generator.uniform(0.3, 0.9, 15)
    scores = baseline + generator.normal(0.05, 0.1, 15)
    theirs = stats.bootstrap(
        (scores, baseline), lambda a, b, axis: (a - b).mean(axis), paired=True, vectorized=True, axis=0,
        method="percentile", n_resamples=20_000, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    (ours,) = paired_intervals(scores[:, None], baseline[:, None], resamples=20_000)
    # Two draws of 20,000: a bound has a standard error of about 0.0006.
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_pairing_sees_what_spread_between_cases_would_hide():
    # Cases from 0.2 to 0.9, and always 0.02 better: as sure as it can be.
    baseline = np.linspace(0.2, 0.9, 10)[:, None]
    (found,) = paired_intervals(baseline + 0.02, baseline)
    assert (found.low, found.high) == pytest.approx((0.02, 0.02))


def test_equal_scores_differ_by_exactly_nothing():
    scores = np.random.default_rng(0).uniform(size=(7, 3))
    assert paired_intervals(scores, scores.copy(), [(0, 1, 2)]) == [Interval(0.0, 0.0, 0.0)] * 4


def test_a_case_counts_where_both_models_have_the_class():
    # Class 0: cases 0 and 1 (differences 0.2 and 0.4). Class 1: case 2 alone, so no spread and no interval.
    scores = np.array([[0.7, NAN], [0.9, NAN], [NAN, 0.5]])
    baseline = np.array([[0.5, NAN], [0.5, 0.9], [0.8, 0.4]])
    first, second, group = paired_intervals(scores, baseline, [(0, 1)])
    assert (first.difference, first.low, first.high) == pytest.approx((0.3, 0.2, 0.4))
    assert second.difference == pytest.approx(0.1)
    assert math.isnan(second.low)
    assert math.isnan(second.high)
    assert not second.beyond_chance
    assert group.difference == pytest.approx((0.3 + 0.1) / 2)  # mean of class means, as in the table
    # Case 2 alone says 0.1, cases 0 and 1 without it up to 0.4; each is drawn with probability 1/27.
    assert (group.low, group.high) == pytest.approx((0.1, 0.4))


def test_a_resample_without_a_class_counts_for_the_others_of_its_group():
    differences = np.array([[0.2, NAN], [0.4, 0.1]])
    means = mean_differences(differences, np.array([[2.0, 0.0], [1.0, 1.0]]), [(0, 1)])
    assert means[0] == pytest.approx([0.2, NAN, 0.2], nan_ok=True)
    assert means[1] == pytest.approx([0.3, 0.1, 0.2])


def test_a_class_that_no_case_knows_has_no_difference():
    unknown = np.full((4, 1), NAN)
    found = paired_intervals(unknown, unknown, [(0,)])
    assert all(math.isnan(value) for one in found for value in (one.difference, one.low, one.high))


def test_the_same_seed_gives_the_same_interval_and_another_another():
    generator = np.random.default_rng(2)
    a, b = generator.uniform(size=(2, 9, 1))
    assert paired_intervals(a, b, seed=4) == paired_intervals(a, b, seed=4)
    assert paired_intervals(a, b, seed=4) != paired_intervals(a, b, seed=5)


def test_draws_in_pieces_are_the_draws_at_once(monkeypatch):
    generator = np.random.default_rng(2)
    a, b = generator.uniform(size=(2, 9, 2))
    whole = paired_intervals(a, b, resamples=1000)
    monkeypatch.setattr("curation.bootstrap._AT_ONCE", 9 * 64)
    assert paired_intervals(a, b, resamples=1000) == whole


def test_without_resamples_the_difference_stands_alone():
    (found,) = paired_intervals(column(0.6, 0.9), column(0.5, 0.6), resamples=0)
    assert found.difference == pytest.approx(0.2)
    assert math.isnan(found.low)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"resamples": -1}, "-1 resamples"),
        ({"level": 1.0}, "level 1.0"),
        ({"baseline": column(0.1)}, "cannot be paired"),
    ],
)
def test_what_cannot_be_resampled_is_refused(words, complaint):
    with pytest.raises(UsageError, match=complaint):
        paired_intervals(**({"scores": column(0.1, 0.2), "baseline": column(0.1, 0.2)} | words))


def test_ten_thousand_resamples_of_a_hundred_cases_take_no_time():
    generator = np.random.default_rng(0)
    a, b = generator.uniform(size=(2, 100, 14))
    begin = time.process_time()
    paired_intervals(a, b, [tuple(range(13)), tuple(range(14))])
    assert time.process_time() - begin < 1.0  # about 0.05 s on an idle core
