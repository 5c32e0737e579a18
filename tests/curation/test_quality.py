"""Each check notices what it is for, says so in a sentence, and keeps silent otherwise."""

import numpy as np
import pytest

from curation.census import take_census
from curation.quality import check_mask
from curation.rle import RunLengths
from curation.status import Finding, Severity
from curation.volumes import Geometry

RAS = np.diag([2.0, 2.0, 5.0, 1.0])  # 0.02 ml a voxel
LAS = np.diag([-2.0, 2.0, 5.0, 1.0])


def check(array: np.ndarray, affine: np.ndarray = RAS) -> list[Finding]:
    runs, geometry = RunLengths.from_array(array), Geometry(array.shape, affine)
    return check_mask(take_census(runs, geometry), runs, geometry)


def boxes(**drawn: tuple[int, slice]) -> np.ndarray:
    """A 40 × 20 × 12 volume; each box spans y 5–9 and z 4–7 at the given x."""
    array = np.zeros((40, 20, 12), np.uint8)
    for value, x in drawn.values():
        array[x, 5:10, 4:8] = value
    return array


def test_a_mask_with_everything_in_its_place_has_no_findings():
    # RAS: x grows towards the patient's right.
    tidy = boxes(
        spleen=(3, slice(4, 8)), left=(13, slice(10, 14)), right=(2, slice(24, 28)), liver=(1, slice(30, 36))
    )
    assert check(tidy) == []


def test_an_empty_mask_has_no_findings():
    assert check(np.zeros((3, 3, 3), np.uint8)) == []


def test_an_organ_in_pieces_is_found_with_the_place_of_the_second_piece():
    # 8 * 5 * 4 = 160 voxels and 2 * 5 * 4 = 40 voxels: the largest holds 80 % of 4 ml, the second 0.8 ml.
    (finding,) = check(boxes(one=(3, slice(10, 18)), two=(3, slice(21, 23))))
    assert (finding.check, finding.severity, finding.class_id) == ("organ_in_pieces", Severity.WARNING, 3)
    assert (finding.value, finding.limit) == (0.8, 0.95)
    assert finding.message == (
        "Spleen is in 2 pieces: the largest holds 80.0% of its 4.0 ml, at least 95% is usual; "
        "look at the second, 0.80 ml around voxel (21, 7, 5)."
    )


def test_a_few_stray_voxels_are_below_the_limit():
    array = boxes(one=(3, slice(10, 18)))
    array[30, 15, 10] = 3  # 160 of 161 voxels hold together: 99.4 %
    assert check(array) == []


@pytest.mark.parametrize("value", [14, 200])
def test_tumors_and_unresolved_pairs_may_come_in_pieces(value):
    assert check(boxes(one=(value, slice(10, 14)), two=(value, slice(24, 28)))) == []


def test_pieces_that_the_top_of_the_scan_may_have_cut_apart_are_only_noted():
    array = np.zeros((40, 20, 12), np.uint8)
    array[10:18, 5:10, 8:] = 3
    array[22:26, 5:10, 8:] = 3
    pieces, border = check(array)
    assert (pieces.check, pieces.severity) == ("organ_in_pieces", Severity.INFO)
    assert "(both end at the superior face of the volume, which may have cut it)" in pieces.message
    assert border.check == "touches_border"


# In LAS the first voxels along the file's x are the patient's right.
@pytest.mark.parametrize(
    ("affine", "index", "face", "severity", "voxels"),
    [
        (RAS, np.s_[0, 5:10, 4:8], "left", Severity.WARNING, 20),
        (LAS, np.s_[0, 5:10, 4:8], "right", Severity.WARNING, 20),
        (RAS, np.s_[39:, 5:10, 4:8], "right", Severity.WARNING, 20),
        (RAS, np.s_[5:9, 0, 4:8], "posterior", Severity.WARNING, 16),
        (RAS, np.s_[5:9, 19, 4:8], "anterior", Severity.WARNING, 16),
        (RAS, np.s_[5:9, 5:10, 0], "inferior", Severity.INFO, 20),
        (RAS, np.s_[5:9, 5:10, 11], "superior", Severity.INFO, 20),
    ],
)
def test_the_touched_face_is_named_in_the_patient(affine, index, face, severity, voxels):
    array = np.zeros((40, 20, 12), np.uint8)
    array[index] = 1
    (finding,) = check(array, affine)
    assert (finding.check, finding.severity, finding.class_id) == ("touches_border", severity, 1)
    assert (finding.value, finding.limit) == (voxels, 0)
    assert f"Liver touches the {face} face ({voxels} voxels) of the volume; " in finding.message


def test_the_aorta_may_leave_through_the_bottom_but_not_through_a_side():
    array = np.zeros((40, 20, 12), np.uint8)
    array[20, 10, :] = 5
    assert check(array) == []
    array[20, :11, 6] = 5
    (finding,) = check(array)
    # At the side only the one voxel at y = 0 counts.
    assert (finding.severity, finding.value) == (Severity.WARNING, 1)


def test_a_single_slice_does_not_count_as_border():
    array = np.zeros((9, 9, 1), np.uint8)
    array[3:5, 3:5, 0] = 1
    assert check(array) == []


def test_swapped_kidneys_are_an_error_with_the_distance():
    # Centres at x = 11.5 and 25.5: 14 voxels of 2 mm.
    (finding,) = check(boxes(right=(2, slice(10, 14)), left=(13, slice(24, 28))))
    assert (finding.check, finding.severity, finding.class_id) == ("left_right_swap", Severity.ERROR, 2)
    assert finding.value == pytest.approx(-28)
    assert finding.limit == 0
    assert finding.message == (
        "Right kidney lies 28.0 mm to the patient's left of the left kidney, where at least 0 mm to the right is "
        "expected; look whether the two labels were swapped or the file's orientation is wrong."
    )


def test_a_mirrored_volume_is_told_from_swapped_labels():
    kidneys = {"right": (2, slice(10, 14)), "left": (13, slice(24, 28))}
    (swapped,) = check(boxes(**kidneys, liver=(1, slice(30, 36)), spleen=(3, slice(4, 8))))
    assert "liver and spleen lie as usual, so look whether the two labels were swapped" in swapped.message
    mirrored = check(boxes(**kidneys, liver=(1, slice(4, 8)), spleen=(3, slice(30, 36))))
    assert [finding.class_id for finding in mirrored] == [2, 1]
    assert all(
        "look at the file's orientation, or for situs inversus" in finding.message for finding in mirrored
    )


def test_sides_follow_the_affine_not_the_file():
    kidneys = boxes(right=(2, slice(10, 14)), left=(13, slice(24, 28)))
    assert check(kidneys, LAS) == []


def test_swapped_adrenals_are_found_too():
    (finding,) = check(boxes(right=(7, slice(10, 14)), left=(8, slice(24, 28))))
    assert (finding.check, finding.class_id) == ("left_right_swap", 7)
