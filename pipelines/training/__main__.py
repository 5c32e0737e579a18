"""`python -m pipelines.training JOB.json`: what a stage starts as a child process."""

import sys
from pathlib import Path

from pipelines.training.worker import run

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pipelines.training JOB.json")
    sys.exit(run(Path(sys.argv[1])))
