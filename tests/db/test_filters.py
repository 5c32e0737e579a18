"""What each word of the query language finds, on both databases."""

from collections.abc import Callable, Iterator

import pytest
from catalog_makers import add_case, add_model_prediction, digest, drawn, version

from curation.labels import BY_ID, ORGAN_IDS
from curation.status import Evidence, Finding, Origin, Severity, Status
from db import queries, writes
from db.catalog import Catalog
from db.models import Verdict, VersionKind
from db.snapshots import FIRST
from db.writes import AnnotationValues


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def cohort(request: pytest.FixtureRequest, make_database_url: Callable[..., str]) -> Iterator[Catalog]:
    """Four cases whose answers can be read off.

    KiTS/strong   13 organs original
    KiTS/weak     both kidneys and a tumor, pancreas absent
    FLARE/filled  liver original, the other organs pseudo (version 2)
    FLARE/image   an image without a mask
    """
    catalog = Catalog.open(make_database_url(request.param, migrated=True))
    organs = [BY_ID[i].name for i in ORGAN_IDS]
    with catalog.writing() as session:
        add_case(session, "strong", *(drawn(name) for name in organs))
        add_case(
            session, "weak", drawn("right_kidney"), drawn("left_kidney"), drawn("tumor", voxels=9, volume_ml=0.054),
            AnnotationValues(class_id=4, status=Status.ABSENT, evidence=Evidence.REVIEWER),
            findings=[Finding("touches_border", Severity.WARNING, 2, 1.0, 0.0, "right kidney is cut off")],
        )  # fmt: skip
        first = add_case(session, "filled", drawn("liver"), source="FLARE")
        prediction = add_model_prediction(
            session, first.case_id, spleen={"confidence": 0.4, "agreement": 0.3}
        )
        writes.add_version(
            session, first.case_id, first.id,
            version(
                drawn("liver"), *(drawn(n, Origin.PSEUDO, prediction_id=prediction) for n in organs[1:]),
                kind=VersionKind.COMPLEMENTED,
            ),
        )  # fmt: skip
        add_case(session, "image", source="FLARE", file_hash=None, voxel_hash=None, incoming_hash=None)
    yield catalog
    catalog.close()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "FLARE/filled FLARE/image KiTS/strong KiTS/weak"),
        ("strong", "KiTS/strong"),
        ("complete", "FLARE/filled KiTS/strong"),
        ("weak", "FLARE/filled KiTS/weak"),
        ("unlabeled", "FLARE/image"),
        ("missing liver", "FLARE/image KiTS/weak"),
        ("missing every adrenal and has any kidney", "KiTS/weak"),
        ("not missing pancreas", "FLARE/filled KiTS/strong KiTS/weak"),
        ("has pancreas", "FLARE/filled KiTS/strong"),
        ("absent pancreas", "KiTS/weak"),
        ("pseudo any organ", "FLARE/filled"),
        ("original every organ", "KiTS/strong"),
        ("labels = 13", "FLARE/filled KiTS/strong"),
        ("labels = 3 and organs = 2", "KiTS/weak"),
        ("labels < 2.5", "FLARE/image"),
        ("version > 1", "FLARE/filled"),
        ("volume(tumor) < 0.1", "KiTS/weak"),
        ("not volume(tumor) < 0.1", "FLARE/filled FLARE/image KiTS/strong"),
        ("confidence(spleen) < 0.5", "FLARE/filled"),
        ("not confidence(spleen) >= 0.5", "FLARE/filled FLARE/image KiTS/strong KiTS/weak"),
        ("flagged", "KiTS/weak"),
        ('finding = "touches*"', "KiTS/weak"),
        ('case = "s*"', "KiTS/strong"),
        ('case = "KiTS/*"', "KiTS/strong KiTS/weak"),
        ('case = "kits/*"', ""),
        ('source != "KiTS"', "FLARE/filled FLARE/image"),
        ("slices = 6 and shape.x = 4 and spacing.y = 2", "FLARE/filled FLARE/image KiTS/strong KiTS/weak"),
    ],
)
def test_a_query_finds_the_cases_that_one_would_pick_by_hand(cohort: Catalog, query: str, names: str) -> None:
    with cohort.reading() as session:
        assert [ref.address for ref in queries.case_refs(session, query)] == names.split()
        assert queries.count(session, query) == len(names.split())


def test_a_complemented_case_is_still_of_the_revision_that_was_ingested(catalog: Catalog) -> None:
    with catalog.writing() as session:
        source = writes.ensure_source(session, "KiTS")
        old, new = (
            writes.ensure_revision(session, source, name, mapping_name="kits", mapping={}, protocol=None)
            for name in ("2019", "2023")
        )
        first = add_case(session, "a", revision_id=old)
        second = writes.add_version(session, first.case_id, first.id, version(kind=VersionKind.COMPLEMENTED))
        add_case(session, "b", revision_id=old)
    with catalog.reading() as session:
        assert queries.count(session, 'revision = "2019"') == 2
    with catalog.writing() as session:
        writes.add_version(session, first.case_id, second.id, version(revision_id=new))
    with catalog.reading() as session:
        assert queries.count(session, 'revision = "2019"') == 1
        assert queries.count(session, 'revision = "2023"') == 1
        assert queries.count(session, 'revision = "2019"', snapshot=FIRST) == 2


def test_an_accepted_class_stays_accepted_only_while_it_is_unchanged(catalog: Catalog) -> None:
    with catalog.writing() as session:
        first = add_case(session, "a", drawn("liver"))
        writes.add_decision(
            session,
            first.case_id,
            1,
            digest("liver original"),
            Verdict.ACCEPTED,
            reason="good",
            person="reader",
        )
    with catalog.reading() as session:
        assert queries.count(session, "accepted liver") == 1
    with catalog.writing() as session:
        second = writes.add_version(
            session, first.case_id, first.id, version(drawn("liver"), drawn("spleen"))
        )
    with catalog.reading() as session:
        assert queries.count(session, "accepted liver") == 1
    with catalog.writing() as session:
        writes.add_version(
            session,
            first.case_id,
            second.id,
            version(drawn("liver", Origin.CORRECTED, class_hash=digest("new"))),
        )
    with catalog.reading() as session:
        assert queries.count(session, "accepted liver") == 0


def test_a_pseudo_label_is_stale_once_its_model_has_predicted_anew(catalog: Catalog) -> None:
    with catalog.writing() as session:
        source = writes.ensure_source(session, "KiTS")
        case = writes.ensure_case(session, source, "a")
        prediction = add_model_prediction(session, case, "teacher", liver={})
        writes.add_version(
            session, case, None, version(drawn("liver", Origin.PSEUDO, prediction_id=prediction))
        )
        add_model_prediction(session, case, "student", liver={})
    with catalog.reading() as session:
        assert queries.count(session, "stale") == 0
    with catalog.writing() as session:
        add_model_prediction(session, case, "teacher", liver={})
    with catalog.reading() as session:
        assert queries.count(session, "stale") == 1


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ('"a_b*"', ["a_b1"]),
        ('"a%*"', ["a%b"]),
        ('"*[x]"', ["c[x]"]),
        ('"*?"', ["d?"]),
        (r'"e\*f"', ["e*f"]),
        (r'"*\\*"', ["g\\h"]),
        ('"A*"', ["AB"]),
        ('"*"', ["AB", "a%b", "aXb1", "a_b1", "c[x]", "cx", "d?", "e*f", "eXf", "g\\h"]),
        ('"\' or 1=1 --"', []),
    ],
)
def test_only_the_star_is_a_wildcard_and_case_matters(
    catalog: Catalog, pattern: str, found: list[str]
) -> None:
    with catalog.writing() as session:
        for name in ("AB", "a%b", "a_b1", "aXb1", "c[x]", "cx", "d?", "e*f", "eXf", "g\\h"):
            add_case(session, name)
    with catalog.reading() as session:
        refs = queries.case_refs(session, f"case = {pattern}")
    assert [ref.address.removeprefix("KiTS/") for ref in refs] == found


def test_the_largest_query_that_the_language_takes_is_answered(catalog: Catalog) -> None:
    with catalog.writing() as session:
        add_case(session, "a", drawn("liver"))
    with catalog.reading() as session:
        # 200 conditions are the most that are asked at once; a group counts as its 14 classes.
        assert queries.count(session, " or ".join(["pseudo every class"] * 14 + ["has liver"])) == 1
        # A measure counts as the tables that it is looked up in: two for `confidence`, five for `agreement`.
        assert (
            queries.count(session, " and ".join(f"not confidence(liver) > 0.{i}" for i in range(100, 200)))
            == 1
        )
        assert (
            queries.count(session, " and ".join(f"not agreement(liver) > 0.{i}" for i in range(100, 140)))
            == 1
        )
