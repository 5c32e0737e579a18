"""Names that break lines, limits or encodings, as a person meets them at the command line."""

import os

import pytest
from test_cli import Cli
from volume_files import boxes, write_volume

LONG = "L" * 248  # with .nii.gz as long as a file's name may be


@pytest.fixture(scope="module")
def cli(tmp_path_factory) -> Cli:
    root = tmp_path_factory.mktemp("names")
    run = Cli(root / "w")
    run("init")
    (root / "l").mkdir()
    for voxels, name in enumerate((LONG, "plain", "new\nline", os.fsdecode(b"caf\xe9")), 1):
        mask = write_volume(root / "mask.nii.gz", boxes({1: voxels})).read_bytes()
        (root / "l" / f"{name}.nii.gz").write_bytes(mask)
    assert run("ingest", "--source", "S", "--labels", root / "l", rc=1) == "S: 2 new, 2 refused\n"
    lines = [line for line in run.err.splitlines() if line.startswith("refused: ")]
    assert [line.partition(".nii.gz: ")[0].rpartition("/")[2] for line in lines] == [r"caf\xe9", r"new\nline"]
    return run


@pytest.mark.parametrize(
    ("words", "rc", "complaint"),
    [
        (("show", os.fsdecode(b"S/caf\xe9")), 2, r"caf\xe9' is not UTF-8"),
        (("cases", os.fsdecode(b'case = "caf\xe9"')), 2, r"caf\xe9' is not UTF-8"),
        (("show", "S/new\nline"), 2, r"unknown case 'S/new\nline'"),
        (
            ("checkout", f"S/{LONG}", "OUT", "--for", "itksnap"),
            3,
            "File name too long; choose a shorter path",
        ),
    ],
)
def test_a_name_that_cannot_be_used_is_one_line(cli, tmp_path, words, rc, complaint):
    cli(*(tmp_path / "out" if word == "OUT" else word for word in words), rc=rc)
    assert complaint in cli.err
    assert cli.err.count("\n") == 1
    assert [*tmp_path.iterdir()] == []
