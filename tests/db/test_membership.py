"""Members of a frozen dataset page by page; exports and models of it."""

import pytest
from catalog_makers import add_case, drawn

from db import queries, writes
from db.catalog import Catalog
from db.models import ModelKind, Split, Tombstone
from db.writes import MemberValues


@pytest.fixture
def frozen(catalog: Catalog) -> tuple[Catalog, int]:
    """Four cases of two sources: b and a of KiTS, c and B of AMOS; a is for validation, B was purged since."""
    with catalog.writing() as session:
        refs = [
            add_case(session, name, drawn("liver"), source=source)
            for name, source in (("b", "KiTS"), ("a", "KiTS"), ("c", "AMOS"), ("B", "AMOS"))
        ]
        members = [
            MemberValues(ref.case_id, ref.id, Split.VAL if i == 1 else Split.TRAIN, None, None, "CC0-1.0")
            for i, ref in enumerate(refs)
        ]
        writes.freeze_dataset(
            session, "d", "all", members, origins=["original"], val_share=0.25, seed=0, manifest_hash="a" * 64,
            author="Ada", message="",
        )  # fmt: skip
        session.add(
            Tombstone(
                case_id=refs[3].case_id, patient_digest="0" * 64, reason="withdrawn", person="Ada", files=1, bytes=1
            )
        )  # fmt: skip
    with catalog.reading() as session:
        return catalog, queries.dataset_version(session, "d@1").id


def test_a_page_of_members_is_in_order_of_address_whatever_the_database(frozen: tuple[Catalog, int]) -> None:
    catalog, id_ = frozen
    with catalog.reading() as session:
        first = queries.member_page(session, id_, limit=3)
        rest = queries.member_page(session, id_, limit=3, offset=3)
        val = queries.member_page(session, id_, limit=3, split=Split.VAL)
        fold = queries.member_page(session, id_, limit=3, fold=0)
    # By code point: upper case before lower.
    assert [row.case for row in first] == ["AMOS/B", "AMOS/c", "KiTS/a"]
    assert [row.purged for row in first] == [True, False, False]
    assert [(row.case, row.version, row.licence) for row in rest] == [("KiTS/b", 1, "CC0-1.0")]
    assert [row.case for row in val] == ["KiTS/a"]
    assert fold == []


def test_members_are_counted_by_side(frozen: tuple[Catalog, int]) -> None:
    catalog, id_ = frozen
    with catalog.reading() as session:
        counts = queries.member_counts(session, id_)
    assert (counts.splits, counts.folds) == ({Split.TRAIN: 3, Split.VAL: 1}, {})


def test_exports_and_models_are_those_of_this_very_version(frozen: tuple[Catalog, int]) -> None:
    catalog, id_ = frozen
    with catalog.writing() as session:
        for subject, folder in (("d@1", "/first"), ("d@10", "/of another"), ("d@1", "/second")):
            writes.add_event(
                session, author="Ada", action="dataset export", subject=subject,
                parameters={"folder": folder, "format": "nnunet", "cases": 4}, program_version="1",
            )  # fmt: skip
        writes.add_model(session, "pupil", ModelKind.STUDENT, dataset_version_id=id_)
        writes.ensure_model(session, "elsewhere")
    with catalog.reading() as session:
        exports = queries.exports_of(session, "d@1")
        assert queries.trained_on(session, id_) == ["pupil"]
    assert [(e.folder, e.format, e.cases, e.author) for e in exports] == [
        ("/second", "nnunet", 4, "Ada"),
        ("/first", "nnunet", 4, "Ada"),
    ]
