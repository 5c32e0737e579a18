"""The log: who did what and what came of it, narrowed as asked, on both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from db import queries, writes
from db.catalog import Catalog
from db.models import Event, ItemState, Run, RunState

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def book(
    catalog: Catalog,
    action: str,
    minutes: float,
    *,
    subject: str = "",
    author: str = "Ada",
    parameters: dict[str, Any] | None = None,
    waited_s: float | None = None,
) -> int | None:
    """An event so many minutes after noon; `waited_s`: of a run that began so many seconds before it."""
    said = {"author": author, "parameters": parameters or {}, "program_version": "1.0"}
    moment = NOON + timedelta(minutes=minutes)
    run_id = None
    with catalog.writing() as session:
        if waited_s is not None:
            started = moment - timedelta(seconds=waited_s)
            statement = insert(Run).values(
                stage=action, state=RunState.DONE, started_at=started, finished_at=moment, **said
            )
            run_id = session.execute(statement.returning(Run.id)).scalar_one()
        session.execute(insert(Event).values(action=action, subject=subject, created_at=moment, **said))
    return run_id


def told(catalog: Catalog, **narrowed: Any) -> list[tuple[str, str]]:
    with catalog.reading() as session:
        return [(row.event.action, row.event.subject) for row in queries.log(session, **narrowed)]


@pytest.fixture
def booked(catalog: Catalog) -> Catalog:
    book(catalog, "ingest", 0, subject="KiTS", parameters={"mapping": "kits19", "n": 100}, waited_s=1)
    book(catalog, "complement", 1, subject="teacher", parameters={"query": "missing pancreas"}, author="Eve")
    book(catalog, "ingest", 2, subject="FLARE23", author="Grace Hopper")
    return catalog


@pytest.mark.parametrize(
    ("narrowed", "expected"),
    [
        ({}, ["FLARE23", "teacher", "KiTS"]),
        ({"action": "ingest"}, ["FLARE23", "KiTS"]),
        ({"author": "hopper"}, ["FLARE23"]),
        ({"subject": "kits"}, ["KiTS"]),
        ({"subject": "PANCREAS"}, ["teacher"]),
        ({"subject": "100%"}, []),  # no wildcard of the database's
        ({"since": NOON + timedelta(minutes=1)}, ["FLARE23", "teacher"]),
        ({"limit": 2}, ["FLARE23", "teacher"]),
        ({"action": "ingest", "author": "ada", "limit": 1}, ["KiTS"]),
    ],
)
def test_the_log_is_narrowed_as_asked(booked: Catalog, narrowed: dict[str, Any], expected: list[str]) -> None:
    assert [subject for _, subject in told(booked, **narrowed)] == expected


def test_the_log_knows_its_actions(booked: Catalog) -> None:
    with booked.reading() as session:
        assert queries.actions(session) == ["complement", "ingest"]


def test_each_event_has_the_run_that_it_began_also_where_that_waited(catalog: Catalog) -> None:
    same = {"source": "S"}
    first = book(catalog, "ingest", 0, parameters=same, waited_s=0)
    book(catalog, "ingest", 0.5, parameters={"source": "other"})
    # It waited for another writer for 50 s before its start was booked.
    second = book(catalog, "ingest", 1, parameters=same, waited_s=50)
    third = book(catalog, "ingest", 1.1, parameters=same, waited_s=0.01)
    with catalog.reading() as session:
        found = [row.run.id if row.run else None for row in queries.log(session)]
    assert found == [third, second, None, first]


def test_a_run_of_the_stages_is_told_with_what_came_of_it(catalog: Catalog) -> None:
    with catalog.writing() as session:
        run_id = writes.start_run(session, "ingest", "S", {"a": 1}, "Ada", "1.0")
        writes.add_event(
            session, author="Ada", action="ingest", subject="S", parameters={"a": 1}, program_version="1.0"
        )
        writes.add_run_item(session, run_id, subject="S/A", state=ItemState.REFUSED, reason="4D")
        writes.finish_run(session, run_id, RunState.DONE, "1 new, 1 refused")
    with catalog.reading() as session:
        (row,) = queries.log(session)
    assert row.run is not None
    assert (row.run.id, row.run.message, row.run.items) == (run_id, "1 new, 1 refused", {"refused": 1})
