"""New mask versions with all that is known of them, and people's decisions about their classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from curation.class_states import pack
from curation.errors import CurationError
from curation.labels import CLASS_IDS
from curation.later_checks import LATER_CHECKS, Judged
from curation.protocol import OUTSIDE_PROTOCOL
from curation.status import Evidence, Finding, Origin, Status, unsided
from db.models import (
    Annotation,
    Case,
    Conflict,
    Decision,
    FindingRow,
    FindingState,
    MaskVersion,
    ReservedVoxels,
    Source,
    Verdict,
    VersionKind,
    utc_now,
)
from db.writes.insert import insert_all, insert_returning_id, new_ids, table_of

if TYPE_CHECKING:
    from curation.volumes import Geometry


_CASE = table_of(Case)


class StaleParentError(CurationError):
    """A version was made from a state of the case that is no longer its newest."""


class WrittenMeanwhileError(StaleParentError):
    """The same, but what was added since is the very version that was to be written: nothing is left to do."""


@dataclass(frozen=True, kw_only=True)
class AnnotationValues:
    """What is known of one class; units and rules as in `db.models.Annotation`.

    `drawn_version_id` None means for an annotated class: drawn in the very version that this is written with.
    """

    class_id: int
    status: Status
    evidence: Evidence
    origin: Origin | None = None
    prediction_id: int | None = None
    author: str | None = None
    voxels: int = 0
    volume_ml: float = 0.0
    bbox: Sequence[int] | None = None
    centroid: Sequence[float] | None = None
    components: int | None = None
    largest_share: float | None = None
    touches_border: bool = False
    mean_hu: float | None = None
    std_hu: float | None = None
    class_hash: str | None = None
    drawn_version_id: int | None = None


@dataclass(frozen=True)
class ConflictValues:
    """Voxels where `kept` stands and `offered` was turned away, and their millilitres.

    `displaced`: the value turned away stood in the parent; else it was offered and not taken.
    """

    kept: int
    offered: int
    voxels: int
    ml: float
    displaced: bool = False


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """A mask version to be added. Hashes are None where an image has no mask yet.

    Attributes:
        annotations: One of each of the 14 classes.
        reserved: Reserved voxel value (200–239, 255) to its voxels, for those that occur.
    """

    kind: VersionKind
    author: str
    geometry: "Geometry"
    annotations: Sequence[AnnotationValues]
    message: str = ""
    incoming_hash: str | None = None
    file_hash: str | None = None
    voxel_hash: str | None = None
    reserved: Mapping[int, int] = field(default_factory=dict)
    conflicts: Sequence[ConflictValues] = ()
    findings: Sequence[Finding] = ()
    revision_id: int | None = None
    run_id: int | None = None
    incoming_path: str | None = None
    restores_id: int | None = None


@dataclass(frozen=True)
class VersionRef:
    """A version that was added: its row's id, its case and its number within the case."""

    id: int
    case_id: int
    number: int


def add_version(session: Session, case_id: int, parent_id: int | None, new: NewVersion) -> VersionRef:
    """Add a version to a case and make it the newest.

    Args:
        session: A writing session; it may hold several versions.
        case_id: The case.
        parent_id: Version that this one was made from; None for the first. It must still be the newest.
        new: All that is to be recorded.

    Raises:
        StaleParentError: Somebody else added a version since; names the case and both versions.
        WrittenMeanwhileError: And that is this very one, as where the same command runs twice.
        ValueError: The annotations are not one of each class.
    """
    number = _next_number(session, case_id, parent_id, new)
    row = _version_row(case_id, number, parent_id, new)
    version_id = insert_returning_id(session, MaskVersion, row)
    _add_details(session, [(version_id, parent_id, new)])
    # On the table, not the class: no session holds cases, so none has to be looked for and brought up to date.
    moved = session.execute(
        update(_CASE)
        .where(_CASE.c.id == case_id, _CASE.c.newest_version_id.is_not_distinct_from(parent_id))
        .values(newest_version_id=version_id, states=row["states"])
    )
    assert moved.rowcount == 1, "the case was locked or its parent checked above"  # type: ignore[attr-defined]
    return VersionRef(version_id, case_id, number)


def add_first_versions(session: Session, firsts: Mapping[int, NewVersion]) -> None:
    """Add version 1 to cases that this very transaction made with its states, all of them in a few statements.

    Nobody else can know these cases yet, so none has to be locked and no parent can be stale.

    Args:
        session: The writing session that made the cases.
        firsts: Case id to its first version.

    Raises:
        ValueError: The annotations of one of them are not one of each class.
    """
    if not firsts:
        return
    ids = new_ids(session, MaskVersion, len(firsts))
    rows = [_version_row(case_id, 1, None, new) for case_id, new in firsts.items()]
    insert_all(session, MaskVersion, rows, ids=ids)
    _add_details(session, [(id_, None, new) for id_, new in zip(ids, firsts.values(), strict=True)])
    version = table_of(MaskVersion)
    # One statement, because PostgreSQL's counting trigger fires once a statement. Between these ids there may be
    # cases of another writer, but whoever sees them sees them with their newest version.
    session.execute(
        update(_CASE)
        .where(_CASE.c.id.between(min(firsts), max(firsts)), _CASE.c.newest_version_id.is_(None))
        .where(version.c.case_id == _CASE.c.id, version.c.number == 1)
        .values(newest_version_id=version.c.id)
    )


def _version_row(case_id: int, number: int, parent_id: int | None, new: NewVersion) -> dict[str, object]:
    """The row of a version; every version's row is made here."""
    geometry = new.geometry
    shape, spacing = geometry.shape_ras, geometry.spacing_ras_mm
    return {
        "case_id": case_id,
        "number": number,
        "parent_id": parent_id,
        "kind": new.kind,
        "incoming_hash": new.incoming_hash,
        "file_hash": new.file_hash,
        "voxel_hash": new.voxel_hash,
        "incoming_path": new.incoming_path,
        "revision_id": new.revision_id,
        "restores_id": new.restores_id,
        "run_id": new.run_id,
        "author": new.author,
        "message": new.message,
        "shape_x": int(shape[0]),
        "shape_y": int(shape[1]),
        "shape_z": int(shape[2]),
        "spacing_x": float(spacing[0]),
        "spacing_y": float(spacing[1]),
        "spacing_z": float(spacing[2]),
        "orientation": geometry.axis_codes,
        "affine": [float(value) for row in geometry.affine for value in row],
        "states": packed_states(new),
    }


def packed_states(new: NewVersion) -> int:
    """What a version's annotations say of the classes, as `curation.class_states` packs it.

    Raises:
        ValueError: The annotations are not one of each class.
    """
    if sorted(a.class_id for a in new.annotations) != list(CLASS_IDS):
        raise ValueError(f"one annotation per class, not of {[a.class_id for a in new.annotations]}")
    return pack({a.class_id: a.origin or a.status for a in new.annotations})


def _add_details(session: Session, added: Sequence[tuple[int, int | None, NewVersion]]) -> None:
    """Write what belongs to new versions, given as id, parent's id and values: one statement per table."""
    insert_all(
        session, Annotation, [_annotation_row(id_, a) for id_, _, new in added for a in new.annotations]
    )
    insert_all(
        session, ReservedVoxels,
        [
            {
                "version_id": id_, "value": int(value), "voxels": int(n),
                "volume_ml": int(n) * float(new.geometry.voxel_ml),
            }
            for id_, _, new in added for value, n in new.reserved.items()
        ],
    )  # fmt: skip
    insert_all(
        session, Conflict,
        [
            {
                "version_id": id_, "kept": int(c.kept), "offered": int(c.offered),
                "displaced": c.displaced, "voxels": int(c.voxels), "ml": float(c.ml),
            }
            for id_, _, new in added for c in new.conflicts
        ],
    )  # fmt: skip
    insert_all(session, FindingRow, [row for id_, parent_id, new in added
                                     for row in (*_finding_rows(session, id_, parent_id, new),
                                                 *_taken_over(session, id_, parent_id, new))])  # fmt: skip


def lock_case(session: Session, case_id: int) -> None:
    """Let nobody else add a version to a case, or decide about it, until this transaction ends.

    SQLite's writers are alone anyway; on PostgreSQL the second one waits here, and then reads what the first booked.
    """
    session.execute(select(Case.id).where(Case.id == case_id).with_for_update())


def _next_number(session: Session, case_id: int, parent_id: int | None, new: NewVersion) -> int:
    """Lock the case against other writers and number its next version.

    SQLite's writers are alone anyway; on PostgreSQL the second one waits here for the first, and then
    sees what the first has added.
    """
    found = session.execute(
        select(Case.newest_version_id, Case.name).where(Case.id == case_id).with_for_update()
    ).one()
    involved = {found.newest_version_id, parent_id} - {None}
    rows = session.execute(select(MaskVersion.id, MaskVersion.number).where(MaskVersion.id.in_(involved)))
    number = {row.id: row.number for row in rows} if involved else {}
    if found.newest_version_id == parent_id:
        return number.get(parent_id, 0) + 1
    source = select(Source.name).join(Case, Case.source_id == Source.id).where(Case.id == case_id)
    expected = f"version {number[parent_id]}" if parent_id in number else "no version"
    newest = f"version {number[found.newest_version_id]}" if involved - {parent_id} else "none"
    error = WrittenMeanwhileError if _is_written(session, case_id, parent_id, new) else StaleParentError
    raise error(
        f"{session.scalars(source).one()}/{found.name}: made from {expected}, but by now the newest is "
        f"{newest}; look at what changed and do it again on the newest"
    )


def _is_written(session: Session, case_id: int, parent_id: int | None, new: NewVersion) -> bool:
    """Whether the parent's child is the version that is to be written."""
    same = (
        MaskVersion.case_id == case_id,
        MaskVersion.parent_id.is_not_distinct_from(parent_id),
        MaskVersion.kind == new.kind,
        MaskVersion.revision_id.is_not_distinct_from(new.revision_id),
        MaskVersion.incoming_hash.is_not_distinct_from(new.incoming_hash),
        MaskVersion.voxel_hash.is_not_distinct_from(new.voxel_hash),
    )
    return session.scalar(select(MaskVersion.id).where(*same)) is not None


def _annotation_row(version_id: int, a: AnnotationValues) -> dict[str, object]:
    return {
        "version_id": version_id,
        "class_id": a.class_id,
        "status": a.status,
        "origin": a.origin,
        "evidence": a.evidence,
        "prediction_id": a.prediction_id,
        "author": a.author,
        "voxels": int(a.voxels),
        "volume_ml": float(a.volume_ml),
        "bbox": [int(i) for i in a.bbox] if a.bbox is not None else None,
        "centroid": [float(x) for x in a.centroid] if a.centroid is not None else None,
        "components": int(a.components) if a.components is not None else None,
        "largest_share": float(a.largest_share) if a.largest_share is not None else None,
        "touches_border": bool(a.touches_border),
        "mean_hu": float(a.mean_hu) if a.mean_hu is not None else None,
        "std_hu": float(a.std_hu) if a.std_hu is not None else None,
        "class_hash": a.class_hash,
        "drawn_version_id": (a.drawn_version_id or version_id) if a.class_hash is not None else None,
    }


def _finding_rows(
    session: Session, version_id: int, parent_id: int | None, new: NewVersion
) -> list[dict[str, object]]:
    """What the checks noticed; what a person dismissed stays dismissed while the class is unchanged."""
    settled = _settled_findings(session, parent_id, new) if new.findings and parent_id else {}
    still_open = {"state": FindingState.OPEN, "person": None, "reason": None, "decided_at": None}
    return [
        {
            "version_id": version_id, "class_id": f.class_id, "check": f.check, "severity": f.severity,
            "value": float(f.value), "limit": float(f.limit), "message": f.message,
            **settled.get((f.check, f.class_id), still_open),
        }
        for f in new.findings
    ]  # fmt: skip


def _settled_findings(
    session: Session, parent_id: int, new: NewVersion
) -> dict[tuple[str, int | None], dict[str, object]]:
    """Findings of the parent that are not open, by check and class, where what they judge is unchanged."""
    rows = session.scalars(
        select(FindingRow).where(FindingRow.version_id == parent_id, FindingRow.state != FindingState.OPEN)
    ).all()
    unchanged = _unchanged(session, parent_id, new) if rows else frozenset()
    return {(row.check, row.class_id): _decided(row) for row in rows if row.class_id in unchanged}


def _taken_over(
    session: Session, version_id: int, parent_id: int | None, new: NewVersion
) -> list[dict[str, object]]:
    """What was found of the parent, or of a version brought back, and holds of this one, though nobody looks again.

    Later checks look when they are due. What a source drew outside its protocol is found where its mask comes in.
    """
    came_in = new.kind is VersionKind.INGESTED
    checks = [*LATER_CHECKS, *(() if came_in else (OUTSIDE_PROTOCOL,))]
    there = unsided(new.reserved) | {a.class_id for a in new.annotations if a.class_hash is not None}
    found: dict[tuple[str, int | None], dict[str, object]] = {}
    # What is said of both is taken as it stands with the parent.
    for earlier_id in (new.restores_id, parent_id):
        if earlier_id is None:
            continue
        rows = session.scalars(
            select(FindingRow).where(FindingRow.version_id == earlier_id, FindingRow.check.in_(checks))
        ).all()
        unchanged = _unchanged(session, earlier_id, new) if rows else frozenset()
        for row in rows:
            of_case = LATER_CHECKS.get(row.check) is Judged.CASE
            gone = row.check == OUTSIDE_PROTOCOL and row.class_id not in there
            if (earlier_id == parent_id) if of_case else (row.class_id in unchanged and not gone):
                found[row.check, row.class_id] = {
                    "version_id": version_id, "class_id": row.class_id, "check": row.check, "severity": row.severity,
                    "value": row.value, "limit": row.limit, "message": row.message, **_decided(row),
                }  # fmt: skip
    return list(found.values())


def _decided(row: FindingRow) -> dict[str, object]:
    return {"state": row.state, "person": row.person, "reason": row.reason, "decided_at": row.decided_at}


def _unchanged(session: Session, parent_id: int, new: NewVersion) -> frozenset[int | None]:
    """Ids of the classes that a version has as its parent has them; None among them: the whole mask."""
    before: dict[int | None, str | None] = {
        row.class_id: row.class_hash
        for row in session.execute(
            select(Annotation.class_id, Annotation.class_hash).where(Annotation.version_id == parent_id)
        )
    }
    before[None] = session.scalar(select(MaskVersion.voxel_hash).where(MaskVersion.id == parent_id))
    now: dict[int | None, str | None] = {a.class_id: a.class_hash for a in new.annotations}
    now[None] = new.voxel_hash
    return frozenset(what for what, hash_ in now.items() if before[what] == hash_)


def add_decision(
    session: Session,
    case_id: int,
    class_id: int,
    class_hash: str | None,
    verdict: Verdict,
    *,
    reason: str,
    person: str,
    model_id: int | None = None,
) -> int:
    """Book a person's verdict on a class as it is drawn now (`class_hash`); returns its id."""
    return insert_returning_id(
        session,
        Decision,
        {
            "case_id": case_id,
            "class_id": class_id,
            "class_hash": class_hash,
            "verdict": verdict,
            "reason": reason,
            "person": person,
            "model_id": model_id,
        },
    )


def decide_finding(
    session: Session, finding_id: int, state: FindingState, *, person: str, reason: str = ""
) -> None:
    """Dismiss a finding, call it fixed, or open it again."""
    decided = state is not FindingState.OPEN
    session.execute(
        update(FindingRow)
        .where(FindingRow.id == finding_id)
        .values(
            state=state,
            person=person if decided else None,
            reason=reason if decided else None,
            decided_at=utc_now() if decided else None,
        )
    )
