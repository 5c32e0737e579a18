"""`predict` with queries and with files: what is said where the two are mixed, and of files that are no models."""

import io
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.workspace import create_workspace
from curation.errors import CurationError, UsageError

# Longer than a file's name may be.
LONG_QUERY = " or ".join(["missing pancreas"] * 20)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a workspace in it, and a file called scan.nii.gz and folders called folder and strong."""
    create_workspace(tmp_path)
    (tmp_path / "scan.nii.gz").write_bytes(b"not looked at")
    (tmp_path / "folder").mkdir()
    (tmp_path / "strong").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_of(*words: str) -> CurationError:
    error = CliRunner().invoke(app, list(words)).exception
    assert isinstance(error, CurationError), error
    return error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("student scan.nii.gz", "scan.nii.gz: is no query; to predict files add --out DIR"),
        ("student a/b.nii.gz c.nii", "a/b.nii.gz: is no query; to predict files add --out DIR"),
        ("student folder", "folder: is no query; to predict files add --out DIR"),
        ("student strong", "unknown model 'student'; known models: none yet"),
        ("student missing ct", "2 arguments where one query is wanted; put it in quotes: 'missing ct'"),
        ("m.pt weak", "m.pt: an exported model knows no cases; give image files and --out DIR"),
        ("student weak --series 1.2", "--series and --any-values are for files; add --out DIR, or leave them out"),
        ("m.pt scan.nii.gz --out m", "m.pt: no such file; give a file that `maskledger models export` wrote"),
        (
            "student 'missing pancreas' --out m",
            "'missing pancreas' is no image; with --out give NIfTI files or folders, without it one query in quotes",
        ),
        (
            f"student '{LONG_QUERY}' --out m",
            f"'{LONG_QUERY}' is no image; with --out give NIfTI files or folders, without it one query in quotes",
        ),
        ("student scan.nii.gz --out scan.nii.gz", "scan.nii.gz: is a file; give a folder for the masks"),
        ("student scan.nii.gz --out m", "unknown model 'student'; known models: none yet"),
    ],
)  # fmt: skip
def test_wrong_usage_is_answered_with_the_right_one(here, words, said):
    error = error_of("predict", *shlex.split(words))
    assert isinstance(error, UsageError)
    assert str(error) == said
    assert not (here / "m").exists()


def zip_of(member: str, text: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(member, text)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (zip_of("archive/data.pkl", ""), "not a student that `maskledger models export` wrote; export one from its "
         "workspace"),
        (b"", "not an exported student, or a damaged one (File is not a zip file); copy or export it again"),
        (zip_of("archive/maskledger.json", '{"format": 3}'), "format: Input should be a valid string; read it with the "
         "program that wrote it, or export it again"),
    ],
    ids=["another network", "empty", "other facts"],
)  # fmt: skip
def test_a_file_that_is_no_exported_student_is_refused(here, data, said):
    (here / "model.pt").write_bytes(data)
    assert str(error_of("predict", "model.pt", "scan.nii.gz", "--out", "m")) == f"model.pt: {said}"


@pytest.mark.usefixtures("here")
def test_the_export_of_an_unknown_model_says_which_there_are():
    assert str(error_of("models", "export", "student", "--out", "x.pt")) == (
        "unknown model 'student'; known models: none yet"
    )


def test_help_teaches_both_forms():
    shown = CliRunner().invoke(app, ["predict", "--help"], env={"COLUMNS": "160"}).output
    assert 'maskledger predict teacher "missing any organ"' in shown
    assert "maskledger predict student scan.nii.gz dicom/ct --out masks" in shown


def test_predicting_files_imports_neither_torch_nor_pydicom_in_the_commands_process():
    code = "import sys, pipelines.predict_files, pipelines.export_model; print({'torch', 'pydicom'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
