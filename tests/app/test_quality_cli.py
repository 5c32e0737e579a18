"""quality, as a person types it: what matters first, infos counted, filters."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner
from volume_files import SHAPE, write_volume

from app.cli import app
from curation.errors import UsageError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A and B: a liver that the top of the scan cuts (info). Z: right kidney left of the left one (error)."""
    root = tmp_path_factory.mktemp("quality")
    patch = pytest.MonkeyPatch()
    patch.setenv("MASKLEDGER_WORKSPACE", str(root / "w"))
    patch.setenv("MASKLEDGER_AUTHOR", "Ada Tester")
    cut = np.zeros(SHAPE, np.uint8)
    cut[3:9, 2:7, SHAPE[2] - 3 :] = 1
    swapped = np.zeros(SHAPE, np.uint8)
    swapped[1:4, 2:5, 2:5] = 2  # right kidney at low x: the patient's left in RAS
    swapped[8:11, 2:5, 2:5] = 13
    for name, mask in (("A", cut), ("B", cut), ("Z", swapped)):
        write_volume(root / "masks" / f"{name}.nii.gz", mask)

    def call(*words: str):
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    call("init")
    call("ingest", "--source", "S", "--labels", str(root / "masks"))
    yield call
    patch.undo()


def test_errors_come_before_warnings_whatever_their_case_and_infos_are_one_line_a_check(run):
    lines = run("quality").stdout.splitlines()
    assert lines[0].startswith("error    S/Z@1  left_right_swap: ")
    words = [line.split()[0] for line in lines[:-1]]
    assert words == sorted(words, key=["error", "warning", "info"].index)
    assert "info     touches_border: 2 findings in 2 cases" in lines
    assert words.count("info") == 1
    everything = json.loads(run("quality", "--json").stdout)
    warnings = words.count("warning")
    assert lines[-1] == (
        f"{everything['count']} open findings in 3 cases: 1 error, {warnings} warning{'s' * (warnings != 1)}, 2 infos "
        "(--all lists them)"
    )


def test_all_and_filters_list_infos_one_by_one_and_json_follows_the_filters(run):
    infos = [line for line in run("quality", "--all").stdout.splitlines() if line.startswith("info ")]
    assert [line.split(":")[0] for line in infos] == [f"info     S/{name}@1  touches_border" for name in "AB"]
    for words in (("--severity", "info"), ("--check", "touches_border")):
        assert run("quality", *words).stdout.splitlines() == [
            *infos,
            "2 open findings in 3 cases: 0 errors, 0 warnings, 2 infos",
        ]
        assert [f["case"] for f in json.loads(run("quality", *words, "--json").stdout)["findings"]] == [
            "S/A",
            "S/B",
        ]
    both = json.loads(run("quality", "--severity", "info", "--severity", "error", "--json").stdout)
    assert [f["severity"] for f in both["findings"]] == ["error", "info", "info"]
    assert run("quality", 'case = "A"', "--check", "touches_border").stdout.splitlines()[-1] == (
        "1 open finding in 1 case: 0 errors, 0 warnings, 1 info"
    )


def test_a_check_without_findings_is_told_from_a_misspelt_one_and_a_severity_that_is_none_is_wrong_usage(run):
    told = run("quality", "--check", "touches_boarder")
    assert "0 open findings" in told.stdout
    assert "no open finding of touches_boarder; the open ones are of: " in told.stderr
    assert "touches_border" in told.stderr
    with pytest.raises(UsageError, match="--severity 'bad' is none of error, warning, info"):
        run("quality", "--severity", "bad")
