"""What the query page makes of rows, picked cases and downloads; values worked out by hand."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from app.workspace import open_workspace
from curation.errors import UsageError
from curation.query import PREDICATES, parse
from dashboards.case_selection import query_of, read_picked, write_picked
from dashboards.components.case_files_out import csv_file, parquet_file, rows_of_query
from dashboards.components.picking import after_ticks
from dashboards.query_rows import SUBJECTS, Kind, Row, query_of_rows
from db import queries
from db.queries import AsOf, First, OfDataset


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([], ""),
        ([Row(Kind.CLASS, "missing", "pancreas")], "missing pancreas"),
        ([Row(Kind.CLASS, "missing", "every adrenal", negated=True)], "not missing every adrenal"),
        ([Row(Kind.MEASURE, "volume", "liver", "<", 800.0)], "volume(liver) < 800"),
        ([Row(Kind.MEASURE, "confidence", "liver", ">=", 0.25)], "confidence(liver) >= 0.25"),
        ([Row(Kind.MEASURE, "touches_border", "liver")], "touches_border(liver)"),
        ([Row(Kind.FIELD, "case", op="=", value='FL*"1')], 'case = "FL*\\"1"'),
        ([Row(Kind.FIELD, "role", op="!=", value="test")], "role != test"),
        ([Row(Kind.FIELD, "spacing.z", op=">", value=2.5)], "spacing.z > 2.5"),
        ([Row(Kind.SAVED, "Todo")], "@todo"),
        (
            [
                Row(Kind.FLAG, "strong"),
                Row(Kind.CLASS, "has", "tumor"),
                Row(Kind.FLAG, "flagged", alternative=True),
            ],
            "strong and has tumor or flagged",
        ),
    ],
)
def test_rows_are_written_in_the_languages_own_words(rows, text):
    assert query_of_rows(rows) == text
    parse(text)


def test_every_word_that_the_builder_offers_is_one_of_the_language():
    for predicate in PREDICATES:
        for subject in SUBJECTS:
            parse(query_of_rows([Row(Kind.CLASS, predicate, subject)]))


@pytest.mark.parametrize(
    ("ids", "text"), [([], ""), ([7], "7"), ([3, 4, 5, 6, 7, 12, 40], "3-7.12.40"), ([2, 1, 2], "1-2")]
)
def test_picked_cases_are_a_short_text(ids, text):
    assert write_picked(ids) == text
    assert read_picked(text) == sorted(set(ids))


@pytest.mark.parametrize("text", ["x", "1..2", "1-", "-3", "1-2-3", "1,2", "１", "7-3", "<b>", "9" * 40])
def test_an_address_that_picks_nothing_is_refused(text):
    with pytest.raises(UsageError, match="cannot be read"):
        read_picked(text)


def test_an_address_that_picks_a_billion_cases_is_refused_at_once():
    with pytest.raises(UsageError, match="more than 1000"):
        read_picked("1-999999999")


def test_ticks_of_one_page_leave_those_of_others_alone():
    # Picked were 1 and 9; the page shows 8, 9, 10 and has 10 ticked now.
    assert after_ticks([1, 9], [8, 9, 10], [10]) == [1, 10]
    # What a browser sends may be anything.
    assert after_ticks([1], None, "x") == [1]
    assert after_ticks([1], [2, "3", True], [2, "3", 7]) == [1, 2]


def test_a_query_of_picked_cases_finds_them_and_no_others(built):
    addresses = ["Phantom/PHANTOM_0000", "Phantom/PHANTOM_0003"]
    with open_workspace(built.root) as ws:
        assert [row.address for row in ws.cases(query_of(addresses))] == addresses
    with pytest.raises(UsageError, match="at most 200 cases one by one; of 201"):
        query_of([f"S/{i}" for i in range(201)])


def test_downloads_hold_all_cases_in_the_order_of_the_page(built):
    with open_workspace(built.root) as ws:
        rows = rows_of_query(ws, 'case = "PHANTOM_000*"', "case", True, queries.NEWEST)
        with csv_file(rows)() as file:
            lines = list(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8")))
        with parquet_file(rows)() as file:
            table = pq.read_table(file)
    # 8 phantoms for training, 0000 to 0007.
    assert [line["case"] for line in lines] == [f"Phantom/PHANTOM_{i:04d}" for i in range(7, -1, -1)]
    assert table["case"].to_pylist() == [line["case"] for line in lines]
    assert table["pancreas"].to_pylist() == [line["pancreas"] for line in lines]
    assert table["labels"].to_pylist() == [int(line["labels"]) for line in lines]
    assert str(table.schema.field("spacing_z_mm").type) == "double"


def test_snapshots_have_names_that_an_address_can_carry(built):
    with open_workspace(built.root) as ws, ws.catalog.reading() as session:
        dataset = queries.dataset_version(session, "strong@1").id

        def named(text):
            return queries.snapshot_named(session, text)

        assert named("") == named(" Now ") == queries.NEWEST
        assert named("strong@1") == OfDataset(dataset)
        assert named("as ingested") == queries.FIRST
        assert named("as ingested of strong@1") == First(of_dataset=dataset)
        # A day is over at its end.
        assert named("2026-05-17") == AsOf(datetime(2026, 5, 18, tzinfo=UTC) - timedelta(microseconds=1))
        assert named("2026-05-17 14:30+02:00") == AsOf(datetime(2026, 5, 17, 12, 30, tzinfo=UTC))
        for wrong in ("yesterday", "2026-13-45", "nobody@1", "strong@9", "as ingested strong"):
            with pytest.raises(UsageError):
                named(wrong)


def test_the_first_versions_of_a_datasets_members_are_theirs_alone(built):
    with open_workspace(built.root) as ws, ws.catalog.reading() as session:
        everything = queries.census(session, snapshot=queries.FIRST)
        one_by_one = queries.census(session, "labels >= 0", snapshot=queries.FIRST)
        members = queries.census(session, snapshot=queries.first_of(queries.snapshot_named(session, "all@1")))
    # All 13 cases, counted from the newest versions and their changes, and case by case.
    assert everything.cases == 13
    assert everything == one_by_one
    assert everything != queries_now(built)
    # The 11 for training, but for the one without a mask.
    assert members.cases == 10


def queries_now(built):
    with open_workspace(built.root) as ws:
        return ws.census()


def test_what_is_to_review_is_what_its_query_finds(built):
    with open_workspace(built.root) as ws, ws.catalog.reading() as session:
        review = queries.to_review(session)
        assert review.cases == queries.count(session, review.query) > 0
