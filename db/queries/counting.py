"""Counts over many cases: labels per case, every class by status, origin and source, and the overview."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, and_, cast, distinct, func, select
from sqlalchemy.orm import Session, aliased

from curation.class_states import BITS, STATES, unpack
from curation.labels import CLASS_IDS, CLASS_NAMES, ORGAN_IDS
from curation.query import And, Everything, Flag, HasClass, Node, Not
from curation.status import Origin, Status
from db.batches import batches
from db.filters import asks_states_alone, severe_versions
from db.models import (
    Case,
    Decision,
    FindingRow,
    MaskVersion,
    Source,
    StateCount,
    Verdict,
)
from db.queries.selection import count
from db.queries.tallies import select_found
from db.saved_queries import resolved
from db.snapshots import FIRST, NEWEST, Snapshot, counted, frame
from db.standing import accepted_classes

# How a class can stand in a case; what `census --json` prints per class.
_FIRST_ORIGIN = STATES.index(Origin.ORIGINAL)  # a class that stands there or further on is drawn
COUNTED = (*(status.value for status in Status), *(origin.value for origin in Origin))


@dataclass(frozen=True)
class Census:
    """What a set of cases knows.

    Attributes:
        cases: How many there are.
        labels_per_case: Number of annotated classes to number of cases, ascending.
        classes: Class name to counts of cases: each status, and each origin among the annotated.
    """

    cases: int
    labels_per_case: dict[int, int]
    classes: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Overview:
    """The catalog in a few numbers; `strong`, `weak` and `unlabeled` add up to `cases`."""

    cases: int
    complete: int
    strong: int
    weak: int
    unlabeled: int
    flagged: int
    sources: int
    labels: int


def census(session: Session, query: str | Node | None = None, *, snapshot: Snapshot = NEWEST) -> Census:
    """Count statuses and origins of every class, and annotated classes per case.

    Args:
        session: A reading session.
        query: Which cases; None or empty for all.
        snapshot: Which version of each case.

    Raises:
        QueryError: The query cannot be read.
    """
    tally = _tally(session, query, snapshot)
    labels = sum((standing >= _FIRST_ORIGIN).astype(np.int64) for standing in tally.standings())
    histogram = np.bincount(labels, weights=tally.cases).astype(np.int64).tolist() if len(tally.cases) else []
    return Census(
        int(tally.cases.sum()),
        {n: of_them for n, of_them in enumerate(histogram) if of_them},
        _counted(tally),
    )


def coverage_by_source(
    session: Session, query: str | Node | None = None, *, snapshot: Snapshot = NEWEST
) -> dict[str, dict[str, dict[str, int]]]:
    """Source to class name to the counts that `census` gives, for sources with at least one case."""
    tally = _tally(session, query, snapshot)
    names = {source.id: source.name for source in session.execute(select(Source.id, Source.name))}
    sources = np.unique(tally.source_ids).tolist()
    coverage = {names[id]: _counted(tally.keep(tally.source_ids == id)) for id in sources}
    return dict(sorted(coverage.items()))


def overview(session: Session, query: str | Node | None = None, *, snapshot: Snapshot = NEWEST) -> Overview:
    """The numbers that a start page shows."""
    node = resolved(session, query)
    tally = _tally(session, node, snapshot)
    standings = tally.standings()
    organs = [standings[c - 1] for c in ORGAN_IDS]
    complete = np.all([standing != STATES.index(Status.MISSING) for standing in organs], axis=0)
    pseudo = np.any([standing == STATES.index(Origin.PSEUDO) for standing in organs], axis=0)
    drawn = np.any([standing >= _FIRST_ORIGIN for standing in organs], axis=0)
    strong = complete & ~pseudo & drawn
    labels = sum((standing >= _FIRST_ORIGIN).astype(np.int64) for standing in standings)

    def of_these(chosen: Any) -> int:
        return int(tally.cases[chosen].sum())

    return Overview(
        cases=int(tally.cases.sum()),
        complete=of_these(complete),
        strong=of_these(strong),
        weak=of_these((labels > 0) & ~strong),
        unlabeled=of_these(labels == 0),
        flagged=count(session, And((node, Flag("flagged"))), snapshot=snapshot),
        sources=session.scalars(select(func.count()).select_from(Source)).one(),
        labels=int((labels * tally.cases).sum()),
    )


@dataclass(frozen=True)
class ToReview:
    """How many cases want eyes: an open finding (warning or error), or a pseudo label that nobody accepted.

    `query` finds these very cases.
    """

    cases: int
    query: str


def to_review(session: Session) -> ToReview:
    """Count the cases, at their newest versions, that a reviewer has not done with."""
    tally = _tally(session, None, NEWEST)
    pseudo_of = {
        name: int(tally.cases[standing == STATES.index(Origin.PSEUDO)].sum())
        for name, standing in zip(CLASS_NAMES, tally.standings(), strict=True)
    }
    any_pseudo = np.any([s == STATES.index(Origin.PSEUDO) for s in tally.standings()], axis=0)
    flagged = count(session, And((Flag("flagged"), Not(HasClass("pseudo", "any", CLASS_IDS)))))
    done = _pseudo_but_accepted(session)
    flagged_again = 0
    for batch in batches(sorted(done)):
        flagged_again += session.scalars(
            select(func.count(distinct(FindingRow.version_id))).where(
                FindingRow.version_id.in_(batch), FindingRow.version_id.in_(severe_versions())
            )
        ).one()
    cases = int(tally.cases[any_pseudo].sum()) - len(done) + flagged_again + flagged
    if not done:
        return ToReview(cases, "flagged or pseudo any class")
    doubts = (f"pseudo {name} and not accepted {name}" for name, n in pseudo_of.items() if n)
    return ToReview(cases, " or ".join(("flagged", *doubts)))


def _pseudo_but_accepted(session: Session) -> set[int]:
    """Newest versions with pseudo labels, all of which a person accepted."""
    decided = select(Decision.case_id).where(Decision.verdict == Verdict.ACCEPTED).distinct()
    rows = session.execute(
        select(Case.newest_version_id, Case.states).where(
            Case.id.in_(decided), Case.newest_version_id.is_not(None)
        )
    )
    pseudo = {
        version_id: {c for c in CLASS_IDS if unpack(states or 0).of(c) is Origin.PSEUDO}
        for version_id, states in rows
        if version_id is not None
    }
    accepted = accepted_classes(session, sorted(pseudo))
    return {v for v, classes in pseudo.items() if classes and classes <= accepted.get(v, frozenset())}


@dataclass(frozen=True, eq=False)
class _Tally:
    """Cases by source and packed class states: three columns of equal length."""

    source_ids: NDArray[np.int64]
    states: NDArray[np.int64]
    cases: NDArray[np.int64]

    def keep(self, chosen: NDArray[np.bool_]) -> "_Tally":
        return _Tally(self.source_ids[chosen], self.states[chosen], self.cases[chosen])

    def standings(self) -> list[NDArray[np.int64]]:
        """Per class of the label table, how it stands in each row: its place in `STATES`."""
        word = (1 << BITS) - 1
        return [self.states >> BITS * (c - 1) & word for c in CLASS_IDS]


def _tally(session: Session, query: str | Node | None, snapshot: Snapshot) -> _Tally:
    """Count the cases that a query finds. Of the newest versions most is counted in the catalog already."""
    node = resolved(session, query)
    if snapshot == FIRST and isinstance(node, Everything):
        return _first_tally(session)
    ready = snapshot == NEWEST and asks_states_alone(node)
    over = counted() if ready else frame(snapshot)
    many = func.sum(StateCount.cases) if ready else func.count()
    rows = session.execute(
        select_found(node, over, Source.id, over.states, cast(many, BigInteger)).group_by(
            Source.id, over.states
        )
    ).all()
    source_ids, states, cases = np.array(rows, np.int64).reshape(-1, 3).T
    return _Tally(source_ids, states, cases)


def _first_tally(session: Session) -> _Tally:
    """The first versions of all cases: those of the newest, less what changed since and plus what it was before."""
    now = _tally(session, None, NEWEST)
    case, first, second = Case.__table__, aliased(MaskVersion), aliased(MaskVersion)
    rows = session.execute(
        select(case.c.source_id, case.c.states, first.states, func.count())
        .select_from(case)
        .join(second, and_(second.case_id == case.c.id, second.number == 2))
        .join(first, and_(first.case_id == case.c.id, first.number == 1))
        .where(case.c.newest_version_id.is_not(None), case.c.states != first.states)
        .group_by(case.c.source_id, case.c.states, first.states)
    ).all()
    source_ids, after, before, cases = np.array(rows, np.int64).reshape(-1, 4).T
    return _summed(
        _Tally(
            np.concatenate([now.source_ids, source_ids, source_ids]),
            np.concatenate([now.states, after, before]),
            np.concatenate([now.cases, -cases, cases]),
        )
    )


def _summed(tally: _Tally) -> _Tally:
    """The same with one row per source and states, and none without cases."""
    key, place = np.unique(np.stack([tally.source_ids, tally.states]), axis=1, return_inverse=True)
    cases = np.zeros(key.shape[1], np.int64)
    np.add.at(cases, place.ravel(), tally.cases)
    return _Tally(key[0], key[1], cases).keep(cases > 0)


def _counted(tally: _Tally) -> dict[str, dict[str, int]]:
    """Class name to the counts that `census` gives."""
    classes = {}
    for name, standing in zip(CLASS_NAMES, tally.standings(), strict=True):
        of_state = np.bincount(standing, weights=tally.cases, minlength=len(STATES)).astype(np.int64).tolist()
        counts = {state.value: n for state, n in zip(STATES, of_state, strict=True)}
        counts[Status.ANNOTATED.value] = sum(of_state[_FIRST_ORIGIN:])
        classes[name] = {what: counts[what] for what in COUNTED}
    return classes
