"""What stands of the classes of a mask, packed into one number and unpacked again."""

import itertools

import pytest

from curation.class_states import STATES, ClassStates, unpack
from curation.labels import CLASS_IDS, ORGAN_IDS, TUMOR_ID
from curation.status import Origin, Status

LIVER, SPLEEN = 1, 3


def states(default: Status | Origin = Status.MISSING, **by_class: Status | Origin) -> ClassStates:
    given = {"liver": LIVER, "spleen": SPLEEN, "tumor": TUMOR_ID}
    found = dict.fromkeys(CLASS_IDS, default) | {given[name]: state for name, state in by_class.items()}
    return ClassStates(tuple(found.values()))


def test_no_rows_at_all_say_that_every_class_is_missing() -> None:
    assert unpack(0).states == (Status.MISSING,) * 14


def test_every_class_has_three_bits_of_its_own() -> None:
    # Place 3 is "original": 3 in the lowest bits for class 1, 4 ("pseudo") in the bits from 6 for class 3.
    assert unpack(3 + (4 << 6)).states[:4] == (
        Origin.ORIGINAL, Status.MISSING, Origin.PSEUDO, Status.MISSING,
    )  # fmt: skip
    for class_id, (place, state) in itertools.product(CLASS_IDS, enumerate(STATES)):
        assert unpack(place << 3 * (class_id - 1)).of(class_id) is state


@pytest.mark.parametrize(
    ("found", "strong"),
    [
        (states(Origin.ORIGINAL), True),
        (states(Origin.ORIGINAL, tumor=Status.MISSING), True),  # the tumor is no organ
        (states(Status.ABSENT, liver=Origin.CORRECTED), True),
        (states(Origin.ORIGINAL, spleen=Status.MISSING), False),
        (states(Origin.ORIGINAL, spleen=Origin.PSEUDO), False),
        (states(Origin.ORIGINAL, tumor=Origin.PSEUDO), True),
        (states(Status.ABSENT), False),  # nothing is drawn
        (states(Status.OUT_OF_FIELD, tumor=Origin.ORIGINAL), False),
    ],
)
def test_strong_is_complete_and_drawn_by_no_model(found: ClassStates, strong: bool) -> None:
    assert found.is_strong is strong


def test_a_class_of_an_origin_that_does_not_count_is_missing() -> None:
    found = states(Status.ABSENT, liver=Origin.ORIGINAL, spleen=Origin.PSEUDO, tumor=Status.MISSING)
    assert found.annotated == {LIVER, SPLEEN}
    assert found.missing() == {TUMOR_ID}
    raw = (Origin.ORIGINAL, Origin.CORRECTED)
    assert found.left_out(raw) == {SPLEEN}
    assert found.missing(raw) == {SPLEEN, TUMOR_ID}


def test_the_text_names_every_class_with_one_word() -> None:
    text = states(Status.ABSENT, liver=Origin.ORIGINAL).text
    assert text.startswith("liver original, right_kidney absent, spleen absent")
    assert len(text.split(", ")) == len(ORGAN_IDS) + 1
