"""What a freeze reads and a frozen dataset holds: one lean row per case, so that 100,000 take seconds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from curation.class_states import ClassStates, unpack
from db.filters import compile_filter
from db.models import Case, MaskVersion, Member, ReservedVoxels, Role, Source, Split, Tombstone
from db.saved_queries import resolved
from db.snapshots import NEWEST, frame


@dataclass(frozen=True, slots=True)
class Candidate:
    """A case that a query finds, at its newest version. `licence` is the case's, else its source's."""

    case_id: int
    version_id: int
    source: str
    name: str
    number: int
    role: Role
    patient: str
    licence: str | None
    voxel_hash: str | None
    states: ClassStates

    @property
    def address(self) -> str:
        """``SOURCE/NAME``."""
        return f"{self.source}/{self.name}"


@dataclass(frozen=True, slots=True)
class FrozenMember:
    """A member of a frozen dataset at its pinned version; patient and licence as they were when it was frozen.

    `reserved` says whether the mask has unresolved or ignored voxels. Of a `purged` member nothing is left
    but this row.
    """

    case_id: int
    version_id: int
    source: str
    name: str
    number: int
    split: Split
    fold: int | None
    patient: str | None
    licence: str | None
    file_hash: str | None
    voxel_hash: str | None
    incoming_hash: str | None
    image_root: str | None
    image_path: str | None
    states: ClassStates
    reserved: bool
    purged: bool

    @property
    def address(self) -> str:
        """``SOURCE/NAME``."""
        return f"{self.source}/{self.name}"

    @property
    def image(self) -> Path | None:
        """Where the image lies; None where there is none."""
        return Path(self.image_root or "") / self.image_path if self.image_path else None


def candidates(session: Session, query: str) -> list[Candidate]:
    """The cases that a query finds, in order of address.

    Raises:
        QueryError: The query cannot be read.
    """
    asked = frame(NEWEST)
    rows: Iterable[Any] = session.execute(
        select(
            Case.id, asked.version_id.label("version_id"), Source.name.label("source"), Case.name,
            MaskVersion.number, Case.role, Case.patient, licence_of_case(), MaskVersion.voxel_hash,
            MaskVersion.states,
        )
        .select_from(asked.tables)
        .where(compile_filter(resolved(session, query), asked))
    )  # fmt: skip
    found = [Candidate(*[*before, unpack(code)]) for *before, code in rows]
    # Sorted here, by code point: the databases' own orders differ.
    return sorted(found, key=lambda case: (case.source, case.name))


def licences(session: Session, query: str) -> dict[str | None, int]:
    """How many of the cases that a query finds have which licence; None is none stated."""
    asked = frame(NEWEST)
    licence = licence_of_case()
    rows: Iterable[Any] = session.execute(
        select(licence, func.count())
        .select_from(asked.tables)
        .where(compile_filter(resolved(session, query), asked))
        .group_by(licence)
    )
    return {known: int(n) for known, n in rows}


def frozen_members(session: Session, dataset_version_id: int) -> list[FrozenMember]:
    """The members of a frozen dataset, purged ones too, in order of address."""
    reserved = select(ReservedVoxels.value).where(ReservedVoxels.version_id == Member.version_id).exists()
    rows = session.execute(
        select(
            Member.case_id, Member.version_id, Source.name, Case.name, MaskVersion.number, Member.split,
            Member.fold, Member.patient, Member.licence, MaskVersion.file_hash, MaskVersion.voxel_hash,
            MaskVersion.incoming_hash, Source.image_root, Case.image_path, MaskVersion.states,
            reserved, Tombstone.case_id,
        )
        .select_from(Member)
        .join(Case, Case.id == Member.case_id)
        .join(Source, Source.id == Case.source_id)
        .join(MaskVersion, MaskVersion.id == Member.version_id)
        .outerjoin(Tombstone, Tombstone.case_id == Member.case_id)
        .where(Member.dataset_version_id == dataset_version_id)
    )  # fmt: skip
    return sorted(_frozen(rows), key=lambda member: (member.source, member.name))


def _frozen(rows: Iterable[Any]) -> Iterator[FrozenMember]:
    for *before, code, reserved, tombstone in rows:
        yield FrozenMember(*[*before, unpack(code), bool(reserved), tombstone is not None])


def licence_of_case() -> ColumnElement[str | None]:
    """The case's own licence, else its source's."""
    return func.coalesce(Case.licence, Source.licence)
