"""A run of a stage: what it works with, how its cases are spread over processes, and how each outcome is booked."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy.orm import Session

from curation.errors import CurationError
from curation.one_line import one_line
from db import writes
from db.catalog import Catalog
from db.engine import DatabaseUnreachableError
from db.models import ItemState, RunState, utc_now
from db.store import Store
from db.writes import WrittenMeanwhileError
from pipelines.workers import submit, worker_pool

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


# What a write does with its session; a text that it returns is counted in the outcome.
Write = Callable[[Session], str | None]
# The same for several things at once: one text, or None, for each of them.
WriteAll = Callable[[Session, Sequence[Any]], Sequence[str | None]]


@dataclass(frozen=True)
class _Queued:
    """One thing to be written: what it is about, and who writes it, perhaps together with others."""

    subject: str
    write_all: WriteAll
    item: Any
    is_note: bool = False


def _one_by_one(session: Session, queued: Sequence[Write]) -> list[str | None]:
    return [write(session) for write in queued]


@dataclass(frozen=True)
class _Written:
    """What became of one queued write: what it counts as, or why it was refused."""

    counts_as: str | None = None
    refused: str | None = None


class Booking:
    """The one writer of a run: collects writes and commits them in batches of at most COMMIT_EVERY_S.

    A batch is one transaction and gets through exactly once, also where the database went away while it was
    committed. Inside it every write stands on its own: one that refuses its case undoes no other.
    """

    def __init__(self, bench: Workbench, outcome: Outcome, total: int | None = None) -> None:
        self.bench = bench
        self.outcome = outcome
        self._pending: list[_Queued] = []
        self._after: list[Callable[[], None]] = []
        self._batches = 0
        self._total = total
        self._done = 0
        self._since = time.monotonic()
        self._progress_at = float("-inf")

    def add(self, write: Write, subject: str = "") -> None:
        """Queue one write; it is committed with its batch.

        Args:
            write: A function of a session. It may be called more than once, each time on what is committed
                by then. A CurationError that it raises (`StaleParentError`: another writer was first)
                refuses its case alone; where that writer wrote the same, there is nothing to refuse.
            subject: The case or file that it is about.
        """
        self.add_together(_one_by_one, write, subject)

    def add_together(
        self, write_all: WriteAll, item: Any, subject: str = "", *, is_note: bool = False
    ) -> None:
        """Queue one thing that is written together with the others of its batch, where that is cheaper.

        Args:
            write_all: A function of a session and items, sorted by subject. For it holds what `add` says of a
                write; where it raises a CurationError it is called again with each of the items alone.
            item: What is to be written.
            subject: The case or file that it is about.
            is_note: It is no item of the work, which its progress counts.
        """
        self._pending.append(_Queued(subject, write_all, item, is_note))
        if time.monotonic() - self._since >= COMMIT_EVERY_S:
            self.flush()

    def add_after(self, action: Callable[[], None]) -> None:
        """Do something once everything queued so far is committed."""
        self._after.append(action)

    def refuse(self, subject: str, line: str) -> None:
        """Book one case that could not be taken; `line` says file, reason and remedy."""
        self.outcome.refused.append(one_line(line))
        self._item(subject, ItemState.REFUSED, line)

    def note(self, subject: str, line: str) -> None:
        """Book something worth knowing that stops nothing."""
        self.outcome.noted.append(one_line(line))
        self._item(subject, ItemState.NOTED, line)

    def progress(self, event: dict[str, Any]) -> None:
        """Book how far a training is, for those who watch from elsewhere; at most once a second."""
        now = time.monotonic()
        if now - self._progress_at >= 1.0:
            self._progress_at = now
            # Where the database is gone for a moment the next event tells more, and the training goes on.
            with suppress(DatabaseUnreachableError), self.bench.catalog.writing(wait=False) as session:
                writes.update_progress(session, self.outcome.run_id, event)

    def _item(self, subject: str, state: ItemState, line: str) -> None:
        # A file's name need not be UTF-8, which both databases want.
        write: Write = partial(self._write_item, subject=one_line(subject), state=state, line=one_line(line))
        self.add_together(_one_by_one, write, subject, is_note=state is ItemState.NOTED)

    def _write_item(self, session: Session, subject: str, state: ItemState, line: str) -> None:
        writes.add_run_item(session, self.outcome.run_id, subject=subject, state=state, reason=line)

    def flush(self) -> None:
        """Commit what is queued."""
        self._since = (
            time.monotonic()
        )  # counts the writing, too: where that is slow the next batch is smaller
        # In one order for all runs: two writers of the same cases wait for each other, but never crosswise.
        batch, self._pending = sorted(self._pending, key=lambda queued: queued.subject), []
        self._done += sum(not queued.is_note for queued in batch)
        if batch:
            for written in self._commit(batch):
                if written.counts_as:
                    self.outcome.count(written.counts_as)
                if written.refused:
                    self.outcome.refused.append(written.refused)
        after, self._after = self._after, []
        for action in after:
            action()

    def _commit(self, batch: list[_Queued]) -> list[_Written]:
        """Write a batch exactly once, without those of its writes that refuse their case."""
        try:
            return self._transaction(lambda session: self._write(session, batch))
        except DatabaseUnreachableError:
            raise
        except CurationError:
            # Rare, and a savepoint for every write of every batch would make them all a tenth slower.
            return self._transaction(lambda session: [self._write_or_refuse(session, one) for one in batch])

    def _transaction(self, write: Callable[[Session], list[_Written]]) -> list[_Written]:
        number = self._batches + 1
        written: list[_Written] = []

        def attempt() -> None:
            nonlocal written
            with self.bench.catalog.writing() as session:
                if writes.begin_batch(session, self.outcome.run_id, number, self._progress()):
                    written = write(session)
                # Else the attempt before was committed and only its answer was lost: `written` is right.

        self.bench.catalog.insist(attempt)
        self._batches = number
        return written

    def _progress(self) -> dict[str, Any] | None:
        """How far the work is, for those who watch from elsewhere; a training tells it itself."""
        return None if not self._total else {"step": min(self._done, self._total), "of": self._total}

    def _write(self, session: Session, batch: list[_Queued]) -> list[_Written]:
        together: dict[WriteAll, list[Any]] = {}
        for queued in batch:
            together.setdefault(queued.write_all, []).append(queued.item)
        return [_Written(text) for write_all, items in together.items() for text in write_all(session, items)]

    def _write_or_refuse(self, session: Session, queued: _Queued) -> _Written:
        savepoint = session.begin_nested()
        try:
            (counts_as,) = queued.write_all(session, [queued.item])
        except WrittenMeanwhileError:
            savepoint.rollback()
            return _Written("written by another run meanwhile")
        except CurationError as error:
            savepoint.rollback()
            self._write_item(session, one_line(queued.subject), ItemState.REFUSED, one_line(str(error)))
            return _Written(refused=one_line(str(error)))
        savepoint.commit()
        return _Written(counts_as)


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
    booking = Booking(bench, Outcome(_start(bench, stage, parameters, key, total)), total)
    try:
        yield booking
        booking.flush()
    except (KeyboardInterrupt, SystemExit):
        _finish(bench, booking, RunState.INTERRUPTED, "interrupted; start it again to go on")
        raise
    except Exception as error:
        _finish(bench, booking, RunState.FAILED, str(error))
        raise
    outcome = booking.outcome
    message = ", ".join(f"{n} {kind}" for kind, n in outcome.counts.items())
    if outcome.refused:
        message = ", ".join(filter(None, (message, f"{len(outcome.refused)} refused")))
    bench.catalog.insist(partial(_write_end, bench.catalog, outcome.run_id, RunState.DONE, message))


def _start(
    bench: Workbench, stage: str, parameters: dict[str, Any], key: str | None, total: int | None
) -> int:
    """Book the start of a run and its event; returns the run's id."""
    started_at = utc_now()

    def attempt() -> int:
        with bench.catalog.writing() as session:
            known = writes.started_run(session, stage, bench.author, started_at)
            if known is not None:
                return known  # committed before; only the answer was lost
            run_id = writes.start_run(
                session, stage=stage, key=key, parameters=parameters, author=bench.author,
                program_version=bench.program_version, total=total, started_at=started_at,
            )  # fmt: skip
            writes.add_event(
                session, author=bench.author, action=stage, subject=key or "", parameters=parameters,
                program_version=bench.program_version,
            )  # fmt: skip
            return run_id

    return bench.catalog.insist(attempt)


def _finish(bench: Workbench, booking: Booking, state: RunState, message: str) -> None:
    """Book the end of a run that did not get to its end; the error that ended it is on its way already."""
    bench.progress.finish()  # an open bar would keep the terminal's cursor
    # Where the catalog itself is what failed, the next run of the same work books this one as interrupted.
    with suppress(DatabaseUnreachableError), bench.catalog.writing(wait=False) as session:
        writes.finish_run(session, booking.outcome.run_id, state=state, message=message)


def _write_end(catalog: Catalog, run_id: int, state: RunState, message: str) -> None:
    with catalog.writing() as session:
        writes.finish_run(session, run_id, state=state, message=message)


def map_cases(
    workers: Workers, function: Callable[[Job], Result], jobs: Iterable[Job], total: int
) -> Iterator[Result]:
    """Map a pure function over jobs in worker processes, in the order in which they finish.

    Few jobs run in this process. `function` must be importable and must return a bad case's errors as
    values: what it raises ends the run, because it is a defect of ours or, as a store that cannot be
    written, would meet every other case too.
    """
    if workers.executor is None and (workers.jobs == 1 or total < POOL_FROM_JOBS):
        yield from map(function, jobs)
        return
    if workers.executor is not None:
        yield from _as_finished(workers.executor, function, jobs, 4 * workers.jobs)
        return
    with worker_pool(workers.jobs) as pool:
        yield from _as_finished(pool, function, jobs, 4 * workers.jobs)


def _as_finished(
    executor: Executor, function: Callable[[Job], Result], jobs: Iterable[Job], window: int
) -> Iterator[Result]:
    """Keep `window` jobs in flight, so that 100,000 jobs do not wait as 100,000 futures."""
    waiting: set[Future[Result]] = set()
    try:
        for job in jobs:
            waiting.add(submit(executor, function, job))
            if len(waiting) >= window:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        for future in waiting:
            future.cancel()
