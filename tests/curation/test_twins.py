"""Cases that are one are told of each other, and how bad that is depends on role and patient."""

import pytest

from curation.status import Severity
from curation.twins import Copy, Known, duplicate_images, duplicate_masks, grouped, patients_in_two_splits


def case(address: str, patient: str | None = None, role: str = "train") -> Known:
    return Known(address, address.split("/")[0], patient or address, role)


def copies(*cases: Known, exact: str = "v") -> list[Copy]:
    return [Copy(one, exact) for one in cases]


def test_each_of_equal_masks_names_the_others() -> None:
    found = duplicate_masks([copies(case("A/1"), case("A/2"), case("B/3"))])
    assert list(found) == ["A/1", "A/2", "B/3"]
    assert (found["A/2"].check, found["A/2"].severity, found["A/2"].value) == (
        "duplicate_mask", Severity.WARNING, 2.0,
    )  # fmt: skip
    assert found["A/2"].message == (
        "The mask is that of A/1 and B/3, voxel by voxel; if it is one patient, say so with `ingest --cases`, so "
        "that no split tears them apart."
    )


def test_more_than_three_others_are_counted() -> None:
    found = duplicate_masks([copies(*(case(f"A/{n}") for n in range(6)))])
    assert found["A/0"].message.startswith("The mask is that of A/1, A/2, A/3 and 2 more, voxel by voxel;")
    assert found["A/0"].value == 5.0


def test_other_axes_are_said_where_no_other_runs_along_the_same() -> None:
    turned = [Copy(case("A/1"), "v"), Copy(case("A/2"), "w"), Copy(case("A/3"), "w")]
    found = duplicate_masks([turned])
    assert "A/2 and A/3 along other axes, voxel by voxel" in found["A/1"].message
    assert "along other axes" not in found["A/2"].message


@pytest.mark.parametrize(
    ("other", "severity", "advice"),
    [
        (case("B/1"), Severity.WARNING, "if it is one patient, say so"),
        (case("B/1", patient="A/1"), Severity.INFO, "all are of one patient"),
        (case("B/1", role="test"), Severity.ERROR, "one is for training and one for testing"),
        (case("B/1", patient="A/1", role="test"), Severity.ERROR, "one is for training and one for testing"),
    ],
)
def test_a_copy_of_one_patient_is_an_info_and_one_that_is_tested_on_an_error(other, severity, advice) -> None:
    for found in (
        duplicate_masks([copies(case("A/1"), other)])["A/1"],
        *duplicate_images([copies(case("A/1"), other)])["A/1"],
    ):
        assert found.severity is severity
        assert advice in found.message


def test_an_image_in_two_sources_is_told_apart_from_one_twice_in_its_own() -> None:
    found = duplicate_images([copies(case("A/1"), case("A/2"), case("B/3"))])
    assert [(f.check, f.message.split(";")[0]) for f in found["A/1"]] == [
        ("duplicate_image", "The image is that of A/2"),
        ("image_in_two_sources", "The image is that of B/3"),
    ]
    assert [(f.check, f.value) for f in found["B/3"]] == [("image_in_two_sources", 2.0)]


def test_a_patient_to_train_and_to_test_on_is_an_error_on_both_sides() -> None:
    cases = [case("A/1", "P"), case("A/2", "P", "test"), case("B/3", "P", "test"), case("A/4", "Q", "test")]
    found = patients_in_two_splits(cases, [])
    assert sorted(found) == ["A/1", "A/2", "B/3"]
    assert (found["A/1"].check, found["A/1"].severity, found["A/1"].value) == (
        "patient_in_two_splits", Severity.ERROR, 2.0,
    )  # fmt: skip
    assert found["A/1"].message == (
        "The patient 'P' stands on both sides of a split: its role is 'train', and A/2 ('test') and B/3 ('test') are "
        "on the other side; give both one role with `ingest --cases`, or say that they are two patients."
    )
    assert "A/1 ('train') is on the other side" in found["B/3"].message


def test_a_patient_in_training_and_validation_of_a_dataset_is_told_with_its_name() -> None:
    members = [("all@2", "train", case("A/1", "P")), ("all@2", "val", case("A/2", "P"))]
    found = patients_in_two_splits([], [*members, ("raw@1", "train", case("A/1", "P"))])
    assert "in all@2 it is in 'val', and A/1 ('train') is on the other side; freeze" in found["A/2"].message
    assert (
        patients_in_two_splits([], [("all@2", "train", case("A/1", "P")), ("raw@1", "val", case("A/2", "P"))])
        == {}
    )


def test_groups_of_one_are_no_group() -> None:
    one, two = copies(case("A/1")), copies(case("A/2"), case("A/3"))
    assert grouped({"x": one, "y": two}) == [two]
