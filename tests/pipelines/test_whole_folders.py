"""Folders that appear whole or not at all, also when their maker is killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from curation.errors import UsageError
from pipelines.whole_folders import new_folder

FILL_FOR_EVER = """
import sys, time
from pathlib import Path
from pipelines.whole_folders import new_folder
with new_folder(Path(sys.argv[1])) as building:
    (building / "half").write_text("half")
    print("filling", flush=True)
    time.sleep(600)
"""


def start_filling(folder):
    child = subprocess.Popen([sys.executable, "-c", FILL_FOR_EVER, str(folder)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"filling\n"
    return child


def test_a_folder_appears_when_it_is_whole(tmp_path):
    with new_folder(tmp_path / "out") as building:
        (building / "a").write_text("a")
        assert not (tmp_path / "out").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "a"


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(IsADirectoryError), new_folder(tmp_path / "out") as building:
        building.write_text("a")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_hidden_and_cleared_by_the_next(tmp_path):
    child = start_filling(tmp_path / "out")
    child.send_signal(signal.SIGKILL)
    child.wait()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".out.unfinished-")
    with new_folder(tmp_path / "other"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["other"]


def test_a_folder_that_is_still_being_filled_is_left_alone(tmp_path):
    child = start_filling(tmp_path / "out")
    try:
        with new_folder(tmp_path / "other"):
            pass
        (left,) = tmp_path.glob(".out.unfinished-*")
        assert (left / "half").read_text() == "half"
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_what_stands_there_already_is_never_replaced(tmp_path, kind):
    target = tmp_path / "out"
    if kind == "folder":
        target.mkdir()
    elif kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="out: exists already; give a new folder"), new_folder(target):
        pass
    assert os.path.lexists(target)


def test_what_appears_meanwhile_is_not_replaced_either(tmp_path):
    with pytest.raises(UsageError, match="exists already"), new_folder(tmp_path / "out"):
        (tmp_path / "out").mkdir()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_parent_has_to_be_there(tmp_path):
    with (
        pytest.raises(UsageError, match="a: no such folder; make it first"),
        new_folder(tmp_path / "a" / "b"),
    ):
        pass


def test_many_at_once_do_not_clear_each_other_away(tmp_path):
    children = [start_filling(tmp_path / f"out{n}") for n in range(3)]
    try:
        time.sleep(0.1)
        assert len(list(tmp_path.glob(".out*.unfinished-*/half"))) == 3
    finally:
        for child in children:
            child.kill()
            child.wait()
