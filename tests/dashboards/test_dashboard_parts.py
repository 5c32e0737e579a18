"""Tables, times and texts of the dashboard; what they make of names that look like markup."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from curation.status import Evidence, Origin, Status
from dashboards.components.case_facts import changes
from dashboards.components.count_tables import labels_table
from dashboards.components.markup import Html, card, case_link, markup, query_link, square, table, tag
from dashboards.components.run_list import asked, progress_share, progress_text
from dashboards.components.times import ago, duration, stamp
from dashboards.session import plain
from db.queries import AnnotationRow

NOW = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
HOSTILE = '<script>"&'


@pytest.mark.parametrize(
    "made",
    [
        markup(HOSTILE),
        table([HOSTILE], [[HOSTILE]], label=HOSTILE),
        tag(HOSTILE, HOSTILE),
        case_link(HOSTILE),
        query_link(HOSTILE),
        card(HOSTILE, HOSTILE, HOSTILE, HOSTILE),
        square("liver", HOSTILE),
    ],
)
def test_nothing_that_comes_from_outside_is_markup(made):
    assert isinstance(made, Html)
    assert "script>" not in made
    assert "script%3E" in made or "script&gt;" in made


def test_links_carry_any_name():
    assert 'href="case?case=A%2Fb%20c%26d%404"' in case_link("A/b c&d", 4)
    assert 'href="query?q=missing%20pancreas"' in query_link("missing pancreas")


def test_a_column_of_counts_names_its_snapshot_as_it_is_written():
    made = labels_table({1: 2}, {13: 2}, first="as ingested of KiTS@1", at="KiTS@1")
    assert ">Cases KiTS@1<" in made
    assert 'href="query?q=labels%20%3D%2013&amp;at=KiTS%401"' in made
    assert ">Cases now<" in labels_table({}, {13: 2}, first="as ingested", at="")


def test_markdown_in_a_message_is_shown_as_it_is():
    assert plain("a_b *c* [d](e) $x$ :red[f]") == r"a\_b \*c\* \[d\]\(e\) \$x\$ \:red\[f\]"


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "just now"), (60, "1 min ago"), (7199, "1 h ago"), (172800, "2 d ago")]
)
def test_a_moment_is_told_in_its_largest_unit(seconds, text):
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2 s"), (75, "1 min 15 s"), (3660, "1 h 1 min"), (7 * 86400, "168 h 0 min")],
)
def test_durations_have_units(seconds, text):
    assert duration(NOW, NOW + timedelta(seconds=seconds)) == text


def test_moments_are_in_utc():
    assert stamp(NOW) == "2026-05-17\u00a012:00"


def test_parameters_that_are_not_set_are_left_out():
    assert asked({"query": "strong", "limit": None, "folds": [], "seed": 0}) == "query strong, seed 0"


@pytest.mark.parametrize(
    ("progress", "text", "share"),
    [
        ({"stage": "fine", "step": 1, "of": 4, "message": "b", "loss": 0.5}, "fine: 1 of 4, b, loss 0.500", 0.25),
        ({"stage": "plan", "message": "fingerprint"}, "plan: fingerprint", None),
        ({"step": 5, "of": 0}, "", None),
        ({}, "", None),
    ],
)  # fmt: skip
def test_progress_is_told_as_far_as_it_is_known(progress, text, share):
    assert progress_text(progress) == text
    assert progress_share(progress) == share


MISSING = AnnotationRow(
    4, "pancreas", Status.MISSING, None, Evidence.DEFAULT, None, None, None, None, 0, 0.0, None, None, None, None,
    False, None, None, None,
)  # fmt: skip
PSEUDO = replace(
    MISSING, status=Status.ANNOTATED, origin=Origin.PSEUDO, evidence=Evidence.VOXELS, prediction_id=1,
    model="teacher", voxels=80, volume_ml=10.0, class_hash="a",
)  # fmt: skip
CORRECTED = replace(
    PSEUDO,
    origin=Origin.CORRECTED,
    author="Ada",
    model=None,
    prediction_id=None,
    volume_ml=11.0,
    class_hash="b",
)


@pytest.mark.parametrize(
    ("before", "after", "what", "volumes"),
    [
        (MISSING, PSEUDO, "came in", (None, 10.0)),
        (PSEUDO, MISSING, "went out", (10.0, None)),
        (PSEUDO, CORRECTED, "redrawn", (10.0, 11.0)),
        (MISSING, replace(MISSING, status=Status.ABSENT), "status", (None, None)),
    ],
)
def test_a_change_says_what_happened_to_a_class(before, after, what, volumes):
    (change,) = changes([before], [after])
    assert (change.what, (change.before_ml, change.after_ml)) == (what, volumes)


def test_changes_name_who_drew_a_class():
    (change,) = changes([PSEUDO], [CORRECTED])
    assert (change.before, change.after) == ("pseudo (teacher)", "corrected (Ada)")


def test_a_class_that_stayed_is_no_change():
    assert changes([PSEUDO], [PSEUDO]) == []
