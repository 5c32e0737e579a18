"""Compiled queries and counts equal a plain-Python reading over random catalogs, on both databases."""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_catalog import CHECKS, START, change_catalog, flag_holds, holds, random_catalog, versions_of
from sqlalchemy.orm import Session

from curation.labels import BY_ID, CLASS_IDS, GROUPS
from curation.query import (
    BOOLEAN_MEASURES,
    FLAGS,
    NUMBER_FIELDS,
    NUMBER_MEASURES,
    OPERATORS,
    PREDICATES,
    And,
    Everything,
    Field,
    Flag,
    HasClass,
    Measure,
    Node,
    Not,
    Or,
    Pattern,
    format_query,
)
from curation.status import Origin, Status
from db import queries
from db.catalog import Catalog
from db.engine import for_writing
from db.queries import paging
from db.snapshots import FIRST, NEWEST, AsOf, OfDataset
from db.soundness import contradictions

_numbers = st.sampled_from([-10.0, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 13.0, 14.0])
_operators = st.sampled_from(OPERATORS)
_texts = {
    "case": ["case_01", "KiTS/case_01", "KiTS/ü", "b_x", "c*d", "e\\f", "absent", "a/b/c"],
    "source": ["KiTS", "kits"],
    "revision": ["2019", "2023", ""],
    "patient": ["p1", "KiTS/case_00"],
    "licence": ["CC0", "CC BY-NC", ""],
    "finding": [*CHECKS, "holes"],
}
_patterns = {
    "case": [("case_0", ""), ("", "01"), ("KiTS/", ""), ("", "/case", ""), ("b_", ""), ("b%", ""), ("c[", ""),
             ("", "*", ""), ("", "\\", ""), ("", "")],
    "source": [("K", ""), ("", "its")],
    "revision": [("20", ""), ("", "")],
    "patient": [("p", ""), ("", "/", "")],
    "licence": [("CC BY", ""), ("", "")],
    "finding": [("", "s"), ("touches", "")],
}  # fmt: skip
_leaves: st.SearchStrategy[Node] = st.one_of(
    st.just(Everything()),
    st.builds(
        lambda predicate, class_id: HasClass(predicate, "one", (class_id,)),
        st.sampled_from(PREDICATES), st.sampled_from(CLASS_IDS),
    ),
    st.builds(
        lambda predicate, quantifier, ids: HasClass(predicate, quantifier, ids),
        st.sampled_from(PREDICATES), st.sampled_from(["any", "every"]), st.sampled_from(list(GROUPS.values())),
    ),
    st.builds(Measure, st.sampled_from(NUMBER_MEASURES), st.sampled_from(CLASS_IDS), _operators, _numbers),
    st.builds(
        Measure, st.sampled_from(BOOLEAN_MEASURES), st.sampled_from(CLASS_IDS), st.just("="), st.just(True)
    ),
    st.builds(Field, st.sampled_from(NUMBER_FIELDS), _operators, _numbers),
    st.builds(Field, st.just("role"), st.sampled_from(["=", "!="]), st.sampled_from(["train", "test"])),
    st.sampled_from(sorted(_texts)).flatmap(
        lambda name: st.builds(
            Field, st.just(name), st.sampled_from(["=", "!="]),
            st.sampled_from([*_texts[name], *(Pattern(parts) for parts in _patterns[name])]),
        )
    ),
    st.builds(Flag, st.sampled_from(FLAGS)),
)  # fmt: skip
_trees: st.SearchStrategy[Node] = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(lambda *terms: And(terms), inner, inner),
        st.builds(lambda *terms: Or(terms), inner, inner),
    ),
    max_leaves=6,
)

# What is counted by a scan of one class: its measures, and what asks for states, source and role alone.
_of_states: st.SearchStrategy[Node] = st.one_of(
    st.just(Everything()),
    st.builds(
        lambda predicate, quantifier, ids: HasClass(predicate, quantifier, ids),
        st.sampled_from([p for p in PREDICATES if p not in {"accepted", "rejected"}]),
        st.sampled_from(["any", "every"]), st.sampled_from([(1,), (2,), (3,), *GROUPS.values()]),
    ),
    st.builds(Field, st.sampled_from(["labels", "organs"]), _operators, _numbers),
    st.builds(Field, st.just("role"), st.sampled_from(["=", "!="]), st.sampled_from(["train", "test"])),
    st.builds(
        Field, st.just("source"), st.sampled_from(["=", "!="]), st.sampled_from(["KiTS", Pattern(("", "its"))])
    ),
    st.builds(Flag, st.sampled_from(["complete", "strong", "weak", "unlabeled"])),
)  # fmt: skip
_of_liver: st.SearchStrategy[Node] = st.one_of(
    st.builds(Measure, st.sampled_from(NUMBER_MEASURES), st.just(1), _operators, _numbers),
    st.just(Measure("touches_border", 1, "=", True)),
)
_liver_trees: st.SearchStrategy[Node] = st.recursive(
    st.one_of(_of_liver, _of_states),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(lambda *terms: And(terms), inner, inner),
        st.builds(lambda *terms: Or(terms), inner, inner),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def scratch(request: pytest.FixtureRequest, make_database_url: Callable[..., str]) -> Iterator[Catalog]:
    """A catalog that every example fills and empties again by a rollback."""
    catalog = Catalog.open(make_database_url(request.param, migrated=True))
    yield catalog
    catalog.close()


SNAPSHOTS = (NEWEST, FIRST, OfDataset(1), AsOf(START + timedelta(hours=15)), AsOf(START))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), trees=st.lists(_trees, min_size=10, max_size=10))
def test_compiled_queries_equal_a_plain_reading_over_random_catalogs(
    scratch: Catalog, seed: int, trees: list[Node]
) -> None:
    with Session(for_writing(scratch.engine)) as session:
        cases, members = random_catalog(session, seed)
        for i, tree in enumerate(trees):
            snapshot = SNAPSHOTS[i % len(SNAPSHOTS)]
            expected = sorted(
                (c.source, c.name)
                for c in cases
                for v in versions_of(c, snapshot, members)
                if holds(tree, c, v)
            )
            found = queries.case_refs(session, tree, snapshot=snapshot)
            assert [ref.address for ref in found] == [f"{s}/{n}" for s, n in expected], format_query(tree)
            assert queries.count(session, tree, snapshot=snapshot) == len(expected)
        session.rollback()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), tree=_trees)
def test_counts_equal_a_plain_count_over_random_catalogs(scratch: Catalog, seed: int, tree: Node) -> None:
    with Session(for_writing(scratch.engine)) as session:
        cases, members = random_catalog(session, seed)
        for snapshot in SNAPSHOTS:
            found = [(c, v) for c in cases for v in versions_of(c, snapshot, members) if holds(tree, c, v)]
            census = queries.census(session, tree, snapshot=snapshot)
            labels = [sum(row["status"] == "annotated" for row in v.annotations.values()) for _, v in found]
            assert census.cases == len(found)
            assert census.labels_per_case == {n: labels.count(n) for n in sorted(set(labels))}
            for class_id in CLASS_IDS:
                rows = [v.annotations[class_id] for _, v in found]
                assert census.classes[BY_ID[class_id].name] == {
                    **{s.value: sum(row["status"] is s for row in rows) for s in Status},
                    **{o.value: sum(row["origin"] is o for row in rows) for o in Origin},
                }
            numbers = queries.overview(session, tree, snapshot=snapshot)
            for name in ("complete", "strong", "weak", "unlabeled", "flagged"):
                assert getattr(numbers, name) == sum(flag_holds(name, c, v) for c, v in found), name
            assert (numbers.cases, numbers.labels) == (len(found), sum(labels))
            sources = queries.coverage_by_source(session, tree, snapshot=snapshot)
            assert set(sources) == {c.source for c, _ in found}
            for source, classes in sources.items():
                of_it = [v for c, v in found if c.source == source]
                assert classes["liver"]["annotated"] == sum(
                    v.annotations[1]["status"] == "annotated" for v in of_it
                )
            for row in queries.cases(session, tree, snapshot=snapshot):
                ((c, v),) = ((c, v) for c, v in found if c.id == row.id)
                assert (row.version, row.version_id, row.labels) == (
                    v.number,
                    v.id,
                    labels[found.index((c, v))],
                )
                for name in ("complete", "strong", "flagged", "stale"):
                    assert getattr(row, name) == flag_holds(name, c, v)
                assert [a["status"] for a in row.classes.values()] == [
                    v.annotations[class_id]["status"] for class_id in CLASS_IDS
                ]
        session.rollback()


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    few=st.sampled_from([0, 2, 5000]),
    seed=st.integers(0, 2**32),
    trees=st.lists(_trees, min_size=2, max_size=2),
    order=st.sampled_from(["case", "patient", "changed", "slices", "spacing", "version"]),
    limit=st.integers(3, 9),
)
def test_pages_one_after_the_other_are_the_whole_list(
    scratch: Catalog, few: int, seed: int, trees: list[Node], order: str, limit: int
) -> None:
    """With few = 0 the index of names is walked and all versions are sorted, with 5000 they are looked up."""
    with pytest.MonkeyPatch.context() as patch, Session(for_writing(scratch.engine)) as session:
        patch.setattr(paging, "_FEW", few)
        patch.setattr(paging, "_FIRST", few)
        random_catalog(session, seed)
        for tree in trees:
            for descending in (False, True):
                whole = [
                    row.address for row in queries.cases(session, tree, order=order, descending=descending)
                ]
                pages = [
                    queries.cases(
                        session, tree, limit=limit, offset=offset, order=order, descending=descending
                    )
                    for offset in range(0, len(whole) + 1, limit)
                ]
                assert [row.address for page in pages for row in page] == whole, format_query(tree)
        session.rollback()


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    few=st.sampled_from([0, 5000]),
    seed=st.integers(0, 2**32),
    trees=st.lists(_liver_trees, min_size=5, max_size=5),
)
def test_counts_and_pages_by_measures_follow_whatever_is_written(
    scratch: Catalog, few: int, seed: int, trees: list[Node]
) -> None:
    r = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch, Session(for_writing(scratch.engine)) as session:
        patch.setattr(paging, "_FEW", few)
        cases, _ = random_catalog(session, seed)
        for _ in range(2):
            for tree in trees:
                expected = sorted((c.source, c.name) for c in cases if holds(tree, c, c.versions[-1]))
                assert queries.count(session, tree) == len(expected), format_query(tree)
                for offset in (0, 2):
                    page = queries.cases(session, tree, limit=3, offset=offset)
                    names = [(row.source, row.name) for row in page]
                    assert names == expected[offset : offset + 3], format_query(tree)
            change_catalog(session, r, cases)
        assert [line for line in contradictions(session) if "measures" in line] == []
        session.rollback()
