"""Label values in another order show in where the classes lie and how large they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.class_order import DrawnOrgans, permuted_classes
from curation.labels import BY_ID, ORGAN_IDS, SIDED_PAIRS
from curation.status import Severity

# One patient of AMOS22 (amos_0013), measured with SimpleITK's LabelShapeStatistics: RAS+ mm relative to the liver,
# ml; in the order of the classes 1 to 13.
PLACE_MM = np.array(
    [
        [0, 0, 0], [-10, -41, -73], [-136, -38, 4], [-66, 12, -38], [-71, -3, -22], [-42, -4, -23],
        [-35, -25, -29], [-92, -13, -34], [8, 5, -47], [-67, -1, 43], [-113, 15, 7],
        [-32, 4, -71], [-120, -41, -68],
    ],
    float,
)  # fmt: skip
VOLUME_ML = np.array([1139.1, 93.2, 288.3, 42.5, 62.8, 60.2, 3.7, 3.5, 20.6, 5.6, 350.8, 33.8, 122.9])
CASES = 24


def source(cases: int = CASES, seed: int = 5) -> DrawnOrgans:
    """Cases that differ by 8 mm and by 15 % of volume, each moved as a whole by up to a metre."""
    rng = np.random.default_rng(seed)
    centroid = PLACE_MM + rng.normal(0, 8, (cases, 13, 3)) + rng.uniform(-1000, 1000, (cases, 1, 3))
    return DrawnOrgans(centroid, VOLUME_ML * np.exp(rng.normal(0, 0.15, (cases, 13))))


def renamed(organs: DrawnOrgans, case: int, order: list[int]) -> DrawnOrgans:
    """What was class n of one case is called as stands at place n of the order (all from 0)."""
    centroid, volume = organs.centroid_mm.copy(), organs.volume_ml.copy()
    centroid[case, order], volume[case, order] = organs.centroid_mm[case], organs.volume_ml[case]
    return DrawnOrgans(centroid, volume)


def swapped(*pairs: tuple[int, int]) -> list[int]:
    order = list(range(13))
    for a, b in pairs:
        order[a - 1], order[b - 1] = b - 1, a - 1
    return order


def test_usual_patients_are_in_order() -> None:
    assert permuted_classes(source(200)) == {}


def test_two_classes_in_each_others_place_are_named() -> None:
    ((case, finding),) = permuted_classes(renamed(source(), 7, swapped((1, 3)))).items()
    assert (case, finding.check, finding.severity) == (7, "class_order_permuted", Severity.ERROR)
    assert (finding.class_id, finding.value, finding.limit) == (None, 2.0, 0.0)
    assert finding.message == (
        "2 classes lie and measure like others do in this source's other 23 cases: liver like spleen, spleen like "
        "liver; look whether the file has its label values in another order, and read it with a mapping of its own."
    )


def test_a_file_in_the_order_of_amos_read_in_that_of_flare_is_told() -> None:
    # Value of AMOS22 to ours, from its dataset.json; the file's value 6 is a liver, and is called 6 here.
    amos = {6: 1, 2: 2, 1: 3, 10: 4, 8: 5, 9: 6, 11: 7, 12: 8, 4: 9, 5: 10, 7: 11, 13: 12, 3: 13}
    is_called = {ours: value for value, ours in amos.items()}
    order = [is_called[class_id] - 1 for class_id in ORGAN_IDS]
    ((case, finding),) = permuted_classes(renamed(source(), 3, order)).items()
    assert (case, finding.value) == (3, 12.0)  # the right kidney is 2 in both
    for value, ours in amos.items():
        like = f"{BY_ID[value].title.lower()} like {BY_ID[ours].title.lower()}"
        assert (like in finding.message) == (value != ours)


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(13)), st.integers(0, CASES - 1))
def test_no_other_case_is_blamed_and_what_lies_elsewhere_is_always_told(order: list[int], case: int) -> None:
    moved = [(n, to) for n, to in enumerate(order) if n != to]
    found = permuted_classes(renamed(source(), case, order))
    assert set(found) <= {case}
    # 6 cm off, or of three times the volume. Nearer than that, as the adrenal glands to the vessels, it may be chance.
    apart = [
        np.linalg.norm(PLACE_MM[n] - PLACE_MM[to]) > 60
        or abs(np.log(VOLUME_ML[n] / VOLUME_ML[to])) > np.log(3)
        for n, to in moved
    ]
    sides = {pair for a, b in SIDED_PAIRS for pair in ((a - 1, b - 1), (b - 1, a - 1))}
    if all(apart) and not set(moved) <= sides:
        assert set(found) == {case}
        assert found[case].value == len(moved)


def test_sides_alone_are_another_checks_business() -> None:
    assert permuted_classes(renamed(source(), 2, swapped((2, 13), (7, 8)))) == {}


def test_partly_labelled_cases_are_told_where_their_classes_are_known() -> None:
    organs = source()
    # Of every third case five organs are drawn, as in AbdomenCT-1K, of the others all.
    for case in range(0, CASES, 3):
        organs.volume_ml[case, [4, 5, 6, 7, 8, 9, 10, 11]] = np.nan
        organs.centroid_mm[case, [4, 5, 6, 7, 8, 9, 10, 11]] = np.nan
    assert permuted_classes(organs) == {}
    found = permuted_classes(renamed(organs, 3, swapped((1, 3), (2, 4))))
    assert {case: f.value for case, f in found.items()} == {3: 4.0}


@pytest.mark.parametrize("cases", [0, 1, 7])
def test_too_few_cases_say_nothing(cases: int) -> None:
    organs = source(max(cases, 1))
    organs = DrawnOrgans(organs.centroid_mm[:cases], organs.volume_ml[:cases])
    assert permuted_classes(renamed(organs, 0, swapped((1, 3))) if cases else organs) == {}


def test_cases_with_two_organs_are_left_alone() -> None:
    organs = renamed(source(), 4, swapped((1, 3)))
    organs.volume_ml[4, [1, *range(3, 13)]] = np.nan
    assert permuted_classes(organs) == {}
