"""Review and correction as a person types them: the list, decisions, a correction, a revert, and what is refused."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from test_cli import Cli
from volume_files import AFFINE, SHAPE, write_image, write_volume

LIVER, SPLEEN, TUMOR = 1, 3, 14


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with S/A: a liver in two pieces, and in version 2 a spleen and a tumor of M, 8 voxels each."""
    root = tmp_path_factory.mktemp("review")
    run = Cli(root / "w")
    run("init")
    mask = np.zeros(SHAPE, np.uint8)
    mask[7:9, 1:3, 1:3] = LIVER
    mask[7:9, 6:8, 5:7] = LIVER
    write_volume(root / "l" / "A.nii.gz", mask)
    write_image(root / "i" / "A_0000.nii.gz")
    run("ingest", "--source", "S", "--labels", root / "l", "--images", root / "i")
    mask[2:4, 2:4, 2:4] = SPLEEN
    mask[2:4, 6:8, 2:4] = TUMOR
    write_volume(root / "p" / "A.nii.gz", mask)
    run("predictions", "import", root / "p", "--model", "M")
    run("complement", "", "--model", "M")
    return root / "w"


@pytest.fixture
def cli(made: Path, tmp_path: Path) -> Cli:
    """A copy of that workspace, to be changed."""
    shutil.copytree(made, tmp_path / "w")
    return Cli(tmp_path / "w")


def test_a_review_from_the_list_to_nothing_left(cli):
    found = cli.json("review", "list")
    assert found["count"] == 3
    # Tumor: 15 and 1, and 10 because nobody drew one; liver in two pieces: 25; spleen: 1 and 10.
    assert [(i["class"], i["points"]) for i in found["items"]] == [
        ("tumor", 26),
        ("liver", 25),
        ("spleen", 11),
    ]
    (liver,) = [i for i in found["items"] if i["class"] == "liver"]
    assert (liver["findings"][0]["check"], liver["reasons"][0]["limit"]) == ("organ_in_pieces", 0.98)
    text = cli("review", "list", "--limit", "2")
    assert text.splitlines()[0] == "  1.  26.0  S/A@2  tumor (pseudo, M)"
    assert "      +1.0  pseudo label: nobody has accepted it yet" in text
    assert text.splitlines()[-1] == "2 of 3 that may want eyes"

    assert cli("review", "accept", "S/A@2", "spleen") == "S/A@2: accepted spleen\n"
    assert "accepted before; nothing is booked" in cli("review", "accept", "S/A", "spleen")
    dismissed = cli("review", "dismiss", "S/A", "organ_in_pieces", "--reason", "resected")
    assert dismissed == "S/A: organ_in_pieces of liver dismissed\n"
    rejected = cli("review", "reject", "S/A", "lesion", "--reason", "a cyst")
    assert rejected == "S/A@3: rejected tumor; taken out: 8 voxels of tumor\n"
    assert cli.json("review", "list")["count"] == 0
    assert cli.json("review", "absent", "S/A", "gallbladder", "tumor", "--reason", "seen")["version"] == 4

    shown = cli.json("show", "S/A")
    assert [(d["class"], d["verdict"], d["model"]) for d in shown["decisions"]] == [
        ("spleen", "accepted", "M"),
        ("gallbladder", "absent", None),
        ("tumor", "rejected", "M"),
        ("tumor", "absent", None),
    ]
    assert "accepted spleen (drawn by M): Ada Tester" in cli("show", "S/A")
    assert cli("cases", "accepted spleen and absent gallbladder", "--count") == "1\n"


def test_accepting_over_a_query_counts_first(cli):
    words = ("review", "accept", "--query", "pseudo spleen", "spleen", "--reason", "seen")
    text = cli(*words, "--dry-run")
    assert text == "would accept 1 drawings in 1 cases; 0 were accepted before, 0 are not drawn\n"
    assert cli.json(*words)["accepted"] == 1
    assert cli.json(*words) == {
        "schema": 1, "dry_run": False, "cases": 0, "accepted": 0, "already": 1, "not_drawn": 0,
    }  # fmt: skip


def test_a_correction_goes_out_and_comes_back(cli, tmp_path):
    mask_file = tmp_path / "out" / "A_mask.nii.gz"
    told = cli("checkout", "S/A", tmp_path / "out", "--for", "itksnap")
    slicer = cli.json("checkout", "S/A", tmp_path / "slicer", "--for", "slicer")
    assert (slicer["case"], slicer["labels"]) == ("S/A@2", str(tmp_path / "slicer" / "A_labels.ctbl"))
    assert f'take back: maskledger correct S/A@2 {mask_file} --reason "…"' in told
    mask = np.asarray(nib.load(mask_file).dataobj).copy()
    mask[4, 2:4, 2:4] = SPLEEN
    mask[mask == TUMOR] = 0
    write_volume(mask_file, mask, AFFINE)
    words = ("correct", "S/A@2", mask_file, "--reason", "spleen too small, no tumor")
    dry = cli.json(*words, "--dry-run")
    assert (dry["version"], dry["corrected"], dry["erased"]) == (None, ["spleen"], {"tumor": "M"})
    text = cli(*words)
    assert text.splitlines()[0] == "S/A@3: is corrected: spleen"
    assert "tumor was erased altogether: it is missing now; M does not fill it again." in text
    assert 'maskledger review absent S/A tumor --reason "…"' in text
    cli(*words, rc=3)
    assert "S/A@2: is no longer the newest (3 corrected by Ada Tester), and nothing is written" in cli.err
    assert cli(*words, "--merge") == "S/A@3: no voxel differs; nothing is written\n"
    assert cli.json("history", "S/A")["versions"][-1]["kind"] == "corrected"

    assert cli("revert", "S/A@2", "--reason", "was right", "--parent", "3").startswith(
        "S/A@4: as version 2 was"
    )
    cli("revert", "S/A@1", "--reason", "again", "--parent", "3", rc=3)
    assert "the newest version is 4, not 3" in cli.err


@pytest.mark.parametrize(
    ("words", "rc", "complaint"),
    [
        (("review", "accept", "S/A", "livr"), 2, "unknown class 'livr': did you mean"),
        (("review", "accept", "S/A", "gallbladder"), 2, "nothing drawn to accept"),
        (("review", "accept", "S/A"), 2, "say which class"),
        (("review", "accept", "S/A", "liver", "--dry-run"), 2, "--dry-run counts what --query finds"),
        (("review", "accept", "--query", "all", "liver"), 2, "say why"),
        (("review", "reject", "S/A", "liver", "--reason", ""), 2, "say why"),
        (("review", "reject", "S/A", "liver"), 2, "Missing option '--reason'"),
        (("review", "dismiss", "S/A", "--reason", "x"), 2, "name the finding"),
        (("review", "dismiss", "S/A", "--id", "99", "--reason", "x"), 2, "has no finding 99"),
        (("review", "list", "missing livr"), 2, "unknown class 'livr' at column 9"),
        (("checkout", "S/A", "out", "--for", "paint"), 2, "neither 'itksnap' nor 'slicer'"),
        (("correct", "S/A", "none.nii.gz", "--reason", "x"), 2, "none.nii.gz: No such file"),
        (("revert", "S/A", "--reason", "x"), 2, "say which version"),
    ],
)
def test_wrong_usage_says_what_is_right(cli, words, rc, complaint):
    cli(*words, rc=rc)
    assert complaint in " ".join(cli.err.replace("│", " ").split())
    assert "Traceback" not in cli.err


def test_json_of_the_list_is_one_object_with_its_schema(cli):
    assert json.loads(cli("review", "list", "--json"))["schema"] == 1
