"""Volumes against the literature, holes in solid organs, tumors far from everything: noticed, or not judged."""

import numpy as np
import pytest
from scipy import ndimage

from curation.census import take_census
from curation.holes import find_holes
from curation.quality import check_mask
from curation.rle import RunLengths
from curation.status import Finding, Severity
from curation.volumes import Geometry

CM = np.diag([10.0, 10.0, 10.0, 1.0])  # 1 ml a voxel; 30 × 30 × 20 of them hold a trunk
SHAPE = (30, 30, 20)


def check(array: np.ndarray, name: str, affine: np.ndarray = CM) -> list[Finding]:
    runs, geometry = RunLengths.from_array(array), Geometry(array.shape, affine)
    return [f for f in check_mask(take_census(runs, geometry), runs, geometry) if f.check == name]


def box(value: int, *sides: slice, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    array = np.zeros(shape, np.uint8)
    array[sides] = value
    return array


def test_a_kidney_of_eight_millilitres_is_too_small_and_the_finding_cites_who_measured_kidneys():
    (finding,) = check(box(2, slice(10, 12), slice(4, 6), slice(7, 9)), "implausible_volume")
    assert (finding.severity, finding.class_id, finding.value, finding.limit) == (
        Severity.WARNING, 2, pytest.approx(8), 25,
    )  # fmt: skip
    assert finding.message == (
        "Right kidney has 8 ml, where at least 25 ml is expected of an adult (women 157, men 193 ml on average; "
        "Geraghty et al., Abdom Imaging 2004;29:482); look around voxel (10, 4, 7) whether a part was left out or "
        "labels were swapped, and at the file's spacing."
    )


def test_a_spleen_of_three_litres_is_too_large_also_where_the_scan_cuts_it():
    (finding,) = check(box(3, slice(0, 15), slice(0, 20), slice(0, 10)), "implausible_volume")
    assert (finding.class_id, finding.value, finding.limit) == (3, pytest.approx(3000), 2500)
    assert "at most 2500 ml" in finding.message


@pytest.mark.parametrize(
    "array",
    [
        box(2, slice(10, 12), slice(4, 6), slice(0, 2)),  # cut by the bottom of the scan
        box(2, slice(10, 12), slice(4, 6), slice(7, 9), shape=(19, 30, 20)),  # a crop, 190 mm wide
        box(12, slice(10, 12), slice(4, 6), slice(7, 9)),  # the duodenum is hollow
        box(1, slice(5, 15), slice(5, 15), slice(5, 15)),  # a liver of 1000 ml
    ],
)
def test_a_volume_that_nobody_can_judge_or_that_is_usual_is_no_finding(array):
    assert check(array, "implausible_volume") == []


def test_a_hole_in_the_liver_is_found_with_its_volume_and_place():
    liver = box(1, slice(5, 15), slice(5, 15), slice(5, 15))
    liver[8:10, 9, 9:12] = 0  # 2 × 1 × 3 voxels
    (finding,) = check(liver, "holes_in_organ")
    assert (finding.severity, finding.class_id, finding.value, finding.limit) == (
        Severity.WARNING, 1, pytest.approx(6), 1.0,
    )  # fmt: skip
    assert finding.message == (
        "Liver encloses 6.00 ml of background in 1 hole, less than 1 ml is usual; look at the largest, 6.00 ml "
        "around voxel (8, 9, 10)."
    )


def test_a_tunnel_to_the_outside_and_a_hole_with_another_organ_in_it_are_no_holes():
    liver = box(1, slice(5, 15), slice(5, 15), slice(5, 15))
    liver[8, 9, 9:] = 0
    assert check(liver, "holes_in_organ") == []
    filled = box(1, slice(5, 15), slice(5, 15), slice(5, 15))
    filled[8, 9, 9] = 6
    assert check(filled, "holes_in_organ") == []


def test_background_around_a_tumor_in_the_organ_is_a_hole():
    liver = box(1, slice(5, 15), slice(5, 15), slice(5, 15))
    liver[8:11, 8:11, 8:11] = 0
    liver[9, 9, 9] = 14
    (finding,) = check(liver, "holes_in_organ")
    assert finding.value == pytest.approx(26)


def test_holes_are_at_least_the_cavities_and_at_most_what_scipy_fills():
    """Cavities have no way out, not even across corners; scipy fills what has none across faces."""
    rng = np.random.default_rng(5)
    found, cavities, fillable = [], [], []
    for _ in range(20):
        solid = np.zeros((14, 12, 10), np.bool_)
        solid[1:12, 1:11, 1:9] = rng.random((11, 10, 8)) > 0.05
        fillable.append(int((ndimage.binary_fill_holes(solid) & ~solid).sum()))
        around, _ = ndimage.label(np.pad(~solid, 1, constant_values=True), np.ones((3, 3, 3)))
        cavities.append(int((around > 1).sum()))  # the first label is that of the padding
        holes = find_holes(RunLengths.from_array(solid.astype(np.uint8)), 1)
        found.append(int(holes.voxels.sum()) if holes else 0)
    assert all(low <= n <= high for low, n, high in zip(cavities, found, fillable, strict=True))
    assert sum(cavities) > 20


def organs_and_tumor(x: int, organs: int = 5) -> np.ndarray:
    array = np.zeros((40, 30, 20), np.uint8)
    for place in range(organs):
        array[2 + 2 * place : 4 + 2 * place, 5:8, 5:8] = (1, 3, 4, 11, 12)[place]
    array[x : x + 2, 6, 6] = 14
    return array


def test_a_tumor_far_from_every_organ_is_found_with_its_distance():
    # The last organ ends at x = 12, the tumor begins at x = 20: 8 voxels of 10 mm.
    (finding,) = check(organs_and_tumor(20), "tumor_far_from_organs")
    assert (finding.severity, finding.class_id, finding.value, finding.limit) == (
        Severity.WARNING, 14, pytest.approx(80), 50,
    )  # fmt: skip
    assert finding.message == (
        "1 piece of the tumor (2.00 ml) lies up to 80 mm from every organ (the nearest is the duodenum), at most "
        "50 mm is usual; look around voxel (20, 6, 6) whether it lies outside the body."
    )


def test_a_tumor_near_an_organ_or_where_few_organs_were_drawn_is_not_judged():
    assert check(organs_and_tumor(17), "tumor_far_from_organs") == []
    assert check(organs_and_tumor(30, organs=4), "tumor_far_from_organs") == []
