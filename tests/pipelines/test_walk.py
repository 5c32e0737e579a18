"""Walking through folders: links are followed, circles are not, and what else lies there costs nothing."""

import errno
import os
from pathlib import Path

import pytest

from pipelines.folders import find_cases, list_foreign
from pipelines.walk import walk


def folder(path: Path, *names: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name in names:
        (path / name).touch()
    return path


def found(root: Path) -> dict[str, list[str]]:
    return {here.relative_to(root).as_posix(): sorted(names) for here, names in walk(root)}


def test_a_folder_that_is_linked_twice_is_walked_under_both_names(tmp_path):
    folder(tmp_path / "disk", "X")
    root = folder(tmp_path / "l")
    for name in ("a", "b"):
        (root / name).symlink_to(tmp_path / "disk")
    assert found(root) == {".": [], "a": ["X"], "b": ["X"]}


def test_two_folders_that_link_to_each_other_are_walked_once_by_each_way(tmp_path):
    folder(tmp_path / "p", "P")
    folder(tmp_path / "q", "Q")
    (tmp_path / "p" / "to_q").symlink_to(tmp_path / "q")
    (tmp_path / "q" / "to_p").symlink_to(tmp_path / "p")
    # p, through its link q, where the link back to p lies in p; then q itself, in which no link is followed again.
    assert found(tmp_path) == {".": [], "p": ["P"], "p/to_q": ["Q"], "q": ["Q"]}


def test_ten_folders_that_all_link_to_each_other_are_walked_once_per_link(tmp_path):
    for i in range(10):
        folder(tmp_path / f"f{i}", "X")
    for i in range(10):
        for j in set(range(10)) - {i}:
            (tmp_path / f"f{i}" / f"to{j}").symlink_to(tmp_path / f"f{j}")
    # 10! ways lead through them. The root, the folders themselves, and at most one more look for each of 90 links.
    assert 11 <= len([*walk(tmp_path)]) <= 101


@pytest.mark.parametrize("target", ["..", "../..", "/"])
def test_a_link_to_a_folder_above_the_root_is_not_followed(tmp_path, target):
    folder(tmp_path / "outside", "secret.nii.gz")
    root = folder(tmp_path / "l", "A.nii.gz")
    (root / "up").symlink_to(target)
    assert found(root) == {".": ["A.nii.gz"]}


def test_a_linked_folders_own_link_upwards_is_not_followed(tmp_path):
    folder(tmp_path / "set", "other.nii.gz")
    case = folder(tmp_path / "set" / "case_1", "X.nii.gz")
    (case / "all").symlink_to("..")
    root = folder(tmp_path / "l")
    (root / "case_1").symlink_to(case)
    assert found(root) == {".": [], "case_1": ["X.nii.gz"]}


def test_links_to_themselves_and_to_nowhere_are_files_for_their_reader_to_refuse(tmp_path):
    for name, target in (("loop", "loop"), ("gone", "nowhere")):
        (tmp_path / name).symlink_to(target)
    assert found(tmp_path) == {".": ["gone", "loop"]}


def deep_folder(root: Path) -> Path:
    """A folder whose path is longer than the 4,096 bytes that Linux takes: nobody can list it by its path."""
    before = os.open(root, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=before)
        here = os.open("d" * 250, os.O_RDONLY, dir_fd=before)
        os.close(before)
        before = here
    os.close(before)
    return root


def test_a_folder_that_cannot_be_read_is_reported_and_the_others_are_walked(tmp_path):
    deep_folder(folder(tmp_path / "deep"))
    folder(tmp_path / "z", "A.nii.gz")
    unreadable: list[OSError] = []
    assert (tmp_path / "z", ["A.nii.gz"]) in [*walk(tmp_path, unreadable)]
    assert [error.errno for error in unreadable] == [errno.ENAMETOOLONG]


def test_what_else_lies_in_a_folder_is_not_looked_at(tmp_path, monkeypatch):
    looked_at: list[object] = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **kw: looked_at.append(path) or stat(path, **kw))
    counts = []
    for many in (1, 1000):
        others = (f"slice_{i}.{ending}" for i in range(many) for ending in ("png", "json", "txt", "dcm"))
        root = folder(tmp_path / str(many), "A.nii.gz", "B.nii.gz", "C.nii.gz", *others)
        looked_at.clear()
        assert [case.name for case in find_cases(root, None)] == ["A", "B", "C"]
        assert len(list_foreign(root)) == 1  # all the DICOM slices in one line
        counts.append(len(looked_at))
    assert counts[0] == counts[1] < 10
