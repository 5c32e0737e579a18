"""Worker processes that leave nothing behind: not at Ctrl-C, not when the process that they work for is killed."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import TypeVar

from curation.errors import CurationError

Job = TypeVar("Job")
Result = TypeVar("Result")


class WorkerLostError(CurationError):
    """A worker process was killed."""


@contextmanager
def worker_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes for the length of a block.

    Raises:
        WorkerLostError: One of them was killed while it worked; Linux does that when memory runs out.
    """
    # spawn: a forked child would share the parent's database connections.
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_end_with_parent) as pool:
            yield pool
    except BrokenProcessPool as error:
        raise WorkerLostError(
            "a worker process was killed, perhaps because memory ran out; start the same command again to go "
            "on, with fewer --jobs"
        ) from error


def submit(executor: Executor, function: Callable[[Job], Result], job: Job) -> Future[Result]:
    """Hand in one job; a worker that is started for it never sees Ctrl-C.

    The terminal sends SIGINT to every process of the command, and workers that died of it would be reported
    as lost. Blocked signals stay blocked in a child, whereas a handler would come after its imports.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return executor.submit(function, job)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """End this worker when its parent is gone: a pool's worker would wait for its next job for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a worker alone"

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
