"""Runs of stages, what they did with each case, and the log of events."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.models import Event, ItemState, Run, RunItem, RunState, utc_now
from db.writes.insert import insert_returning_id


@dataclass(frozen=True)
class OpenRun:
    """A run that is not done and may go on."""

    id: int
    state: RunState
    parameters: dict[str, Any]
    progress: dict[str, Any]


def start_run(
    session: Session,
    stage: str,
    key: str | None,
    parameters: Mapping[str, Any],
    author: str,
    program_version: str,
    total: int | None = None,
) -> int:
    """Book the start of a run; returns its id.

    Args:
        session: A writing session.
        stage: E.g. ``ingest``.
        key: Names the work, so that `open_run` finds it again; None if it is never resumed.
        parameters: What was asked for.
        author: Who asked.
        program_version: What it runs on.
        total: Number of items to do; None where unknown.
    """
    values = {
        "stage": stage,
        "key": key,
        "parameters": dict(parameters),
        "author": author,
        "program_version": program_version,
        "total": total,
    }
    return insert_returning_id(session, Run, values)


def open_run(session: Session, stage: str, key: str) -> OpenRun | None:
    """Take the newest run of this work up again, unless it is done: it is `running` from now on.

    A run that was killed still says `running`; which of two processes may go on is for the caller to
    see to.
    """
    found = session.execute(
        select(Run.id, Run.state, Run.parameters, Run.progress)
        .where(Run.stage == stage, Run.key == key)
        .order_by(Run.id.desc())
        .limit(1)
    ).first()
    if found is None or found.state is RunState.DONE:
        return None
    session.execute(
        update(Run).where(Run.id == found.id).values(state=RunState.RUNNING, finished_at=None, message="")
    )
    return OpenRun(found.id, found.state, found.parameters, found.progress)


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
