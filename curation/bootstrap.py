"""How sure a difference between models is: paired bootstrap over cases, percentile intervals."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.errors import UsageError

RESAMPLES, LEVEL = 10_000, 0.95
# Draws held in memory at once.
_AT_ONCE = 4_000_000
# Scores have 4 digits; a bound nearer to 0 than half of the last one is 0.
_NOTHING = 5e-5


@dataclass(frozen=True)
class Interval:
    """A difference of means, and between which bounds it lies; NaN where the data say nothing of it."""

    difference: float
    low: float
    high: float

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval leaves out 0. False where there is no interval."""
        return self.low > _NOTHING or self.high < -_NOTHING


def paired_intervals(
    scores: NDArray[np.float64],
    baseline: NDArray[np.float64],
    groups: Sequence[Sequence[int]] = (),
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> list[Interval]:
    """By how much one model's mean scores lie above another's, with percentile bootstrap intervals.

    Cases are drawn with replacement and a drawn case brings along both models' scores (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13). A resample in which no case knows a class says nothing of
    this class, and a group's mean is then that of its other classes. The same number of cases and the same seed
    give the same resamples, so that all models and metrics are compared on the same ones.

    Args:
        scores: One model's scores, shape (cases, classes); NaN where a class is not known in a case. A
            cell counts where both models have it.
        baseline: The other's, of the same shape.
        groups: Columns of which the mean of the class means is asked for, such as all organs.
        resamples: How many; 0 gives the differences alone.
        seed: Of the draws.
        level: Share of the resamples that an interval holds, 0 to 1.

    Returns:
        One interval per class, then one per group. Bounds are NaN where fewer than two cases know the class
        (any class of the group): one case has no spread. All is NaN where none does.

    Raises:
        UsageError: The shapes differ, or resamples or level are out of range.
    """
    if scores.shape != baseline.shape or scores.ndim != 2:
        raise UsageError(
            f"scores of shapes {scores.shape} and {baseline.shape} cannot be paired; give (cases, classes)"
        )
    if resamples < 0 or not 0 < level < 1:
        raise UsageError(
            f"{resamples} resamples at level {level}: give 0 or more resamples and a level between 0 and 1"
        )
    # Subtracted before anything is summed: equal scores differ by 0, not by what rounding leaves.
    differences = scores - baseline
    cases, columns = differences.shape
    known = ~np.isnan(differences)
    observed = mean_differences(differences, np.ones((1, cases)), groups)[0]
    knowing = [int(known[:, c].sum()) for c in range(columns)]
    knowing += [int(known[:, list(group)].any(axis=1).sum()) for group in groups]
    if resamples:
        drawn = np.concatenate(
            [mean_differences(differences, counts, groups) for counts in _draws(cases, resamples, seed)]
        )
    bounds = (1 - level) / 2, (1 + level) / 2
    found = []
    for i, n in enumerate(knowing):
        low = high = math.nan
        if n >= 2 and resamples:
            of_one = drawn[:, i]
            said = of_one[~np.isnan(of_one)]
            if len(said):
                low, high = (float(q) for q in np.quantile(said, bounds))
        found.append(Interval(float(observed[i]), low, high))
    return found


def mean_differences(
    differences: NDArray[np.float64], counts: NDArray[np.float64], groups: Sequence[Sequence[int]] = ()
) -> NDArray[np.float64]:
    """Mean difference per class and per group in each resample.

    Args:
        differences: Shape (cases, classes); NaN where a class is not known in a case.
        counts: How often each case is in each resample, shape (resamples, cases).
        groups: Columns of which the mean of the class means is asked for.

    Returns:
        Shape (resamples, classes + groups); NaN where no case of the resample knows the class, or any of the group.
    """
    known = ~np.isnan(differences)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is promised
        means = (counts @ np.where(known, differences, 0.0)) / (counts @ known.astype(np.float64))
        of_groups = []
        for group in groups:
            part = means[:, list(group)]
            said = ~np.isnan(part)
            of_groups.append(np.where(said, part, 0.0).sum(axis=1) / said.sum(axis=1))
    return np.column_stack([means, *of_groups])


def _draws(cases: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each case is drawn, shape (some resamples, cases), until there are `resamples` of them."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _AT_ONCE // max(1, cases))
    for begin in range(0, resamples, at_once):
        rows = min(at_once, resamples - begin)
        drawn = generator.integers(0, cases, (rows, cases))
        # Every resample counts in bins of its own.
        drawn += np.arange(rows)[:, None] * cases
        yield np.bincount(drawn.ravel(), minlength=rows * cases).reshape(rows, cases).astype(np.float64)
