"""Sides of pairs drawn in one value: told from pieces and the patient's axes, or left alone with the reason."""

import itertools

import numpy as np
import pytest

from curation.geometry import Geometry
from curation.rle import RunLengths
from curation.sides import resolve_sides, unresolved_sides
from curation.status import Severity

LIVER, RIGHT, SPLEEN, LEFT, TUMOR, PAIR = 1, 2, 3, 13, 14, 200
RIGHT_ADRENAL, LEFT_ADRENAL, ADRENALS = 7, 8, 201
# 4 mm RAS, so x grows towards the patient's right: 240 × 160 × 200 mm.
SHAPE = (60, 40, 50)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
# Where the kidneys of the tests lie: 60 mm wide, 60 mm of room between them, centres 120 mm apart.
LEFT_BOX = np.s_[5:20, 10:25, 10:35]
RIGHT_BOX = np.s_[35:50, 10:25, 10:35]


def kidneys(*boxes, value=PAIR):
    mask = np.zeros(SHAPE, np.uint8)
    for box in boxes or (LEFT_BOX, RIGHT_BOX):
        mask[box] = value
    return mask


def resolve(mask, affine=AFFINE):
    sided = resolve_sides(RunLengths.from_array(mask), Geometry(mask.shape, affine))
    return sided.runs.to_array(), {f.check: f for f in sided.findings}


def stays(mask, words, affine=AFFINE):
    """Nothing is told, and the one finding says why and what to do."""
    after, findings = resolve(mask, affine)
    assert np.array_equal(after, mask)
    (finding,) = findings.values()
    assert (finding.check, finding.severity) == ("side_unresolved", Severity.WARNING)
    assert words in finding.message
    assert "`maskledger correct`" in finding.message
    return finding


def test_of_two_kidneys_the_one_further_along_the_patients_x_is_the_right_one():
    after, findings = resolve(kidneys())
    expected = kidneys()
    expected[LEFT_BOX], expected[RIGHT_BOX] = LEFT, RIGHT
    assert np.array_equal(after, expected)
    assert list(findings) == ["side_from_geometry"]


def test_the_array_decides_nothing_where_the_affine_says_that_x_runs_to_the_left():
    after, _ = resolve(kidneys(), np.diag([-4.0, 4.0, 4.0, 1.0]))
    assert (after[LEFT_BOX] == RIGHT).all()
    assert (after[RIGHT_BOX] == LEFT).all()


def test_a_pair_beside_the_middle_of_the_image_is_not_cut_there():
    # Both kidneys end before x = 30, the middle of the 60 voxels … or the right one begins there.
    mask = kidneys(np.s_[0:10, 10:25, 10:35], np.s_[25:40, 10:25, 10:35])
    after, _ = resolve(mask)
    assert (np.unique(after[:12]).tolist(), np.unique(after[25:]).tolist()) == ([0, LEFT], [0, RIGHT])


def test_a_side_that_liver_and_spleen_bear_out_does_not_rest_on_geometry():
    mask = kidneys()
    mask[40:50, 30:38, 30:40], mask[5:10, 30:38, 30:40] = LIVER, SPLEEN
    after, findings = resolve(mask)
    assert ((after[RIGHT_BOX] == RIGHT).all(), findings) == (True, {})


def test_liver_and_spleen_the_other_way_round_leave_the_pair_alone():
    mask = kidneys()
    mask[5:10, 30:38, 30:40], mask[40:50, 30:38, 30:40] = LIVER, SPLEEN
    finding = stays(mask, "liver lies 150.0 mm to the patient's left of spleen")
    # Centres at voxel 7 and 44.5 of 4 mm.
    assert (finding.value, finding.limit) == (-150.0, 0.0)
    assert "situs inversus" in finding.message


def test_one_kidney_and_one_with_a_speck_far_away_have_no_side():
    assert stays(kidneys(RIGHT_BOX), "a single one or two that are joined").value == 0
    finding = stays(kidneys(RIGHT_BOX, np.s_[5:8, 10:15, 10:25]), "there is one large piece")
    # 3·5·15 of 15·15·25 voxels.
    assert (finding.value, finding.limit) == (0.04, 0.1)


def test_a_horseshoe_kidney_has_no_side():
    stays(kidneys(LEFT_BOX, RIGHT_BOX, np.s_[20:35, 14:18, 10:13]), "fused, or by a tumor")


def test_a_tumor_that_joins_both_leaves_them_without_a_side():
    mask = kidneys()
    mask[20:35, 14:18, 10:13] = TUMOR
    stays(mask, "fused, or by a tumor")


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        # One behind the other, one above the other, and two halves of one kidney.
        (
            (np.s_[20:35, 0:15, 5:20], np.s_[22:37, 20:35, 5:20]),
            "the room between its two largest parts is -",
        ),
        (
            (np.s_[20:35, 5:20, 0:15], np.s_[20:35, 5:20, 30:45]),
            "the room between its two largest parts is -",
        ),
        ((np.s_[20:26, 5:20, 5:30], np.s_[29:35, 5:20, 5:30]), "they may be of one side"),
        # 80 mm to the side and 120 mm down: a pelvic or crossed kidney.
        ((np.s_[10:26, 5:20, 0:15], np.s_[30:46, 5:20, 30:45]), "0.55 of their distance"),
    ],
)
def test_two_that_do_not_lie_clearly_side_by_side_have_no_side(boxes, words):
    stays(kidneys(*boxes), words)


def test_a_kidney_that_its_tumor_cuts_in_two_is_one_kidney():
    mask = kidneys(RIGHT_BOX, np.s_[5:20, 10:25, 10:18], np.s_[5:20, 10:25, 30:35])
    mask[5:20, 10:25, 18:30] = TUMOR
    after, _ = resolve(mask)
    expected = np.where(mask == PAIR, LEFT, mask)
    expected[RIGHT_BOX] = RIGHT
    assert np.array_equal(after, expected)


def test_a_kidney_in_two_large_pieces_near_each_other_is_one_and_far_from_each_other_is_in_doubt():
    upper, lower = np.s_[5:20, 10:25, 10:20], np.s_[5:20, 10:25, 22:32]
    after, _ = resolve(kidneys(RIGHT_BOX, upper, lower))
    assert (after[5:20] == LEFT).sum() == 2 * 15 * 15 * 10
    # 8 voxels of 4 mm apart: a third kidney, transplanted?
    stays(kidneys(RIGHT_BOX, np.s_[5:20, 10:25, 0:10], np.s_[5:20, 10:25, 18:28]), "3 large pieces")


def test_a_speck_follows_the_kidney_that_it_lies_at_and_stays_alone_in_the_middle_or_far_away():
    mask = kidneys()
    at_left, in_gap, far = (10, 10, 36), (27, 12, 12), (45, 10, 45)
    mask[at_left], mask[in_gap], mask[far] = PAIR, PAIR, PAIR
    after, findings = resolve(mask)
    assert (after[at_left], after[in_gap], after[far]) == (LEFT, PAIR, PAIR)
    assert (after == RIGHT).sum() == 15 * 15 * 25
    left_over = findings["side_unresolved"]
    # Two voxels of 4·4·4 mm.
    assert (left_over.value, left_over.limit) == (pytest.approx(0.128), 0)
    assert "0.128 ml in 2 pieces have no side beside right kidney and left kidney" in left_over.message


def test_a_source_that_says_one_side_and_not_the_other_is_left_as_it_is():
    mask = kidneys()
    mask[40:43, 10:13, 40:43] = RIGHT
    stays(mask, "have no side beside right kidney")


def test_adrenal_glands_are_told_apart_by_themselves():
    mask = kidneys(np.s_[18:21, 10:14, 40:44], np.s_[33:36, 10:14, 40:44], value=ADRENALS)
    after, _ = resolve(mask)
    assert (after[19, 11, 41], after[34, 11, 41]) == (LEFT_ADRENAL, RIGHT_ADRENAL)
    mask[LEFT_BOX] = mask[RIGHT_BOX] = PAIR
    after, findings = resolve(mask)
    assert sorted(np.unique(after).tolist()) == [0, RIGHT, RIGHT_ADRENAL, LEFT_ADRENAL, LEFT]
    assert list(findings) == ["side_from_geometry"]  # of the kidneys, which then bear the adrenal glands out


def test_an_oblique_scan_is_seen_along_the_patients_axis():
    turn = np.deg2rad(20)
    tilted = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = tilted * 4
    after, _ = resolve(kidneys(), affine)
    assert (after[RIGHT_BOX] == RIGHT).all()
    turn = np.deg2rad(60)
    affine[:2, :2] = 4 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    stays(kidneys(), "the room between its two largest parts is -", affine)


def test_all_48_orientations_of_one_mask_give_one_answer():
    mask = kidneys()
    mask[10, 10, 36] = mask[27, 12, 12] = PAIR
    expected, _ = resolve(mask)
    messages = set()
    for order, flips in itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    ):
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for axis, (was, flip) in enumerate(zip(order, flips, strict=True)):
            turn[was, axis], turn[was, 3] = flip, 0 if flip > 0 else SHAPE[was] - 1
        view = tuple(slice(None, None, flip) for flip in flips)
        after, findings = resolve(np.ascontiguousarray(mask.transpose(order)[view]), AFFINE @ turn)
        # Turned by the affine alone back to where it came from.
        turned = np.transpose(after[view], np.argsort(order))
        assert np.array_equal(turned, expected)
        messages.add((*findings, findings["side_unresolved"].value))
    assert len(messages) == 1


def test_a_mask_without_such_a_pair_is_the_same_object():
    runs = RunLengths.from_array(kidneys(RIGHT_BOX, value=RIGHT))
    sided = resolve_sides(runs, Geometry(SHAPE, AFFINE))
    assert (sided.runs is runs, sided.findings) == (True, ())
    assert resolve_sides(RunLengths.empty(SHAPE), Geometry(SHAPE, AFFINE)).findings == ()


def test_a_stored_mask_says_again_why_it_has_no_side():
    geometry = Geometry(SHAPE, AFFINE)
    mask = kidneys()
    mask[27, 12, 12] = PAIR
    sided = resolve_sides(RunLengths.from_array(mask), geometry)
    assert unresolved_sides(sided.runs, geometry) == [
        f for f in sided.findings if f.check == "side_unresolved"
    ]
    alone = RunLengths.from_array(kidneys(RIGHT_BOX))
    assert unresolved_sides(alone, geometry) == list(resolve_sides(alone, geometry).findings)
