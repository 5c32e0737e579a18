"""Two people decide about one case at once, each in a session of their own: the second one is told."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from reviewed_case import SPLEEN, detail, make_case, newest, voxels
from sqlalchemy import select

from curation.errors import CurationError, UsageError
from curation.status import Finding, Severity
from db import queries, writes
from db.models import Decision
from db.writes import StaleParentError
from pipelines.by_hand import Seen, seen_now
from pipelines.purge import purge
from pipelines.revert import revert
from pipelines.review import absent, accept, dismiss, reject


def seen(bench) -> Seen:
    with bench.catalog.reading() as session:
        case = queries.resolve(session, "S/A")
        return seen_now(session, case.case_id, case.number)


@pytest.fixture
def people(bench, tmp_path):
    """Ada and Bob, and what both see of S/A: version 2 with a pseudo spleen and tumor."""
    make_case(bench, tmp_path)
    return replace(bench, author="Ada"), replace(bench, author="Bob"), seen(bench)


def verdicts(bench):
    with bench.catalog.reading() as session:
        rows = session.scalars(select(Decision).order_by(Decision.id)).all()
        return [(row.person, str(row.verdict)) for row in rows]


def test_a_version_that_came_meanwhile_is_told_with_who_made_it(people):
    ada, bob, both = people
    reject(ada, "S/A@2", ["spleen"], "is stomach", seen=both)
    for decide in (
        lambda: reject(bob, "S/A@2", ["spleen"], "why", seen=both),
        lambda: accept(bob, "S/A@2", ["tumor"], "why", seen=both),
        lambda: absent(bob, "S/A@2", ["gallbladder"], "why", seen=both),
        lambda: revert(bob, "S/A@1", "why", seen=both),
        lambda: dismiss(bob, "S/A@2", "why", finding_id=1, seen=both),
    ):
        with pytest.raises(
            StaleParentError, match=r"version 3 \(reviewed by Ada\) came while you looked at version 2"
        ):
            decide()
    assert verdicts(ada) == [("Ada", "rejected")]
    assert newest(ada).number == 3


def test_a_decision_that_made_no_version_is_told_with_who_made_it(people):
    ada, bob, both = people
    accept(ada, "S/A@2", ["spleen"], seen=both)
    for decide in (reject, accept, absent):
        with pytest.raises(StaleParentError, match="Ada called spleen accepted while you looked at it"):
            decide(bob, "S/A@2", ["tumor", "spleen"], "why", seen=both)
    with pytest.raises(StaleParentError, match="Ada called spleen accepted"):
        revert(bob, "S/A@1", "why", seen=both)
    assert verdicts(ada) == [("Ada", "accepted")]
    assert newest(ada).number == 2


def test_another_class_of_the_same_version_may_be_accepted_by_two_at_once(people):
    ada, bob, both = people
    accept(ada, "S/A@2", ["spleen"], seen=both)
    assert accept(bob, "S/A@2", ["tumor"], seen=both).decided == ("tumor",)
    assert verdicts(ada) == [("Ada", "accepted"), ("Bob", "accepted")]


def test_who_looks_again_may_decide(people):
    ada, bob, both = people
    accept(ada, "S/A@2", ["spleen"], seen=both)
    assert reject(bob, "S/A@2", ["spleen"], "is stomach", seen=seen(bob)).after == 3


@pytest.mark.parametrize("second", [accept, reject])
def test_of_two_at_the_same_moment_exactly_one_gets_through(people, second):
    ada, bob, both = people
    together = threading.Barrier(2)

    def decide(bench, verdict) -> str | None:
        together.wait()
        try:
            verdict(bench, "S/A@2", ["spleen"], "why", seen=both)
        except StaleParentError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(decide, (ada, bob), (reject, second)))
    assert sorted(told is None for told in said) == [False, True]
    assert "while you looked at" in next(told for told in said if told)
    assert len(verdicts(ada)) == 1
    # What the books say of the spleen is what the one who got through said of it.
    rejected = verdicts(ada)[0][1] == "rejected"
    assert newest(ada).number == (3 if rejected else 2)
    assert ((voxels(ada) == 3).sum() == 0) == rejected


def test_a_case_that_was_purged_while_it_was_looked_at_is_a_sentence(people):
    ada, bob, both = people
    purge(ada, "S/A", "consent withdrawn")
    for decide in (reject, accept, absent):
        with pytest.raises(UsageError, match="purged"):
            decide(bob, "S/A@2", ["spleen"], "why", seen=both)
    with pytest.raises(CurationError, match="purged"):
        revert(bob, "S/A@1", "why", seen=both)


def test_a_finding_is_dismissed_once(people):
    ada, bob, both = people
    version_id = newest(ada).version_id
    noticed = Finding("spleen_small", Severity.WARNING, SPLEEN, 27.0, 50.0, "27 voxels")
    with ada.catalog.writing() as session:
        writes.refile(session, ["spleen_small"], [version_id], {version_id: [noticed]})
    (found,) = detail(ada).findings
    assert dismiss(ada, "S/A@2", "seen", finding_id=found.id, seen=both)[1]
    again, was_open = dismiss(bob, "S/A@2", "why", finding_id=found.id, seen=both)
    assert (again.person, was_open) == ("Ada", False)
