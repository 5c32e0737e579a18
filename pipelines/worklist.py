"""The worklist of a review: what needs eyes most, over all queried cases, each with its reasons."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from curation.labels import BY_ID
from curation.status import Origin
from curation.worklist import WEIGHTS, Candidate, OpenFinding, Reason, explain, score
from db import case_files, reviewing
from pipelines.runs import Workbench


@dataclass(frozen=True)
class Item:
    """One place of the worklist. `class_name` is None for the whole mask; `origin` too, then."""

    address: str
    version: int
    class_name: str | None
    origin: Origin | None
    model: str | None
    points: float
    reasons: tuple[Reason, ...]
    candidate: Candidate
    findings: tuple[OpenFinding, ...]


@dataclass(frozen=True)
class Worklist:
    """The first items of `total` that may want eyes, the most urgent first."""

    items: tuple[Item, ...]
    total: int


def worklist(bench: Workbench, query: str = "", *, limit: int = 20) -> Worklist:
    """Rank what may want eyes in the newest versions of the queried cases.

    Raises:
        QueryError: The query cannot be read.
    """
    best: list[tuple[float, int, int, Candidate]] = []
    total = 0
    with bench.catalog.reading() as session:
        for chunk in reviewing.candidates(session, query, agreement_below=WEIGHTS.agreement.limit):
            total += len(chunk)
            points = score([candidate for _, candidate in chunk])
            # Most of a million candidates are not worth a look at more than their points.
            least = best[-1][0] if len(best) == limit else -1.0
            for place in np.flatnonzero(points >= least).tolist():
                version_id, candidate = chunk[place]
                # Equals in the order of their versions and of the label table, so that the same list comes twice.
                best.append((float(points[place]), -version_id, -(candidate.class_id or 0), candidate))
            best = heapq.nlargest(limit, best, key=lambda item: item[:3])
        return Worklist(_items(session, [(-version, candidate) for _, version, _, candidate in best]), total)


def _items(session: Session, chosen: Sequence[tuple[int, Candidate]]) -> tuple[Item, ...]:
    versions = sorted({version_id for version_id, _ in chosen})
    findings = reviewing.open_findings(session, versions)
    classes = {candidate.class_id for _, candidate in chosen if candidate.class_id}
    drawn = {(d.version_id, d.class_id): d for d in reviewing.drawings(session, versions, classes)}
    files = dict(zip(versions, case_files.case_files(session, versions), strict=True))
    items = []
    for version_id, candidate in chosen:
        own = tuple(findings.get((version_id, candidate.class_id), ()))
        reasons = explain(candidate, own)
        drawing = drawn[version_id, candidate.class_id] if candidate.class_id else None
        items.append(
            Item(
                files[version_id].address,
                files[version_id].number,
                BY_ID[candidate.class_id].name if candidate.class_id else None,
                drawing.origin if drawing else None,
                drawing.model if drawing else None,
                sum(reason.points for reason in reasons),
                reasons,
                candidate,
                own,
            )
        )
    return tuple(items)
