"""Whether the classes of a case lie and measure like other classes do in its source: label values in another order."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.labels import BY_ID, ORGAN_IDS, SIDED_PAIRS
from curation.later_checks import CLASS_ORDER_PERMUTED
from curation.status import Finding, Severity

# A case with fewer organs, and a class drawn in fewer cases, say too little of where things lie.
_ENOUGH_ORGANS = 3
_ENOUGH_CASES = 8
# Patients differ by this at least: in place (mm along each axis) and in the logarithm of the volume.
_LEAST_SPREAD_MM = 10.0
_LEAST_SPREAD_LOG = 0.25
_NORMAL = 1.4826  # median absolute deviation to standard deviation, of a normal distribution
_ROUNDS = 10
# Squared distances in standard deviations, of three axes and a volume. One alone counts up to 100, for a missed
# organ is no more wrong the further away it lies. A class that fits has 4 on average; what is moved must fit
# its new place (16: within 4 standard deviations) and have fitted its old one far worse.
_MOST = 100.0
_FITS = 16.0
_GAIN_PER_CLASS = 12.0


@dataclass(frozen=True, eq=False)
class DrawnOrgans:
    """The 13 organs of the cases of one source; NaN where an organ is not drawn.

    Attributes:
        centroid_mm: (cases, 13, 3), RAS+ mm, in the order of `ORGAN_IDS`.
        volume_ml: (cases, 13).
    """

    centroid_mm: NDArray[np.float64]
    volume_ml: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where the organs of a source lie relative to each other, and how large they are; NaN where unknown."""

    place_mm: NDArray[np.float64]  # (13, 3)
    spread_mm: NDArray[np.float64]  # (13, 3)
    log_ml: NDArray[np.float64]  # (13,)
    spread_log: NDArray[np.float64]  # (13,)

    @property
    def known(self) -> NDArray[np.bool_]:
        return np.isfinite(self.log_ml)

    def distances(
        self, centroid_mm: NDArray[np.float64], log_ml: NDArray[np.float64], offset_mm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Squared distance in standard deviations of each of n drawn organs from each known one, (n, known)."""
        k = self.known
        apart = (centroid_mm[:, None] - offset_mm - self.place_mm[k]) / self.spread_mm[k]
        size = (log_ml[:, None] - self.log_ml[k]) / self.spread_log[k]
        distances: NDArray[np.float64] = np.minimum((apart**2).sum(axis=2) + size**2, _MOST)
        return distances


def permuted_classes(organs: DrawnOrgans) -> Mapping[int, Finding]:
    """Cases of a source in which classes stand in each other's places.

    The organs of a case, moved as a whole, are compared with the medians over all cases of the source, in place
    and in volume. Where another assignment of its classes fits far better than their names do, it is told. Sides
    alone are left to the check for swapped sides.

    Returns:
        Number of a case (a row of `organs`) to its finding; empty for a source of fewer than 8 cases.
    """
    enough = np.isfinite(organs.volume_ml).sum(axis=1) >= _ENOUGH_ORGANS
    if np.count_nonzero(enough) < _ENOUGH_CASES:
        return {}
    with np.errstate(invalid="ignore"):
        layout = _layout(organs.centroid_mm[enough], np.log(organs.volume_ml[enough]))
    found = {}
    for case in _suspicious(layout, organs, enough):
        moved = _moved(layout, organs.centroid_mm[case], np.log(organs.volume_ml[case]))
        if moved and not _only_sides(moved):
            found[case] = _finding(moved, int(np.count_nonzero(enough)) - 1)
    return found


def _layout(centroid_mm: NDArray[np.float64], log_ml: NDArray[np.float64]) -> _Layout:
    """Medians over cases that are moved so that they lie over one another; a few odd ones do not count."""
    drawn = np.isfinite(log_ml)
    known = drawn.sum(axis=0) >= _ENOUGH_CASES
    centroid_mm, log_ml = centroid_mm[:, known], log_ml[:, known]
    with np.errstate(all="ignore"):
        offset_mm = _median(centroid_mm, 1)
        for _ in range(_ROUNDS):
            place_mm = _median(centroid_mm - offset_mm[:, None], 0)
            offset_mm = _median(centroid_mm - place_mm, 1)
        apart = centroid_mm - offset_mm[:, None] - place_mm
        middle = _median(log_ml, 0)
        spread_mm = np.maximum(_NORMAL * _median(np.abs(apart), 0), _LEAST_SPREAD_MM)
        spread_log = np.maximum(_NORMAL * _median(np.abs(log_ml - middle), 0), _LEAST_SPREAD_LOG)
    layout = _Layout(*(np.full((len(ORGAN_IDS), *of_one), np.nan) for of_one in ((3,), (3,), (), ())))
    layout.place_mm[known], layout.spread_mm[known] = place_mm, spread_mm
    layout.log_ml[known], layout.spread_log[known] = middle, spread_log
    return layout


def _median(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Median over what is not NaN; NaN, without a word, where nothing is."""
    some = np.isfinite(values).any(axis=axis)
    medians = np.full(some.shape, np.nan)
    if some.any():
        medians[some] = np.nanmedian(np.moveaxis(values, axis, -1)[some], axis=-1)
    return medians


def _suspicious(layout: _Layout, organs: DrawnOrgans, enough: NDArray[np.bool_]) -> list[int]:
    """Cases with two classes that together are far enough from their places that another order could gain enough."""
    cases = np.flatnonzero(enough)
    if np.count_nonzero(layout.known) < 2:
        return []
    with np.errstate(invalid="ignore"):
        log_ml = np.log(organs.volume_ml[cases])
        offset_mm = _median(organs.centroid_mm[cases] - layout.place_mm, 1)
        apart = (organs.centroid_mm[cases] - offset_mm[:, None] - layout.place_mm) / layout.spread_mm
        size = (log_ml - layout.log_ml) / layout.spread_log
        distances = np.nan_to_num(np.minimum((apart**2).sum(axis=2) + size**2, _MOST))
    two_furthest = np.sort(distances, axis=1)[:, -2:].sum(axis=1)
    suspicious: list[int] = cases[two_furthest >= 2 * _GAIN_PER_CLASS].tolist()
    return suspicious


def _moved(
    layout: _Layout, centroid_mm: NDArray[np.float64], log_ml: NDArray[np.float64]
) -> list[tuple[int, int]]:
    """Pairs (class as named, class that it is like) of a case whose order is permuted; else none."""
    known = np.flatnonzero(layout.known)
    named = np.flatnonzero(np.isfinite(log_ml) & layout.known)
    if len(named) < _ENOUGH_ORGANS:
        return []
    centroid_mm, log_ml = centroid_mm[named], log_ml[named]
    as_named = np.searchsorted(known, named)
    offset_mm = np.median(centroid_mm - layout.place_mm[named], axis=0)
    before = layout.distances(centroid_mm, log_ml, offset_mm)[np.arange(len(named)), as_named]
    like, after = _best(layout, centroid_mm, log_ml, named, as_named)
    changed = like != as_named
    gain = before.sum() - after.sum()
    if not changed.any() or gain < _GAIN_PER_CLASS * changed.sum() or (after[changed] > _FITS).any():
        return []
    return [(ORGAN_IDS[named[i]], ORGAN_IDS[known[like[i]]]) for i in np.flatnonzero(changed).tolist()]


def _best(
    layout: _Layout,
    centroid_mm: NDArray[np.float64],
    log_ml: NDArray[np.float64],
    named: NDArray[np.intp],
    as_named: NDArray[np.intp],
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The assignment that fits best: for each drawn organ the known one, as its place among them, and its distance."""
    # It takes 0.2 s to import, and most sources have no suspicious case.
    from scipy.optimize import linear_sum_assignment

    place_mm = layout.place_mm[layout.known]
    # Where all cases draw the same organs, the mean does not depend on which of them is called what.
    offset_mm = centroid_mm.mean(axis=0) - layout.place_mm[named].mean(axis=0)
    entries = np.arange(len(named))
    dearer = np.full((len(named), len(place_mm)), _GAIN_PER_CLASS)
    dearer[entries, as_named] = 0
    like = np.full(len(named), -1)
    for _ in range(_ROUNDS):
        distances = layout.distances(centroid_mm, log_ml, offset_mm)
        # No class moves that gains too little by it.
        _, now = linear_sum_assignment(distances + dearer)
        if (now == like).all():
            break
        like = now
        offset_mm = np.median(centroid_mm - place_mm[like], axis=0)
    return like, distances[entries, like]


def _only_sides(moved: list[tuple[int, int]]) -> bool:
    sides = {pair for right, left in SIDED_PAIRS for pair in ((right, left), (left, right))}
    return set(moved) <= sides


def _finding(moved: list[tuple[int, int]], others: int) -> Finding:
    said = ", ".join(f"{BY_ID[a].title.lower()} like {BY_ID[b].title.lower()}" for a, b in moved)
    return Finding(
        CLASS_ORDER_PERMUTED,
        Severity.ERROR,
        None,
        float(len(moved)),
        0.0,
        f"{len(moved)} classes lie and measure like others do in this source's other {others} cases: {said}; "
        "look whether the file has its label values in another order, and read it with a mapping of its own.",
    )
