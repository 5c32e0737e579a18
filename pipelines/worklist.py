"""The worklist of a review: what needs eyes most, over all queried cases, each with its reasons."""

import heapq
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from curation.labels import BY_ID
from curation.status import Origin
from curation.worklist import WEIGHTS, Candidate, OpenFinding, Reason, explain, score
from db import case_files, reviewing, standing
from pipelines.runs import Workbench


@dataclass(frozen=True)
class Place:
    """A place of the ranking, before it is explained. `candidate.class_id` is None for the whole mask."""

    address: str
    version_id: int
    points: float
    candidate: Candidate


@dataclass(frozen=True)
class Ranking:
    """The first places of `total` that may want eyes, and how many of those there are per class id."""

    places: tuple[Place, ...]
    total: int
    by_class: Mapping[int | None, int]


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
    with bench.catalog.reading() as session:
        ranking = rank(session, query, limit=limit)
        return Worklist(explained(session, ranking.places), ranking.total)


def rank(
    session: Session, query: str, *, limit: int, class_ids: Collection[int | None] | None = None
) -> Ranking:
    """Rank what may want eyes, without saying why yet: see `explained`.

    Args:
        session: A reading session.
        query: Which cases.
        limit: How many places to keep.
        class_ids: Only these classes, None among them for findings of whole masks; None: all.

    Raises:
        QueryError: The query cannot be read.
    """
    best: list[tuple[float, int, int, Candidate]] = []
    by_class: Counter[int | None] = Counter()
    for chunk in reviewing.candidates(
        session, query, agreement_below=WEIGHTS.agreement.limit, class_ids=class_ids
    ):
        by_class.update(chunk.columns["class_id"])
        points = score(chunk.numbers())
        # Most of a million candidates are not worth a look at more than their points.
        least = best[-1][0] if len(best) == limit else -1.0
        for place in np.flatnonzero(points >= least).tolist():
            version_id, candidate = chunk.version_ids[place], chunk.one(place)
            # Equals in the order of their versions and of the label table, so that the same list comes twice.
            best.append((float(points[place]), -version_id, -(candidate.class_id or 0), candidate))
        best = heapq.nlargest(limit, best, key=lambda item: item[:3])
    addresses = reviewing.addresses(session, {-version for _, version, _, _ in best})
    places = (Place(addresses[-version], -version, points, c) for points, version, _, c in best)
    return Ranking(tuple(places), by_class.total(), dict(by_class))


def explained(session: Session, places: Sequence[Place]) -> tuple[Item, ...]:
    """Places of a ranking with all their reasons, in their order.

    A ranking may be kept for a while: what changed by now (another version, accepted, purged) is left out.
    """
    versions = sorted(reviewing.addresses(session, {place.version_id for place in places}))
    findings = reviewing.open_findings(session, versions)
    classes = {place.candidate.class_id for place in places if place.candidate.class_id}
    drawn = {(d.version_id, d.class_id): d for d in reviewing.drawings(session, versions, classes)}
    accepted = standing.accepted_classes(session, versions)
    files = dict(zip(versions, case_files.case_files(session, versions), strict=True))
    items = []
    for place in places:
        candidate, version_id = place.candidate, place.version_id
        drawing = drawn.get((version_id, candidate.class_id)) if candidate.class_id else None
        if version_id not in files or (candidate.class_id and drawing is None):
            continue
        if candidate.class_id in accepted.get(version_id, ()):
            continue
        own = tuple(findings.get((version_id, candidate.class_id), ()))
        reasons = explain(candidate, own)
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
