"""What README and guide tell people to type exists and works."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.workspace import create_workspace

PROJECT = Path(__file__).resolve().parents[2]


def code_blocks(document: str) -> list[tuple[str, str]]:
    """(language, code) of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", (PROJECT / document).read_text(), re.MULTILINE | re.DOTALL)


def typed_commands() -> list[str]:
    """Every line of the README that calls maskledger, without its comment."""
    lines = [line for _, code in code_blocks("README.md") for line in code.splitlines()]
    calls = [call for line in lines for call in line.split("&&")]
    return [call.strip() for call in calls if call.strip().startswith("maskledger ")]


@pytest.mark.parametrize("command", typed_commands())
def test_every_command_of_the_readme_has_the_options_that_it_is_given(command):
    words = [word for word in shlex.split(command, comments=True)[1:] if word != "…"]
    groups = {"predictions", "dataset", "teacher", "models", "source", "review", "retract", "catalog"}
    path, rest = (words[:2], words[2:]) if words[0] in groups else (words[:1], words[1:])
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for option in (word for word in rest if word.startswith("--")):
        assert option in shown.output


def test_the_readmes_python_example_runs(tmp_path, monkeypatch, capsys):
    ((_, code),) = [block for block in code_blocks("README.md") if block[0] == "python"]
    monkeypatch.chdir(tmp_path)
    create_workspace(tmp_path / "abdomen")
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == "0 0\n"


def test_the_readmes_make_targets_exist():
    targets = re.findall(
        r"^make (\w+)", "\n".join(code for _, code in code_blocks("README.md")), re.MULTILINE
    )
    makefile = (PROJECT / "Makefile").read_text()
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
