"""Which file is the mask and which the image of which case."""

from pathlib import Path

import pytest
from volume_files import boxes, write_volume

from curation.errors import UsageError
from pipelines.folders import find_cases, list_volumes


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(cases) -> dict[str, tuple[list[str], list[str]]]:
    return {c.name: ([p.name for p in c.masks], [p.name for p in c.images]) for c in cases}


def test_mask_and_image_in_two_folders_share_a_name(tmp_path):
    touch(tmp_path, "l/FLARE23_0001.nii.gz", "i/FLARE23_0001_0000.nii.gz", "i/FLARE23_0002_0000.nii.gz")
    assert names(find_cases(tmp_path / "l", tmp_path / "i")) == {
        "FLARE23_0001": (["FLARE23_0001.nii.gz"], ["FLARE23_0001_0000.nii.gz"]),
        "FLARE23_0002": ([], ["FLARE23_0002_0000.nii.gz"]),
    }


def test_mask_and_image_in_one_folder_are_told_apart_by_the_channel_suffix(tmp_path):
    touch(tmp_path, "A.nii.gz", "A_0000.nii.gz")
    assert names(find_cases(tmp_path, tmp_path)) == {"A": (["A.nii.gz"], ["A_0000.nii.gz"])}


def test_an_image_beside_its_mask_is_not_taken_for_a_mask(tmp_path):
    touch(tmp_path, "A.nii.gz", "A_0000.nii.gz")
    assert names(find_cases(tmp_path, None)) == {"A": (["A.nii.gz"], [])}


def test_where_all_files_are_called_alike_the_folder_is_the_name(tmp_path):
    touch(tmp_path, "case_0/segmentation.nii.gz", "case_0/imaging.nii.gz", "case_1/segmentation.nii.gz")
    assert names(find_cases(tmp_path, tmp_path)) == {
        "case_0": (["segmentation.nii.gz"], ["imaging.nii.gz"]),
        "case_1": (["segmentation.nii.gz"], []),
    }


def test_one_case_folder_alone_still_names_its_case(tmp_path):
    touch(tmp_path, "case_0/segmentation.nii.gz")
    assert list(names(find_cases(tmp_path, None))) == ["case_0"]


def test_a_source_pattern_says_which_file_is_the_mask(tmp_path):
    touch(tmp_path, "ct_flare13.nii.gz", "ct.nii.gz", "other.nii.gz")
    found = names(find_cases(tmp_path, None, mask_pattern="{case}_flare13.nii.gz"))
    assert found == {"ct": (["ct_flare13.nii.gz"], [])}


def test_a_source_pattern_may_name_the_case_by_its_folder(tmp_path):
    touch(tmp_path, "case_0/segmentation.nii.gz", "case_0/other.nii.gz")
    found = names(find_cases(tmp_path, None, mask_pattern="{case}/segmentation.nii.gz"))
    assert found == {"case_0": (["segmentation.nii.gz"], [])}


def test_files_sorted_anew_are_found_although_the_source_names_them_otherwise(tmp_path):
    touch(tmp_path, "case_0.nii.gz")
    assert list(names(find_cases(tmp_path, None, mask_pattern="{case}/segmentation.nii.gz"))) == ["case_0"]


def test_one_mask_file_and_one_image_file_are_a_pair_whatever_they_are_called(tmp_path):
    touch(tmp_path, "ct_flare13.nii.gz", "ct.nii.gz")
    found = names(find_cases(tmp_path / "ct_flare13.nii.gz", tmp_path / "ct.nii.gz"))
    assert found == {"ct": (["ct_flare13.nii.gz"], ["ct.nii.gz"])}


def test_two_masks_of_one_case_are_both_kept_for_the_caller_to_refuse(tmp_path):
    touch(tmp_path, "a/X.nii.gz", "b/X.nii", "b/Y.nii")
    assert names(find_cases(tmp_path, None))["X"][0] == ["X.nii.gz", "X.nii"]


def test_a_loop_of_links_is_not_followed(tmp_path):
    touch(tmp_path, "a/X.nii.gz")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert list(names(find_cases(tmp_path, None))) == ["X"]


@pytest.mark.parametrize("make", [False, True], ids=["absent", "empty"])
def test_an_absent_or_empty_folder_is_wrong_usage(tmp_path, make):
    folder = tmp_path / "labels"
    if make:
        folder.mkdir()
    with pytest.raises(UsageError, match=r"labels: (no such folder|holds no \.nii\.gz)"):
        find_cases(folder, None)


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        (("A_0000.nii.gz", "A_0001.nii.gz"), ["A_0000", "A_0001"]),  # numbers of the cases
        (("A_0000.nii.gz", "B_0000.nii.gz"), ["A", "B"]),  # nnU-Net's channel on every mask
    ],
)
def test_the_end_0000_is_a_channel_only_where_every_mask_has_it(tmp_path, masks, expected):
    assert list(names(find_cases(touch(tmp_path, *masks), None))) == expected


@pytest.mark.parametrize("folders", [("l", "i"), ("both", "both")])
def test_case_number_0000_meets_its_image(tmp_path, folders):
    labels, images = folders
    touch(tmp_path, f"{labels}/A_0000.nii.gz", f"{labels}/A_0001.nii.gz")
    touch(tmp_path, f"{images}/A_0000_0000.nii.gz", f"{images}/A_0001_0000.nii.gz")
    assert names(find_cases(tmp_path / labels, tmp_path / images))["A_0000"] == (
        ["A_0000.nii.gz"],
        ["A_0000_0000.nii.gz"],
    )


def test_linked_folders_are_followed_and_circles_are_not(tmp_path):
    write_volume(tmp_path / "disk" / "case_1" / "segmentation.nii.gz", boxes({1: 2}))
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "case_1").symlink_to(tmp_path / "disk" / "case_1")
    (tmp_path / "l" / "again").symlink_to(tmp_path / "l")
    assert list_volumes(tmp_path / "l", "masks") == [tmp_path / "l" / "case_1" / "segmentation.nii.gz"]
