"""The command line as a person types it: output, JSON, exit codes, messages."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import sqlalchemy
from volume_files import SHAPE, boxes, write_image, write_volume

from curation.labels import CLASS_NAMES
from db.engine import database_url

LIVER, SPLEEN, TUMOR = 1, 3, 14


class Cli:
    """Runs `maskledger` in a process of its own, in one workspace."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace

    def __call__(self, *words: object, rc: int = 0) -> str:
        """Run a command, expect its exit code, return stdout; stderr stays in `self.err`."""
        environment = os.environ | {"MASKLEDGER_AUTHOR": "Ada Tester", "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", "-w", str(self.workspace), *map(str, words)],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        self.err = done.stderr
        assert done.returncode == rc, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: object, rc: int = 0) -> dict:
        found = json.loads(self(*words, "--json", rc=rc))
        assert found["schema"] == 1
        return found


@pytest.fixture(scope="module")
def cli(tmp_path_factory) -> Cli:
    """A workspace with three cases: A liver + tumor, B all organs, C an image alone; model M predicts A."""
    root = tmp_path_factory.mktemp("cli")
    run = Cli(root / "w")
    run("init")
    write_volume(root / "l" / "A.nii.gz", boxes({LIVER: 6, TUMOR: 2}))
    write_volume(root / "l" / "B.nii.gz", boxes(dict.fromkeys(range(1, 14), 5)))
    for name in "ABC":
        write_image(root / "i" / f"{name}_0000.nii.gz")
    run("ingest", "--source", "S", "--labels", root / "l", "--images", root / "i")
    spleen = np.zeros(SHAPE, np.uint8)
    spleen[6:10, 6:8, 6] = SPLEEN
    write_volume(root / "p" / "A.nii.gz", spleen)
    run("predictions", "import", root / "p", "--model", "M")
    run("complement", "missing spleen", "--model", "M")
    return run


def test_init_twice_keeps_the_workspace(cli):
    assert "workspace is up to date" in cli("init")


def test_census_json_has_the_documented_form(cli):
    found = cli.json("census")
    assert (found["cases"], found["labels_per_case"]) == (3, {"0": 1, "3": 1, "13": 1})
    assert list(found["classes"]) == list(CLASS_NAMES)
    assert found["classes"]["spleen"] == {
        "annotated": 2,
        "absent": 0,
        "missing": 1,
        "out_of_field": 0,
        "original": 1,
        "pseudo": 1,
        "corrected": 0,
    }


def test_cases_count_prints_the_number_alone(cli):
    assert cli("cases", "missing pancreas", "--count") == "2\n"
    assert cli("cases", "strong", "--count") == "1\n"


def test_cases_json_has_the_documented_form(cli):
    found = cli.json("cases", "pseudo spleen")
    assert found["count"] == 1
    (case,) = found["cases"]
    assert (case["case"], case["version"], case["labels"]) == ("S/A", 2, 3)
    assert case["classes"]["liver"] == {"status": "annotated", "origin": "original"}
    assert case["classes"]["pancreas"] == {"status": "missing", "origin": None}


def test_cases_csv_has_one_row_per_case_and_a_column_per_class(cli):
    rows = list(csv.DictReader(io.StringIO(cli("cases", "", "--csv"))))
    assert [row["case"] for row in rows] == ["S/A", "S/B", "S/C"]
    assert (rows[0]["liver"], rows[0]["spleen"], rows[0]["pancreas"]) == ("original", "pseudo", "missing")


def test_a_query_error_points_at_the_word_and_suggests(cli):
    cli("cases", "missing pancraes", rc=2)
    assert "unknown class 'pancraes' at column 9: did you mean 'pancreas'?" in cli.err
    assert cli.err.splitlines()[-1] == " " * 8 + "^"


def test_show_tells_class_by_class_who_drew_it(cli):
    text = cli("show", "A")
    assert any(line.split()[:4] == ["spleen", "annotated", "pseudo", "M"] for line in text.splitlines())
    found = cli.json("show", "S/A")
    assert found["classes"]["spleen"]["model"] == "M"
    assert found["versions"] == [1, 2]


def test_quality_lists_what_a_check_noticed(cli, tmp_path):
    swapped = np.zeros(SHAPE, np.uint8)
    swapped[1:4, 2:5, 2:5] = 2  # right kidney at low x: the patient's left in RAS
    swapped[8:11, 2:5, 2:5] = 13
    write_volume(tmp_path / "l" / "swapped.nii.gz", swapped)
    cli("ingest", "--source", "Q", "--labels", tmp_path / "l")
    (finding,) = cli.json("quality", 'finding = "left_right_swap" and source = "Q"')["findings"]
    assert (finding["case"], finding["check"], finding["severity"]) == (
        "Q/swapped",
        "left_right_swap",
        "error",
    )
    assert cli("cases", 'flagged and source = "Q"', "--count") == "1\n"


def test_history_lists_every_version_with_its_maker(cli):
    found = cli.json("history", "A")
    assert [(v["version"], v["parent"], v["kind"], v["author"]) for v in found["versions"]] == [
        (1, None, "ingested", "Ada Tester"),
        (2, 1, "complemented", "Ada Tester"),
    ]


def test_checkout_writes_the_version_asked_for(cli, tmp_path):
    for number, spleen_voxels in ((1, 0), (2, 8)):
        cli("checkout", f"S/A@{number}", tmp_path / f"{number}.nii.gz")
        mask = np.asarray(nib.load(tmp_path / f"{number}.nii.gz").dataobj)
        assert int((mask == SPLEEN).sum()) == spleen_voxels
    cli("checkout", "S/A", tmp_path / "2.nii.gz", rc=2)
    assert "exists already" in cli.err


def test_checkout_of_an_image_without_mask_cannot_be_done(cli, tmp_path):
    cli("checkout", "S/C", tmp_path / "c.nii.gz", rc=3)
    assert "has an image but no mask" in cli.err


def test_a_dataset_is_frozen_listed_shown_and_exported(cli, tmp_path):
    found = cli.json(
        "dataset",
        "freeze",
        "d",
        'labels > 0 and source = "S"',
        "--val",
        "0.5",
        "--origins",
        "original,corrected",
    )
    assert (found["dataset"], found["members"], found["val"]) == ("d@1", 2, 1)
    (listed,) = cli.json("dataset", "list")["datasets"]
    assert listed["origins"] == ["original", "corrected"]
    members = cli.json("dataset", "show", "d")["members"]
    assert [(m["case"], m["version"]) for m in members] == [("S/A", 2), ("S/B", 1)]
    cli("dataset", "export", "d@1", tmp_path / "Dataset001_d", "--format", "nnunet")
    assert (tmp_path / "Dataset001_d" / "labelsTr" / "A.nii.gz").is_file()


def test_verify_exits_with_4_on_damage(cli):
    assert cli.json("verify")["damage"] == []
    path = next((cli.workspace / "store").glob("*/*.nii.gz"))
    intact = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(intact[:-1])
    try:
        cli("verify", rc=4)
        assert f"damaged: {path}" in cli.err
    finally:
        path.write_bytes(intact)


def test_evaluate_and_compare_print_one_line_per_class(cli):
    cli("evaluate", "M", 'case = "S/A"')
    table = cli("models", "compare", "M")
    assert len([line for line in table.splitlines() if " / " in line]) == 1 + 14 + 2  # title, classes, means


def test_score_needs_no_workspace_and_prints_rows(tmp_path):
    write_volume(tmp_path / "r" / "X.nii.gz", boxes({LIVER: 4}))
    write_volume(tmp_path / "p" / "X.nii.gz", boxes({LIVER: 2}))
    found = Cli(tmp_path / "nowhere").json("score", tmp_path / "r", tmp_path / "p")
    assert len(found["rows"]) == 14
    assert found["rows"][0] == {"case": "X", "class": "liver", "dsc": 0.6667, "nsd": 1.0}  # 2·2 / (4 + 2)


def test_a_refused_file_makes_exit_code_1_and_one_line(cli, tmp_path):
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "bad.nii.gz").write_text("not an image")
    cli("ingest", "--source", "X", "--labels", tmp_path / "l", rc=1)
    (line,) = [line for line in cli.err.splitlines() if line.startswith("refused:")]
    assert str(tmp_path / "l" / "bad.nii.gz") in line


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("ingest", "--source", "X", "--labels", "nowhere"), "nowhere: no such folder"),
        (("ingest", "--source", "X"), "give --labels DIR, --images DIR or both"),
        (("ingest", "--source", "X", "--labels", ".", "--mapping", "kits20"), "unknown mapping 'kits20'"),
        (("ingest", "--source", "X", "--labels", ".", "--mapping", "no.toml"), "no.toml: cannot be read"),
        (("ingest", "--source", "X", "--labels", ".", "--role", "holdout"), "neither 'train' nor 'test'"),
        (("show", "Z"), "unknown case 'Z'"),
        (("show", "S/A@9"), "S/A has versions 1 to 2, no version '9'"),
        (("complement", "", "--model", "Q"), "unknown model 'Q'; known models: M"),
        (("dataset", "show", "q"), "unknown dataset 'q'"),
        (("dataset", "freeze", "d", "labels > 0", "--origins", "pseudoo"), "unknown origin 'pseudoo'"),
        (("teacher", "train", "q", "--profile", "fast"), "unknown profile 'fast'"),
        (("predict", "M", ""), "was not trained here"),
        (("models", "compare", "M", "--protocol", "x"), "unknown protocol 'x'"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_right(cli, words, complaint):
    cli(*words, rc=2)
    assert complaint in cli.err
    assert "Traceback" not in cli.err


def test_a_folder_without_workspace_says_how_to_make_one(tmp_path):
    run = Cli(tmp_path)
    run("census", rc=2)
    assert "init" in run.err


def test_a_workspace_on_postgresql_is_the_same(postgres_url, tmp_path, monkeypatch):
    admin = database_url(postgres_url)
    engine = sqlalchemy.create_engine(admin, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE DATABASE cli_workspace"))
    engine.dispose()
    url = admin.set(database="cli_workspace").render_as_string(hide_password=False)
    monkeypatch.setenv("MASKLEDGER_DATABASE_URL", url)
    run = Cli(tmp_path / "w")
    run("init")
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 6}))
    run("ingest", "--source", "S", "--labels", tmp_path / "l")
    assert run.json("census")["classes"]["liver"]["original"] == 1
    assert not (tmp_path / "w" / "catalog.db").exists()


def test_gates_and_settings_that_cannot_be_are_wrong_usage(cli):
    for words, said in (
        (
            ("complement", "weak", "--model", "M", "--min-confidence", "pancras=0.8"),
            "did you mean 'pancreas'",
        ),
        (("complement", "weak", "--model", "M", "--uncertain-below", "0.62"), "take 0.60 or 0.65"),
        (("predict", "M", "weak", "--components", "some"), "neither 'largest' nor 'all'"),
    ):
        cli(*words, rc=2)
        assert said in cli.err
