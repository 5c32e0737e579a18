"""Addresses, pages of cases, and which version of a case is asked about."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from catalog_makers import add_case, drawn, version

from curation.geometry import Geometry
from curation.query import QueryError
from curation.status import Origin
from db import queries, writes
from db.catalog import Catalog
from db.models import Role, Split
from db.queries import AmbiguousCaseError, AsOf, OfDataset, UnknownCaseError
from db.writes import MemberValues


@pytest.fixture
def two_sources(catalog: Catalog) -> Catalog:
    """KiTS/a (versions 1 and 2), KiTS/b, FLARE/b."""
    with catalog.writing() as session:
        first = add_case(session, "a", drawn("liver"))
        writes.add_version(session, first.case_id, first.id, version(drawn("liver"), drawn("spleen")))
        add_case(session, "b")
        add_case(session, "b", drawn("aorta"), source="FLARE")
    return catalog


@pytest.mark.parametrize(
    ("address", "found", "number"),
    [
        ("KiTS/a", "KiTS/a", 2),
        ("KiTS/a@1", "KiTS/a", 1),
        ("a", "KiTS/a", 2),
        ("a@2", "KiTS/a", 2),
        ("FLARE/b", "FLARE/b", 1),
    ],
)
def test_an_address_names_one_version_of_one_case(
    two_sources: Catalog, address: str, found: str, number: int
) -> None:
    with two_sources.reading() as session:
        ref = queries.resolve(session, address)
    assert (ref.address, ref.number) == (found, number)


def test_a_bare_name_that_two_sources_use_lists_both(two_sources: Catalog) -> None:
    with two_sources.reading() as session, pytest.raises(AmbiguousCaseError) as caught:
        queries.resolve(session, "b")
    assert caught.value.candidates == ["FLARE/b", "KiTS/b"]
    assert str(caught.value) == "case 'b' is in several sources; say which: FLARE/b, KiTS/b"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("KiTS/a@3", "KiTS/a has versions 1 to 2, no version '3'"),
        ("FLARE/b@0", "FLARE/b has version 1, no version '0'"),
        ("KiTS/a@newest", "KiTS/a has versions 1 to 2, no version 'newest'"),
        ("KiTS/a@²", "KiTS/a has versions 1 to 2, no version '²'"),
        ("FLARE/a", "unknown case 'FLARE/a': did you mean 'KiTS/a'?"),
        ("kits/a", "unknown case 'kits/a': did you mean 'KiTS/a'?"),
        ("zebra", "unknown case 'zebra'; `maskledger cases all` lists those there are"),
    ],
)
def test_an_unknown_address_says_what_there_is(two_sources: Catalog, address: str, message: str) -> None:
    with two_sources.reading() as session, pytest.raises(UnknownCaseError) as caught:
        queries.resolve(session, address)
    assert str(caught.value) == message


def test_a_misspelt_name_is_met_with_the_nearest(catalog: Catalog) -> None:
    with catalog.writing() as session:
        add_case(session, "case_00012")
        add_case(session, "case_00345")
    with (
        catalog.reading() as session,
        pytest.raises(UnknownCaseError, match="did you mean 'KiTS/case_00012'"),
    ):
        queries.resolve(session, "case_0012")


def test_a_row_tells_everything_a_list_shows(catalog: Catalog) -> None:
    with catalog.writing() as session:
        source = writes.ensure_source(session, "KiTS", licence="CC BY")
        case = writes.ensure_case(session, source, "a", role=Role.TEST, patient="p7", image_path="a.nii.gz")
        writes.add_version(
            session, case, None, version(drawn("liver"), drawn("tumor", Origin.CORRECTED), message="m")
        )
    with catalog.reading() as session:
        (row,) = queries.cases(session, "has liver")
    assert (row.address, row.source, row.name, row.version, row.kind) == (
        "KiTS/a",
        "KiTS",
        "a",
        1,
        "ingested",
    )
    assert (row.labels, row.organs, row.role, row.patient, row.licence) == (2, 1, Role.TEST, "p7", "CC BY")
    assert (row.shape, row.spacing_mm, row.slices, row.image_path) == (
        (4, 5, 6),
        (1.0, 2.0, 3.0),
        6,
        "a.nii.gz",
    )
    assert len(row.classes) == 14
    assert row.classes["liver"] == {"status": "annotated", "origin": "original"}
    assert row.classes["tumor"] == {"status": "annotated", "origin": "corrected"}
    assert row.classes["spleen"] == {"status": "missing", "origin": None}


def test_pages_together_are_the_whole_list(catalog: Catalog) -> None:
    with catalog.writing() as session:
        for name in ("b", "B", "a", "ä", "_", "c"):
            add_case(session, name)
    with catalog.reading() as session:
        pages = [[r.name for r in queries.cases(session, limit=4, offset=offset)] for offset in (0, 4, 8)]
    assert pages == [["B", "_", "a", "b"], ["c", "ä"], []]


@pytest.mark.parametrize(
    ("order", "descending", "names"),
    [
        ("case", False, "a b c"),
        ("case", True, "c b a"),
        ("labels", False, "b a c"),
        ("labels", True, "c a b"),
        ("organs", True, "a c b"),
        ("slices", True, "b c a"),
        ("spacing", False, "a c b"),
        ("version", True, "c b a"),
        ("changed", True, "c b a"),
        ("patient", False, "b c a"),
        ("role", False, "c a b"),
    ],
)
def test_cases_come_in_the_order_asked_for_and_ties_by_address_or_by_version(
    catalog: Catalog, order: str, descending: bool, names: str
) -> None:
    with catalog.writing() as session:
        source = writes.ensure_source(session, "KiTS")
        for name, patient, role in (("a", "p3", Role.TRAIN), ("b", "p1", Role.TRAIN), ("c", "p2", Role.TEST)):
            writes.ensure_case(session, source, name, patient=patient, role=role)
        add_case(session, "a", drawn("liver"))
        add_case(session, "b", geometry=Geometry((4, 5, 9), np.diag([1.0, 1.0, 5.0, 1.0])))
        first = add_case(session, "c", drawn("liver"))
        writes.add_version(session, first.case_id, first.id, version(drawn("liver"), drawn("tumor")))
    with catalog.reading() as session:
        rows = queries.cases(session, order=order, descending=descending)
    assert " ".join(row.name for row in rows) == names


def test_cases_cannot_be_ordered_by_what_is_not_known(catalog: Catalog) -> None:
    with catalog.reading() as session, pytest.raises(ValueError, match="cannot order cases by 'colour'"):
        queries.cases(session, order="colour")


def test_a_dataset_is_asked_about_the_versions_it_pins(two_sources: Catalog) -> None:
    with two_sources.writing() as session:
        pinned = queries.resolve(session, "KiTS/a@1")
        writes.freeze_dataset(
            session, "early", "has liver", [MemberValues(pinned.case_id, pinned.version_id, Split.TRAIN)],
            origins=["original"], seed=0, manifest_hash="0" * 64, author="me",
        )  # fmt: skip
    with two_sources.reading() as session:
        early = OfDataset(queries.dataset_version(session, "early").id)
        assert [r.address for r in queries.case_refs(session, snapshot=early)] == ["KiTS/a"]
        assert queries.count(session, "has spleen", snapshot=early) == 0
        assert queries.count(session, "missing spleen", snapshot=early) == 1
        assert queries.census(session, snapshot=early).labels_per_case == {1: 1}
        assert queries.census(session).labels_per_case == {0: 1, 1: 1, 2: 1}


def test_the_past_is_asked_about_the_versions_it_had(two_sources: Catalog) -> None:
    with two_sources.reading() as session:
        assert queries.count(session, snapshot=AsOf(datetime.now(UTC) - timedelta(hours=1))) == 0
        assert queries.count(session, "has spleen", snapshot=AsOf(datetime.now(UTC))) == 1


def test_a_query_that_cannot_be_read_is_the_query_languages_error(catalog: Catalog) -> None:
    with catalog.reading() as session, pytest.raises(QueryError, match="did you mean 'pancreas'"):
        queries.count(session, "missing pancraes")
