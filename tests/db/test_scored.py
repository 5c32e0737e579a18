"""Which models were scored on which cases, where they did worst, and what predicting took."""

import pytest
from catalog_makers import add_case, add_model_prediction, drawn
from sqlalchemy.orm import Session

from curation.labels import resolve_class
from db import queries, writes
from db.catalog import Catalog
from db.models import Role
from db.queries import CaseCost
from db.writes import NewEvaluation

LIVER, SPLEEN = 1, 3


def score(
    session: Session, case: str, protocol: str, seconds: float | None, **scores: tuple[float, float]
) -> None:
    """Book the teacher's scores of a case's newest version: class name to DSC and NSD."""
    ref = queries.resolve(session, case)
    prediction = add_model_prediction(session, ref.case_id, "teacher", liver={})
    writes.add_evaluations(
        session,
        [
            NewEvaluation(
                model_id=writes.ensure_model(session, "teacher"), prediction_id=prediction, case_id=ref.case_id,
                reference_version_id=ref.version_id, class_id=resolve_class(name).id, protocol=protocol,
                implementation="ours", dsc=dsc, nsd=nsd, seconds=seconds,
            )
            for name, (dsc, nsd) in scores.items()
        ],
    )  # fmt: skip


@pytest.fixture
def scored(catalog: Catalog) -> Catalog:
    """Three cases of two sources; liver 0.9, 0.5, 0.5 and one spleen of 0.1 by flare23, one liver by known."""
    with catalog.writing() as session:
        for name, source in (("a", "KiTS"), ("b", "KiTS"), ("c", "AMOS")):
            add_case(session, name, drawn("liver"), source=source)
        score(session, "KiTS/a", "flare23", 4.0, liver=(0.9, 0.8), spleen=(0.1, 0.9))
        score(session, "KiTS/b", "flare23", None, liver=(0.5, 0.7))
        score(session, "AMOS/c", "flare23", None, liver=(0.5, 0.6))
        score(session, "KiTS/a", "known", 4.0, liver=(0.3, 0.3))
        writes.ensure_model(session, "unscored")
    return catalog


def test_models_with_scores_are_named_with_their_cases_by_protocol(scored: Catalog) -> None:
    with scored.reading() as session:
        assert queries.scored_models(session) == {"teacher": {"flare23": 3, "known": 1}}


def test_the_worst_scores_come_first_and_equal_ones_by_the_other_metric(scored: Catalog) -> None:
    with scored.reading() as session:
        worst = queries.worst_scores(session, "teacher", "flare23")
        of_liver = queries.worst_scores(session, "teacher", "flare23", class_id=LIVER, metric="nsd", limit=2)
        nobodys = queries.worst_scores(session, "unscored", "flare23")
    assert [(row.case, row.class_id, row.dsc, row.version) for row in worst] == [
        ("KiTS/a", SPLEEN, 0.1, 1), ("AMOS/c", LIVER, 0.5, 1), ("KiTS/b", LIVER, 0.5, 1), ("KiTS/a", LIVER, 0.9, 1),
    ]  # fmt: skip
    assert [(row.case, row.nsd) for row in of_liver] == [("AMOS/c", 0.6), ("KiTS/b", 0.7)]
    assert nobodys == []


def test_the_stamp_of_the_scores_changes_with_any_of_them(scored: Catalog) -> None:
    stamps = []
    with scored.reading() as session:
        stamps.append(queries.scores_stamp(session))
    with scored.writing() as session:
        score(session, "KiTS/a", "known", 4.0, liver=(0.3, 0.4))
    with scored.reading() as session:
        stamps.append(queries.scores_stamp(session))
    # 5 scores; the last of them, booked again, takes the place of the old one.
    assert [n for _, n in stamps] == [5, 5]
    assert stamps[0] != stamps[1]


def test_a_metric_that_is_none_is_refused(scored: Catalog) -> None:
    with scored.reading() as session, pytest.raises(ValueError, match="unknown metric 'hd95'"):
        queries.worst_scores(session, "teacher", "flare23", metric="hd95")


def test_scored_cases_are_told_apart_by_source_and_role(scored: Catalog) -> None:
    with scored.reading() as session:
        sets = queries.scored_sets(session, "teacher", "flare23")
    assert [(of.title, of.role, len(of.case_ids)) for of in sets] == [
        ("AMOS, train", Role.TRAIN, 1),
        ("KiTS, train", Role.TRAIN, 2),
    ]


def test_costs_are_one_row_a_case_and_of_measured_cases_alone(scored: Catalog) -> None:
    with scored.reading() as session:
        rows, total = queries.costs(session, "teacher")
        beyond, of_all = queries.costs(session, "teacher", limit=5, offset=1)
    # Case a was scored twice; its prediction is the newest one of them.
    (row,) = rows
    assert row == CaseCost("KiTS/a", 1, row.prediction_id, (4, 5, 6), 4.0, None, None)
    assert (total, beyond, of_all) == (1, [], 1)
