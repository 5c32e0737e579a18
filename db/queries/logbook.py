"""The logbook: sources, runs of stages, what these did with each case, and events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, String, cast, func, or_, select, tuple_
from sqlalchemy.orm import Session

from db.batches import batches
from db.models import Case, Event, ItemState, Run, RunItem, RunState, Source, SourceRevision

# How long a run may have waited for another writer before its start was booked; twice SQLite's time-out.
_LONGEST_WAIT = timedelta(seconds=120)


@dataclass(frozen=True)
class RunRow:
    """One execution of a stage; `items` counts what it booked by state, `total` is None where unknown."""

    id: int
    stage: str
    key: str | None
    state: RunState
    parameters: dict[str, Any]
    author: str
    program_version: str
    total: int | None
    message: str
    progress: dict[str, Any]
    started_at: datetime
    finished_at: datetime | None
    items: dict[str, int]


@dataclass(frozen=True)
class RunItemLine:
    """What a run did with one case or file, and why not where it did not.

    `case` is the subject where that is the address of a case in the catalog.
    """

    subject: str
    state: ItemState
    reason: str
    seconds: float | None
    created_at: datetime
    case: str | None


@dataclass(frozen=True)
class EventRow:
    """Who did what."""

    id: int
    created_at: datetime
    author: str
    action: str
    subject: str
    parameters: dict[str, Any]
    program_version: str


@dataclass(frozen=True)
class LogRow:
    """Who did what, and what came of it; `run` is None for what is done at once."""

    event: EventRow
    run: RunRow | None


@dataclass(frozen=True)
class SourceRow:
    """A source, the names of its revisions, and how many cases it has."""

    id: int
    name: str
    licence: str | None
    citation: str | None
    image_root: str | None
    revisions: list[str]
    cases: int


def runs(
    session: Session,
    *,
    stage: str | None = None,
    state: RunState | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[RunRow]:
    """Runs, the newest first; of one stage and in one state where asked."""
    statement = _of(select(Run), stage, state).order_by(Run.id.desc()).limit(limit).offset(offset or None)
    return _with_items(session, session.scalars(statement).all())


def count_runs(session: Session, *, stage: str | None = None, state: RunState | None = None) -> int:
    """How many runs there are of a stage and in a state."""
    return session.scalar(_of(select(func.count()).select_from(Run), stage, state)) or 0


def run_stages(session: Session) -> list[str]:
    """Every stage of which a run is booked, by name."""
    return list(session.scalars(select(Run.stage).distinct().order_by(Run.stage)))


def _of(statement: Select[Any], stage: str | None, state: RunState | None) -> Select[Any]:
    if stage is not None:
        statement = statement.where(Run.stage == stage)
    return statement if state is None else statement.where(Run.state == state)


def run_by_id(session: Session, run_id: int) -> RunRow | None:
    """One run; None if there is none of this number."""
    run = session.get(Run, run_id)
    return None if run is None else _with_items(session, [run])[0]


def _with_items(session: Session, found: Sequence[Run]) -> list[RunRow]:
    items: dict[int, dict[str, int]] = {run.id: {} for run in found}
    for batch in batches(list(items)):
        counts = (
            select(RunItem.run_id, RunItem.state, func.count())
            .where(RunItem.run_id.in_(batch))
            .group_by(RunItem.run_id, RunItem.state)
            .order_by(RunItem.state)
        )
        for run_id, state, n in session.execute(counts):
            items[run_id][state.value] = n
    return [
        RunRow(
            run.id, run.stage, run.key, run.state, run.parameters, run.author, run.program_version, run.total,
            run.message, run.progress, run.started_at, run.finished_at, items[run.id],
        )
        for run in found
    ]  # fmt: skip


def run_item_page(
    session: Session, run_id: int, *, state: ItemState | None = None, limit: int, offset: int = 0
) -> list[RunItemLine]:
    """Some of what a run booked, in order, each with its case where the catalog has one of that address."""
    statement = select(RunItem.subject, RunItem.state, RunItem.reason, RunItem.seconds, RunItem.created_at)
    statement = statement.where(RunItem.run_id == run_id).order_by(RunItem.id).limit(limit).offset(offset)
    if state is not None:
        statement = statement.where(RunItem.state == state)
    rows = session.execute(statement).all()
    named = {tuple(row.subject.split("/", 1)) for row in rows if row.subject.count("/") == 1}
    there = {
        f"{source}/{name}"
        for source, name in session.execute(
            select(Source.name, Case.name)
            .join(Case, Case.source_id == Source.id)
            .where(tuple_(Source.name, Case.name).in_(sorted(named)))
        )
    }
    return [RunItemLine(*row, row.subject if row.subject in there else None) for row in rows]


def events(session: Session, *, limit: int | None = None) -> list[EventRow]:
    """The log, the newest first."""
    columns = (
        Event.id, Event.created_at, Event.author, Event.action, Event.subject, Event.parameters,
        Event.program_version,
    )  # fmt: skip
    rows = session.execute(select(*columns).order_by(Event.id.desc()).limit(limit))
    return [EventRow(*row) for row in rows]


def log(
    session: Session,
    *,
    since: datetime | None = None,
    action: str | None = None,
    author: str | None = None,
    subject: str | None = None,
    limit: int | None = None,
) -> list[LogRow]:
    """Who did what, the newest first, each with what came of it.

    Args:
        session: A reading session.
        since: Only what happened from this moment on.
        action: Only this action, e.g. ``ingest``.
        author: Only by people whose name holds this, in any case of letters.
        subject: Only what mentions this as its subject or in its parameters, in any case of letters.
        limit: At most so many.
    """
    statement = select(Event).order_by(Event.id.desc()).limit(limit)
    if since is not None:
        statement = statement.where(Event.created_at >= since)
    if action is not None:
        statement = statement.where(Event.action == action)
    if author is not None:
        statement = statement.where(Event.author.icontains(author, autoescape=True))
    if subject is not None:
        mentioned = (Event.subject, cast(Event.parameters, String))
        statement = statement.where(or_(*(text.icontains(subject, autoescape=True) for text in mentioned)))
    events = session.scalars(statement).all()
    started = _started_by(session, events)
    return [
        LogRow(
            EventRow(e.id, e.created_at, e.author, e.action, e.subject, e.parameters, e.program_version),
            started.get(e.id),
        )
        for e in events
    ]


def actions(session: Session) -> list[str]:
    """Every action that the log knows, by name."""
    return list(session.scalars(select(Event.action).distinct().order_by(Event.action)))


def _started_by(session: Session, events: Sequence[Event]) -> dict[int, RunRow]:
    """Event id to the run whose start it tells; the newest events come first.

    A run and its event are written in one transaction, the run's time taken before it: while it waited for
    another writer, time went by.
    """
    if not events:
        return {}
    found = session.scalars(
        select(Run)
        .where(Run.stage.in_({event.action for event in events}))
        .where(Run.started_at >= events[-1].created_at - _LONGEST_WAIT)
        .order_by(Run.id.desc())
    ).all()
    left = _with_items(session, found)
    started: dict[int, RunRow] = {}
    for event in events:
        for run in left:
            waited = event.created_at - run.started_at
            if (
                (run.stage, run.author, run.parameters) == (event.action, event.author, event.parameters)
                and timedelta(0) <= waited <= _LONGEST_WAIT
            ):  # fmt: skip
                started[event.id] = run
                left.remove(run)
                break
    return started


def sources(session: Session) -> list[SourceRow]:
    """All sources, by name."""
    revisions: dict[int, list[str]] = {}
    for source_id, name in session.execute(
        select(SourceRevision.source_id, SourceRevision.name).order_by(SourceRevision.id)
    ):
        revisions.setdefault(source_id, []).append(name)
    cases = {
        row.source_id: row.n
        for row in session.execute(select(Case.source_id, func.count().label("n")).group_by(Case.source_id))
    }
    return [
        SourceRow(
            s.id, s.name, s.licence, s.citation, s.image_root, revisions.get(s.id, []), cases.get(s.id, 0)
        )
        for s in session.scalars(select(Source).order_by(Source.name))
    ]


def image_paths(session: Session, source: str) -> list[str]:
    """Where the images of a source's cases lie: relative to its image root, or absolute."""
    paths = session.scalars(
        select(Case.image_path)
        .join(Source, Source.id == Case.source_id)
        .where(Source.name == source, Case.image_path.is_not(None))
        .order_by(Case.id)
    )
    return [path for path in paths if path]
