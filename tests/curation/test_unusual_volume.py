"""A volume is unusual beside those that people have drawn, not by itself."""

import numpy as np
import pytest

from curation.labels import CLASSES, TUMOR_ID
from curation.status import Severity
from curation.unusual_volume import DrawnVolumes, unusual_volumes

SPLEEN = 3


def cohort(*more: float, whole: bool = True, by_hand: bool = True) -> DrawnVolumes:
    """Volumes of 100 and 400 ml around 200 ml, ten of each, and further ones."""
    usual = [100.0] * 10 + [200.0] + [400.0] * 10
    return DrawnVolumes(
        np.array([*usual, *more]),
        np.array([True] * len(usual) + [whole] * len(more)),
        np.array([True] * len(usual) + [by_hand] * len(more)),
    )


# Median of the logarithms ln 200, median deviation ln 2, spread 1.4826 ln 2, so the limits are
# 200 * 2 ** (± 3.5 * 1.4826) = 5.482 and 7296 ml. The one more volume is not to move the median: by a model.
LOW_ML, HIGH_ML = 200 * 2**-5.1891, 200 * 2**5.1891


@pytest.mark.parametrize(
    ("ml", "limit_ml"), [(5.4, LOW_ML), (5.6, None), (150.0, None), (7290.0, None), (7300.0, HIGH_ML)]
)
def test_a_volume_beyond_a_modified_z_score_of_3_5_is_unusual(ml: float, limit_ml: float | None) -> None:
    found = unusual_volumes(SPLEEN, cohort(ml, by_hand=False))
    assert set(found) == (set() if limit_ml is None else {21})
    if limit_ml is not None:
        assert (found[21].check, found[21].severity, found[21].class_id) == (
            "unusual_volume",
            Severity.WARNING,
            3,
        )
        assert (found[21].value, found[21].limit) == (ml, pytest.approx(limit_ml, rel=1e-4))


def test_the_sentence_says_what_is_usual_and_what_to_do() -> None:
    (found,) = unusual_volumes(SPLEEN, cohort(5.4, by_hand=False)).values()
    # ln(5.4 / 200) / (1.4826 ln 2) = -3.515
    assert found.message == (
        "Spleen has 5.4 ml; the 21 whole ones drawn by people have 200 ml in the middle and half of them 100 to "
        "400 ml, less than 5.482 ml is out of their spread (modified z-score -3.5, limit 3.5); look whether a part "
        "was left out or labels were swapped."
    )


def test_what_the_scan_cut_off_may_be_small_but_not_large() -> None:
    assert unusual_volumes(SPLEEN, cohort(1.0, whole=False)) == {}
    assert set(unusual_volumes(SPLEEN, cohort(9000.0, whole=False))) == {21}


def test_what_models_draw_does_not_make_their_errors_usual() -> None:
    drawn = cohort(*[5.0] * 200, by_hand=False)
    assert set(unusual_volumes(SPLEEN, drawn)) == set(range(21, 221))


def test_fewer_than_20_whole_organs_say_nothing() -> None:
    drawn = cohort(5.0, by_hand=False)
    few = DrawnVolumes(drawn.volume_ml[2:], drawn.whole[2:], drawn.by_hand[2:])
    assert unusual_volumes(SPLEEN, few) == {}
    none = DrawnVolumes(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool))
    assert all(unusual_volumes(label.id, none) == {} for label in CLASSES)


def test_equal_volumes_leave_room_for_five_percent() -> None:
    # Spread 0.05 at least: 100 * exp(± 0.175) = 83.9 and 119.1 ml.
    equal = np.array([100.0] * 30 + [84.0, 83.0, 119.0, 120.0])
    true = np.ones(34, bool)
    assert set(unusual_volumes(SPLEEN, DrawnVolumes(equal, true, true))) == {31, 33}


def test_tumors_have_any_volume() -> None:
    assert unusual_volumes(TUMOR_ID, cohort(1e-3, 1e5)) == {}
