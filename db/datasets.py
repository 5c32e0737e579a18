"""Frozen training sets, as they are read back."""

import difflib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation.errors import UsageError
from curation.status import Origin
from db import taints
from db.models import Dataset, DatasetVersion, Member, Split, Tombstone
from db.taints import TaintRow
from db.writes import MemberValues


@dataclass(frozen=True)
class DatasetVersionRow:
    """A frozen state of a dataset; `val_share` is None with `folds`, and the other way round.

    `members` counts those that were frozen; `purged` of them are gone since.
    """

    id: int
    name: str
    number: int
    query: str
    origins: tuple[Origin, ...]
    val_share: float | None
    folds: int | None
    seed: int
    manifest_hash: str
    author: str
    message: str
    created_at: datetime
    members: int
    val: int
    purged: int = 0
    taints: tuple[TaintRow, ...] = ()

    @property
    def address(self) -> str:
        """``NAME@N``."""
        return f"{self.name}@{self.number}"


def datasets(session: Session) -> list[DatasetVersionRow]:
    """All versions of all datasets, by name and number."""
    return _rows(session)


def dataset_version(session: Session, address: str) -> DatasetVersionRow:
    """A dataset version by ``NAME@N``, or the newest by ``NAME``.

    Raises:
        UsageError: No such dataset or version; says which there are.
    """
    name, _, wanted = address.partition("@")
    found = _rows(session, Dataset.name == name)
    if not found:
        names = session.scalars(select(Dataset.name).order_by(Dataset.name)).all()
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"datasets are: {', '.join(names) or 'none yet'}"
        raise UsageError(f"unknown dataset '{name}': {hint}")
    if not wanted:
        return found[-1]
    row = next((row for row in found if str(row.number) == wanted), None)
    if row is None:
        have = "version 1" if len(found) == 1 else f"versions 1 to {found[-1].number}"
        raise UsageError(f"dataset '{name}' has {have}, no version '{wanted}'")
    return row


def member_values(session: Session, dataset_version_id: int) -> list[MemberValues]:
    """The members as they were frozen, without those purged since, in order of case id."""
    rows = session.execute(
        select(
            Member.case_id, Member.version_id, Member.split, Member.fold, Member.patient, Member.licence
        )
        .where(Member.dataset_version_id == dataset_version_id)
        .where(Member.case_id.not_in(select(Tombstone.case_id)))
        .order_by(Member.case_id)
    )  # fmt: skip
    return [MemberValues(*row) for row in rows]


def _rows(session: Session, *conditions: Any) -> list[DatasetVersionRow]:
    size = select(func.count()).select_from(Member).where(Member.dataset_version_id == DatasetVersion.id)
    rows = session.execute(
        select(
            DatasetVersion,
            Dataset.name,
            size.scalar_subquery(),
            size.where(Member.split == Split.VAL).scalar_subquery(),
            size.where(Member.case_id.in_(select(Tombstone.case_id))).scalar_subquery(),
        )
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .where(*conditions)
        .order_by(Dataset.name, DatasetVersion.number)
    ).all()
    tainted = taints.of_datasets(session, [v.id for v, *_ in rows])
    return [
        DatasetVersionRow(
            id=v.id,
            name=name,
            number=v.number,
            query=v.query,
            origins=tuple(Origin(origin) for origin in v.origins),
            val_share=v.val_share,
            folds=v.folds,
            seed=v.seed,
            manifest_hash=v.manifest_hash,
            author=v.author,
            message=v.message,
            created_at=v.created_at,
            members=n,
            val=n_val,
            purged=n_purged,
            taints=tuple(tainted.get(v.id, ())),
        )
        for v, name, n, n_val, n_purged in rows
    ]
