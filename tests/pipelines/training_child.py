"""Starts a training process as the stages do, and collects what it tells."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
# Networks this small gain nothing from a second thread, and lose much where another process wants its core.
CHILD_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run_job(work_dir: Path, job: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """Run a job as the stages do, in a child process; returns its exit code and events."""
    work_dir.mkdir(parents=True, exist_ok=True)
    file = work_dir / "job.json"
    file.write_text(json.dumps({"work_dir": str(work_dir), **job}))
    command = [sys.executable, "-m", "pipelines.training", str(file)]
    child = subprocess.run(command, cwd=PROJECT, env=CHILD_ENVIRONMENT, capture_output=True, check=False)
    return child.returncode, [json.loads(line) for line in child.stdout.splitlines()]
