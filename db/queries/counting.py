"""Counts over many cases: labels per case, every class by status, origin and source, and the overview."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.orm import Session

from curation.class_states import BITS, STATES
from curation.labels import CLASS_IDS, CLASS_NAMES, ORGAN_IDS
from curation.query import Node
from curation.status import Origin, Status
from db.filters import asks_states_alone, compile_filter, is_flagged
from db.models import Source, StateCount
from db.saved_queries import resolved
from db.snapshots import NEWEST, Snapshot, counted, frame

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
    over = frame(snapshot)
    flagged = session.scalars(
        select(func.count()).select_from(over.tables).where(is_flagged(over), compile_filter(node, over))
    ).one()

    def of_these(chosen: Any) -> int:
        return int(tally.cases[chosen].sum())

    return Overview(
        cases=int(tally.cases.sum()),
        complete=of_these(complete),
        strong=of_these(strong),
        weak=of_these((labels > 0) & ~strong),
        unlabeled=of_these(labels == 0),
        flagged=flagged,
        sources=session.scalars(select(func.count()).select_from(Source)).one(),
        labels=int((labels * tally.cases).sum()),
    )


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
    ready = snapshot == NEWEST and asks_states_alone(node)
    over = counted() if ready else frame(snapshot)
    many = func.sum(StateCount.cases) if ready else func.count()
    rows = session.execute(
        select(Source.id, over.states, cast(many, BigInteger))
        .select_from(over.tables)
        .where(compile_filter(node, over))
        .group_by(Source.id, over.states)
    ).all()
    source_ids, states, cases = np.array(rows, np.int64).reshape(-1, 3).T
    return _Tally(source_ids, states, cases)


def _counted(tally: _Tally) -> dict[str, dict[str, int]]:
    """Class name to the counts that `census` gives."""
    classes = {}
    for name, standing in zip(CLASS_NAMES, tally.standings(), strict=True):
        of_state = np.bincount(standing, weights=tally.cases, minlength=len(STATES)).astype(np.int64).tolist()
        counts = {state.value: n for state, n in zip(STATES, of_state, strict=True)}
        counts[Status.ANNOTATED.value] = sum(of_state[_FIRST_ORIGIN:])
        classes[name] = {what: counts[what] for what in COUNTED}
    return classes
