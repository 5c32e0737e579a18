"""Saved queries: used as @NAME wherever a query stands, booked, and spelled out in what is kept."""

import pytest
from catalog_makers import add_case, drawn
from sqlalchemy import insert, update

from curation.errors import UsageError
from curation.query import And, Flag, QueryError, Saved
from db import queries
from db.models import SavedQuery
from db.writes.purging import forget_texts
from pipelines import saved_queries
from pipelines.freeze import FreezeRequest, freeze
from pipelines.review import accept_many
from pipelines.worklist import worklist


@pytest.fixture
def filled(bench):
    """KiTS/a has a liver, KiTS/b liver and spleen, FLARE/c a spleen; two queries are saved."""
    with bench.catalog.writing() as session:
        add_case(session, "a", drawn("liver"))
        add_case(session, "b", drawn("liver"), drawn("spleen"))
        add_case(session, "c", drawn("spleen"), source="FLARE")
    saved_queries.save(bench, "small", "labels < 2")
    saved_queries.save(bench, "@ToDo", "missing spleen or @Small", message="next week")
    return bench


def found(bench, query) -> list[str]:
    with bench.catalog.reading() as session:
        return [ref.address for ref in queries.case_refs(session, query)]


def events(bench) -> list[tuple[str, str, dict]]:
    """What was booked since the fixture, the newest first."""
    with bench.catalog.reading() as session:
        return [(e.action, e.subject, e.parameters) for e in queries.events(session)][:-2]


def test_a_saved_query_is_asked_for_by_its_name_alone_or_within_another(filled):
    assert found(filled, "@todo") == ["FLARE/c", "KiTS/a"]
    assert found(filled, '@TODO and source = "KiTS"') == ["KiTS/a"]
    assert found(filled, "not @todo") == ["KiTS/b"]
    assert found(filled, And((Saved("small"), Flag("weak")))) == ["FLARE/c", "KiTS/a"]
    with filled.catalog.reading() as session:
        assert queries.count(session, "@todo") == queries.census(session, "@todo").cases == 2
        assert list(queries.coverage_by_source(session, "@todo")) == ["FLARE", "KiTS"]
        assert queries.overview(session, "@todo").cases == 2
        assert [row.address for row in queries.cases(session, "@todo", limit=1)] == ["FLARE/c"]
    assert worklist(filled, "@todo").total == 0
    with pytest.raises(QueryError, match="unknown saved query '@tood' at column 5: did you mean '@todo'"):
        found(filled, "not @tood")


def test_what_is_saved_is_listed_as_written_and_spelled_out(filled):
    with filled.catalog.reading() as session:
        small, todo = queries.saved_queries(session)
        assert todo == queries.saved_query(session, "@Todo")
        with pytest.raises(UsageError, match="no query is saved as 'tdo': did you mean 'todo'"):
            queries.saved_query(session, "tdo")
    assert (small.name, small.query, small.message) == ("small", "labels < 2", "")
    assert (todo.name, todo.query, todo.spelled_out) == (
        "todo", "missing spleen or @Small", "missing spleen or labels < 2",
    )  # fmt: skip
    assert (todo.message, todo.author, todo.problem) == ("next week", "Ada Tester", "")


def test_saving_and_deleting_are_booked_and_saving_the_same_again_is_not(filled):
    assert not saved_queries.save(filled, "small", "labels < 2").changed
    assert events(filled) == []
    with pytest.raises(UsageError, match="'small' is saved already, as: labels < 2; give --replace"):
        saved_queries.save(filled, "small", "labels < 3")
    assert saved_queries.save(filled, "small", "labels < 3", replace=True).before == "labels < 2"
    assert found(filled, "@todo") == ["FLARE/c", "KiTS/a", "KiTS/b"]
    with pytest.raises(UsageError, match="'small' is used by 'todo'; delete or save these anew first"):
        saved_queries.delete(filled, "small")
    assert saved_queries.delete(filled, "TODO") == "todo"
    assert saved_queries.delete(filled, "small") == "small"
    assert events(filled) == [
        ("query delete", "small", {"query": "labels < 3"}),
        ("query delete", "todo", {"query": "missing spleen or @Small"}),
        ("query save", "small", {"query": "labels < 3", "message": "", "replaced": "labels < 2"}),
    ]


@pytest.mark.parametrize(
    ("name", "query", "message"),
    [
        ("new", "mising spleen", "unknown word 'mising' at column 1"),
        ("new", "weak and @nobody", "unknown saved query '@nobody' at column 10"),
        ("new", "weak or @new", "'@new' cannot be used at column 9: it uses itself: @new → @new"),
        ("small", "@todo", "'@todo' cannot be used at column 1: it uses itself: @todo → @small → @todo"),
        ("wide", "@small or " * 200 + "weak", "the query has 201 conditions at column 1"),
        ("a b", "weak", "'a b' cannot be the name of a query: use letters, digits"),
        ("", "weak", "'' cannot be the name of a query"),
        ("x" * 101, "weak", "cannot be the name of a query"),
    ],
)
def test_a_query_that_could_not_be_used_is_not_saved(filled, name, query, message):
    with pytest.raises(UsageError) as caught:
        saved_queries.save(filled, name, query, replace=True)
    assert message in str(caught.value)
    assert events(filled) == []


def test_a_row_that_can_no_longer_be_read_is_shown_with_its_problem_and_refused(filled):
    with filled.catalog.writing() as session:
        session.execute(update(SavedQuery).where(SavedQuery.name == "small").values(query="lables < 2"))
    with filled.catalog.reading() as session:
        small, todo = queries.saved_queries(session)
    assert (small.spelled_out, small.problem) == (
        None, "unknown field 'lables' at column 1: did you mean 'labels'?",
    )  # fmt: skip
    assert todo.problem.startswith("'@small' cannot be used at column 19: its text can no longer be read")
    with pytest.raises(QueryError, match="'@todo' leads to '@small' by @todo → @small, which cannot be used"):
        found(filled, "@todo")
    # What cannot be read can be put right.
    assert saved_queries.save(filled, "small", "labels < 2", replace=True).changed


def test_what_is_frozen_and_logged_says_what_was_asked_whatever_the_name_stands_for_later(filled):
    frozen = freeze(filled, FreezeRequest("d", "@todo", without_licences=("*NC*",)))
    spelled = '(missing spleen or labels < 2) and licence != "*NC*"'
    assert (frozen.query, frozen.members) == (spelled, 2)
    accept_many(filled, "@small", ["liver"], "right")
    accept, freezing = events(filled)
    assert freezing[2] == {"query": spelled, "manifest_hash": frozen.manifest_hash, "typed": "@todo"}
    assert accept[2]["query"] == "labels < 2"
    saved_queries.save(filled, "small", "weak", replace=True)
    with filled.catalog.reading() as session:
        assert queries.dataset_version(session, "d@1").query == spelled
    # Spelled out by hand it is the same dataset.
    assert freeze(filled, FreezeRequest("d", spelled)).address == "d@1"
    assert freeze(filled, FreezeRequest("d", "@todo", without_licences=("*NC*",))).address == "d@2"


def test_a_purge_takes_the_patient_out_of_saved_queries(filled):
    saved_queries.save(filled, "hers", 'patient = "Jane Doe"', message="Jane Doe's")
    with filled.catalog.writing() as session:
        forget_texts(session, ["Jane Doe"])
    with filled.catalog.reading() as session:
        row = queries.saved_query(session, "hers")
    assert (row.query, row.message, row.problem) == ('patient = "(purged)"', "(purged)'s", "")


def test_a_chain_of_thousands_is_refused_within_a_second(bench):
    with bench.catalog.writing() as session:
        rows = [{"name": f"q{i}", "query": f"@q{i + 1}", "author": "me", "message": ""} for i in range(3000)]
        session.execute(insert(SavedQuery), rows)
    with pytest.raises(QueryError, match="more than 50 saved queries"):
        found(bench, "@q0")
