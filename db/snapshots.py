"""Which version of each case is asked about: the newest, a dataset's, those of a moment, the first."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, FromClause, func, select

from db.models import Case, MaskVersion, Member, Source


@dataclass(frozen=True)
class Newest:
    """The newest version of every case."""


@dataclass(frozen=True)
class First:
    """Version 1 of every case: as it was ingested, before any complement."""


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


@dataclass(frozen=True)
class Frame:
    """The tables of one snapshot, joined: one row per case, with its version and its source.

    Attributes:
        tables: `case`, `mask_version` and `source`, to select from; further tables may be joined.
        version_id: The snapshot's version of the row's case.
    """

    tables: FromClause
    version_id: ColumnElement[int]


def frame(snapshot: Snapshot) -> Frame:
    """Join the tables of a snapshot."""
    # A purged case has versions still, but no newest one, and nothing is to be asked of it.
    joined = Case.__table__.join(
        Source.__table__, (Source.id == Case.source_id) & Case.newest_version_id.is_not(None)
    )
    match snapshot:
        case Newest():
            tables = joined.join(MaskVersion.__table__, MaskVersion.id == Case.newest_version_id)
        case First():
            tables = joined.join(
                MaskVersion.__table__, (MaskVersion.case_id == Case.id) & (MaskVersion.number == 1)
            )
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
    return Frame(tables, MaskVersion.__table__.c.id)
