"""Splitting a training set: by patient, from every source and from strong and weak alike, drawn with a seed."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from curation.errors import UsageError

# What a patient stands for when shares are drawn; anything that sorts, here (source, whether strong).
Stratum = tuple[Any, ...]
Patients = Mapping[Stratum, Sequence[str]]


def shuffled(stratum_of: Mapping[str, Stratum], seed: int) -> dict[Stratum, list[str]]:
    """The patients of each stratum in an order drawn with the seed, whatever order they came in."""
    strata: dict[Stratum, list[str]] = defaultdict(list)
    for patient in sorted(stratum_of):
        strata[stratum_of[patient]].append(patient)
    draw = random.Random(seed)
    in_order = {stratum: strata[stratum] for stratum in sorted(strata)}
    for patients in in_order.values():
        draw.shuffle(patients)
    return in_order


def validation(strata: Patients, share: float) -> set[str]:
    """The patients that validate: of every stratum its share, rounded so that the whole comes out right.

    Every stratum gives its exact share rounded down or up, those with the largest remainders up. At least one
    patient validates and at least one trains, where there are two.

    Args:
        strata: Patients per stratum, shuffled.
        share: Above 0 and below 1.
    """
    total = sum(map(len, strata.values()))
    # The share as it was typed: 0.07 as a binary fraction times 100 is more than 7.
    typed = Fraction(str(share))
    wanted = min(max(1, round(typed * total)), total - 1)
    exact = {stratum: typed * len(patients) for stratum, patients in strata.items()}
    taken = {stratum: int(value) for stratum, value in exact.items()}
    by_remainder = sorted(strata, key=lambda stratum: (taken[stratum] - exact[stratum], stratum))
    for stratum in by_remainder[: max(0, wanted - sum(taken.values()))]:
        taken[stratum] += 1
    return {patient for stratum, n in taken.items() for patient in strata[stratum][:n]}


def folds(strata: Patients, number: int) -> dict[str, int]:
    """The fold of each patient, from 0.

    Dealt out like cards through one stratum after the other: neither the folds nor one stratum's counts in
    them differ by more than one patient.

    Raises:
        UsageError: There are fewer patients than folds.
    """
    in_order = [patient for stratum in strata for patient in strata[stratum]]
    if number > len(in_order):
        raise UsageError(f"--folds {number}: only {len(in_order)} patients to spread; use fewer folds")
    return {patient: position % number for position, patient in enumerate(in_order)}
