"""The whole method on a partially labelled cohort: baseline, teacher, student, and a student with the marginal loss.

Run ``python -m benchmarks.atlas COHORT WORKSPACE``; COHORT holds imagesTr, labelsTr, imagesTs and labelsTs with
FLARE23's label values, its training labels partial, its test labels complete. Every step is the command that a user
would give, so a run that was stopped goes on. Ends with `ablation`, and leaves its report in WORKSPACE/ablation.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

PROFILE = Path(__file__).with_suffix(".toml")
SOURCE = "Cohort"
INCOMPLETE = "missing any organ and role = train"
MODELS = ("baseline", "teacher", "student", "marginal")


def marginal_profile(profile: Path, folder: Path) -> Path:
    """The same profile, its student with the marginal loss."""
    text = profile.read_text(encoding="utf-8")
    assert text.count("[student]\n") == 1, f"profile {profile} has no student"
    file = folder / f"{profile.stem}-marginal.toml"
    file.write_text(text.replace("[student]\n", '[student]\nmissing = "marginal"\n'), encoding="utf-8")
    return file


def run(workspace: Path, *command: str) -> float:
    """One command; returns its seconds."""
    print(f"$ maskledger {' '.join(command)}", flush=True)
    begin = time.monotonic()
    environment = os.environ | {"MASKLEDGER_AUTHOR": "bench"}
    code = subprocess.run(
        [sys.executable, "-m", "app.cli", "-w", str(workspace), *command], env=environment, check=False
    ).returncode
    if code:
        sys.exit(code)
    return time.monotonic() - begin


def freeze(workspace: Path, name: str, *rest: str) -> None:
    """Freeze a dataset unless an earlier run did."""
    shown = subprocess.run(
        [sys.executable, "-m", "app.cli", "-w", str(workspace), "dataset", "show", f"{name}@1"],
        capture_output=True, check=False,
    )  # fmt: skip
    if shown.returncode:
        run(workspace, "dataset", "freeze", name, *rest)


def main() -> None:
    """All of it, one seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("workspace", type=Path)
    parser.add_argument(
        "--profile", type=Path, default=PROFILE, help=f"a profile's file (default {PROFILE.name})"
    )
    parser.add_argument("--seed", default="0")
    given = parser.parse_args()
    ws, seed = given.workspace, ("--seed", given.seed)
    seconds = {}
    run(ws, "init")
    for role, ending in (("train", "Tr"), ("test", "Ts")):
        folders = (
            "--labels",
            str(given.cohort / f"labels{ending}"),
            "--images",
            str(given.cohort / f"images{ending}"),
        )
        run(ws, "ingest", "--source", SOURCE, *folders, "--role", role)
    freeze(ws, "strong", "strong", "--val", "0.2", *seed)
    profile = ("--profile", str(given.profile), *seed)
    seconds["teacher"] = run(ws, "teacher", "train", "strong@1", *profile)
    run(ws, "predict", "teacher", INCOMPLETE)
    run(ws, "complement", INCOMPLETE, "--model", "teacher")
    freeze(ws, "all", "role = train", "--val", "0.1", *seed)
    freeze(ws, "raw", "role = train", "--val", "0.1", "--origins", "original,corrected", *seed)
    seconds["baseline"] = run(ws, "retrain", "raw@1", "--name", "baseline", *profile)
    seconds["student"] = run(ws, "retrain", "all@1", "--name", "student", *profile)
    own = ("--profile", str(marginal_profile(given.profile, ws)), *seed)
    seconds["marginal"] = run(ws, "retrain", "all@1", "--name", "marginal", *own)
    run(ws, "ablation", *MODELS, "--out", str(ws / "ablation"), "--force")
    run(ws, "ablation", "student", "marginal")
    print("training, s: " + ", ".join(f"{name} {taken:.0f}" for name, taken in seconds.items()))


if __name__ == "__main__":
    main()
