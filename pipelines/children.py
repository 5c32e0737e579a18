"""Training and prediction run in a child process: start it, relay its events, turn its failure into one line.

nnU-Net reads its environment on import and torch takes a second to load: neither may happen in the
process that serves the command line or the dashboard.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation.errors import CurationError

PROJECT = Path(__file__).resolve().parents[1]


class ChildFailedError(CurationError):
    """A training or prediction process ended without finishing its job."""


def run_child(job: dict[str, Any], work_dir: Path) -> Iterator[dict[str, Any]]:
    """Run ``python -m pipelines.training JOB`` and yield its events (JSON objects) as they come.

    The job file and the child's log stay in `work_dir`, so the same call goes on where a killed one
    stopped. If the caller stops listening, the child is ended too; if it is killed, the child ends by itself.

    Raises:
        ChildFailedError: The child ended without a ``done`` event; names its last problem and its log.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    job_file = work_dir / f"{job['task']}.job.json"
    job_file.write_text(json.dumps(job, indent=1, sort_keys=True))
    log = work_dir / f"{job['task']}.log"
    last_problem = ""
    finished = False
    with log.open("ab") as log_stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "pipelines.training", str(job_file), str(os.getpid())],
            stdout=subprocess.PIPE,
            stderr=log_stream,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=PROJECT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        assert child.stdout is not None, "stdout is a pipe"
        try:
            for line in child.stdout:
                try:
                    event = json.loads(line)
                except ValueError:
                    log_stream.write(line.encode())  # a library printed; not an event
                    continue
                finished = finished or event.get("event") == "done"
                if event.get("event") == "problem":
                    last_problem = f"{event.get('case') or job['task']}: {event['reason']}; {event['remedy']}"
                yield event
            code = child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
    if not finished:
        reason = last_problem or f"{job['task']} ended with exit code {code}; its log is {log}"
        raise ChildFailedError(reason)
