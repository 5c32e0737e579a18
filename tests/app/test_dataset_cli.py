"""The commands on frozen training sets as a person types them."""

import csv
import json
import re

import numpy as np
import pytest
from test_cli import LIVER, SPLEEN, TUMOR, Cli
from volume_files import SHAPE, boxes, write_image, write_volume


@pytest.fixture(scope="module")
def cli(tmp_path_factory) -> Cli:
    """S/A0 to S/A3 with all organs under CC BY 4.0, N/B0 to N/B3 with a liver and a tumor, CC BY-NC 4.0."""
    root = tmp_path_factory.mktemp("datasets")
    run = Cli(root / "w")
    run("init")
    for source, licence, mask in (
        ("S", "CC BY 4.0", boxes(dict.fromkeys(range(1, 14), 5))),
        ("N", "CC BY-NC 4.0", boxes({LIVER: 6, TUMOR: 2})),
    ):
        letter = "A" if source == "S" else "B"
        for number in range(4):
            write_volume(root / source / "l" / f"{letter}{number}.nii.gz", mask)
            write_image(root / source / "i" / f"{letter}{number}_0000.nii.gz")
        run("source", "add", source, "--licence", licence, "--citation", f"The {source} group, 2023")
        run("ingest", "--source", source, "--labels", root / source / "l", "--images", root / source / "i")
    run("dataset", "freeze", "all", "labels > 0", "--folds", "2")
    spleen = np.zeros(SHAPE, np.uint8)
    spleen[6:10, 6:8, 6] = SPLEEN
    write_volume(root / "p" / "B0.nii.gz", spleen)
    run("predictions", "import", root / "p", "--model", "M")
    run("complement", "missing spleen", "--model", "M")
    run("dataset", "freeze", "all", "labels > 0", "--folds", "2", "--seed", "5")
    return run


def test_help_of_export_teaches_every_format(cli):
    text = cli("dataset", "export", "--help")
    for word in ("nnunet", "monai", "manifest", "labels", "--missing", "--unresolved", "--copy", "Auto3DSeg"):
        assert word in text


def test_freeze_asks_for_licences_and_counts_whom_it_left_out(cli):
    found = cli.json(
        "dataset", "freeze", "open", "has liver", "--licence", "CC BY*", "--exclude-licence", "*NC*"
    )
    assert found["query"] == '(has liver) and licence = "CC BY*" and licence != "*NC*"'
    assert found["members"] == 4
    assert found["left_out"] == {"cases of licence 'CC BY-NC 4.0'": 4}
    text = cli("dataset", "freeze", "open", "has liver", "--licence", "CC BY 4.0")
    assert text.endswith("; 4 cases of licence 'CC BY-NC 4.0' left out\n")


def test_show_has_licence_and_patient_of_every_member(cli):
    members = cli.json("dataset", "show", "all@1")["members"]
    assert [(m["case"], m["licence"], m["patient"]) for m in members[3:5]] == [
        ("N/B3", "CC BY-NC 4.0", "N/B3"), ("S/A0", "CC BY 4.0", "S/A0"),
    ]  # fmt: skip
    line = next(line for line in cli("dataset", "show", "all@1").splitlines() if line.startswith("S/A0"))
    assert line.endswith("CC BY 4.0")
    (first, *_) = cli.json("dataset", "list")["datasets"]
    assert (first["dataset"], first["taints"], first["purged"], first["folds"]) == ("all@1", [], 0, 2)


def test_diff_says_what_changed_in_text_and_in_json(cli):
    found = cli.json("dataset", "diff", "all@1", "all@2")
    assert (found["before"], found["after"], found["same"]) == ("all@1", "all@2", False)
    assert found["settings"] == {"seed": [0, 5]}
    assert found["redrawn"] == [
        {
            "case": "N/B0",
            "version": [1, 2],
            "same_voxels": False,
            "classes": {"spleen": ["missing", "pseudo"]},
        }
    ]
    text = cli("dataset", "diff", "all@1", "all@2")
    assert text.startswith("all@1 → all@2: 0 added, 0 removed, 1 at another version, ")
    assert "seed: 0 → 5\n" in text
    assert "  N/B0  @1 → @2  spleen: missing → pseudo\n" in text
    assert cli("dataset", "diff", "all@1", "all@1") == "all@1 → all@1: the same training set\n"


def test_every_format_is_exported(cli, tmp_path):
    files = {
        "nnunet": {"dataset.json", "imagesTr", "labelsTr", "splits_final.json"},
        "monai": {"datalist.json", "imagesTr", "labelsTr"},
        "manifest": {"manifest.csv", "manifest.parquet"},
        "labels": {f"{name}{n}.nii.gz" for name in "AB" for n in range(4)},
    }
    for format_, names in files.items():
        folder = tmp_path / format_
        found = cli.json("dataset", "export", "all@2", folder, "--format", format_)
        assert (found["dataset"], found["cases"], found["format"]) == ("all@2", 8, format_)
        assert {path.name for path in folder.iterdir()} == names | {"maskledger.json"}
        said = json.loads((folder / "maskledger.json").read_text())
        assert (said["dataset"], said["format"], len(said["cases"])) == ("all@2", format_, 8)
    with (tmp_path / "manifest" / "manifest.csv").open(newline="") as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    assert (rows["N/B0"]["spleen_model"], rows["N/B0"]["citation"]) == ("M", "The N group, 2023")


def test_what_background_hides_is_said_on_stderr(cli, tmp_path):
    text = cli("dataset", "export", "all@2", tmp_path / "d", "--format", "labels")
    assert text == f"{tmp_path}/d: 8 cases of all@2 as labels, 8 files as links\n"
    assert re.search(r"note: 8 of 8 cases have missing classes \(.*\); their background may", cli.err)


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("--format", "coco"), 2, "--format 'coco' is none of nnunet, monai, manifest, labels"),
        (("--missing", "guess"), 2, "--missing 'guess' is none of background, ignore, refuse"),
        (("--unresolved", "guess"), 2, "--unresolved 'guess' is none of ignore, refuse"),
        (("--missing", "refuse"), 3, "classes are missing in 8 cases (N/B0, N/B1, N/B2, …)"),
    ],
)
def test_what_cannot_be_exported_is_said_with_a_remedy(cli, tmp_path, words, code, complaint):
    cli("dataset", "export", "all@1", tmp_path / "out", *words, rc=code)
    assert complaint in cli.err
    assert "Traceback" not in cli.err
    assert not (tmp_path / "out").exists()
