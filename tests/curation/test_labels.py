"""The label table is FLARE23's, and statuses follow from voxels and protocol."""

import re

import pytest

from curation.labels import (
    BY_NAME,
    CLASS_IDS,
    CLASS_NAMES,
    CLASSES,
    GROUPS,
    ORGAN_IDS,
    SIDED_PAIRS,
    UnknownClassError,
    find_class,
    is_reserved,
    resolve_class,
)
from curation.status import Evidence, Status, statuses

# Label order and NSD tolerances in mm of the FLARE23 evaluator, as the method's description gives them.
FLARE23 = [
    ("liver", 5),
    ("right_kidney", 3),
    ("spleen", 3),
    ("pancreas", 5),
    ("aorta", 2),
    ("inferior_vena_cava", 2),
    ("right_adrenal_gland", 2),
    ("left_adrenal_gland", 2),
    ("gallbladder", 2),
    ("esophagus", 3),
    ("stomach", 5),
    ("duodenum", 7),
    ("left_kidney", 3),
    ("tumor", 2),
]


def test_order_and_tolerances_are_those_of_the_flare23_evaluator():
    assert [(c.name, c.tolerance_mm) for c in CLASSES] == FLARE23
    assert tuple(range(1, 15)) == CLASS_IDS


def test_the_groups_of_the_query_language():
    assert tuple(range(1, 14)) == ORGAN_IDS
    assert GROUPS == {
        "organ": ORGAN_IDS,
        "kidney": (2, 13),
        "adrenal": (7, 8),
        "vessel": (5, 6),
        "class": CLASS_IDS,
    }
    assert SIDED_PAIRS == ((2, 13), (7, 8))


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("IVC", "inferior_vena_cava"),
        ("RK", "right_kidney"),
        ("lesion", "tumor"),
        ("Left kidney", "left_kidney"),
        ("left-kidney", "left_kidney"),
        (" LIVER ", "liver"),
        ("postcava", "inferior_vena_cava"),
        ("oesophagus", "esophagus"),
    ],
)
def test_a_class_is_found_by_name_title_or_alias(word, name):
    assert resolve_class(word) is BY_NAME[name]


def test_no_word_means_two_classes():
    words = [word for c in CLASSES for word in {c.name, c.title.lower(), *c.aliases}]
    assert len(words) == len(set(words))


def test_an_unknown_class_is_answered_with_the_nearest_or_with_all():
    with pytest.raises(UnknownClassError) as caught:
        resolve_class("pancraes")
    assert str(caught.value) == "unknown class 'pancraes': did you mean 'pancreas'?"
    with pytest.raises(UnknownClassError) as caught:
        resolve_class("xyz")
    assert str(caught.value) == f"unknown class 'xyz'; classes are {', '.join(CLASS_NAMES)}"
    assert find_class("kidney") is None  # a pair or a group, not a class


def test_colors_are_distinct_and_well_formed():
    colors = [c.color for c in CLASSES]
    assert len(set(colors)) == 14
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in colors)


def test_reserved_values_are_200_to_239_and_255():
    assert [value for value in range(256) if is_reserved(value)] == [*range(200, 240), 255]


def test_voxels_make_a_class_annotated_whatever_the_protocol():
    assert statuses({1: 5}, None)[1] == (Status.ANNOTATED, Evidence.VOXELS)
    assert statuses({1: 5}, [2])[1] == (Status.ANNOTATED, Evidence.VOXELS)


def test_without_voxels_the_protocol_makes_the_difference():
    found = statuses({1: 5, 2: 0}, protocol=[1, 2])
    assert found[2] == (Status.ABSENT, Evidence.PROTOCOL)
    assert found[3] == (Status.MISSING, Evidence.DEFAULT)
    assert list(found) == list(CLASS_IDS)
    assert statuses({}, None) == dict.fromkeys(CLASS_IDS, (Status.MISSING, Evidence.DEFAULT))


def test_sides_of_an_unresolved_pair_are_missing_even_inside_the_protocol():
    # KiTS: both kidneys share one value, kidneys and tumors were looked for.
    found = statuses({200: 900}, protocol=[2, 13, 14])
    assert found[2] == found[13] == (Status.MISSING, Evidence.UNRESOLVED_SIDE)
    assert found[14] == (Status.ABSENT, Evidence.PROTOCOL)
    assert found[7] == (Status.MISSING, Evidence.DEFAULT)


def test_a_side_that_is_drawn_beside_an_unresolved_pair_is_annotated():
    found = statuses({200: 900, 13: 4}, protocol=None)
    assert found[13] == (Status.ANNOTATED, Evidence.VOXELS)
    assert found[2] == (Status.MISSING, Evidence.UNRESOLVED_SIDE)
