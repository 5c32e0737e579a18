"""The tutorial, typed as it stands: every command runs, and prints what the page says it prints."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_dilation

PROJECT = Path(__file__).resolve().parents[2]
CASES = ("case_00023", "case_00039", "case_00061", "case_00120")
KIDNEYS, TUMOR = (2, 13), 14


@dataclass
class Step:
    """One command of the page, the exit code that it announces, and the lines under it."""

    command: str
    exit_code: int
    shown: list[str]


def steps() -> list[Step]:
    """All commands of the tutorial, in order."""
    text = (PROJECT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    found: list[Step] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                command, _, comment = line[2:].partition("   # exit code ")
                found.append(Step(command, int(comment or 0), []))
            else:
                found[-1].shown.append(line)
    return found


def paint(folder: Path) -> None:
    """What the person does in ITK-SNAP: draw the tumor one voxel further into the kidney, and save."""
    file = folder / "desk" / "case_00023_mask.nii.gz"
    mask = nib.load(file)
    voxels = np.asarray(mask.dataobj).copy()
    voxels[binary_dilation(voxels == TUMOR) & np.isin(voxels, KIDNEYS)] = TUMOR
    file.unlink()
    nib.save(nib.Nifti1Image(voxels, mask.affine), file)


@pytest.fixture(scope="module")
def desk(shared, tmp_path_factory) -> Path:
    """A checkout as the tutorial wants it; the CTs, which are too large to keep, are flat stand-ins."""
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "docs").symlink_to(PROJECT / "docs")
    for case in CASES:
        for year in ("kits19", "kits23"):
            place = folder / year / case
            place.mkdir(parents=True)
            shutil.copy(shared / "data" / year / case / "segmentation.nii.gz", place)
        mask = nib.load(folder / "kits19" / case / "segmentation.nii.gz")
        image = np.where(np.asarray(mask.dataobj) > 0, np.int16(120), np.int16(-200))
        nib.save(nib.Nifti1Image(image, mask.affine), folder / "kits19" / case / "imaging.nii.gz")
        (folder / "kits23" / case / "imaging.nii.gz").symlink_to(folder / "kits19" / case / "imaging.nii.gz")
    return folder


@pytest.mark.long
def test_every_command_of_the_tutorial_prints_what_the_page_says(desk):
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "200",
    }
    for name in ("MASKLEDGER_WORKSPACE", "MASKLEDGER_DATABASE_URL", "MASKLEDGER_STORE"):
        environment.pop(name, None)
    exported = ""
    for step in steps():
        if step.command.startswith("export "):
            exported += f"{step.command}\n"
            continue
        if step.command.startswith("itksnap "):
            paint(desk)
            continue
        done = subprocess.run(
            ["bash", "-c", exported + step.command],
            cwd=desk, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert done.returncode == step.exit_code, f"$ {step.command}\n{done.stdout}"
        printed = one_space(done.stdout)
        for line in step.shown:
            pattern = ".*".join(re.escape(part) for part in one_space(line).split("…"))
            assert re.search(f"^{pattern}$", printed, re.MULTILINE), (
                f"$ {step.command}\nthe page shows\n{line}\nprinted was\n{done.stdout}"
            )


def one_space(text: str) -> str:
    """Tables are as wide as their widest cell, of which the page may leave out the row."""
    return re.sub(" +", " ", text)


def test_the_tutorial_shows_the_whole_story():
    told = " ".join(step.command for step in steps())
    for words in (
        "ingest",
        "diff",
        "blame",
        "cases stale",
        "review accept",
        "checkout",
        "correct",
        "retract",
        "dataset export",
    ):
        assert words in told
