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
    others = set(multiprocessing.active_children())
    try:
        with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_end_with_parent) as pool:
            try:
                yield pool
            except BrokenProcessPool:
                # The pool ends those workers that it knew when it broke. One that was just being started would
                # be waited for without ever being told to end.
                for worker in set(multiprocessing.active_children()) - others:
                    worker.kill()
                raise
    except BrokenProcessPool as error:
        raise WorkerLostError(
            "a worker process was killed, perhaps because memory ran out; start the same command again to go "
            "on, with fewer --jobs"
        ) from error


def submit(executor: Executor, function: Callable[[Job], Result], job: Job) -> Future[Result]:
    """Hand in one job; the pool may start a worker for it."""
    with _undisturbed():
        try:
            return executor.submit(function, job)
        except OSError:
            # A pool that breaks closes its queues, even under a worker that it is just starting.
            executor.submit(os.getpid)  # raises BrokenProcessPool where that is the reason
            raise


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off to the end of the block, and keep Ctrl-C from processes that it starts.

    An interruption would leave a worker half started, to die with a traceback. And the terminal sends SIGINT to
    every process of a command: workers that ended by it would be reported as lost. Blocked signals stay
    blocked in a child, whereas a handler of its own would come after its imports.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread alone
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def _end_with_parent() -> None:
    """End this worker when its parent is gone: a pool's worker would wait for its next job for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a worker alone"

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
