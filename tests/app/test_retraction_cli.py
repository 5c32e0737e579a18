"""Retraction as a person types it: the dry run, the run, and what other commands say afterwards."""

import shutil

import numpy as np
import pytest
from test_cli import Cli
from volume_files import SHAPE, write_volume

LIVER, SPLEEN, PANCREAS = 1, 3, 4


def box(*boxes: tuple[int, int]) -> np.ndarray:
    """A mask with a cube of 27 voxels per (value, place)."""
    mask = np.zeros(SHAPE, np.uint8)
    for value, place in boxes:
        mask[1 + place * 3 : 4 + place * 3, 1:4, 2:5] = value
    return mask


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Cli:
    """S/A and S/B with a liver that was drawn and a spleen of M; dataset all@1 has them as members."""
    root = tmp_path_factory.mktemp("retraction")
    run = Cli(root / "w")
    run("init")
    for name in "AB":
        write_volume(root / "l" / f"{name}.nii.gz", box((LIVER, 0)))
        write_volume(root / "p" / f"{name}.nii.gz", box((SPLEEN, 1)))
    run("ingest", "--source", "S", "--labels", root / "l")
    run("predictions", "import", root / "p", "--model", "M")
    run("complement", "", "--model", "M")
    run("dataset", "freeze", "all", "complete or weak")
    return run


@pytest.fixture
def cli(made, tmp_path) -> Cli:
    """A copy of it, to be changed."""
    shutil.copytree(made.workspace, tmp_path / "w")
    return Cli(tmp_path / "w")


def test_a_dry_run_lists_what_descends_and_changes_nothing(made):
    text = made("retract", "model", "M", "--dry-run")
    for line in (
        "model M: nothing is changed by a dry run",
        "classes to be taken out of newest versions: 2",
        "  S/A@2: spleen",
        "versions that carry its labels: 2",
        "  S/B@2 (newest): spleen",
        "predictions: 2 (2 of M)",
        "datasets to be marked tainted: 1",
        "  all@1",
    ):
        assert line in text.splitlines()
    found = made.json("retract", "model", "M", "--dry-run")
    assert found["taken_out"] == [
        {"case": f"S/{name}", "version": 2, "classes": ["spleen"]} for name in ("A", "B")
    ]
    assert (found["datasets"], found["models"], found["left_in"]) == (["all@1"], [], [])
    assert made("cases", "pseudo spleen", "--count") == "2\n"


def test_a_retraction_makes_new_versions_and_is_told_everywhere(cli):
    found = cli.json("retract", "model", "M", "--reason", "trained on test cases")
    assert found["counts"] == {"datasets marked tainted": 1, "cases relabeled": 2}
    assert cli("cases", "missing spleen", "--count") == "2\n"
    assert [v["kind"] for v in cli.json("history", "A")["versions"]] == [
        "ingested", "complemented", "retracted",
    ]  # fmt: skip
    (row,) = cli.json("models", "list")["models"]
    assert row["retracted"].startswith("model M was retracted on ")
    assert row["retracted"].endswith("by Ada Tester (trained on test cases)")
    cli("complement", "", "--model", "M", rc=2)
    assert "model 'M' was retracted on" in cli.err
    assert cli("retract", "model", "M", "--reason", "again") == "retract: nothing to do\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("model", "M"), "say why with --reason"),
        (("run", "99", "--dry-run"), "there is no run 99"),
        (("revision", "S", "1999", "--dry-run"), "S has no revision '1999'; it has 2023"),
    ],
)
def test_what_cannot_be_retracted_says_what_can(made, words, complaint):
    made("retract", *words, rc=2)
    assert complaint in made.err


def test_a_run_a_prediction_and_a_revision_are_found_by_their_names(made):
    run = made.json("history", "A")["versions"][0]["run"]
    for words, title in (
        (("run", run), f"run {run} (ingest)"),
        (("prediction", "B", "--model", "M"), "prediction of M for S/B"),
        (("revision", "S", "2023"), "revision 2023 of S"),
    ):
        assert made.json("retract", *words, "--dry-run")["retract"] == title


def test_a_purge_is_looked_at_then_confirmed_and_leaves_a_tombstone(cli):
    before = sorted((cli.workspace / "store").glob("*/*.nii.gz"))
    text = cli("purge", "--patient", "S/A", "--dry-run")
    assert "  S/A" in text.splitlines()
    assert "  all@1" in text.splitlines()
    found = cli.json("purge", "--patient", "S/A", "--dry-run")
    assert found["cases"] == [{"case": "S/A", "purged_before": False}]
    # S/B is a copy of it: the mask, what came in and the prediction are the same bytes.
    assert (found["files"], found["kept_for_others"]) == (0, 4)
    cli("purge", "--patient", "S/A", "--reason", "consent withdrawn", rc=2)
    assert "say --yes" in cli.err
    assert sorted((cli.workspace / "store").glob("*/*.nii.gz")) == before
    cli("purge", "--patient", "S/A", "--reason", "consent withdrawn", "--yes")
    assert cli("purge", "--patient", "S/B", "--reason", "consent withdrawn", "--yes").startswith(
        "purge: 1 cases purged, 4 stored files deleted"
    )
    assert not list((cli.workspace / "store").glob("*/*.nii.gz"))
    for command in ("show", "history"):
        cli(command, "S/A", rc=2)
        assert "S/A was purged on " in cli.err
        assert "by Ada Tester (consent withdrawn); nothing of it is kept" in cli.err
    assert cli.json("verify", "--deep")["damage"] == []
    cli("purge", "--patient", "nobody", "--reason", "r", "--yes", rc=2)
    assert "no case is of patient 'nobody'" in cli.err
