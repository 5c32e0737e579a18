"""source rederive, as a person types it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner
from volume_files import boxes, write_volume

from app.cli import app
from curation.errors import UsageError


@pytest.fixture
def run(tmp_path, monkeypatch):
    """One case A of 10 and 30 voxels of values 1 and 2, in which 2 was taken for background."""
    monkeypatch.setenv("MASKLEDGER_WORKSPACE", str(tmp_path / "w"))
    monkeypatch.setenv("MASKLEDGER_AUTHOR", "Ada Tester")
    mask = boxes({1: 10})
    mask[1:11, 5, 1:4] = 2
    write_volume(tmp_path / "masks" / "A.nii.gz", mask.astype(np.uint8))
    (tmp_path / "old.toml").write_text('[values]\n1 = "liver"\n2 = "background"\n')
    (tmp_path / "new.toml").write_text('protocol = ["organ"]\n[values]\n1 = "liver"\n2 = "spleen"\n')

    def call(*words: str, rc: int = 0):
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == rc, result.output
        return result

    call("init")
    call(
        "ingest",
        "--source",
        "S",
        "--labels",
        str(tmp_path / "masks"),
        "--mapping",
        str(tmp_path / "old.toml"),
    )
    return call


def test_a_dry_run_tells_per_class_and_case_and_then_the_same_is_done(run, tmp_path):
    words = ("source", "rederive", "S", "--mapping", str(tmp_path / "new.toml"))
    told = run(*words, "--dry-run").stdout
    assert "S, revision old, read by 'new': 1 of 1 cases would change" in told
    rows = [" ".join(line.split()) for line in told.splitlines()]
    assert "spleen missing (default) → annotated (original) 1 30 0" in rows
    assert "pancreas missing (default) → absent (protocol) 1 0 0" in rows
    assert any(row.startswith("S/A: ") and "spleen" in row and "liver" not in row for row in rows)
    found = json.loads(run(*words, "--dry-run", "--json").stdout)
    assert (found["schema"], found["count"], found["dry_run"]) == (1, 1, True)
    assert found["changes"][0]["classes"]["spleen"] == {
        "before": {"status": "missing", "origin": None, "evidence": "default"},
        "after": {"status": "annotated", "origin": "original", "evidence": "voxels"},
        "gained_voxels": 30,
        "lost_voxels": 0,
        "outside_protocol": None,
    }
    assert json.loads(run("cases", "has spleen", "--json").stdout)["count"] == 0
    assert run(*words).stdout.splitlines()[-1] == "rederive S: 1 new versions"
    assert json.loads(run("cases", "has spleen and absent pancreas", "--json").stdout)["count"] == 1
    log = json.loads(run("log", "--json").stdout)
    assert "rederive" in json.dumps(log)


def test_a_class_outside_the_new_protocol_is_foreseen_in_the_table(run, tmp_path):
    (tmp_path / "spleen.toml").write_text('protocol = ["spleen"]\n[values]\n1 = "liver"\n2 = "background"\n')
    told = run("source", "rederive", "S", "--mapping", str(tmp_path / "spleen.toml"), "--dry-run").stdout
    rows = [" ".join(line.split()) for line in told.splitlines()]
    assert "liver annotated (original), outside the protocol 1 0 0" in rows
    assert "spleen missing (default) → absent (protocol) 1 0 0" in rows


def test_a_mapping_that_does_not_fit_is_told_with_the_case_and_exit_code_1(run, tmp_path):
    (tmp_path / "narrow.toml").write_text('[values]\n1 = "liver"\n')
    words = ("source", "rederive", "S", "--mapping", str(tmp_path / "narrow.toml"))
    for refused in (run(*words, "--dry-run", rc=1), run(*words, rc=1)):
        assert "refused: S/A: " in refused.stderr
    assert "keeps the mapping 'old' while 1 of its cases" in refused.stderr


def test_a_source_that_is_not_there_is_wrong_usage(run):
    with pytest.raises(UsageError, match="source list"):
        run("source", "rederive", "T", "--dry-run")
