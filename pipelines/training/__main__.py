"""`python -m pipelines.training JOB.json [PARENT]`: what a stage, the process PARENT, starts as a child."""

import os
import sys
import threading
import time
from pathlib import Path


def _end_with(parent: int) -> None:
    """End when the stage is gone, even by kill -9: started again, it would train on the same files beside this."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        sys.exit("usage: python -m pipelines.training JOB.json [PARENT]")
    if len(sys.argv) == 3:
        _end_with(int(sys.argv[2]))

    # After the watch has begun: this import takes seconds.
    from pipelines.training.worker import run

    sys.exit(run(Path(sys.argv[1])))
