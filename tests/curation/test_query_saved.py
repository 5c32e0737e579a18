"""Saved queries within a query: spelled out, or refused with the place that leads to the trouble."""

import time
from collections.abc import Mapping

import pytest

from curation.query import And, Flag, HasClass, Not, Or, QueryError, Saved, format_query, parse
from curation.query_saved import MAX_SAVED, expand

WEAK, STALE, NO_LIVER = Flag("weak"), Flag("stale"), HasClass("missing", "one", (1,))
SAVED = {
    "todo": "@open or weak",
    "open": "missing liver and not @done",
    "done": "stale",
    "all-of.it": "",
    "round": "@about and weak",
    "about": "weak or @round",
    "self": "not @self",
    "broken": "mising liver",
    "lost": "weak and @nowhere",
    "wide": " or ".join(["weak"] * 150),
    "deep": "not " * 18 + "weak",
    "long": " or ".join([f'case = "{"x" * 990}"'] * 11),
}


def spell(text: str, saved: Mapping[str, str] = SAVED):
    return expand(text, lambda names: {n: saved[n] for n in names if n in saved}, lambda: list(saved))


def test_a_saved_query_is_a_word_with_an_at_sign_whatever_its_case():
    assert parse("@ToDo and not @done") == And((Saved("todo"), Not(Saved("done"))))
    node = parse("weak or\n@todo")
    assert isinstance(node, Or)
    assert [term.position for term in node.terms if isinstance(term, Saved)] == [8]
    assert format_query(parse("( @Größe-2.b )")) == "@größe-2.b"


def test_what_a_saved_query_stands_for_takes_its_place_as_if_it_stood_in_parentheses():
    to_do = Or((And((NO_LIVER, Not(STALE))), WEAK))
    assert spell("@todo") == to_do
    assert spell('@todo and source = "KiTS"') == And((to_do, parse('source = "KiTS"')))
    assert spell("not @todo") == Not(to_do)
    assert spell("@all-of.it") == parse("")
    assert spell("weak and @done and @done") == And((WEAK, STALE, STALE))


def test_a_query_without_saved_queries_asks_for_none():
    def nobody(*_):
        raise AssertionError("looked up")

    assert expand("weak", nobody, nobody) == WEAK
    assert expand('case = "a@todo"', nobody, nobody) == parse('case = "a@todo"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weak and @tood", "unknown saved query '@tood' at column 10: did you mean '@todo'?"),
        ("weak\n or @tood", "unknown saved query '@tood' at line 2, column 5: did you mean '@todo'?"),
        ("@lost", "'@lost' cannot be used at column 1: it uses '@nowhere', which is not saved; "
                  "saved queries are @about, @all-of.it, @broken, @deep, @done, @long, @lost, @open, @round or "
                  "@self; see 'maskledger query list'"),
        ("weak or @broken", "'@broken' cannot be used at column 9: its text can no longer be read (unknown word "
                            "'mising' at column 1: did you mean 'missing'?); save '@broken' anew with --replace"),
        ("weak or @self", "'@self' cannot be used at column 9: it uses itself: @self → @self; "
                          "save one of them anew with --replace"),
        ("@round", "'@round' cannot be used at column 1: it uses itself: @round → @about → @round; "
                   "save one of them anew with --replace"),
        ("@wide and not @wide", "the query has 300 conditions once its saved queries are spelled out at column 1: "
                                "at most 200 are asked at once; use wildcards, or freeze a dataset and ask it"),
        ("not not not @deep", "the query nests deeper than 20 levels once its saved queries are spelled out at "
                              "column 1: take it apart"),
        ("@long and @long", "the query is 22067 characters long once its saved queries are spelled out at "
                            "column 1: only 20000 are read; take it apart"),
        ("@", "'@' is followed by no name at column 1: a name is made of letters, digits, _ . and -, "
              "100 at most: @todo"),
        ("@a/b", "'@a/b' names no saved query at column 1: a name is made of letters, digits, _ . and -, "
                 "100 at most: @todo"),
        ("weak @todo", "unexpected '@todo' at column 6: expected 'and', 'or' or the end of the query"),
        ("@todo,@done", "unexpected ',' at column 6: join conditions with 'and' or 'or'"),
        ("@todo = 3", "unexpected '=' at column 7: expected 'and', 'or' or the end of the query"),
    ],
)  # fmt: skip
def test_an_error_says_where_in_the_query_and_what_it_leads_to(text, message):
    with pytest.raises(QueryError) as caught:
        spell(text)
    assert str(caught.value) == message
    assert caught.value.query == text


def test_the_nearest_name_is_carried_by_the_error():
    with pytest.raises(QueryError) as caught:
        spell("@doone")
    assert caught.value.suggestion == "@done"
    assert "@todo" in caught.value.expected


def test_where_nothing_is_saved_an_error_says_so():
    with pytest.raises(QueryError, match="none is saved yet; see 'maskledger query list'"):
        spell("@todo", {})


def chain(n: int) -> dict[str, str]:
    return {f"q{i}": f"@q{i + 1}" for i in range(n)} | {f"q{n}": "weak"}


def test_a_chain_of_saved_queries_may_be_as_long_as_the_limit():
    assert spell("@q0", chain(MAX_SAVED - 1)) == WEAK
    with pytest.raises(QueryError) as caught:
        spell("@q0", chain(MAX_SAVED))
    assert str(caught.value) == (
        "'@q0' leads to '@q50' by @q0 → @q1 → … → @q49 → @q50, which cannot be used at column 1: "
        "the query leads to more than 50 saved queries or 20000 characters; take it apart"
    )


@pytest.mark.parametrize(
    "saved",
    [
        chain(20_000),
        {f"q{i}": f"@q{i + 1} and @q{i + 1}" for i in range(40)} | {"q40": "weak"},
        {f"q{i}": " or ".join([f"@q{i + 1}"] * 190) for i in range(40)} | {"q40": "weak"},
        {f"q{i}": f"@q{i // 2} or @q{i * 2}" for i in range(5000)},
        {"q0": " or ".join(f"@x{i}" for i in range(200))} | {f"x{i}": "not " * 4000 for i in range(200)},
        {"q0": " or ".join(f"@x{i}" for i in range(40))} | {f"x{i}": "weak or " * 60 for i in range(40)},
        {f"q{i}": f'case = "{"*" * 900}" or @q{i + 1}' for i in range(50)},
    ],
)
def test_saved_queries_that_grow_without_end_are_refused_within_a_second(saved):
    begun = time.perf_counter()
    with pytest.raises(QueryError) as caught:
        spell("@q0", saved)
    assert time.perf_counter() - begun < 1
    assert len(str(caught.value)) < 500
