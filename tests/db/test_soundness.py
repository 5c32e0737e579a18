"""Soundness: a row that contradicts another is named; a sound catalog has nothing to say."""

import sqlite3
from typing import Any

import pytest
from catalog_makers import add_case, add_model_prediction, digest, drawn, version
from sqlalchemy import delete, insert, update

from curation.status import Origin
from db import writes
from db.catalog import Catalog
from db.models import (
    Annotation,
    Case,
    MaskVersion,
    NewestMeasure,
    Prediction,
    StateCount,
    Tombstone,
    VersionKind,
)
from db.soundness import contradictions


@pytest.fixture
def ids(catalog: Catalog) -> dict[str, int]:
    """KiTS/a with three versions, the second pseudo spleen; KiTS/b with one."""
    with catalog.writing() as session:
        first = add_case(session, "a", drawn("liver"), file_hash=digest("a1"), voxel_hash=digest("va1"))
        other = add_case(session, "b", drawn("liver"), file_hash=digest("b1"), voxel_hash=digest("vb1"))
        prediction = add_model_prediction(session, first.case_id, spleen={})
        pseudo = drawn("spleen", Origin.PSEUDO, prediction_id=prediction)
        second = writes.add_version(
            session,
            first.case_id,
            first.id,
            version(
                drawn("liver"), pseudo, kind=VersionKind.COMPLEMENTED, incoming_hash=None,
                file_hash=digest("a2"), voxel_hash=digest("va2"),
            ),
        )  # fmt: skip
        third = writes.add_version(
            session,
            first.case_id,
            second.id,
            version(
                drawn("liver"), kind=VersionKind.REVERTED, incoming_hash=None, restores_id=first.id,
                file_hash=digest("a1"), voxel_hash=digest("va1"),
            ),
        )  # fmt: skip
    return {
        "case": first.case_id, "other case": other.case_id, "prediction": prediction,
        "a1": first.id, "a2": second.id, "a3": third.id, "b1": other.id,
    }  # fmt: skip


def _said(catalog: Catalog) -> list[str]:
    with catalog.reading() as session:
        return contradictions(session)


@pytest.mark.usefixtures("ids")
def test_a_sound_catalog_has_nothing_to_say(catalog: Catalog) -> None:
    assert _said(catalog) == []


def _lose_a_class(ids: dict[str, int]) -> Any:
    return delete(Annotation).where(Annotation.version_id == ids["a2"], Annotation.class_id == 5)


def _set_back(ids: dict[str, int]) -> Any:
    return update(Case).where(Case.id == ids["case"]).values(newest_version_id=ids["a2"])


def _forget_newest(ids: dict[str, int]) -> Any:
    return update(Case).where(Case.id == ids["case"]).values(newest_version_id=None)


def _skip_a_parent(ids: dict[str, int]) -> Any:
    return update(MaskVersion).where(MaskVersion.id == ids["a3"]).values(parent_id=ids["a1"])


def _predict_another(ids: dict[str, int]) -> Any:
    return update(Prediction).values(case_id=ids["other case"])


def _draw_elsewhere(ids: dict[str, int]) -> Any:
    return (
        update(Annotation)
        .where(Annotation.version_id == ids["a1"], Annotation.class_id == 1)
        .values(drawn_version_id=ids["b1"])
    )


def _restore_another(ids: dict[str, int]) -> Any:
    return update(MaskVersion).where(MaskVersion.id == ids["a3"]).values(restores_id=ids["b1"])


def _contradict(ids: dict[str, int]) -> Any:
    return update(MaskVersion).where(MaskVersion.id == ids["a3"]).values(voxel_hash=digest("another"))


def _purge_by_half(ids: dict[str, int]) -> Any:
    values = {
        "case_id": ids["other case"], "patient_digest": digest("p"), "reason": "", "person": "x",
        "files": 1, "bytes": 1,
    }  # fmt: skip
    return insert(Tombstone).values(**values)


def _repack(ids: dict[str, int]) -> Any:
    return update(MaskVersion).where(MaskVersion.id == ids["a2"]).values(states=5)


def _recolour(ids: dict[str, int]) -> Any:
    return update(Case).where(Case.id == ids["case"]).values(states=5)


def _miscount(_: dict[str, int]) -> Any:
    return update(StateCount).values(cases=7)


def _count_what_is_not(_: dict[str, int]) -> Any:
    return insert(StateCount).values(source_id=1, role="test", states=4, cases=1)


def _measure_otherwise(_: dict[str, int]) -> Any:
    return update(NewestMeasure).where(NewestMeasure.case_id == 1).values(volume_ml=0.7)


def _lose_measures(_: dict[str, int]) -> Any:
    return delete(NewestMeasure).where(NewestMeasure.case_id == 2)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_measure_otherwise, "KiTS/a: the measures of liver are not those of its version"),
        (_lose_measures, "KiTS/b: the measures of liver are not those of its version"),
        (_repack, "KiTS/a@2: its packed class states are not what its annotations say"),
        (_recolour, "KiTS/a: its class states are not those of version 3"),
        (_miscount, "KiTS: 2 train cases have the class states 3, but 7 are counted"),
        (_count_what_is_not, "KiTS: 0 test cases have the class states 4, but 1 are counted"),
        (_lose_a_class, "KiTS/a@2: has 13 annotation rows instead of 14"),
        (_set_back, "KiTS/a: its newest version is @2, its highest @3"),
        (_forget_newest, "KiTS/a: its newest version is none, its highest @3"),
        (_skip_a_parent, "KiTS/a@3: stands on version 1, not on 2 of its case"),
        (_predict_another, "KiTS/a@2: spleen is pseudo without a prediction for this case"),
        (_draw_elsewhere, "KiTS/a@1: liver was drawn in no version of this case up to it"),
        (_restore_another, "KiTS/a@3: brings back a version that is no earlier one of this case"),
        (_contradict, f"KiTS/a: name the same file {digest('a1')[:12]}… with different voxel hashes"),
        (_purge_by_half, "KiTS/b@1: was purged, and yet names a file"),
    ],
)
def test_a_contradiction_is_named(catalog: Catalog, ids: dict[str, int], damage: Any, said: str) -> None:
    with catalog.writing() as session:
        session.execute(damage(ids))
    assert _said(catalog) == [f"{said}; restore the catalog from a backup"]


@pytest.mark.usefixtures("ids")
def test_measures_of_a_case_that_is_not_there_are_named(catalog: Catalog) -> None:
    with catalog.writing() as session:
        session.execute(update(NewestMeasure).where(NewestMeasure.case_id == 2).values(case_id=99))
    assert _said(catalog) == [
        "KiTS/b: the measures of liver are not those of its version; restore the catalog from a backup",
        "case 99: has measures of liver, which its version does not have; restore the catalog from a backup",
    ]


def test_a_member_without_version_is_named(catalog: Catalog, ids: dict[str, int]) -> None:
    if catalog.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's references cannot be switched off by a careless program")
    with sqlite3.connect(str(catalog.engine.url.database)) as careless:
        careless.execute("INSERT INTO dataset (id, name, created_at) VALUES (1, 'd', '2026-01-01 00:00:00')")
        careless.execute(
            "INSERT INTO dataset_version (id, dataset_id, number, query, origins, seed, manifest_hash, author,"
            " message, created_at) VALUES (1, 1, 1, '', '[]', 0, '', '', '', '2026-01-01 00:00:00')"
        )
        careless.execute(
            "INSERT INTO member (dataset_version_id, case_id, version_id, split) VALUES (1, ?, 999, 'train')",
            (ids["case"],),
        )
    (line,) = _said(catalog)
    assert f"its member case {ids['case']} has no version with id 999" in line


def test_what_was_purged_is_no_contradiction(catalog: Catalog, ids: dict[str, int]) -> None:
    gone = MaskVersion.case_id == ids["other case"]
    nothing = {"file_hash": None, "voxel_hash": None, "incoming_hash": None}
    with catalog.writing() as session:
        session.execute(_purge_by_half(ids))
        session.execute(
            update(Case).where(Case.id == ids["other case"]).values(newest_version_id=None, states=None)
        )
        session.execute(update(MaskVersion).where(gone).values(states=0, **nothing))
        session.execute(delete(Annotation).where(Annotation.version_id == ids["b1"]))
    assert _said(catalog) == []
