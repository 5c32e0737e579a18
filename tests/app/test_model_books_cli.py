"""What is printed of models: their page, their comparison, an ablation with its report."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner
from volume_files import SHAPE, write_volume

from app.cli import app
from app.cli.model_books import curve_lines, settings_lines, sparkline
from app.workspace import create_workspace, open_workspace
from curation.errors import UsageError
from curation.mappings import load_builtin
from db import queries, writes
from db.models import ModelKind, Role
from pipelines.freeze import FreezeRequest, freeze
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions

FLARE = load_builtin("flare23")
COARSE, FINE = b"coarse weights", b"fine weights"
CURVES = [
    {"stage": "fine", "epoch": e, "loss": 1.0 - 0.1 * e, "dsc_per_class": {"1": 0.5}} for e in range(1, 9)
]


def liver(length: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1 : 1 + length, 1:5, 1:5] = 1
    return mask


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Test case A and training case T; full and half predict A; student was trained on T alone."""
    root = tmp_path_factory.mktemp("books")
    create_workspace(root / "w")
    for folder, name in (("ts", "A"), ("tr", "T")):
        write_volume(root / folder / f"{name}.nii.gz", liver(4))
    write_volume(root / "full" / "A.nii.gz", liver(4))
    write_volume(root / "half" / "A.nii.gz", liver(2))
    with open_workspace(root / "w") as ws:
        bench = ws.bench(jobs=1)
        for folder, role in (("ts", Role.TEST), ("tr", Role.TRAIN)):
            ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=root / folder, role=role))
        for model in ("full", "half"):
            import_predictions(bench, root / model, model, FLARE)
        frozen = freeze(bench, FreezeRequest("all", "role = train"))
        weights = ws.root / "runs" / "student" / "model"
        weights.mkdir(parents=True)
        (weights / "coarse.pt").write_bytes(COARSE)
        (weights / "fine.pt").write_bytes(FINE)
        with ws.catalog.writing() as session:
            run_id = writes.start_run(
                session, stage="student train", key="student student", parameters={"seed": 7}, author="Ada",
                program_version="1", total=None,
            )  # fmt: skip
            writes.add_model(
                session, "student", ModelKind.STUDENT,
                dataset_version_id=queries.dataset_version(session, frozen.address).id,
                profile={"name": "tiny", "student": {"margin_mm": 20.0, "fine": {"size": [32, 32, 32], "pad": True}}},
                origins=["original"], code_version="1.2", weights_path="runs/student/model",
                weights_hash=hashlib.sha256(COARSE + FINE).hexdigest(),
                metrics={"fine_dsc": 0.75, "spec": "abc"}, curves=CURVES, run_id=run_id,
            )  # fmt: skip
    return root


@pytest.fixture
def run(built, tmp_path):
    """Run a command in a copy of the workspace, in this process; returns its result."""
    shutil.copytree(built / "w", tmp_path / "w")

    def invoke(*words: object):
        return CliRunner().invoke(app, ["-w", str(tmp_path / "w"), *map(str, words)], env={"COLUMNS": "200"})

    invoke.root = tmp_path / "w"
    return invoke


def test_show_tells_what_a_model_was_made_from(run):
    shown = run("models", "show", "student")
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("student: student, registered ")
    assert "  dataset   all@1: 1 members (1 train, 0 val) of 'role = train'" in lines
    assert any(line.startswith("  manifest  sha256 ") for line in lines)
    assert "  labels of original" in lines
    assert "  seed      7" in lines
    assert "  code      1.2" in lines
    assert f"  weights   {run.root / 'runs' / 'student' / 'model'}" in lines
    assert any(line.endswith("(student train), running, by Ada") for line in lines)
    assert "  student: margin_mm = 20" in lines
    assert "  student.fine: size = [32, 32, 32], pad = true" in lines
    assert "  fine_dsc = 0.75" in lines
    assert "  fine loss  █▇▆▅▄▃▂▁  0.9 → 0.2 (8 points)" in lines


def test_show_as_json_has_all_of_it(run):
    found = json.loads(run("models", "show", "student", "--json", "--verify").stdout)
    assert found["weights"]["verified"] is True
    assert (found["seed"], found["code_version"], found["metrics"]) == (7, "1.2", {"fine_dsc": 0.75})
    assert found["dataset"]["dataset"] == "all@1"
    assert len(found["dataset"]["manifest_hash"]) == 64
    assert found["curves"] == CURVES
    assert found["scores"] == {}
    assert found["retracted"] is None


def test_weights_that_changed_or_are_gone_are_damage(run):
    file = run.root / "runs" / "student" / "model" / "fine.pt"
    assert "files verified" in run("models", "show", "student", "--verify").stdout
    file.write_bytes(FINE + b"!")
    changed = run("models", "show", "student", "--verify")
    assert changed.exit_code == 4
    assert "the weights of 'student' have SHA-256" in changed.stderr
    file.unlink()
    gone = run("models", "show", "student", "--verify", "--json")
    assert gone.exit_code == 4
    assert (
        f"{file}: No such file or directory; restore the folder"
        in json.loads(gone.stdout)["weights"]["damage"]
    )


def test_an_imported_model_has_nothing_to_verify(run):
    assert run("models", "show", "full").exit_code == 0
    refused = run("models", "show", "full", "--verify").exception
    assert isinstance(refused, UsageError)
    assert "was not trained here and has no weights to verify" in str(refused)


def test_evaluate_sums_up_both_protocols(run):
    found = json.loads(run("evaluate", "half", "role = test", "--json").stdout)
    assert found["counts"] == {"scored": 1}
    assert list(found["summary"]) == ["flare23", "known"]
    liver_row, spleen = found["summary"]["known"]["rows"][0], found["summary"]["known"]["rows"][2]
    assert (liver_row["class"], liver_row["half"]["dsc"], liver_row["half"]["cases"]) == ("Liver", 0.6667, 1)
    assert (liver_row["half"]["dsc_std"], liver_row["half"]["nsd_std"]) == (
        0.0,
        0.0,
    )  # one case has no spread
    assert spleen["half"]["dsc"] is None
    text = run("evaluate", "half", "role = test").stdout
    assert "protocol flare23, mean ± standard deviation of 1 case" in text
    assert "protocol known, mean ± standard deviation of 1 case" in text
    assert text.endswith("evaluate half: 1 scored\n")
    assert "dsc_std" in run("models", "show", "half", "--json").stdout


def test_compare_keeps_its_keys_and_adds_deviation_and_difference(run):
    for model in ("half", "full"):
        run("evaluate", model, "role = test")
    found = json.loads(run("models", "compare", "half", "full", "--json").stdout)
    assert (found["protocol"], found["cases"], found["baseline"]) == ("flare23", 1, "half")
    row = found["rows"][0]
    assert (row["class"], row["half"]["dsc"], row["full"]["dsc"]) == ("Liver", 0.6667, 1.0)
    # One case has no spread, so a difference without interval.
    assert row["full"]["difference"]["dsc"] == {"mean": pytest.approx(0.3333), "low": None, "high": None}
    text = run("models", "compare", "half", "full").stdout
    assert "DSC: percentage points above half, 95 % paired bootstrap interval (10,000 resamples" in text
    assert "+33.33 [–]" in text


def test_ablation_scores_prints_warns_and_writes(run, tmp_path):
    out = tmp_path / "report"
    done = run("ablation", "half", "full", "--query", 'case = "A"', "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("half, full on 1 of 1 cases of 'case = \"A\"', protocol flare23.")
    assert "warning: nobody knows what half was trained on; it may have seen these cases" in done.stderr
    assert sorted(file.name for file in out.iterdir()) == [
        "ablation.csv",
        "ablation.html",
        "ablation.md",
        "ablation_cases.csv",
    ]
    again = run("ablation", "half", "full", "--out", out)
    assert "exists already" in str(again.exception)
    found = json.loads(run("ablation", "half", "full", "--json").stdout)
    assert [one["model"] for one in found["models"]] == ["half", "full"]
    assert found["query"] == "role = test"
    assert found["rows"][0]["half"]["dsc"] == 0.6667


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("half", "ful"), "unknown model 'ful'"),
        (("half", "full", "role = test"), "unknown model 'role = test'"),  # a query has its option
        (("half", "--query", 'case = "A"'), "only half is named"),
    ],
)
def test_every_word_is_a_model(run, words, complaint):
    assert complaint in str(run("ablation", *words).exception)


def test_a_sparkline_stretches_from_lowest_to_highest():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([0, 0, 1, 1], width=2) == "▁█"


def test_curves_leave_out_what_is_no_number():
    curves = [{"epoch": 1, "loss": None, "val_dice": 0.5}, {"epoch": 2, "loss": 0.25, "val_dice": 0.75}]
    assert curve_lines(curves) == [
        "val_dice  ▁█  0.5 → 0.75 (2 points)",
        "loss      ▁  0.25 → 0.25 (1 point)",
    ]


def test_settings_are_those_of_the_kind_that_was_trained():
    profile = {
        "name": "quick",
        "teacher": {"epochs": 9},
        "student": None,
        "predict": {"tta": False, "step": None},
    }
    assert settings_lines(profile, "teacher") == [
        "teacher: epochs = 9",
        "predict: tta = false, step = default",
    ]
