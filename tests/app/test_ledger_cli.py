"""history, diff, blame and checkout as a person types them."""

import nibabel as nib
import numpy as np
import pytest
from test_cli import Cli
from volume_files import SHAPE, write_image, write_volume

LIVER, SPLEEN, TUMOR = 1, 3, 14


@pytest.fixture(scope="module")
def cli(tmp_path_factory) -> Cli:
    """S/A: 1 a liver of 64 voxels, 2 a revision with 8 of them as tumor, 3 a spleen of 9 by model M; C an image."""
    root = tmp_path_factory.mktemp("ledger")
    run = Cli(root / "w")
    run("init")
    mask, spleen = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    mask[1:5, 1:5, 1:5] = LIVER
    spleen[6:9, 6:9, 6] = SPLEEN
    for name in "AC":
        write_image(root / "i" / f"{name}_0000.nii.gz")
    for revision in ("2019", "2023"):
        write_volume(root / "l" / "A.nii.gz", mask)
        run("ingest", "--source", "S", "--labels", root / "l", "--images", root / "i", "--revision", revision,
            "-m", f"as of {revision}")  # fmt: skip
        mask[2:4, 2:4, 2:4] = TUMOR
    write_volume(root / "p" / "A.nii.gz", spleen)
    run("predictions", "import", root / "p", "--model", "M")
    run("complement", "missing spleen", "--model", "M")
    return run


def test_history_shows_parent_revision_run_and_message(cli):
    found = cli.json("history", "A")["versions"]
    assert [(v["version"], v["parent"], v["kind"], v["revision"], v["restores"]) for v in found] == [
        (1, None, "ingested", "2019", None),
        (2, 1, "ingested", "2023", None),
        (3, 2, "complemented", None, None),
    ]
    assert all(v["run"] for v in found)
    rows = [line.split() for line in cli("history", "A").splitlines()]
    assert rows[1][:3] == ["version", "from", "kind"]
    assert rows[4][:3] == ["2", "1", "ingested"]
    assert rows[4][-3:] == ["as", "of", "2023"]


def test_diff_json_has_the_documented_form(cli):
    found = cli.json("diff", "S/A@1", "S/A@2")
    assert (found["from"], found["to"]) == ("S/A@1", "S/A@2")
    # 8 of 64 liver voxels of 0.01 ml became tumor: Dice 2·56 / (64 + 56).
    liver, tumor = found["classes"]["liver"], found["classes"]["tumor"]
    assert liver == {
        "gained_voxels": 0,
        "lost_voxels": 8,
        "gained_ml": 0.0,
        "lost_ml": pytest.approx(0.08),
        "dice": pytest.approx(112 / 120),
        "origin": ["original", "original"],
        "status": ["annotated", "annotated"],
        "by": [None, None],
    }
    assert (tumor["gained_voxels"], tumor["dice"]) == (8, 0.0)
    assert (tumor["origin"], tumor["status"]) == ([None, "original"], ["missing", "annotated"])
    assert list(found["classes"]) == ["liver", "tumor"]
    assert found["reserved"] == {}


def test_diff_prints_a_line_per_class_that_differs_and_a_sentence_where_none_does(cli):
    rows = [line.split() for line in cli("diff", "A").splitlines()]  # the newest against its parent
    assert ["spleen", "missing", "pseudo", "M", "9", "0", "0.09", "0.00", "0.0000"] in rows
    assert "nothing differs" in cli("diff", "A@2", "A@2")


def test_diff_draws_a_picture_and_refuses_to_overwrite_it(cli, tmp_path):
    file = tmp_path / "a.png"
    assert f"{file}: drawn" in cli("diff", "A@1", "A@3", "--png", file)
    drawn = file.read_bytes()
    assert drawn.startswith(b"\x89PNG")
    cli("diff", "A@1", "A@2", "--png", file, rc=2)
    assert "exists already" in cli.err
    assert file.read_bytes() == drawn
    assert cli.json("diff", "A@1", "A@2", "--png", file, "--force")["classes"]
    assert file.read_bytes() != drawn


@pytest.mark.parametrize(
    ("words", "rc", "complaint"),
    [
        (("diff", "A@1"), 2, "S/A@1: is the first version"),
        (("diff", "A@1", "C"), 2, "S/A and S/C are two cases"),
        (("diff", "A@1", "A@9"), 2, "S/A has versions 1 to 3, no version '9'"),
        (("diff", "A", "--png", "nowhere/a.png"), 2, "nowhere: no such folder"),
        (("diff", "A@1", "A@1", "--png", "same.png"), 2, "no voxel differs"),
        (("blame", "C"), 3, "S/C@1: has an image but no mask"),
        (("blame", "A@4"), 2, "S/A has versions 1 to 3, no version '4'"),
        (("blame", "A", "--out", "who.png"), 2, "is written as .nii.gz"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(cli, words, rc, complaint):
    cli(*words, rc=rc)
    assert complaint in cli.err
    assert "Traceback" not in cli.err


def test_blame_tells_class_by_class_who_drew_how_much(cli):
    found = cli.json("blame", "A")
    assert (found["case"], found["version"]) == ("S/A", 3)
    who = {entry["value"]: (entry["version"], entry["kind"], entry["who"]) for entry in found["legend"]}
    assert who == {
        1: (1, "ingested", "S 2019"),
        2: (2, "ingested", "S 2023"),
        3: (3, "complemented", "M"),
    }
    voxels = {name: [(s["value"], s["voxels"]) for s in rows] for name, rows in found["classes"].items()}
    assert voxels == {"liver": [(1, 56)], "spleen": [(3, 9)], "tumor": [(2, 8)]}
    rows = [line.split() for line in cli("blame", "A").splitlines()]
    run = str(found["legend"][2]["run"])
    assert ["spleen", "3", "complemented", "pseudo", "M", run, "9", "0.09", "100.0", "%", "3"] in rows


def test_blame_writes_a_label_map_with_its_legend(cli, tmp_path):
    text = cli("blame", "A@2", "--out", tmp_path / "who.nii.gz")
    assert "who.legend.csv, who.label.txt, who.ctbl" in text
    who = np.asarray(nib.load(tmp_path / "who.nii.gz").dataobj)
    assert [int((who == value).sum()) for value in (1, 2)] == [56, 8]
    assert '"@2 ingested, original by S 2023' in (tmp_path / "who.label.txt").read_text()
    cli("blame", "A@2", "--out", tmp_path / "who.nii.gz", rc=2)
    assert "exists already" in cli.err
    cli("blame", "A@3", "--out", tmp_path / "who.nii.gz", "--force")
    assert int((np.asarray(nib.load(tmp_path / "who.nii.gz").dataobj) == 3).sum()) == 9
