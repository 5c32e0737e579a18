"""A run of a stage: what it works with, how its cases are spread over processes, and how each outcome is booked."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

from db import writes
from db.catalog import Catalog
from db.models import ItemState, RunState
from db.store import Store

Job = TypeVar("Job")
Result = TypeVar("Result")

# Below this many jobs the start of worker processes costs more than it saves.
POOL_FROM_JOBS = 12
# A crash loses at most this much finished work; SQLite pays its fsync once per batch.
COMMIT_EVERY_S = 0.5


class Progress(Protocol):
    """Where a stage says how far it is; a face decides how that looks."""

    def start(self, title: str, total: int | None) -> None:
        """Begin a new bar or line."""

    def step(self, done: int, message: str = "") -> None:
        """Say that `done` items are finished."""

    def finish(self) -> None:
        """Close the present bar or line."""

    def say(self, line: str) -> None:
        """Tell one line that stays on the screen."""


class Silent:
    """Progress for callers that do not look."""

    def start(self, title: str, total: int | None) -> None:
        """See Progress."""

    def step(self, done: int, message: str = "") -> None:
        """See Progress."""

    def finish(self) -> None:
        """See Progress."""

    def say(self, line: str) -> None:
        """See Progress."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How work is spread and watched.

    `jobs` is how many worker processes a stage may use; `executor`, if given, is used instead
    (a Dask client's `get_executor()` fits).
    """

    jobs: int = field(default_factory=cores)
    progress: Progress = field(default_factory=Silent)
    executor: Executor | None = None


@dataclass(frozen=True, kw_only=True)
class Workbench(Workers):
    """What a stage works with.

    `root` is the workspace folder: trainings keep their files under `root/runs`.
    """

    catalog: Catalog
    store: Store
    root: Path
    author: str
    program_version: str


@dataclass
class Outcome:
    """What a stage did: counts by kind, what it refused and what it noted, each one line for the user."""

    run_id: int
    counts: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)

    def count(self, kind: str, by: int = 1) -> None:
        """Add to one of the counts."""
        self.counts[kind] = self.counts.get(kind, 0) + by


class Booking:
    """The one writer of a run: collects writes and commits them in batches of at most COMMIT_EVERY_S."""

    def __init__(self, bench: Workbench, outcome: Outcome) -> None:
        self.bench = bench
        self.outcome = outcome
        self._pending: list[Callable[[Any], None]] = []
        self._after: list[Callable[[], None]] = []
        self._since = time.monotonic()
        self._progress_at = float("-inf")

    def add(self, write: Callable[[Any], None]) -> None:
        """Queue one write (a function of a session); it is committed with its batch."""
        self._pending.append(write)
        if time.monotonic() - self._since >= COMMIT_EVERY_S:
            self.flush()

    def add_after(self, action: Callable[[], None]) -> None:
        """Do something once everything queued so far is committed."""
        self._after.append(action)

    def refuse(self, subject: str, line: str) -> None:
        """Book one case that could not be taken; `line` says file, reason and remedy."""
        self.outcome.refused.append(line)
        self._item(subject, ItemState.REFUSED, line)

    def note(self, subject: str, line: str) -> None:
        """Book something worth knowing that stops nothing."""
        self.outcome.noted.append(line)
        self._item(subject, ItemState.NOTED, line)

    def progress(self, event: dict[str, Any]) -> None:
        """Book how far a training is, for those who watch from elsewhere; at most once a second."""
        now = time.monotonic()
        if now - self._progress_at >= 1.0:
            self._progress_at = now
            with self.bench.catalog.writing() as session:
                writes.update_progress(session, self.outcome.run_id, event)

    def _item(self, subject: str, state: ItemState, line: str) -> None:
        run_id = self.outcome.run_id
        self.add(
            lambda session: writes.add_run_item(session, run_id, subject=subject, state=state, reason=line)
        )

    def flush(self) -> None:
        """Commit what is queued."""
        pending, self._pending = self._pending, []
        if pending:
            with self.bench.catalog.writing() as session:
                for write in pending:
                    write(session)
        after, self._after = self._after, []
        for action in after:
            action()
        self._since = time.monotonic()


@contextmanager
def run(
    bench: Workbench,
    stage: str,
    parameters: dict[str, Any],
    *,
    key: str | None = None,
    total: int | None = None,
) -> Iterator[Booking]:
    """Book one run from start to end: done when the block ends, failed or interrupted when it raises.

    Args:
        bench: Catalog and author to book with.
        stage: Name of the stage, e.g. ``ingest``.
        parameters: What the user asked for; also goes into the log of events.
        key: Names the work: when it is started again after a kill, the killed run is booked as interrupted.
        total: Number of items, where known.
    """
    with bench.catalog.writing() as session:
        run_id = writes.start_run(
            session, stage=stage, key=key, parameters=parameters, author=bench.author,
            program_version=bench.program_version, total=total,
        )  # fmt: skip
        writes.add_event(
            session, author=bench.author, action=stage, subject=key or "", parameters=parameters,
            program_version=bench.program_version,
        )  # fmt: skip
    booking = Booking(bench, Outcome(run_id))
    state, message = RunState.FAILED, ""
    try:
        yield booking
        booking.flush()
        outcome = booking.outcome
        state = RunState.DONE
        message = ", ".join(f"{n} {kind}" for kind, n in outcome.counts.items())
        if outcome.refused:
            message = ", ".join(filter(None, (message, f"{len(outcome.refused)} refused")))
    except KeyboardInterrupt:
        state, message = RunState.INTERRUPTED, "interrupted; start it again to go on"
        raise
    except Exception as error:
        message = str(error)
        raise
    finally:
        with bench.catalog.writing() as session:
            writes.finish_run(session, run_id, state=state, message=message)


def map_cases(
    workers: Workers, function: Callable[[Job], Result], jobs: Iterable[Job], total: int
) -> Iterator[Result]:
    """Map a pure function over jobs in worker processes, in the order in which they finish.

    Few jobs run in this process. `function` must be importable and must return its errors as
    values: what it raises is a defect of ours and ends the run.
    """
    if workers.executor is None and (workers.jobs == 1 or total < POOL_FROM_JOBS):
        yield from map(function, jobs)
        return
    if workers.executor is not None:
        yield from _as_finished(workers.executor, function, jobs, 4 * workers.jobs)
        return
    # spawn: a forked child would share the parent's database connections.
    with ProcessPoolExecutor(workers.jobs, mp_context=get_context("spawn")) as pool:
        yield from _as_finished(pool, function, jobs, 4 * workers.jobs)


def _as_finished(
    executor: Executor, function: Callable[[Job], Result], jobs: Iterable[Job], window: int
) -> Iterator[Result]:
    """Keep `window` jobs in flight, so that 100,000 jobs do not wait as 100,000 futures."""
    waiting: set[Future[Result]] = set()
    try:
        for job in jobs:
            waiting.add(executor.submit(function, job))
            if len(waiting) >= window:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        for future in waiting:
            future.cancel()
