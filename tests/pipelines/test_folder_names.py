"""A case may be called X_0000: what ends a name is a channel only where every file ends so."""

from pathlib import Path

import pytest

from pipelines.folders import find_cases


def touched(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("masks", "names"),
    [
        (("A_0000.nii.gz", "A_0001.nii.gz"), ["A_0000", "A_0001"]),  # numbers
        (("A_0000.nii.gz", "B_0000.nii.gz"), ["A", "B"]),  # nnU-Net's channel on every mask
    ],
)
def test_the_end_0000_is_a_channel_only_where_every_mask_has_it(tmp_path, masks, names):
    found = find_cases(touched(tmp_path / "labels", *masks), None)
    assert [case.name for case in found] == names


def test_case_number_0000_meets_its_image(tmp_path):
    labels = touched(tmp_path / "labels", "A_0000.nii.gz", "A_0001.nii.gz")
    images = touched(tmp_path / "images", "A_0000_0000.nii.gz", "A_0001_0000.nii.gz")
    first, _ = find_cases(labels, images)
    assert (first.name, len(first.masks), len(first.images)) == ("A_0000", 1, 1)
