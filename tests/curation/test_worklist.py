"""What needs eyes most: the points by hand, and that reasons and sums tell the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.labels import CLASS_IDS
from curation.status import Severity
from curation.worklist import Candidate, OpenFinding, Slope, columns, explain, score

LIVER, TUMOR = 1, 14


def finding(severity: Severity, number: int = 1) -> OpenFinding:
    return OpenFinding(number, "organ_in_pieces", severity, "Liver is in 2 pieces.", 0.5, 0.98)


def points(candidate: Candidate) -> float:
    return float(score(columns(candidate))[0])


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        # Nothing known but that a model drew it: 1.
        (Candidate(LIVER, pseudo=True), 1.0),
        # 0.70 is half way from 0.90 down to 0.50: 30 / 2, and 1 for a pseudo label.
        (Candidate(LIVER, pseudo=True, confidence=0.70), 16.0),
        (Candidate(LIVER, pseudo=True, confidence=0.90), 1.0),
        (Candidate(LIVER, pseudo=True, confidence=0.10), 31.0),  # below the worst: all 30
        # 0.30 is half way from 0.10 up to 0.50: 20 / 2.
        (Candidate(LIVER, pseudo=True, tta_disagreement=0.30), 11.0),
        # 0.45 is half way from 0.90 down to 0: 30 / 2; nobody's pseudo label.
        (Candidate(LIVER, agreement=0.45), 15.0),
        (Candidate(TUMOR, pseudo=True), 16.0),
        (Candidate(TUMOR), 0.0),
        # Drawn in 5 of 100: 0.05 is three quarters of the way from 0.20 down to 0: 10 * 0.75.
        (Candidate(LIVER, drawn_in=5, cases=100), 7.5),
        (Candidate(LIVER, drawn_in=20, cases=100), 0.0),
        (Candidate(LIVER, stale=True), 20.0),
        (Candidate(None, errors=1, warnings=2), 60.0 + 2 * 25.0),
    ],
)
def test_points_by_hand(candidate, expected):
    assert points(candidate) == pytest.approx(expected)


def test_an_error_outweighs_every_doubt_of_a_model_about_one_class():
    doubtful = Candidate(LIVER, pseudo=True, confidence=0.0, tta_disagreement=0.5, drawn_in=10, cases=100)
    assert points(doubtful) == 30 + 20 + 5 + 1
    assert points(Candidate(LIVER, errors=1)) == 60


def test_a_slope_gives_nothing_to_what_is_unknown():
    assert Slope(10.0, limit=0.5, worst=0.0).of(score(columns(Candidate(LIVER))) * float("nan")).tolist() == [
        0.0
    ]


def test_nothing_has_no_points():
    assert score({name: np.zeros(0) for name in Candidate._fields}).tolist() == []


def test_every_reason_says_value_and_limit_and_the_weightiest_comes_first():
    candidate = Candidate(
        TUMOR, pseudo=True, warnings=1, confidence=0.5, agreement=0.45, drawn_in=1, cases=100
    )
    reasons = explain(candidate, [finding(Severity.WARNING, 7)])
    assert [(r.name, r.points) for r in reasons] == [
        ("confidence", 30.0),
        ("organ_in_pieces", 25.0),
        ("agreement", 15.0),
        ("pseudo_tumor", 15.0),
        ("rare", pytest.approx(9.5)),  # 0.01 of 0.20: 10 * 0.95
        ("pseudo", 1.0),
    ]
    assert reasons[0].sentence == "confidence 0.5, at least 0.90 is usual"
    assert (reasons[0].value, reasons[0].limit) == (0.5, 0.9)
    assert reasons[1].sentence == "warning organ_in_pieces (finding 7): Liver is in 2 pieces."
    assert reasons[4].sentence == "people drew it in 1 of 100 cases, fewer than 20%"


_shares = st.none() | st.floats(0, 1)


@given(
    st.builds(
        Candidate, st.sampled_from(CLASS_IDS), st.booleans(), st.integers(0, 3), st.integers(0, 3), _shares,
        _shares, _shares, st.booleans(), st.integers(0, 50), st.integers(50, 100),
    )
)  # fmt: skip
def test_the_reasons_add_up_to_the_points(candidate):
    severe = [finding(Severity.ERROR)] * candidate.errors + [finding(Severity.WARNING)] * candidate.warnings
    reasons = explain(candidate, [*severe, finding(Severity.INFO)])
    assert sum(reason.points for reason in reasons) == pytest.approx(points(candidate))
