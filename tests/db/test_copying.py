"""Copying a catalog: every row arrives as it was, on either database, or none does."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from catalog_makers import add_case, add_model_prediction, drawn, version
from sqlalchemy import insert, select, text, update

from curation.errors import UsageError
from curation.status import Origin
from db import queries, writes
from db.catalog import Catalog
from db.copying import CopyError, copy_catalog
from db.models import Annotation, Base, Case, Event, ModelKind, PredictionClass, Role, VersionKind
from db.schema import CatalogVersionError, migrate

ROUNDS = [
    ("sqlite", "postgresql"),
    ("postgresql", "sqlite"),
    ("sqlite", "sqlite"),
    ("postgresql", "postgresql"),
]


def fill(catalog: Catalog) -> None:
    """Rows in most tables, with what databases like to keep in ways of their own."""
    with catalog.writing() as session:
        writes.ensure_source(session, "KiTS", licence="CC BY-NC-SA 4.0", citation="Heller, „KiTS“ (2019)")
        first = add_case(session, "a", drawn("liver", volume_ml=0.1 + 0.2), reserved={200: 5})
        add_case(session, "b", file_hash=None, voxel_hash=None, incoming_hash=None)
        writes.ensure_case(
            session, writes.ensure_source(session, "KiTS"), "a", role=Role.TEST,
            extra={"z": 1, "a": [1.0, 2, True, None, "ü"], "m": {"deep": 1e-300}}, looked_for=[1, 14],
        )  # fmt: skip
        prediction = add_model_prediction(
            session, first.case_id, spleen={"confidence": 1 / 3}, liver={"voxels": 0}
        )
        pseudo = drawn("spleen", Origin.PSEUDO, prediction_id=prediction, touches_border=True)
        writes.add_version(
            session, first.case_id, first.id,
            version(drawn("liver"), pseudo, kind=VersionKind.COMPLEMENTED, message="two\nlines, and a 'quote'"),
        )  # fmt: skip
        writes.add_model(
            session,
            name="teacher 2",
            kind=ModelKind.TEACHER,
            curves=[{"loss": 0.1}, {"loss": 1}],
            metrics={"x": 2},
        )
        writes.save_query(session, "todo", 'missing liver and\n case = "ü*"', message="", author="me")
        run_id = writes.start_run(session, "ingest", None, {"a": 1}, "me", "0")
        writes.add_run_item(session, run_id, subject="s", state="refused", reason="r")  # type: ignore[arg-type]
        writes.add_event(session, author="me", action="ingest", program_version="0", parameters={})


def everything(catalog: Catalog) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    with catalog.reading() as session:
        return {
            table.name: [
                tuple(row) for row in session.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in Base.metadata.sorted_tables
        }


@pytest.mark.parametrize(("kind", "to"), ROUNDS)
def test_every_row_arrives_and_comes_back_as_it_was(
    make_database_url: Callable[..., str], kind: str, to: str
) -> None:
    source = Catalog.open(make_database_url(kind, migrated=True))
    fill(source)
    before = everything(source)
    there_url = make_database_url(to, migrated=False)
    told: list[tuple[str, int, int]] = []
    rows = copy_catalog(source, there_url, lambda *step: told.append(step))
    assert rows == {name: len(found) for name, found in before.items()}
    assert rows["annotation"] == 3 * 14
    assert ("compare annotation", 42, 42) in told
    there = Catalog.open(there_url)
    assert everything(there) == before
    back_url = make_database_url(kind, migrated=True)
    copy_catalog(there, back_url)
    back = Catalog.open(back_url)
    assert everything(back) == before
    assert everything(source) == before
    for catalog in (source, there, back):
        catalog.close()


@pytest.mark.parametrize(("kind", "to"), ROUNDS[:2])
def test_the_copy_goes_on_numbering_where_the_source_stood(
    make_database_url: Callable[..., str], kind: str, to: str
) -> None:
    source = Catalog.open(make_database_url(kind, migrated=True))
    fill(source)
    url = make_database_url(to, migrated=False)
    copy_catalog(source, url)
    copy = Catalog.open(url)
    with copy.writing() as session:
        ref = add_case(session, "c", drawn("spleen"))
        add_model_prediction(session, ref.case_id, "another model", spleen={})
        writes.add_event(session, author="me", action="x", program_version="0")
    with copy.reading() as session:
        assert queries.count(session, "") == 3
        assert queries.count(session, "pseudo spleen") == 1
    source.close()
    copy.close()


def test_a_target_with_rows_is_refused(catalog: Catalog, make_database_url: Callable[..., str]) -> None:
    fill(catalog)
    url = make_database_url("sqlite", migrated=True)
    target = Catalog.open(url)
    with target.writing() as session:
        writes.ensure_source(session, "S")
    with pytest.raises(UsageError, match="table source holds 1 rows already; give an empty database"):
        copy_catalog(catalog, url)
    assert len(everything(target)["source"]) == 1
    target.close()


def test_a_catalog_is_not_copied_onto_itself(catalog: Catalog, catalog_url: str) -> None:
    fill(catalog)
    before = everything(catalog)
    with pytest.raises(UsageError, match="holds"):
        copy_catalog(catalog, catalog_url)
    assert everything(catalog) == before


def test_a_target_of_an_older_schema_is_refused(
    catalog: Catalog, make_database_url: Callable[..., str]
) -> None:
    url = make_database_url("sqlite", migrated=False)
    migrate(url, "0001")
    with pytest.raises(CatalogVersionError, match="older"):
        copy_catalog(catalog, url)


def test_a_row_that_cannot_be_kept_leaves_the_target_empty(make_database_url: Callable[..., str]) -> None:
    """SQLite keeps a NUL character in a text, PostgreSQL does not; events come last."""
    source = Catalog.open(make_database_url("sqlite", migrated=True))
    fill(source)
    with source.writing() as session:
        writes.add_event(session, author="me", action="x", program_version="0", subject="a\0b")
    url = make_database_url("postgresql", migrated=False)
    with pytest.raises(CopyError, match=r"event: a row cannot be kept there .*nothing was copied"):
        copy_catalog(source, url)
    target = Catalog.open(url)
    assert not any(everything(target).values())
    with source.writing() as session:
        session.execute(update(Event).values(subject=""))
    copy_catalog(source, url)  # the same target takes it once the row is right
    assert everything(target) == everything(source)
    source.close()
    target.close()


def test_a_row_that_comes_back_different_is_found_and_nothing_stays(
    make_database_url: Callable[..., str],
) -> None:
    """The target has a trigger that rounds what it is given: no error, yet not the same."""
    source = Catalog.open(make_database_url("sqlite", migrated=True))
    fill(source)
    url = make_database_url("sqlite", migrated=True)
    target = Catalog.open(url)
    with target.writing() as session:
        session.execute(
            text(
                "CREATE TRIGGER rounds AFTER INSERT ON prediction_class WHEN NEW.confidence IS NOT NULL BEGIN "
                "UPDATE prediction_class SET confidence = round(NEW.confidence, 3) "
                "WHERE prediction_id = NEW.prediction_id AND class_id = NEW.class_id; END"
            )
        )
    with pytest.raises(CopyError, match=r"prediction_class .* confidence was 0\.33333333.* and is 0\.333;"):
        copy_catalog(source, url)
    assert not any(everything(target).values())
    source.close()
    target.close()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [({"a": 1}, {"a": 1.0}), ({"a": 1}, {"a": True}), ({"a": 1, "b": 2}, {"b": 2, "a": 1})],
)
def test_json_that_python_calls_equal_is_told_apart(
    make_database_url: Callable[..., str], ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    source = Catalog.open(make_database_url("sqlite", migrated=True))
    with source.writing() as session:
        writes.add_event(session, author="me", action="x", program_version="0", parameters=ours)
    url = make_database_url("sqlite", migrated=True)
    target = Catalog.open(url)
    other = str(theirs).replace("'", '"').replace("True", "true")
    with target.writing() as session:
        session.execute(
            text(f"CREATE TRIGGER t AFTER INSERT ON event BEGIN UPDATE event SET parameters = '{other}'; END")
        )
    with pytest.raises(CopyError, match="parameters was"):
        copy_catalog(source, url)
    source.close()
    target.close()


def test_one_state_is_copied_whoever_writes_meanwhile(
    catalog: Catalog, make_database_url: Callable[..., str]
) -> None:
    fill(catalog)
    before = everything(catalog)
    url = make_database_url("sqlite", migrated=False)

    def write_meanwhile(what: str, done: int, _total: int) -> None:
        if what == "copy source" and done == 0:
            with catalog.writing() as session:
                add_case(session, "late", drawn("liver"))

    copy_catalog(catalog, url, write_meanwhile)
    target = Catalog.open(url)
    assert everything(target) == before
    assert len(everything(catalog)["case"]) == len(before["case"]) + 1
    target.close()


def test_moments_keep_their_microseconds_and_zone(
    catalog: Catalog, make_database_url: Callable[..., str]
) -> None:
    moment = datetime(2026, 3, 29, 1, 59, 59, 123456, tzinfo=UTC)
    with catalog.writing() as session:
        session.execute(insert(Event).values(created_at=moment, author="me", action="x", program_version="0"))
    url = make_database_url("sqlite", migrated=False)
    copy_catalog(catalog, url)
    target = Catalog.open(url)
    with target.reading() as session:
        assert session.scalars(select(Event.created_at)).one() == moment
        assert session.scalars(select(Case)).all() == []
        assert (
            session.scalars(select(Annotation)).all() == session.scalars(select(PredictionClass)).all() == []
        )
    target.close()
