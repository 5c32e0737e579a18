"""Odd files as a person meets them: in a folder to ingest, to score, and back from an annotation tool."""

import gzip
import re

import nibabel as nib
import numpy as np
import odd_files
import pytest
from test_cli import Cli


def slug(what: str) -> str:
    return re.sub(r"\W+", "_", what).strip("_")


def write(folder, files):
    """Each file under its name in docs/files.md, as .nii.gz whatever it is: the content counts."""
    folder.mkdir()
    for what, data in files.items():
        (folder / f"{slug(what)}.nii.gz").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def taken(tmp_path_factory) -> tuple[Cli, str, list[str]]:
    """A workspace that took a folder with every odd file there is, and what was printed."""
    root = tmp_path_factory.mktemp("odd")
    run = Cli(root / "w")
    run("init")
    folder = write(root / "l", odd_files.READ | odd_files.NOTED | odd_files.REFUSED)
    printed = run("ingest", "--source", "S", "--labels", folder, rc=1)
    return run, printed.strip(), run.err.splitlines()


@pytest.fixture
def cli(taken) -> Cli:
    return taken[0]


def test_what_can_be_read_of_a_folder_is_in_the_catalog_and_nothing_else(taken):
    cli, printed, lines = taken
    read, noted, refused = (len(files) for files in (odd_files.READ, odd_files.NOTED, odd_files.REFUSED))
    # One more note: many of the files hold one mask, which comparing the cases says.
    assert printed == f"S: {read + noted} new, {noted + 1} noted, {refused} refused"
    assert sum(line.startswith("note: ") for line in lines) == noted + 1
    assert any(line.startswith("note: cases compared with each other: ") for line in lines)
    assert sum(line.startswith("refused: ") for line in lines) == refused
    # 12 voxels of 0.8 * 0.8 * 2.5 mm are 0.0192 ml.
    liver = "voxels(liver) = 12 and volume(liver) > 0.01919 and volume(liver) < 0.01921"
    found = cli.json("cases", f"{liver} and voxels(tumor) = 1 and components(liver) = 1")
    names = sorted(case["case"].removeprefix("S/") for case in found["cases"])
    assert names == sorted(map(slug, odd_files.READ | odd_files.NOTED))


def test_odd_predictions_are_scored_or_refused_each_by_name(cli, tmp_path):
    plain = gzip.compress(odd_files.nifti(odd_files.mask()))
    predictions = odd_files.READ | odd_files.REFUSED
    references = write(tmp_path / "references", dict.fromkeys(predictions, plain))
    found = cli.json("score", references, write(tmp_path / "predictions", predictions), rc=1)
    assert {row["case"] for row in found["rows"]} == set(map(slug, odd_files.READ))
    assert {(row["dsc"], row["nsd"]) for row in found["rows"]} == {(1.0, 1.0)}
    refused = [line for line in cli.err.splitlines() if line.startswith("refused: ")]
    assert len(refused) == len(odd_files.REFUSED)
    for what in odd_files.REFUSED:
        assert any(
            line.startswith(f"refused: {tmp_path}/predictions/{slug(what)}.nii.gz: ") for line in refused
        )


def test_a_correction_comes_back_as_another_kind_of_file_along_other_axes(cli, tmp_path):
    drawn = odd_files.mask()
    drawn[1:4, 3, 1] = 1
    turned = nib.Nifti1Image(drawn, odd_files.AFFINE).as_reoriented([[2, -1], [0, 1], [1, -1]])
    labels = np.asarray(turned.dataobj).astype(np.float64) * 0.5
    data = odd_files.nifti(
        labels, odd_files.scaled(2.0), kind=nib.Nifti2Image, affine=turned.affine, order=">"
    )
    (tmp_path / "back.nii").write_bytes(data)
    case = f"S/{slug('NIfTI-2')}"
    cli("correct", case, tmp_path / "back.nii", "--reason", "a border")
    cli("checkout", case, tmp_path / "now.nii.gz")
    now = nib.load(tmp_path / "now.nii.gz")
    assert np.array_equal(np.asarray(now.dataobj), drawn)
    assert np.allclose(now.affine, odd_files.AFFINE, atol=1e-4)


def test_a_correction_that_cannot_be_read_is_refused_and_nothing_is_written(cli, tmp_path):
    file = tmp_path / "back.nii.gz"
    file.write_bytes(odd_files.REFUSED["sheared"])
    case = f"S/{slug('big-endian')}"
    cli("correct", case, file, "--reason", "a border", rc=3)
    assert "a grid sheared by 19.8 degrees; resample" in cli.err
    assert cli.json("show", case)["version"] == 1
