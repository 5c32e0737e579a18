"""Folders with one file per class, as a person types it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner
from volume_files import write_volume

from app.cli import app

MAPPING = """source = "Parts"
[values]
1 = "liver"
2 = "tumor"
[parts]
priority = ["tumor"]
1 = "liver.nii.gz"
2 = "lesion_*.nii.gz"
"""


def bar(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((12, 10, 8), np.uint8)
    mask[start:stop, 5, 4] = 1
    return mask


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKLEDGER_WORKSPACE", str(tmp_path / "w"))
    monkeypatch.setenv("MASKLEDGER_AUTHOR", "Ada Tester")
    folder = tmp_path / "masks" / "s1" / "segmentations"
    write_volume(folder / "liver.nii.gz", bar(1, 9))
    write_volume(folder / "lesion_1.nii.gz", bar(3, 5))
    (tmp_path / "ours.toml").write_text(MAPPING)

    def call(*words: str):
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    call("init")
    return call


def test_show_tells_overlaps_of_files_in_the_words_of_files_and_a_merge_in_those_of_a_merge(run, tmp_path):
    ours = str(tmp_path / "ours.toml")
    words = ("ingest", "--source", "Parts", "--labels", str(tmp_path / "masks"), "--mapping", ours)
    run(*words)
    shown = [" ".join(line.split()) for line in run("show", "Parts/s1").stdout.splitlines()]
    start = shown.index("conflicts: voxels that two of the case's files claim")
    # Two voxels of 2×2×2.5 mm.
    assert shown[start + 1] == "stands turned away which voxels ml"
    assert shown[start + 3] == "tumor liver claimed it, too 2 0.02"

    write_volume(tmp_path / "masks" / "s1" / "segmentations" / "lesion_2.nii.gz", bar(7, 9))
    run(*words)
    assert "the two sides of the merge, or two files of the case, disagreed" in run("show", "Parts/s1").stdout


def test_a_mapping_shows_its_files_in_the_order_that_decides(run, tmp_path):
    ours = str(tmp_path / "ours.toml")
    assert (
        "parts       lesion_*.nii.gz, liver.nii.gz; of two that claim"
        in run("source", "show-mapping", ours).stdout
    )
    assert json.loads(run("source", "show-mapping", ours, "--json").stdout)["parts"] == [
        {"value": 2, "file": "lesion_*.nii.gz"},
        {"value": 1, "file": "liver.nii.gz"},
    ]
