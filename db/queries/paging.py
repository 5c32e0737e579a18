"""One page of cases out of a million: their ids alone, in order of address without a look at those before or after."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from sqlalchemy import ColumnElement, Select, collate, exists, select
from sqlalchemy.orm import Session

from curation.labels import CLASS_IDS, ORGAN_IDS
from curation.query import And, Everything, Field, Node
from db.batches import IDS_PER_STATEMENT, batches
from db.filters import asks_states_alone, asks_version, class_measured
from db.models import Case, MaskVersion, Role, Source, StateCount
from db.queries.tallies import count_by_source, few_measured, select_found
from db.snapshots import NEWEST, Frame, Snapshot, counted, frame, named
from db.state_bits import drawn_classes

# What a page of cases can be sorted by.
ORDERS = ("case", "patient", "role", "version", "labels", "organs", "slices", "spacing", "changed")
# Of these there are few values, ascending as a column of them would be, and the counts of class states know them.
_FEW_VALUES: dict[str, Sequence[int | str]] = {
    "labels": range(len(CLASS_IDS) + 1),
    "organs": range(len(ORGAN_IDS) + 1),
    "role": sorted(role.value for role in Role),
}
# An index of versions has these, and the version's id decides between equals; in the other orders the address does.
_OF_VERSION = {"version", "slices", "spacing", "changed"}
# These stand in the case's own row, so that the version's is not looked at.
_OF_CASE = {"case", "patient", "role", "labels", "organs"}

# Of so many cases of a source all are looked up and sorted; for more of them the index of names is walked.
_FEW = 5000
# Along an index of versions at least so many cases are looked at, and at most so many: to sort all is quicker then.
_FIRST, _FARTHEST = 5000, 60_000
# What a query finds that nothing counts beforehand is taken for one case of so many.
_UNCOUNTED = 20


def by_address(session: Session) -> tuple[ColumnElement[str], ColumnElement[str]]:
    """What sorts cases by address: by code point on both databases; PostgreSQL would by its server's language."""
    collation = "C" if session.get_bind().dialect.name == "postgresql" else "BINARY"
    return collate(Source.name, collation), collate(Case.name, collation)


def page_ids(
    session: Session,
    node: Node,
    limit: int,
    offset: int = 0,
    *,
    order: str = "case",
    descending: bool = False,
    snapshot: Snapshot = NEWEST,
) -> list[int]:
    """Ids of one page of cases; equals in order of address, or of their versions' ids where those are sorted.

    Within the page they have their order, but for order "case", whose pages come in no order of their own.

    Args:
        session: A reading session.
        node: Which cases; from `db.saved_queries.resolved`.
        limit: At most so many.
        offset: Leave out so many before.
        order: One of `ORDERS`.
        descending: The greatest first.
        snapshot: Which version of each case.
    """
    if snapshot == NEWEST and order == "case":
        return _by_address(session, node, limit, offset, descending=descending)
    if snapshot == NEWEST and order in _FEW_VALUES and asks_states_alone(node):
        return _value_by_value(session, node, limit, offset, order, descending=descending)
    if snapshot == NEWEST and order in _OF_VERSION:
        reach = _likely_reach(session, node, offset + limit)
        if reach <= _FARTHEST:
            page = _among_the_first(session, node, limit, offset, order, reach, descending=descending)
            if len(page) == limit:
                return page
    bare = snapshot == NEWEST and order in _OF_CASE and not asks_version(node)
    asked = named() if bare else frame(snapshot)
    ordered = select_found(node, asked, Case.id).order_by(
        *sorting(session, order, asked, descending=descending)
    )
    return list(session.scalars(ordered.limit(limit).offset(offset or None)))


def sorting(session: Session, order: str, asked: Frame, *, descending: bool) -> tuple[Any, ...]:
    """The columns that sort the rows of a frame. Equals by address, from the first also where others descend, or with
    their columns by the version's id.

    Raises:
        ValueError: It is none of `ORDERS`.
    """
    if order not in ORDERS:
        raise ValueError(f"cannot order cases by '{order}', only by {', '.join(ORDERS)}")
    columns: dict[str, tuple[Any, ...]] = {
        "case": by_address(session),
        "patient": (Case.patient,),
        "role": (Case.role,),
        "version": (MaskVersion.number, MaskVersion.id),
        "labels": (drawn_classes(asked.states, CLASS_IDS),),
        "organs": (drawn_classes(asked.states, ORGAN_IDS),),
        "slices": (MaskVersion.shape_z, MaskVersion.id),
        "spacing": (MaskVersion.spacing_z, MaskVersion.id),
        "changed": (MaskVersion.created_at, MaskVersion.id),
    }
    key = (column.desc() if descending else column for column in columns[order])
    return (*key, *(() if order == "case" or order in _OF_VERSION else by_address(session)))


def _value_by_value(
    session: Session, node: Node, limit: int, offset: int, order: str, *, descending: bool
) -> list[int]:
    """A page in the order of what has few values: counts say on which of them it lies."""
    found: list[int] = []
    values = _FEW_VALUES[order]
    for value in reversed(values) if descending else values:
        if len(found) == limit:
            break
        of_value = And((node, Field(order, "=", value)))
        cases = sum(count_by_source(session, of_value).values())
        if cases > offset:
            ids = _by_address(session, of_value, limit - len(found), offset)
            found += _in_order(session, ids)
        offset = max(0, offset - cases)
    return found


def _likely_reach(session: Session, node: Node, through: int) -> int:
    """Among how many of all cases, whatever their order, the first `through` lie that a query finds; an estimate."""
    if isinstance(node, Everything):
        share = 1.0
    elif asks_states_alone(node):
        found, of_all = (sum(count_by_source(session, n).values()) for n in (node, Everything()))
        # Halved, because what it finds may lie close together.
        share = max(found, 1) / max(of_all, 1) / 2
    else:
        share = 1 / _UNCOUNTED
    return max(_FIRST, ceil(through / share))


def _among_the_first(
    session: Session, node: Node, limit: int, offset: int, order: str, reach: int, *, descending: bool
) -> list[int]:
    """What the first `reach` of all cases in an order have of a page: an index knows those, and sorts no others."""
    asked = frame(NEWEST)
    in_order = sorting(session, order, asked, descending=descending)
    newest = exists().where(Case.newest_version_id == MaskVersion.id)
    first = select(MaskVersion.id).where(newest).order_by(*in_order).limit(reach)
    found = select_found(node, asked, Case.id).where(asked.version_id.in_(first)).order_by(*in_order)
    return list(session.scalars(found.limit(limit).offset(offset or None)))


def _by_address(
    session: Session, node: Node, limit: int, offset: int = 0, *, descending: bool = False
) -> list[int]:
    """Ids of one page of the newest versions in order of address, in no order of their own.

    Source by source along the index of names, and no further than the page reaches. Where the counts of class
    states say how many cases of a source are found, none or a few of them are not looked for one by one.
    """
    by_name, _ = by_address(session)
    in_order = select(Source.id).order_by(by_name.desc() if descending else by_name)
    if asks_states_alone(node):
        shares = _shares(session.scalars(in_order).all(), count_by_source(session, node), limit, offset)
        few = _few_of(
            session, node, [source_id for source_id, share in shares.items() if share.cases <= _FEW]
        )
        found = []
        for source_id, share in shares.items():
            if source_id in few:
                names = sorted(few[source_id], reverse=descending)
                found += [case_id for _, case_id in names[share.skip : share.skip + share.take]]
            else:
                walked = _walk(session, node, named(), source_id, descending=descending)
                found += session.scalars(walked.limit(share.take).offset(share.skip or None))
        return found
    if class_id := class_measured(node):
        rare = few_measured(session, node, class_id, _FEW)
        if rare is not None:
            return _in_order(session, rare, descending=descending)[offset : offset + limit]
    asked = frame(NEWEST) if asks_version(node) else named()
    if offset:
        ordered = select_found(node, asked, Case.id).order_by(
            *sorting(session, "case", asked, descending=descending)
        )
        return list(session.scalars(ordered.limit(limit).offset(offset)))
    found = []
    for source_id in session.scalars(in_order).all():
        if len(found) == limit:
            break
        walked = _walk(session, node, asked, source_id, descending=descending)
        found += session.scalars(walked.limit(limit - len(found)))
    return found


def _in_order(session: Session, case_ids: Sequence[int], *, descending: bool = False) -> list[int]:
    """Cases in order of address."""
    rows: list[tuple[str, str, int]] = []
    for batch in batches(case_ids):
        of_these = Case.id.in_(batch)
        columns = select(Source.name, Case.name, Case.id).join(Source, Source.id == Case.source_id)
        rows += [
            (source, name, case_id) for source, name, case_id in session.execute(columns.where(of_these))
        ]
    return [case_id for *_, case_id in sorted(rows, reverse=descending)]


def _walk(session: Session, node: Node, asked: Frame, source_id: int, *, descending: bool) -> Select[int]:
    """The cases of a source that a query finds, in order of their names."""
    _, of_case = by_address(session)
    cases = select_found(node, asked, Case.id).where(Case.source_id == source_id)
    return cases.order_by(of_case.desc() if descending else of_case)


@dataclass(frozen=True)
class _Share:
    """What a page has of one source: of so many `cases` that are found, `take` after `skip`."""

    cases: int
    skip: int
    take: int


def _shares(
    source_ids: Sequence[int], known: Mapping[int, int], limit: int, offset: int
) -> dict[int, _Share]:
    """Source id to its share of a page, for those that have one; `known` is how many of their cases are found."""
    shares: dict[int, _Share] = {}
    for source_id in source_ids:
        cases = known.get(source_id, 0)
        if limit and cases > offset:
            take = min(limit, cases - offset)
            shares[source_id] = _Share(cases, offset, take)
            limit, offset = limit - take, 0
        else:
            offset = max(0, offset - cases)
    return shares


def _few_of(session: Session, node: Node, source_ids: Sequence[int]) -> dict[int, list[tuple[str, int]]]:
    """Source id to names and ids of all its cases that a query finds which asks for states alone."""
    if not source_ids:
        return {}
    of_these = StateCount.source_id.in_(source_ids)
    key = select_found(node, counted(), StateCount.source_id, StateCount.states).where(of_these).distinct()
    states: dict[int, set[int]] = {source_id: set() for source_id in source_ids}
    for source_id, packed in session.execute(key):
        states[source_id].add(packed)
    found: dict[int, list[tuple[str, int]]] = {source_id: [] for source_id in source_ids}
    for sources, some in _lookups(states):
        rows = session.execute(
            select_found(node, named(), Case.source_id, Case.name, Case.id).where(
                Case.source_id.in_(sources), Case.states.in_(some)
            )
        )
        for source_id, name, case_id in rows:
            found[source_id].append((name, case_id))
    return found


def _lookups(states: Mapping[int, Collection[int]]) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Sources and states to look up together in the index, every source with every state."""
    of_any = set[int]().union(*states.values())
    if len(states) * len(of_any) <= IDS_PER_STATEMENT:
        yield list(states), sorted(of_any)
        return
    for source_id, of_it in states.items():
        for batch in batches(sorted(of_it)):
            yield [source_id], batch
