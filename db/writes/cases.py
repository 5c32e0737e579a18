"""Sources, their revisions, and cases: made where absent, brought up to date where not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from curation.errors import UsageError
from db.models import Case, Role, Source, SourceRevision
from db.writes.insert import insert_all_if_absent, insert_if_absent
from db.writes.versions import NewVersion, add_first_versions, packed_states


def _check_addressable(what: str, name: str) -> None:
    if not name or "/" in name or "@" in name:
        raise UsageError(f"{what} name '{name}' may not be empty or contain '/' or '@'; rename it")


def ensure_source(
    session: Session,
    name: str,
    *,
    licence: str | None = None,
    citation: str | None = None,
    image_root: str | None = None,
) -> int:
    """Find or make a source; what is given replaces what was known, except `image_root`.

    An image root that is known stays, because the cases' image paths are relative to it
    (`move_source` changes it).

    Returns:
        The source's id.

    Raises:
        UsageError: The name is empty or holds ``/`` or ``@``.
    """
    known = session.execute(select(Source.id, Source.image_root).where(Source.name == name)).first()
    if known is None:
        _check_addressable("source", name)
        values = {"name": name, "licence": licence, "citation": citation, "image_root": image_root}
        insert_if_absent(session, Source, values, ["name"])
        return session.scalars(select(Source.id).where(Source.name == name)).one()
    changes = {"licence": licence, "citation": citation}
    if known.image_root is None:
        changes["image_root"] = image_root
    changes = {column: value for column, value in changes.items() if value is not None}
    if changes:
        session.execute(update(Source).where(Source.id == known.id).values(**changes))
    return int(known.id)


def move_source(session: Session, name: str, image_root: str) -> None:
    """Say where a source's images lie now.

    Raises:
        UsageError: No such source; lists those there are.
    """
    source_id = session.scalar(select(Source.id).where(Source.name == name))
    if source_id is None:
        names = ", ".join(session.scalars(select(Source.name).order_by(Source.name))) or "none yet"
        raise UsageError(f"unknown source '{name}'; sources are: {names}")
    session.execute(update(Source).where(Source.id == source_id).values(image_root=image_root))


def ensure_revision(
    session: Session,
    source_id: int,
    name: str,
    *,
    mapping_name: str,
    mapping: Mapping[str, Any],
    protocol: Sequence[int] | None,
) -> int:
    """Find or make a revision of a source.

    Args:
        session: A writing session.
        source_id: From `ensure_source`.
        name: E.g. ``2023``.
        mapping_name: What the mapping is called.
        mapping: Incoming label value, as text, to what it becomes.
        protocol: Class ids that the annotators looked for; None if nobody said.

    Returns:
        The revision's id.

    Raises:
        UsageError: The revision is known with another mapping or protocol.
    """
    wanted = {"mapping": dict(mapping), "protocol": sorted(protocol) if protocol is not None else None}
    where = (SourceRevision.source_id == source_id, SourceRevision.name == name)
    query = select(SourceRevision.id, SourceRevision.mapping, SourceRevision.protocol).where(*where)
    known = session.execute(query).first()
    if known is None:
        values = {"source_id": source_id, "name": name, "mapping_name": mapping_name, **wanted}
        insert_if_absent(session, SourceRevision, values, ["source_id", "name"])
        known = session.execute(query).one()
    if known.mapping != wanted["mapping"] or known.protocol != wanted["protocol"]:
        what = "mapping" if known.mapping != wanted["mapping"] else "protocol"
        raise UsageError(
            f"revision '{name}' of this source is known with another {what}: {getattr(known, what)}, "
            f"not {wanted[what]}; read its cases anew with `maskledger source rederive` (first with --dry-run), "
            "or give the new one a name of its own with --revision"
        )
    return int(known.id)


def ensure_case(
    session: Session,
    source_id: int,
    name: str,
    *,
    patient: str | None = None,
    role: Role | None = None,
    licence: str | None = None,
    extra: Mapping[str, Any] | None = None,
    looked_for: Sequence[int] | None = None,
    image_path: str | None = None,
) -> int:
    """Find or make a case; what is given replaces what was known, None leaves it.

    A new case is for training, and its own patient, unless said otherwise.

    Returns:
        The case's id.

    Raises:
        UsageError: The name is empty or holds ``/`` or ``@``.
    """
    given: dict[str, Any] = {
        "patient": patient,
        "role": role,
        "licence": licence,
        "extra": dict(extra) if extra is not None else None,
        "looked_for": sorted(looked_for) if looked_for is not None else None,
        "image_path": image_path,
    }
    changes = {column: value for column, value in given.items() if value is not None}
    of_it = and_(Case.source_id == Source.id, Case.name == name)
    query = select(Source.name, Case.id).outerjoin(Case, of_it).where(Source.id == source_id)
    source, case_id = session.execute(query).one()
    if case_id is None:
        _check_addressable("case", name)
        new = {"source_id": source_id, "name": name, "patient": f"{source}/{name}", **changes}
        case_id = insert_if_absent(session, Case, new, ["source_id", "name"])
        if case_id is not None:
            return case_id
        case_id = session.execute(query).one().id  # another writer was first; what is given still holds
    if changes:
        session.execute(update(Case).where(Case.id == case_id).values(**changes))
    return int(case_id)


@dataclass(frozen=True, kw_only=True)
class NewCase:
    """A case to be made, with its first version if it has one; what is None is as `ensure_case` has it."""

    name: str
    first: NewVersion | None = None
    patient: str | None = None
    role: Role | None = None
    licence: str | None = None
    extra: Mapping[str, Any] | None = None
    looked_for: Sequence[int] | None = None
    image_path: str | None = None


def add_cases(session: Session, source_id: int, cases: Sequence[NewCase]) -> set[str]:
    """Make many cases of one source and their first versions, in a few statements for all of them.

    Args:
        session: A writing session.
        source_id: From `ensure_source`.
        cases: Of different names; in sorted order, so that two writers never wait for each other crosswise.

    Returns:
        Names that were there already. Nothing was written for these.

    Raises:
        UsageError: A name is empty or holds ``/`` or ``@``.
    """
    for case in cases:
        _check_addressable("case", case.name)
    source = session.scalars(select(Source.name).where(Source.id == source_id)).one()
    rows = [
        {
            "source_id": source_id,
            "name": case.name,
            "patient": case.patient if case.patient is not None else f"{source}/{case.name}",
            "role": case.role or Role.TRAIN,
            "licence": case.licence,
            "extra": dict(case.extra or {}),
            "looked_for": sorted(case.looked_for) if case.looked_for is not None else None,
            "image_path": case.image_path,
            "states": packed_states(case.first) if case.first is not None else None,
        }
        for case in cases
    ]
    made = [*zip(cases, insert_all_if_absent(session, Case, rows, ["source_id", "name"]), strict=True)]
    add_first_versions(
        session, {id_: case.first for case, id_ in made if case.first is not None and id_ is not None}
    )
    return {case.name for case, id_ in made if id_ is None}
