"""The phantom generator: sides, organs, labels, and that a case is the same whenever it is drawn."""

from collections import Counter

import numpy as np
import pytest

from curation.errors import UsageError
from curation.labels import ORGAN_IDS, TUMOR_ID
from curation.phantom import label_plan, make_phantom, weak_labels

LIVER, RIGHT_KIDNEY, SPLEEN, AORTA, VENA_CAVA, STOMACH, LEFT_KIDNEY = 1, 2, 3, 5, 6, 11, 13
RIGHT_ADRENAL, LEFT_ADRENAL, GALLBLADDER = 7, 8, 9


@pytest.fixture(scope="module")
def cases():
    return [make_phantom(seed=3, index=i) for i in range(8)]


def centroid_mm(phantom, label):
    index = np.argwhere(phantom.organs == label).mean(0)
    return (phantom.affine @ [*index, 1])[:3]


def test_right_organs_lie_at_larger_x_in_ras(cases):
    for case in cases:
        x = {organ: centroid_mm(case, organ)[0] for organ in ORGAN_IDS}
        assert x[RIGHT_KIDNEY] > x[VENA_CAVA] > x[AORTA] > x[LEFT_KIDNEY]
        assert x[LIVER] > x[AORTA] > x[SPLEEN]
        assert x[RIGHT_ADRENAL] > x[AORTA] > x[LEFT_ADRENAL]
        assert x[GALLBLADDER] > x[STOMACH]


def test_kidneys_lie_behind_the_stomach_and_below_the_adrenals(cases):
    for case in cases:
        _, kidney_y, kidney_z = centroid_mm(case, LEFT_KIDNEY)
        assert kidney_y < centroid_mm(case, STOMACH)[1]
        assert kidney_z < centroid_mm(case, LEFT_ADRENAL)[2]


def test_every_organ_has_at_least_40_voxels_at_5_mm(cases):
    for case in cases:
        voxels = np.bincount(case.organs.ravel(), minlength=15)
        assert set(np.flatnonzero(voxels)) == {0, *ORGAN_IDS}
        assert voxels[list(ORGAN_IDS)].min() >= 40


def test_hu_of_air_fat_and_organs_are_those_of_a_contrast_ct(cases):
    for case in cases:
        corner_hu = np.median(case.image[:3, :3, :3])
        liver_hu = np.median(case.image[case.truth == LIVER])
        bile_hu = np.median(case.image[case.organs == GALLBLADDER])
        assert corner_hu == pytest.approx(-1000, abs=40)
        assert 60 < liver_hu < 160
        assert -10 < bile_hu < 45
        assert case.image.dtype == np.int16


def test_the_same_seed_and_index_give_the_same_voxels(cases):
    again = make_phantom(seed=3, index=5)
    assert np.array_equal(again.image, cases[5].image)
    assert np.array_equal(again.truth, cases[5].truth)
    assert np.array_equal(again.affine, cases[5].affine)


def test_no_two_cases_are_alike(cases):
    livers = {int((case.organs == LIVER).sum()) for case in cases}
    livers.add(int((make_phantom(seed=4, index=0).organs == LIVER).sum()))
    assert len(livers) == 9


def test_a_finer_grid_shows_the_same_patient():
    coarse, fine = make_phantom(3, 0, spacing_mm=6.0), make_phantom(3, 0, spacing_mm=4.0)
    # Voxel counts times voxel volume: 0.216 ml and 0.064 ml; the grids cut the border differently.
    coarse_ml, fine_ml = (coarse.organs == LIVER).sum() * 0.216, (fine.organs == LIVER).sum() * 0.064
    assert coarse_ml == pytest.approx(fine_ml, rel=0.03)
    assert centroid_mm(coarse, SPLEEN) == pytest.approx(centroid_mm(fine, SPLEEN), abs=2.0)


def test_lesions_grow_inside_organs_and_change_nothing_else_of_the_truth(cases):
    for case in cases:
        lesion = case.truth == TUMOR_ID
        assert lesion.any()
        assert (case.organs[lesion] > 0).all()
        assert np.array_equal(case.truth[~lesion], case.organs[~lesion])


def test_weak_labels_keep_only_the_named_classes(cases):
    labels = weak_labels(cases[0], (LIVER, SPLEEN, TUMOR_ID))
    assert set(np.unique(labels)) == {0, LIVER, SPLEEN, TUMOR_ID}
    assert np.array_equal(labels == TUMOR_ID, cases[0].truth == TUMOR_ID)


def test_strong_labels_are_the_organs_without_the_tumor(cases):
    assert np.array_equal(weak_labels(cases[0], None), cases[0].organs)


def test_without_the_tumor_class_lesion_voxels_belong_to_their_organ(cases):
    labels = weak_labels(cases[0], ORGAN_IDS)
    lesion = cases[0].truth == TUMOR_ID
    assert (labels[lesion] == cases[0].organs[lesion]).all()


def test_the_plan_of_2198_cases_has_flare23s_counts():
    # 888 + 10 + 455 + 597 + 26 + 222 = 2198: the two single cases with 9 and 11 labels are left out.
    lengths = Counter(13 if kept is None else len(kept) for kept in label_plan(2198, strong=0))
    assert lengths == {1: 888, 4: 10, 5: 455, 6: 597, 12: 26, 13: 222}


def test_a_small_plan_has_the_asked_strong_cases_and_shares_the_rest():
    # 20 weak cases; shares of 1976: tumor only 8.99, five 4.61, five and tumor 6.04, twelve 0.26, four 0.10.
    # Whole parts 8, 4, 6, 0, 0 leave two cases, which go to the largest remainders: 0.99 and 0.61.
    lengths = Counter(13 if kept is None else len(kept) for kept in label_plan(30, strong=10))
    assert lengths == {1: 9, 5: 5, 6: 6, 13: 10}


def test_more_strong_cases_than_cases_are_refused():
    with pytest.raises(UsageError, match="4 training cases cannot hold 5 strong ones"):
        label_plan(4, strong=5)
