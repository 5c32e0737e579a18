"""Volumes against the cohort: what lies outside of the spread of those that people have drawn."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.labels import BY_ID, TUMOR_ID
from curation.later_checks import UNUSUAL_VOLUME
from curation.status import Finding, Severity

# Fewer say nothing of a spread.
_ENOUGH_CASES = 20
# Of the modified z-score: Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993.
_LIMIT = 3.5
# Median absolute deviation to the standard deviation of a normal distribution: 1 / Phi^-1(3/4).
_NORMAL = 1.4826
# Of the logarithm: below this organs differ by how they are drawn. Keeps a cohort of copies from flagging noise.
_LEAST_SPREAD = 0.05


@dataclass(frozen=True, eq=False)
class DrawnVolumes:
    """One class in all cases that have it, an entry a case.

    Attributes:
        volume_ml: Above 0.
        whole: It ends within the scan: it touches no face of the volume.
        by_hand: People drew it; what a model drew is judged, but does not judge.
    """

    volume_ml: NDArray[np.float64]
    whole: NDArray[np.bool_]
    by_hand: NDArray[np.bool_]


def unusual_volumes(class_id: int, drawn: DrawnVolumes) -> Mapping[int, Finding]:
    """Volumes whose modified z-score, of their logarithms, is beyond 3.5.

    Too little is said of whole organs only. Tumors have any volume.

    Returns:
        Entry to its finding; empty where fewer than 20 whole organs were drawn by hand.
    """
    cohort = drawn.volume_ml[drawn.whole & drawn.by_hand]
    if class_id == TUMOR_ID or len(cohort) < _ENOUGH_CASES:
        return {}
    logs = np.log(cohort)
    middle = float(np.median(logs))
    spread = max(_NORMAL * float(np.median(np.abs(logs - middle))), _LEAST_SPREAD)
    low_ml, high_ml = float(np.exp(middle - _LIMIT * spread)), float(np.exp(middle + _LIMIT * spread))
    quarter, median, three_quarters = np.percentile(cohort, (25, 50, 75)).tolist()
    title = BY_ID[class_id].title
    others = (
        f"the {len(cohort)} whole ones drawn by people have {median:.4g} ml in the middle and half of them "
        f"{quarter:.4g} to {three_quarters:.4g} ml"
    )
    found = {}
    for entry in np.flatnonzero(
        (drawn.volume_ml > high_ml) | (drawn.whole & (drawn.volume_ml < low_ml))
    ).tolist():
        ml = float(drawn.volume_ml[entry])
        if ml > high_ml:
            limit, than, advice = high_ml, "more than", "whether another structure was drawn with it"
        else:
            limit, than, advice = low_ml, "less than", "whether a part was left out or labels were swapped"
        score = (np.log(ml) - middle) / spread
        found[entry] = Finding(
            UNUSUAL_VOLUME,
            Severity.WARNING,
            class_id,
            ml,
            limit,
            f"{title} has {ml:.4g} ml; {others}, {than} {limit:.4g} ml is out of their spread (modified z-score "
            f"{score:.1f}, limit {_LIMIT}); look {advice}.",
        )
    return found
