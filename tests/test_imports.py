"""What may import what, and how soon the command line answers."""

import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "monai", "nnunetv2")


@pytest.mark.parametrize(
    "module",
    [
        "app.cli",
        "app.workspace",
        "pipelines.demo",
        "pipelines.complement",
        "pipelines.correct",
        "pipelines.export",
        "pipelines.predict",
        "pipelines.review",
        "pipelines.train",
        "dashboards.figures",
        "dashboards.home",
    ],
)
def test_nothing_but_a_training_process_imports_torch(module):
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_help_answers_within_0_7_seconds():
    def seconds() -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "app.cli", "--help"], capture_output=True, check=True)
        return time.perf_counter() - begin

    # The best of five: what the program takes, not what else the machine does.
    assert min(seconds() for _ in range(5)) < 0.7
