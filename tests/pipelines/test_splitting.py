"""Splits, checked on random cohorts: no patient on two sides, every stratum its share, drawn with the seed."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import UsageError
from pipelines import splitting

# Up to five strata (source, strong or weak) of up to forty patients each.
STRATA = st.dictionaries(
    st.tuples(st.sampled_from(["AMOS", "FLARE23", "KiTS"]), st.booleans()),
    st.integers(1, 40),
    min_size=1,
    max_size=5,
)
SEEDS = st.integers(0, 2**32)


def patients(sizes: dict[tuple[str, bool], int]) -> dict[str, tuple[str, bool]]:
    return {
        f"{source}-{strong}-{number}": (source, strong)
        for (source, strong), size in sizes.items()
        for number in range(size)
    }


@given(STRATA, st.integers(1, 99), SEEDS)
def test_every_stratum_gives_its_share_rounded_down_or_up(sizes, percent, seed):
    strata = splitting.shuffled(patients(sizes), seed)
    chosen = splitting.validation(strata, percent / 100)
    total = sum(sizes.values())
    exact = percent * total / 100
    if total > 1:
        assert 1 <= len(chosen) <= total - 1
    if 1 <= exact <= total - 1:
        assert abs(len(chosen) - exact) <= 0.5
    for members in strata.values():
        taken = len(chosen & set(members))
        assert math.floor(percent * len(members) / 100) <= taken <= math.ceil(percent * len(members) / 100)


@given(STRATA, st.integers(2, 7), SEEDS)
def test_folds_are_even_as_a_whole_and_within_every_stratum(sizes, number, seed):
    strata = splitting.shuffled(patients(sizes), seed)
    if number > sum(sizes.values()):
        with pytest.raises(UsageError, match="use fewer folds"):
            splitting.folds(strata, number)
        return
    fold_of = splitting.folds(strata, number)
    assert fold_of.keys() == patients(sizes).keys()
    for members in (list(fold_of), *strata.values()):
        counts = Counter(dict.fromkeys(range(number), 0))
        counts.update(fold_of[patient] for patient in members)
        assert max(counts.values()) - min(counts.values()) <= 1


@given(STRATA, SEEDS, st.randoms())
def test_the_same_seed_draws_the_same_split_in_whatever_order_the_cases_come(sizes, seed, order):
    given_patients = list(patients(sizes).items())
    first = splitting.shuffled(dict(given_patients), seed)
    order.shuffle(given_patients)
    again = splitting.shuffled(dict(given_patients), seed)
    assert list(first.items()) == list(again.items())


@given(SEEDS, SEEDS)
def test_another_seed_draws_another_split(one, other):
    # 30 of 60: two seeds agree by chance once in 10^17.
    cohort = patients({("KiTS", True): 60})
    chosen = [splitting.validation(splitting.shuffled(cohort, seed), 0.5) for seed in (one, other)]
    assert (chosen[0] == chosen[1]) is (one == other)


def test_a_share_means_what_was_typed():
    # 0.07 × 100 is 7.000000000000001 in binary fractions.
    strata = splitting.shuffled(patients({("A", True): 100, ("B", True): 100}), 0)
    chosen = splitting.validation(strata, 0.07)
    assert [len(chosen & set(members)) for members in strata.values()] == [7, 7]


def test_one_patient_alone_trains():
    assert splitting.validation({("A", True): ["p"]}, 0.5) == set()
