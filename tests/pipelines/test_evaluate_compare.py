"""Evaluate and compare: imported predictions against reference masks, on the cases that all models share."""

import math

import numpy as np
import pytest
from volume_files import SHAPE, boxes, write_volume

from curation.errors import UsageError
from curation.mappings import load_builtin
from db import queries
from db.models import Role
from pipelines.compare import compare
from pipelines.evaluate import evaluate
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions

FLARE = load_builtin("flare23")
LIVER, SPLEEN = 1, 3


@pytest.fixture
def scored(bench, tmp_path):
    """Two test cases with a liver of 4×4×4; model M has half of it in A and all of it in B; N has B alone."""
    liver = np.zeros(SHAPE, np.uint8)
    liver[1:5, 1:5, 1:5] = LIVER
    half = np.zeros(SHAPE, np.uint8)
    half[1:3, 1:5, 1:5] = LIVER
    for name in "AB":
        write_volume(tmp_path / "l" / f"{name}.nii.gz", liver)
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l", role=Role.TEST))
    write_volume(tmp_path / "m" / "A.nii.gz", half)
    write_volume(tmp_path / "m" / "B.nii.gz", liver)
    write_volume(tmp_path / "n" / "B.nii.gz", half)
    import_predictions(bench, tmp_path / "m", "M", FLARE)
    import_predictions(bench, tmp_path / "n", "N", FLARE)
    evaluate(bench, "M", "role = test")
    evaluate(bench, "N", "role = test")
    return bench


def rows(bench, model, protocol):
    with bench.catalog.reading() as session:
        return {
            (r.case, r.class_name): r.dsc
            for r in queries.evaluations(session, model=model, protocol=protocol)
        }


def test_dsc_is_twice_the_overlap_over_the_sum(scored):
    found = rows(scored, "M", "flare23")
    assert found["S/A", "liver"] == 0.6667  # 2·32 / (64 + 32), 4 digits
    assert found["S/B", "liver"] == 1.0


def test_flare23_rewards_classes_that_nobody_drew_and_known_leaves_them_out(scored):
    assert rows(scored, "M", "flare23")["S/A", "spleen"] == 1.0  # both empty
    assert {name for _, name in rows(scored, "M", "known")} == {"liver"}


def test_a_case_without_prediction_is_noted(scored):
    outcome = evaluate(scored, "N", "role = test")
    assert outcome.counts == {"scored": 1}
    assert outcome.noted == ["S/A: no prediction of N, so no score"]


def test_scoring_again_replaces_the_scores(scored):
    before = rows(scored, "M", "flare23")
    evaluate(scored, "M", "role = test")
    assert rows(scored, "M", "flare23") == before


def test_models_are_compared_on_the_cases_that_all_of_them_have(scored):
    table = compare(scored, ["M", "N"])
    assert table.cases == 1  # B
    liver = table.rows[0].values
    assert (liver["M"].dsc, liver["N"].dsc) == (1.0, 0.6667)


def test_known_protocol_has_no_mean_for_a_class_that_no_case_knows(scored):
    table = compare(scored, ["M"], "known")
    spleen = next(row for row in table.rows if row.label == "Spleen").values["M"]
    assert math.isnan(spleen.dsc)
    assert spleen.text == "–"
    organs = next(row for row in table.rows if row.label == "Organ mean").values["M"]
    assert organs.dsc == pytest.approx((0.6667 + 1) / 2)


def test_comparing_what_was_never_scored_says_what_to_run(scored, tmp_path):
    write_volume(tmp_path / "o" / "B.nii.gz", boxes({SPLEEN: 2}))
    import_predictions(scored, tmp_path / "o", "O", FLARE)
    with pytest.raises(UsageError, match='run `maskledger evaluate O "role = test"`'):
        compare(scored, ["M", "O"])
