"""The members of a frozen dataset page by page, where it was exported to, and which models learned from it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.models import Case, Event, MaskVersion, Member, Model, Source, Split, Tombstone
from db.queries.paging import by_address

EXPORT = "dataset export"


@dataclass(frozen=True)
class MemberLine:
    """One member as a list shows it: its pinned version and its side; `licence` as it was when it was frozen."""

    case: str
    version: int
    split: Split
    fold: int | None
    licence: str | None
    purged: bool


@dataclass(frozen=True)
class MemberCounts:
    """How many members stand on which side of the split, and in which fold."""

    splits: dict[Split, int]
    folds: dict[int, int]


@dataclass(frozen=True)
class ExportRow:
    """Where a dataset was exported to; `format` and `folder` as they were asked for."""

    folder: str
    format: str
    cases: int | None
    author: str
    created_at: datetime


def member_page(
    session: Session,
    dataset_version_id: int,
    *,
    split: Split | None = None,
    fold: int | None = None,
    limit: int,
    offset: int = 0,
) -> list[MemberLine]:
    """Some of the members in order of address, of one side of the split or one fold where asked; purged ones too."""
    page = (
        _members(dataset_version_id, split, fold)
        .join(Case, Case.id == Member.case_id)
        .join(Source, Source.id == Case.source_id)
        .order_by(*by_address(session))
        .limit(limit)
        .offset(offset)
        .with_only_columns(
            Source.name.label("source"), Case.name.label("name"), Member.case_id, Member.version_id, Member.split,
            Member.fold, Member.licence,
        )
        .subquery()
    )  # fmt: skip
    # The numbers of these alone: joined before the sort they would be looked up for every member.
    rows = session.execute(
        select(
            page.c.source, page.c.name, MaskVersion.number, page.c.split, page.c.fold, page.c.licence,
            Tombstone.case_id,
        )
        .select_from(page)
        .join(MaskVersion, MaskVersion.id == page.c.version_id)
        .outerjoin(Tombstone, Tombstone.case_id == page.c.case_id)
    )  # fmt: skip
    found = [
        MemberLine(f"{source}/{name}", number, side, in_fold, licence, tombstone is not None)
        for source, name, number, side, in_fold, licence, tombstone in rows
    ]
    return sorted(found, key=lambda row: tuple(row.case.split("/", 1)))


def _members(dataset_version_id: int, split: Split | None, fold: int | None) -> Select[Any]:
    statement = select(Member.case_id).where(Member.dataset_version_id == dataset_version_id)
    if split is not None:
        statement = statement.where(Member.split == split)
    return statement if fold is None else statement.where(Member.fold == fold)


def member_counts(session: Session, dataset_version_id: int) -> MemberCounts:
    """How the members are spread over the split; folds are those that validate on them."""
    splits: dict[Split, int] = {}
    folds: dict[int, int] = {}
    for split, fold, n in session.execute(
        select(Member.split, Member.fold, func.count())
        .where(Member.dataset_version_id == dataset_version_id)
        .group_by(Member.split, Member.fold)
        .order_by(Member.split, Member.fold)
    ):
        splits[split] = splits.get(split, 0) + n
        if fold is not None:
            folds[fold] = folds.get(fold, 0) + n
    return MemberCounts(splits, folds)


def exports_of(session: Session, address: str) -> list[ExportRow]:
    """Where a dataset version (``NAME@N``) was exported to, the newest first, as the log has it."""
    events = session.scalars(
        select(Event).where(Event.action == EXPORT, Event.subject == address).order_by(Event.id.desc())
    )
    return [
        ExportRow(
            str(event.parameters.get("folder", "")), str(event.parameters.get("format", "")),
            event.parameters.get("cases"), event.author, event.created_at,
        )
        for event in events
    ]  # fmt: skip


def trained_on(session: Session, dataset_version_id: int) -> list[str]:
    """Names of the models that were trained on a dataset version, in the order in which they were registered."""
    return list(
        session.scalars(
            select(Model.name).where(Model.dataset_version_id == dataset_version_id).order_by(Model.id)
        )
    )
