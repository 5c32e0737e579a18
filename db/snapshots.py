"""Which version of each case is asked about: the newest, a dataset's, those of a moment, the first."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

from sqlalchemy import ColumnElement, FromClause, func, null, select

from db.models import Case, MaskVersion, Member, NewestMeasure, Source, StateCount


@dataclass(frozen=True)
class Newest:
    """The newest version of every case."""


@dataclass(frozen=True)
class First:
    """Version 1 of every case: as it was ingested, before any complement.

    Of the members of one frozen dataset alone, or of what had been ingested until a moment (aware), where given.
    """

    of_dataset: int | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class OfDataset:
    """The versions that a frozen dataset pins, of its members alone."""

    dataset_version_id: int


@dataclass(frozen=True)
class AsOf:
    """What was the newest version of every case at a moment (aware)."""

    time: datetime


Snapshot = Newest | First | OfDataset | AsOf
NEWEST = Newest()
FIRST = First()


def first_of(snapshot: Snapshot) -> First:
    """The first versions of the cases that a snapshot has."""
    match snapshot:
        case OfDataset(dataset_version_id):
            return First(of_dataset=dataset_version_id)
        case AsOf(time):
            return First(until=time)
        case First():
            return snapshot
        case Newest():
            return FIRST


class MeasuresOf(Enum):
    """Where a frame's measures stand."""

    VERSION = auto()  # in the annotations of its versions
    CASE = auto()  # in `NewestMeasure`, for its versions are the newest ones
    ROW = auto()  # in its own rows, which are some of `NewestMeasure`


@dataclass(frozen=True)
class Frame:
    """The tables of one snapshot, joined: one row per case, with its version and its source.

    Attributes:
        tables: `case`, `mask_version` and `source`, to select from; further tables may be joined.
        version_id: The snapshot's version of the row's case.
        states: The packed states of its classes (`curation.class_states`).
        role: The case's role.
        source_id: The case's source.
        measures: Where to look for what was measured of a class.
    """

    tables: FromClause
    version_id: ColumnElement[int]
    states: ColumnElement[int]
    role: ColumnElement[Any]
    source_id: ColumnElement[int]
    measures: MeasuresOf = MeasuresOf.CASE


def frame(snapshot: Snapshot) -> Frame:
    """Join the tables of a snapshot."""
    # A purged case has versions still, but no newest one, and nothing is to be asked of it.
    joined = Case.__table__.join(
        Source.__table__, (Source.id == Case.source_id) & Case.newest_version_id.is_not(None)
    )
    match snapshot:
        case Newest():
            tables = joined.join(MaskVersion.__table__, MaskVersion.id == Case.newest_version_id)
        case First(of_dataset, until):
            if of_dataset is not None:
                joined = joined.join(
                    Member.__table__,
                    (Member.case_id == Case.id) & (Member.dataset_version_id == of_dataset),
                )
            first = (MaskVersion.case_id == Case.id) & (MaskVersion.number == 1)
            if until is not None:
                first &= MaskVersion.created_at <= until
            tables = joined.join(MaskVersion.__table__, first)
        case OfDataset(dataset_version_id):
            tables = joined.join(
                Member.__table__,
                (Member.case_id == Case.id) & (Member.dataset_version_id == dataset_version_id),
            ).join(MaskVersion.__table__, MaskVersion.id == Member.version_id)
        case AsOf(time):
            then = (
                select(MaskVersion.case_id, func.max(MaskVersion.number).label("number"))
                .where(MaskVersion.created_at <= time)
                .group_by(MaskVersion.case_id)
                .subquery("then")
            )
            tables = joined.join(then, then.c.case_id == Case.id).join(
                MaskVersion.__table__,
                (MaskVersion.case_id == then.c.case_id) & (MaskVersion.number == then.c.number),
            )
    # The newest version's states are the case's own, which an index knows.
    states = Case.__table__.c.states if snapshot == NEWEST else MaskVersion.__table__.c.states
    case = Case.__table__.c
    measures = MeasuresOf.CASE if snapshot == NEWEST else MeasuresOf.VERSION
    return Frame(tables, MaskVersion.__table__.c.id, states, case.role, case.source_id, measures)


def counted() -> Frame:
    """The newest versions of all cases, not one by one but as the counts of `StateCount`.

    There are no cases in it to ask more of than their source, role and class states.
    """
    tables = StateCount.__table__.join(Source.__table__, Source.id == StateCount.source_id)
    no_version: Any = null()
    count = StateCount.__table__.c
    return Frame(tables, no_version, count.states, count.role, count.source_id)


def measured() -> Frame:
    """The newest versions in which a class is annotated, with its measures: one row per such class and case.

    Choose one class of `NewestMeasure`. There are no cases in it to ask more of than in `counted`.
    """
    no_version: Any = null()
    row = NewestMeasure.__table__.c
    return Frame(NewestMeasure.__table__, no_version, row.states, row.role, row.source_id, MeasuresOf.ROW)


def named() -> Frame:
    """The newest versions of all cases without the versions' own rows: source, role, states, name and the like."""
    tables = Case.__table__.join(
        Source.__table__, (Source.id == Case.source_id) & Case.newest_version_id.is_not(None)
    )
    case = Case.__table__.c
    return Frame(tables, case.newest_version_id, case.states, case.role, case.source_id)
