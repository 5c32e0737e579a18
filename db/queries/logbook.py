"""The logbook: sources, runs of stages, what these did with each case, and events."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Case, Event, ItemState, Run, RunItem, RunState, Source, SourceRevision


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
class RunItemRow:
    """What a run did with one case or file, and why not where it did not."""

    subject: str
    state: ItemState
    reason: str
    case_id: int | None
    seconds: float | None
    created_at: datetime


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
class SourceRow:
    """A source, the names of its revisions, and how many cases it has."""

    id: int
    name: str
    licence: str | None
    citation: str | None
    image_root: str | None
    revisions: list[str]
    cases: int


def runs(session: Session, *, stage: str | None = None, limit: int | None = None) -> list[RunRow]:
    """Runs, the newest first."""
    statement = select(Run).order_by(Run.id.desc()).limit(limit)
    if stage is not None:
        statement = statement.where(Run.stage == stage)
    found = session.scalars(statement).all()
    items: dict[int, dict[str, int]] = {run.id: {} for run in found}
    counts = (
        select(RunItem.run_id, RunItem.state, func.count())
        .where(RunItem.run_id >= (found[-1].id if found else 0))
        .group_by(RunItem.run_id, RunItem.state)
        .order_by(RunItem.state)
    )
    for run_id, state, n in session.execute(counts):
        if run_id in items:
            items[run_id][state.value] = n
    return [
        RunRow(
            run.id, run.stage, run.key, run.state, run.parameters, run.author, run.program_version, run.total,
            run.message, run.progress, run.started_at, run.finished_at, items[run.id],
        )
        for run in found
    ]  # fmt: skip


def run_items(session: Session, run_id: int, *, state: ItemState | None = None) -> list[RunItemRow]:
    """What one run booked, in order."""
    columns = (
        RunItem.subject, RunItem.state, RunItem.reason, RunItem.case_id, RunItem.seconds, RunItem.created_at,
    )  # fmt: skip
    statement = select(*columns).where(RunItem.run_id == run_id).order_by(RunItem.id)
    if state is not None:
        statement = statement.where(RunItem.state == state)
    return [RunItemRow(*row) for row in session.execute(statement)]


def events(session: Session, *, limit: int | None = None) -> list[EventRow]:
    """The log, the newest first."""
    columns = (
        Event.id, Event.created_at, Event.author, Event.action, Event.subject, Event.parameters,
        Event.program_version,
    )  # fmt: skip
    rows = session.execute(select(*columns).order_by(Event.id.desc()).limit(limit))
    return [EventRow(*row) for row in rows]


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
