"""Runs of stages, what they did with each case, and the log of events."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.models import Event, ItemState, Run, RunItem, RunState, utc_now
from db.writes.insert import insert_returning_id


def start_run(
    session: Session,
    stage: str,
    key: str | None,
    parameters: Mapping[str, Any],
    author: str,
    program_version: str,
    total: int | None = None,
    started_at: datetime | None = None,
) -> int:
    """Book the start of a run; returns its id.

    A run of the same work that still counts as running was killed before it could say so: it is
    booked as interrupted.

    Args:
        session: A writing session.
        stage: E.g. ``ingest``.
        key: Names the work, so that a run of it that was killed is known; None if it does not matter.
        parameters: What was asked for.
        author: Who asked.
        program_version: What it runs on.
        total: Number of items to do; None where unknown.
        started_at: When, by the caller's clock; default now.
    """
    values = {
        "stage": stage,
        "key": key,
        "parameters": dict(parameters),
        "author": author,
        "program_version": program_version,
        "total": total,
        "started_at": started_at or utc_now(),
    }
    if key is not None:
        session.execute(
            update(Run)
            .where(Run.stage == stage, Run.key == key, Run.state == RunState.RUNNING)
            .values(state=RunState.INTERRUPTED, finished_at=utc_now(), message="stopped before its end")
        )
    return insert_returning_id(session, Run, values)


def started_run(session: Session, stage: str, author: str, started_at: datetime) -> int | None:
    """The run that this author started at this very moment: whether a lost answer was that of a commit."""
    same = (Run.stage == stage, Run.author == author, Run.started_at == started_at)
    return session.scalar(select(Run.id).where(*same))


def begin_batch(
    session: Session, run_id: int, number: int, progress: Mapping[str, Any] | None = None
) -> bool:
    """Count a batch of a run's writes, in the transaction that holds them.

    Args:
        session: A writing session.
        run_id: The run.
        number: Which batch of the run this is, from 1.
        progress: How far the run is with it; None leaves what was said before.

    Returns:
        False if this very batch was committed before and only the answer was lost: write nothing then.
    """
    said = {} if progress is None else {"progress": dict(progress)}
    counted = session.execute(
        update(Run).where(Run.id == run_id, Run.batches == number - 1).values(batches=number, **said)
    )
    return bool(counted.rowcount)  # type: ignore[attr-defined]


def update_progress(session: Session, run_id: int, progress: Mapping[str, Any]) -> None:
    """Keep the latest progress event of a run, for those who watch it."""
    session.execute(update(Run).where(Run.id == run_id).values(progress=dict(progress)))


def add_run_item(
    session: Session,
    run_id: int,
    *,
    subject: str,
    state: ItemState,
    reason: str = "",
    case_id: int | None = None,
    seconds: float | None = None,
) -> None:
    """Book what a run did with one case or file, and why not where it did not."""
    insert_returning_id(
        session,
        RunItem,
        {
            "run_id": run_id,
            "case_id": case_id,
            "subject": subject,
            "state": state,
            "reason": reason,
            "seconds": seconds,
        },
    )


def finish_run(session: Session, run_id: int, state: RunState, message: str = "") -> None:
    """Book the end of a run."""
    session.execute(
        update(Run).where(Run.id == run_id).values(state=state, message=message, finished_at=utc_now())
    )


def add_event(
    session: Session,
    *,
    author: str,
    action: str,
    program_version: str,
    subject: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Book who did what, when, with which program version and parameters."""
    insert_returning_id(
        session,
        Event,
        {
            "author": author,
            "action": action,
            "subject": subject,
            "parameters": dict(parameters or {}),
            "program_version": program_version,
        },
    )
