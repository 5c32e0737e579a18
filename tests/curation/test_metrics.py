"""DSC and NSD by the FLARE23 protocol, on masks small enough to count by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from curation.errors import GridError, UsageError
from curation.geometry import Geometry
from curation.labels import CLASS_IDS
from curation.metrics import Score, Summary, agreement, dice, score, summarise
from curation.rle import RunLengths

LIVER, SPLEEN, PANCREAS, AORTA, ESOPHAGUS, TUMOR = 1, 3, 4, 5, 10, 14
SHAPE = (10, 10, 12)


def volume(*boxes: tuple[int, tuple[int, int, int], tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Boxes of (label value, low corner, high corner exclusive) on (X, Y, Z) of `SHAPE`."""
    array = np.zeros(SHAPE, np.uint8)
    for value, (x0, y0, z0), (x1, y1, z1) in boxes:
        array[x0:x1, y0:y1, z0:z1] = value
    return array


def grid(spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Geometry:
    return Geometry(SHAPE, np.diag([*spacing_mm, 1.0]))


def scored(reference: NDArray[np.uint8], prediction: NDArray[np.uint8], geometry=None, **how):
    runs = RunLengths.from_array(reference), RunLengths.from_array(prediction)
    return score(*runs, geometry or grid(), **how)


def test_two_cubes_shifted_by_one_voxel():
    # 4³ = 64 voxels each, 3 · 16 = 48 shared: 2 · 48 / 128. One millimetre is within the liver's 5 mm.
    found = scored(volume((LIVER, (1, 1, 1), (5, 5, 5))), volume((LIVER, (2, 1, 1), (6, 5, 5))))
    assert found[LIVER] == Score(0.75, 1.0)


def test_thick_slices_take_the_shift_out_of_the_tolerance():
    # The same along z with slices of 6 mm. Only the outer z faces lie beyond 3 mm (spleen) of the other surface:
    # 9 corners of 1 mm², 12 on edges with |(½, 3)|, 4 with |(1, 6, 6)|/8; see test_surface.py.
    face = 9 + 12 * math.hypot(0.5, 3) + 4 * math.sqrt(73) / 8
    cube = 2 * face + 4 * 9 * 6 + 12 * math.hypot(3, 3)
    found = scored(
        volume((SPLEEN, (1, 1, 1), (5, 5, 5))), volume((SPLEEN, (1, 1, 2), (5, 5, 6))), grid((1.0, 1.0, 6.0))
    )
    assert found[SPLEEN] == Score(0.75, round(1 - face / cube, 4))


def test_all_classes_are_scored_and_empty_against_empty_is_perfect():
    found = scored(volume(), volume())
    assert found == dict.fromkeys(CLASS_IDS, Score(1.0, 1.0))


def test_a_class_in_one_mask_only_scores_nothing():
    drawn = volume((LIVER, (1, 1, 1), (5, 5, 5)), (AORTA, (6, 6, 2), (8, 8, 3)))
    assert scored(drawn, volume())[LIVER] == Score(0.0, 0.0)
    assert scored(volume(), drawn)[LIVER] == Score(0.0, 0.0)
    # Of one slice the slice rule leaves nothing, but a missed aorta is missed all the same.
    assert scored(drawn, volume())[AORTA] == Score(0.0, 0.0)


def test_classes_do_not_leak_into_each_other_and_reserved_values_are_background():
    liver = (LIVER, (1, 1, 1), (5, 5, 5))
    reference = volume(liver, (200, (6, 6, 6), (8, 8, 8)), (255, (0, 0, 0), (1, 1, 1)))
    prediction = volume(liver, (TUMOR, (6, 6, 6), (8, 8, 8)))
    found = scored(reference, prediction)
    assert found[LIVER] == Score(1.0, 1.0)
    assert found[TUMOR] == Score(0.0, 0.0)
    assert set(found) == set(CLASS_IDS)


def test_the_surface_counts_nothing_below_a_dsc_of_a_fifth():
    # 10 voxels against 1 · 10: overlap 1 gives 2/11 = 0.18, overlap with 9 of them 2/10 = 0.2 exactly.
    def line(length):
        return volume((LIVER, (0, 0, 0), (length, 1, 1)))

    one = volume((LIVER, (0, 0, 0), (1, 1, 1)))
    assert scored(line(10), one)[LIVER] == Score(0.1818, 0.0)
    assert scored(line(9), one)[LIVER].dsc == 0.2
    assert scored(line(9), one)[LIVER].nsd > 0


@pytest.mark.parametrize("class_id", [AORTA, 6, ESOPHAGUS])
def test_vessels_and_esophagus_count_only_on_the_references_slices(class_id):
    reference = volume((class_id, (4, 4, 3), (7, 7, 7)))  # slices 3 to 6
    longer = volume((class_id, (4, 4, 0), (7, 7, 12)))
    assert scored(reference, longer)[class_id] == Score(1.0, 1.0)
    # The highest slice of the reference is left out, so what is predicted there does not count either.
    shorter = volume((class_id, (4, 4, 3), (7, 7, 6)))
    assert scored(reference, shorter)[class_id] == Score(1.0, 1.0)
    # The lowest counts: 2 · 18 / (27 + 18) = 0.8.
    later = volume((class_id, (4, 4, 4), (7, 7, 7)))
    assert scored(reference, later)[class_id].dsc == 0.8


def test_a_reference_on_one_slice_leaves_nothing_to_compare():
    reference = volume((AORTA, (4, 4, 3), (7, 7, 4)))
    prediction = volume((AORTA, (0, 0, 3), (2, 2, 4)))
    assert scored(reference, prediction)[AORTA] == Score(1.0, 1.0)


def test_other_classes_count_on_every_slice():
    reference = volume((PANCREAS, (4, 4, 3), (7, 7, 7)))
    longer = volume((PANCREAS, (4, 4, 0), (7, 7, 12)))
    # 4 of 12 slices: 2 · 4 / (4 + 12).
    assert scored(reference, longer)[PANCREAS].dsc == 0.5


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("flipped", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_the_score_does_not_depend_on_how_the_file_lies(axes, flipped):
    # Not symmetric along any axis, so a wrong slice rule shows: slices 3 to 8, of which 8 is left out.
    reference = volume((AORTA, (1, 2, 3), (4, 6, 9)), (LIVER, (5, 1, 2), (9, 5, 6)))
    prediction = volume((AORTA, (1, 2, 5), (4, 5, 12)), (LIVER, (5, 2, 2), (8, 5, 8)))
    ras = grid((1.0, 2.0, 3.0))
    # By hand for the aorta on slices 3 to 7: 3·4·5 = 60 against 3·3·3 = 27, all of it shared.
    assert scored(reference, prediction, ras)[AORTA].dsc == round(2 * 27 / 87, 4)

    affine = ras.affine.copy()
    for axis in flipped:
        affine[:3, 3] += affine[:3, axis] * (SHAPE[axis] - 1)
        affine[:3, axis] *= -1
    turned = [np.flip(array, flipped).transpose(axes) for array in (reference, prediction)]
    affine[:, :3] = affine[:, list(axes)]
    geometry = Geometry(turned[0].shape, affine)
    assert scored(*turned, geometry) == scored(reference, prediction, ras)


def test_known_scores_only_the_classes_somebody_looked_for():
    drawn = volume((LIVER, (1, 1, 1), (5, 5, 5)))
    found = scored(drawn, drawn, protocol="known", known={TUMOR, LIVER})
    assert found == {LIVER: Score(1.0, 1.0), TUMOR: Score(1.0, 1.0)}


def test_wrong_requests_are_refused():
    drawn = volume()
    with pytest.raises(UsageError, match="unknown protocol 'flare22': protocols are flare23, known"):
        scored(drawn, drawn, protocol="flare22")
    with pytest.raises(UsageError, match="say which"):
        scored(drawn, drawn, protocol="known")
    with pytest.raises(GridError):
        score(RunLengths.empty((2, 2, 2)), RunLengths.empty((2, 2, 3)), grid())


def test_dice_and_agreement_of_chosen_values():
    a = RunLengths.from_array(volume((LIVER, (0, 0, 0), (4, 1, 1)), (200, (0, 1, 0), (4, 2, 1))))
    b = RunLengths.from_array(volume((LIVER, (3, 0, 0), (5, 1, 1)), (SPLEEN, (0, 1, 0), (4, 2, 1))))
    assert dice(a, b, LIVER) == pytest.approx(2 * 1 / (4 + 2))
    assert dice(a, b, PANCREAS) == 1.0
    assert agreement(a, b, (LIVER, SPLEEN)) == {LIVER: pytest.approx(1 / 3), SPLEEN: 0.0}


def test_summary_is_mean_and_population_deviation_per_class():
    cases = [
        {LIVER: Score(0.9, 1.0), SPLEEN: Score(0.5, 0.25)},
        {LIVER: Score(0.7, 0.5)},
    ]
    assert summarise(cases) == {
        LIVER: Summary(2, pytest.approx(0.8), pytest.approx(0.1), 0.75, 0.25),
        SPLEEN: Summary(1, 0.5, 0.0, 0.25, 0.0),
    }
    assert summarise([]) == {}
