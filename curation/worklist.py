"""The worklist: which class of which case needs eyes most, as points with a reason for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curation.labels import TUMOR_ID
from curation.status import Severity

Column = NDArray[np.float64]


@dataclass(frozen=True)
class Slope:
    """Points that grow in a straight line: none at `limit` or on its good side, all of `points` at `worst`."""

    points: float
    limit: float
    worst: float

    def of(self, value: Column) -> Column:
        """Points per value; none where it is unknown (NaN)."""
        share = (self.limit - value) / (self.limit - self.worst)
        return self.points * np.clip(np.nan_to_num(share, nan=0.0), 0.0, 1.0)


@dataclass(frozen=True)
class Weights:
    """What counts how much. Our choice: an error outweighs every doubt of a model about one class.

    Attributes:
        finding: Points of each open finding, by severity.
        confidence: Mean probability of a pseudo label's voxels, as its model gave it.
        tta_disagreement: Share of a pseudo label's voxels that mirrored passes of the model dispute.
        agreement: Dice of a prediction with what is annotated.
        pseudo_tumor: A tumor that a model drew: models take tumors for organs, and smooth them away.
        rare: Share of the cases in which people drew the class: where few did, models have learned little.
        stale: Stands on something that was since revised, predicted anew or retracted.
        pseudo: Any pseudo label: nobody has looked at it yet.
    """

    finding: dict[Severity, float] = field(
        default_factory=lambda: {Severity.ERROR: 60.0, Severity.WARNING: 25.0, Severity.INFO: 0.0}
    )
    confidence: Slope = Slope(30.0, limit=0.90, worst=0.50)
    tta_disagreement: Slope = Slope(20.0, limit=0.10, worst=0.50)
    agreement: Slope = Slope(30.0, limit=0.90, worst=0.0)
    pseudo_tumor: float = 15.0
    rare: Slope = Slope(10.0, limit=0.20, worst=0.0)
    stale: float = 20.0
    pseudo: float = 1.0


WEIGHTS = Weights()


@dataclass(frozen=True)
class Reason:
    """One part of an item's points, as a sentence; `value` and `limit` are what was compared, where it was."""

    points: float
    name: str
    sentence: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class OpenFinding:
    """An open finding as it is booked."""

    id: int
    check: str
    severity: Severity
    message: str
    value: float
    limit: float


class Candidate(NamedTuple):
    """A class of a case, or (`class_id` None) its whole mask, with what speaks for looking at it.

    A tuple, because there may be a million of them. `errors` and `warnings` count open findings. Confidence and
    disagreement are None for what no model drew. Of the catalog's `cases` the class is drawn by a person
    in `drawn_in`.
    """

    class_id: int | None
    pseudo: bool = False
    errors: int = 0
    warnings: int = 0
    confidence: float | None = None
    tta_disagreement: float | None = None
    agreement: float | None = None
    stale: bool = False
    drawn_in: int | None = None
    cases: int | None = None


def score(known: Mapping[str, Column], weights: Weights = WEIGHTS) -> Column:
    """Points of many candidates at once, (N,); the sums of what `explain` says of each.

    Args:
        known: The candidates as columns, (N,) each: every field of `Candidate` to its values, NaN where unknown.
        weights: What counts how much.
    """
    return np.sum(list(_parts(known, weights).values()), axis=0)


def columns(candidate: Candidate) -> dict[str, Column]:
    """One candidate as `score` takes it."""
    return {name: numbers([value]) for name, value in zip(Candidate._fields, candidate, strict=True)}


def numbers(values: Sequence[float | None]) -> Column:
    """Values as a column; None becomes NaN, of which no rule makes points."""
    return np.array(values, np.float64)


def explain(
    candidate: Candidate, findings: Sequence[OpenFinding] = (), weights: Weights = WEIGHTS
) -> tuple[Reason, ...]:
    """Why a candidate has its points, the weightiest reason first; reasons without points are left out.

    Args:
        candidate: What was scored.
        findings: Its open findings, one reason each.
        weights: As given to `score`.
    """
    reasons = [
        Reason(
            weights.finding[f.severity], f.check,
            f"{f.severity} {f.check} (finding {f.id}): {f.message}", f.value, f.limit,
        )
        for f in findings
    ]  # fmt: skip
    for name, points in _parts(columns(candidate), weights).items():
        if name not in ("errors", "warnings"):
            reasons.append(_reason(name, float(points[0]), candidate, weights))
    return tuple(sorted((r for r in reasons if r.points > 0), key=lambda r: -r.points))


def _parts(known: Mapping[str, Column], weights: Weights) -> dict[str, Column]:
    """Points by rule, one number per candidate."""
    return {
        "errors": known["errors"] * weights.finding[Severity.ERROR],
        "warnings": known["warnings"] * weights.finding[Severity.WARNING],
        "confidence": weights.confidence.of(known["confidence"]),
        "tta_disagreement": weights.tta_disagreement.of(known["tta_disagreement"]),
        "agreement": weights.agreement.of(known["agreement"]),
        "pseudo_tumor": known["pseudo"] * (known["class_id"] == TUMOR_ID) * weights.pseudo_tumor,
        "rare": weights.rare.of(known["drawn_in"] / known["cases"]),
        "stale": known["stale"] * weights.stale,
        "pseudo": known["pseudo"] * weights.pseudo,
    }


def _reason(name: str, points: float, c: Candidate, weights: Weights) -> Reason:
    match name:
        case "confidence":
            limit = weights.confidence.limit
            said = f"confidence {_number(c.confidence)}, at least {limit:.2f} is usual"
            return Reason(points, name, said, c.confidence, limit)
        case "tta_disagreement":
            limit = weights.tta_disagreement.limit
            said = (
                f"mirrored passes dispute {_number(c.tta_disagreement)} of its voxels, {limit:.2f} is usual"
            )
            return Reason(points, name, said, c.tta_disagreement, limit)
        case "agreement":
            limit = weights.agreement.limit
            other = "what was annotated" if c.pseudo else "the newest prediction"
            said = f"Dice {_number(c.agreement)} with {other}, at least {limit:.2f} is usual"
            return Reason(points, name, said, c.agreement, limit)
        case "rare":
            limit = weights.rare.limit
            share = c.drawn_in / c.cases if c.drawn_in is not None and c.cases else None
            said = f"people drew it in {c.drawn_in} of {c.cases} cases, fewer than {limit:.0%}"
            return Reason(points, name, said, share, limit)
        case "pseudo_tumor":
            return Reason(
                points, name, "a tumor drawn by a model; models smooth tumors or take them for organs"
            )
        case "stale":
            said = "stale: what it stands on was revised, predicted anew or retracted since"
            return Reason(points, name, said)
    assert name == "pseudo"
    return Reason(points, name, "pseudo label: nobody has accepted it yet")


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
