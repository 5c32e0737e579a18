"""From an address or a query to cases: resolving, counting, listing page by page."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from curation.class_states import unpack
from curation.errors import UsageError
from curation.labels import BY_ID, CLASS_IDS, ORGAN_IDS
from curation.query import Everything, Node
from curation.status import Origin, Status
from db import purged
from db.batches import IDS_PER_STATEMENT, batches
from db.filters import asks_states_alone, asks_version, class_measured, is_flagged, is_stale
from db.models import Case, MaskVersion, Role, Source, Tombstone, VersionKind
from db.queries.paging import by_address, page_ids, sorting
from db.queries.tallies import count_by_source, count_measured, select_found
from db.saved_queries import resolved
from db.snapshots import NEWEST, Frame, Snapshot, frame, named


class UnknownCaseError(UsageError):
    """An address that names no case, or no version of it."""


class PurgedCaseError(UnknownCaseError):
    """An address whose case was purged; says when, by whom and why."""


class AmbiguousCaseError(UsageError):
    """A bare name that several sources use.

    Attributes:
        candidates: Their addresses.
    """

    def __init__(self, name: str, candidates: list[str]) -> None:
        self.candidates = candidates
        super().__init__(f"case '{name}' is in several sources; say which: {', '.join(candidates)}")


@dataclass(frozen=True)
class CaseRef:
    """One version of one case. `address` is ``SOURCE/NAME``, `number` the version's."""

    case_id: int
    version_id: int
    number: int
    address: str


@dataclass(frozen=True)
class CaseRow:
    """One case as a list shows it.

    Attributes:
        version: Number of the version that the snapshot has; `version_id` its row.
        labels: Annotated classes, tumor and pseudo labels too; `organs` of the 13 organs.
        licence: The case's, else its source's.
        shape: Voxels along the patient's x, y, z; `spacing_mm` likewise.
        classes: Class name to ``{"status": …, "origin": …}``, in the label table's order.
    """

    id: int
    address: str
    source: str
    name: str
    version: int
    version_id: int
    kind: VersionKind
    changed: datetime
    labels: int
    organs: int
    role: Role
    patient: str
    licence: str | None
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    image_path: str | None
    complete: bool
    strong: bool
    flagged: bool
    stale: bool
    classes: dict[str, dict[str, str | None]] = field(repr=False)

    @property
    def slices(self) -> int:
        """Slices along the patient's inferior-superior axis."""
        return self.shape[2]


def resolve(session: Session, address: str) -> CaseRef:
    """Find one version of one case.

    Args:
        session: A reading session.
        address: ``SOURCE/NAME[@N]``, or a bare ``NAME[@N]`` where it is unique; without N the newest.

    Raises:
        UnknownCaseError: No such case or version; offers the nearest name.
        PurgedCaseError: It was purged.
        AmbiguousCaseError: Several sources have a case of this name; lists them.
    """
    path, _, version = address.partition("@")
    source, _, name = path.rpartition("/")
    query = (
        select(
            Case.id,
            Source.name.label("source"),
            Case.name,
            MaskVersion.id.label("version_id"),
            MaskVersion.number,
        )
        .select_from(frame(NEWEST).tables)
        .where(Case.name == name)
        .order_by(Source.name)
    )
    found = session.execute(query.where(Source.name == source) if source else query).all()
    if not found:
        _refuse_purged(session, source, name)
        raise UnknownCaseError(f"unknown case '{path}'{_nearest(session, name)}")
    if len(found) > 1:
        raise AmbiguousCaseError(name, [f"{row.source}/{row.name}" for row in found])
    (row,) = found
    known = f"{row.source}/{row.name}"
    if not version:
        return CaseRef(row.id, row.version_id, row.number, known)
    # isascii: isdecimal alone takes digits of every script, and int() them too.
    number = int(version) if version.isascii() and version.isdecimal() and len(version) < 10 else 0
    version_id = session.scalar(
        select(MaskVersion.id).where(MaskVersion.case_id == row.id, MaskVersion.number == number)
    )
    if version_id is None:
        have = "version 1" if row.number == 1 else f"versions 1 to {row.number}"
        raise UnknownCaseError(f"{known} has {have}, no version '{version}'")
    return CaseRef(row.id, version_id, number, known)


def _refuse_purged(session: Session, source: str, name: str) -> None:
    """Say of a case that is not there that it was purged, where it was."""
    query = (
        select(Source.name, Tombstone)
        .join(Case, Case.source_id == Source.id)
        .join(Tombstone, Tombstone.case_id == Case.id)
        .where(Case.name == name)
        .order_by(Source.name)
    )
    found = session.execute(query.where(Source.name == source) if source else query).first()
    if found is not None:
        raise PurgedCaseError(purged.sentence(f"{found[0]}/{name}", found[1]))


def _nearest(session: Session, name: str) -> str:
    """A hint for a name that is not there, from those that begin alike."""
    begins = Case.name.startswith(name[:3], autoescape=True)
    rows = session.execute(
        select(Case.name, Source.name)
        .join(Source, Source.id == Case.source_id)
        .where(begins, Case.newest_version_id.is_not(None))
        .order_by(Case.id)
        .limit(5000)
    )
    addresses = {known: f"{source}/{known}" for known, source in rows}
    near = difflib.get_close_matches(name, addresses, n=1)
    return (
        f": did you mean '{addresses[near[0]]}'?"
        if near
        else "; `maskledger cases all` lists those there are"
    )


def count(session: Session, query: str | Node = "", *, snapshot: Snapshot = NEWEST) -> int:
    """How many cases a query finds; the empty query finds all.

    Raises:
        QueryError: The query cannot be read.
    """
    node = resolved(session, query)
    if snapshot == NEWEST and asks_states_alone(node):
        return sum(count_by_source(session, node).values())
    if snapshot == NEWEST and (class_id := class_measured(node)):
        return count_measured(session, node, class_id)
    asked = named() if snapshot == NEWEST and not asks_version(node) else frame(snapshot)
    return session.scalars(select_found(node, asked, func.count())).one()


def case_ids(session: Session, query: str | Node = "", *, snapshot: Snapshot = NEWEST) -> list[int]:
    """Ids of the cases that a query finds, in order of address."""
    return [ref.case_id for ref in case_refs(session, query, snapshot=snapshot)]


def case_refs(session: Session, query: str | Node = "", *, snapshot: Snapshot = NEWEST) -> list[CaseRef]:
    """The cases that a query finds, in order of address, without looking at their classes."""
    asked = frame(snapshot)
    rows = session.execute(
        select_found(
            resolved(session, query), asked, Case.id, asked.version_id.label("version_id"), MaskVersion.number,
            Source.name.label("source"), Case.name,
        ).order_by(*by_address(session))
    )  # fmt: skip
    return [CaseRef(row.id, row.version_id, row.number, f"{row.source}/{row.name}") for row in rows]


def cases(
    session: Session,
    query: str | Node = "",
    *,
    limit: int | None = None,
    offset: int = 0,
    order: str = "case",
    descending: bool = False,
    snapshot: Snapshot = NEWEST,
) -> list[CaseRow]:
    """The cases that a query finds, or one page of them.

    Args:
        session: A reading session.
        query: Text or tree; the empty query finds all.
        limit: At most so many; None for all.
        offset: Leave out so many before.
        order: One of `ORDERS`; equals as `page_ids` has them.
        descending: The greatest first.
        snapshot: Which version of each case.

    Raises:
        QueryError: The query cannot be read.
    """
    node = resolved(session, query)
    if limit is not None and limit <= IDS_PER_STATEMENT:
        # First which ones, then what is shown of them: sorting carries nothing but ids.
        page = page_ids(session, node, limit, offset, order=order, descending=descending, snapshot=snapshot)
        return cases_of(session, page, snapshot=snapshot, sort=order == "case", descending=descending)
    asked = frame(snapshot)
    statement = (
        _rows(node, asked)
        .order_by(*sorting(session, order, asked, descending=descending))
        .limit(limit)
        .offset(offset or None)
    )
    return [_case_row(row) for row in session.execute(statement)]


def cases_of(
    session: Session,
    case_ids: Sequence[int],
    *,
    snapshot: Snapshot = NEWEST,
    sort: bool = False,
    descending: bool = False,
) -> list[CaseRow]:
    """Some cases by their ids, in the order of these or of address; those that a snapshot has not are left out."""
    statement = (
        _newest_rows()
        if snapshot == NEWEST
        else _rows(Everything(), frame(snapshot)).where(Case.id.in_(bindparam("ids", expanding=True)))
    )
    found = {
        row.id: _case_row(row)
        for batch in batches(case_ids)
        for row in session.execute(statement, {"ids": batch})
    }
    if sort:
        return sorted(found.values(), key=lambda row: (row.source, row.name), reverse=descending)
    return [found[case_id] for case_id in case_ids if case_id in found]


def cases_one_by_one(
    session: Session,
    query: str | Node = "",
    *,
    order: str = "case",
    descending: bool = False,
    snapshot: Snapshot = NEWEST,
) -> Iterator[CaseRow]:
    """All cases that `cases` gives, in its order, with only so many in memory at a time as one statement takes.

    Args:
        session: A reading session; it must outlive the iteration.
        query: As for `cases`, likewise the others.
        order: One of `ORDERS`.
        descending: The greatest first.
        snapshot: Which version of each case.

    Raises:
        QueryError: The query cannot be read.
    """
    node, asked = resolved(session, query), frame(snapshot)
    statement = select_found(node, asked, Case.id).order_by(
        *sorting(session, order, asked, descending=descending)
    )
    # Numbers alone are in memory at once, and all of them before the first row is looked up.
    ids = np.fromiter(session.scalars(statement.execution_options(yield_per=10_000)), np.int64)
    for begin in range(0, len(ids), IDS_PER_STATEMENT):
        batch = ids[begin : begin + IDS_PER_STATEMENT].tolist()
        yield from cases_of(session, batch, snapshot=snapshot)


# Built once: aliasing the tables of what is stale takes longer than a page of rows.
@cache
def _newest_rows() -> Select[Any]:
    return _rows(Everything(), frame(NEWEST)).where(Case.id.in_(bindparam("ids", expanding=True)))


def _rows(node: Node, asked: Frame) -> Select[Any]:
    """What `_case_row` reads of the cases that a query finds."""
    return select_found(
        node,
        asked,
        Case.id,
        Source.name.label("source"),
        Case.name,
        MaskVersion.number,
        asked.version_id.label("version_id"),
        MaskVersion.kind,
        MaskVersion.created_at,
        Case.role,
        Case.patient,
        func.coalesce(Case.licence, Source.licence).label("licence"),
        *(getattr(MaskVersion, f"{what}_{axis}") for what in ("shape", "spacing") for axis in "xyz"),
        Case.image_path,
        asked.states.label("states"),
        is_flagged(asked).label("flagged"),
        is_stale(asked).label("stale"),
    )


def _case_row(row: Any) -> CaseRow:
    classes = unpack(row.states)
    return CaseRow(
        id=row.id,
        address=f"{row.source}/{row.name}",
        source=row.source,
        name=row.name,
        version=row.number,
        version_id=row.version_id,
        kind=row.kind,
        changed=row.created_at,
        labels=len(classes.annotated),
        organs=len(classes.annotated.intersection(ORGAN_IDS)),
        role=row.role,
        patient=row.patient,
        licence=row.licence,
        shape=(row.shape_x, row.shape_y, row.shape_z),
        spacing_mm=(row.spacing_x, row.spacing_y, row.spacing_z),
        image_path=row.image_path,
        complete=classes.is_complete,
        strong=classes.is_strong,
        flagged=bool(row.flagged),
        stale=bool(row.stale),
        classes={BY_ID[class_id].name: _standing(classes.of(class_id)) for class_id in CLASS_IDS},
    )


def _standing(state: Status | Origin) -> dict[str, str | None]:
    if isinstance(state, Origin):
        return {"status": Status.ANNOTATED.value, "origin": state.value}
    return {"status": state.value, "origin": None}
