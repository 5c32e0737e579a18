"""The newest versions of all cases side by side: what comparing cases needs to know, column by column."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Executable, Integer, Select, Text, case, cast, func, select
from sqlalchemy.orm import Session

from curation.status import Origin, Severity, Status
from curation.twins import Copy, Known
from db.batches import batches
from db.models import (
    Annotation,
    Case,
    DatasetVersion,
    FindingRow,
    FindingState,
    Image,
    MaskVersion,
    Member,
    Source,
)
from db.models import Dataset as DatasetRow
from db.writes.insert import table_of

# So many rows are in memory at once; their columns are numbers.
_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class DrawnClass:
    """One class in the newest versions that have it, ascending by version; an entry a version.

    `extent` is (n, 3), voxels of the bounding box along the file's axes; `centroid_mm` is (n, 3), RAS+ mm.
    `by_hand`: original or corrected.
    """

    version_id: NDArray[np.int64]
    source_id: NDArray[np.int64]
    voxels: NDArray[np.int64]
    extent: NDArray[np.int64]
    volume_ml: NDArray[np.float64]
    touches_border: NDArray[np.bool_]
    by_hand: NDArray[np.bool_]
    centroid_mm: NDArray[np.float64]


@dataclass(frozen=True)
class StoredMask:
    """The newest mask of a case; `file_hash` is its name in the store."""

    version_id: int
    case: Known
    voxel_hash: str
    file_hash: str


def drawn_class(session: Session, class_id: int) -> DrawnClass:
    """Everything that is drawn of one class."""
    a, c = table_of(Annotation).c, table_of(Case).c
    rows = _streamed(
        session,
        select(
            a.version_id,
            c.source_id,
            a.voxels,
            a.volume_ml,
            # Numbers, and the lists as they stand there: nothing is turned into objects one by one.
            cast(a.touches_border, Integer),
            case((a.origin == Origin.PSEUDO, 0), else_=1),
            cast(a.bbox, Text),
            cast(a.centroid, Text),
        )
        .join_from(table_of(Annotation), table_of(Case), c.newest_version_id == a.version_id)
        .where(a.class_id == class_id, a.status == Status.ANNOTATED),
    )
    parts: list[tuple[NDArray[Any], ...]] = []
    for some in rows:
        *numbers, boxes, centroids = zip(*some, strict=True)
        parts.append((*(np.array(column) for column in numbers), _lists(boxes, 6), _lists(centroids, 3)))
    if not parts:
        none = np.zeros(0, np.int64)
        none_3 = np.zeros((0, 3))
        return DrawnClass(none, none, none, none_3.astype(np.int64), np.zeros(0), none > 0, none > 0, none_3)
    version_id, source_id, voxels, volume_ml, touches_border, by_hand, box, centroid_mm = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    order = np.argsort(version_id)
    return DrawnClass(
        version_id[order],
        source_id[order],
        voxels[order],
        np.nan_to_num(box[order, 3:] - box[order, :3]).astype(np.int64),
        volume_ml[order].astype(np.float64),
        touches_border[order].astype(np.bool_),
        by_hand[order].astype(np.bool_),
        centroid_mm[order],
    )


def _lists(texts: Sequence[str | None], length: int) -> NDArray[np.float64]:
    """JSON lists of so many numbers as rows; NaN where there is none."""
    none = ",".join(["nan"] * length)
    flat = ",".join(text.strip("[]") if text else none for text in texts)
    return np.array(flat.split(","), np.float64).reshape(-1, length)


@dataclass(frozen=True, eq=False)
class Grids:
    """The grids of the newest versions, ascending by version; an entry a version.

    `shape` is (n, 3), voxels along the patient's axes; `file_axis` is (n, 3), which of the file's axes those are.
    """

    version_id: NDArray[np.int64]
    shape: NDArray[np.int64]
    file_axis: NDArray[np.int64]


def newest_grids(session: Session) -> Grids:
    """On what grids all cases are drawn."""
    v = table_of(MaskVersion).c
    statement = select(v.id, v.shape_x, v.shape_y, v.shape_z, v.orientation).join_from(
        table_of(MaskVersion), table_of(Case), table_of(Case).c.newest_version_id == v.id
    )
    rows = [
        (*numbers, *_file_axes(codes)) for some in _streamed(session, statement) for *numbers, codes in some
    ]
    table = np.array(rows, np.int64).reshape(-1, 7)
    table = table[np.argsort(table[:, 0])]
    return Grids(table[:, 0], table[:, 1:4], table[:, 4:])


@cache
def _file_axes(codes: str) -> tuple[int, ...]:
    """The place of each of the patient's axes in axis codes: (2, 1, 0) of SPR."""
    return tuple(
        next(place for place, code in enumerate(codes) if code in ends) for ends in ("LR", "PA", "IS")
    )


def stored_masks(session: Session, version_ids: Sequence[int]) -> list[StoredMask]:
    """The stored masks of some newest versions; those without one are left out."""
    found = []
    for batch in batches(version_ids):
        rows = session.execute(
            _known(MaskVersion.id, MaskVersion.voxel_hash, MaskVersion.file_hash).where(
                MaskVersion.id.in_(batch), MaskVersion.file_hash.is_not(None)
            )
        )
        found += [
            StoredMask(version_id, _case(rest), voxel_hash or "", file_hash or "")
            for version_id, voxel_hash, file_hash, *rest in rows
        ]
    return found


def same_images(session: Session) -> list[list[tuple[int, Copy]]]:
    """Groups of two or more cases whose images hold the same voxels, with their newest versions.

    In Hounsfield units a histogram tells an image in any orientation; other values are too few for that, so
    these must be the same voxel by voxel. An image of one value is no image.
    """
    key = case((Image.is_hu, Image.histogram_hash), else_=Image.voxel_hash)
    shared = (
        select(key.label("key"))
        .join(Case, Case.id == Image.case_id)
        .where(Case.newest_version_id.is_not(None), Image.low < Image.high)
        .group_by(key)
        .having(func.count() > 1)
        .subquery()
    )
    rows = session.execute(
        _known(MaskVersion.id, key, Image.voxel_hash)
        .join(Image, Image.case_id == Case.id)
        .join(shared, shared.c.key == key)
        .where(Image.low < Image.high)
    )
    groups: dict[str, list[tuple[int, Copy]]] = {}
    for version_id, of_group, voxel_hash, *rest in rows:
        groups.setdefault(of_group, []).append((version_id, Copy(_case(rest), voxel_hash)))
    return list(groups.values())


def patients_of_several_roles(session: Session) -> list[tuple[int, Known]]:
    """Cases, with their newest versions, of patients who have cases of more than one role."""
    several = (
        select(Case.patient)
        .where(Case.newest_version_id.is_not(None))
        .group_by(Case.patient)
        .having(func.min(Case.role) != func.max(Case.role))
    )
    rows = session.execute(_known(MaskVersion.id).where(Case.patient.in_(several)))
    return [(version_id, _case(rest)) for version_id, *rest in rows]


def patients_in_several_splits(session: Session) -> list[tuple[int, str, str, Known]]:
    """Members of each dataset's newest version whose patient stands on several sides of its split.

    Returns:
        Newest version of the case, ``DATASET@N``, the side, the case.
    """
    newest = select(func.max(DatasetVersion.id)).group_by(DatasetVersion.dataset_id)
    torn = (
        select(Member.dataset_version_id, Case.patient)
        .join(Case, Case.id == Member.case_id)
        .where(Member.dataset_version_id.in_(newest), Case.newest_version_id.is_not(None))
        .group_by(Member.dataset_version_id, Case.patient)
        .having(func.min(Member.split) != func.max(Member.split))
        .subquery()
    )
    rows = session.execute(
        _known(MaskVersion.id, DatasetRow.name, DatasetVersion.number, Member.split)
        .join(Member, Member.case_id == Case.id)
        .join(
            torn, (torn.c.dataset_version_id == Member.dataset_version_id) & (torn.c.patient == Case.patient)
        )
        .join(DatasetVersion, DatasetVersion.id == Member.dataset_version_id)
        .join(DatasetRow, DatasetRow.id == DatasetVersion.dataset_id)
    )
    return [
        (version_id, f"{name}@{number}", split.value, _case(rest))
        for version_id, name, number, split, *rest in rows
    ]


def cases(session: Session) -> int:
    """How many there are to compare."""
    return session.scalars(select(func.count()).where(Case.newest_version_id.is_not(None))).one()


def versions_with_findings(session: Session, checks: Collection[str]) -> list[int]:
    """Newest versions that have findings of some checks."""
    return list(
        session.scalars(
            select(FindingRow.version_id)
            .join(Case, Case.newest_version_id == FindingRow.version_id)
            .where(FindingRow.check.in_(checks))
            .distinct()
        )
    )


def open_findings(session: Session, check: str) -> list[tuple[int, Severity, str]]:
    """Open findings of a check in newest versions: version id, severity, message."""
    rows = session.execute(
        select(FindingRow.version_id, FindingRow.severity, FindingRow.message)
        .join(Case, Case.newest_version_id == FindingRow.version_id)
        .where(FindingRow.check == check, FindingRow.state == FindingState.OPEN)
        .order_by(FindingRow.id)
    )
    return [(version_id, severity, message) for version_id, severity, message in rows]


def _known(*columns: Any) -> Select[Any]:
    """Columns of newest versions, and behind them what `_case` takes."""
    return (
        select(*columns, Source.name.label("source"), Case.name, Case.patient, Case.role)
        .select_from(Case)
        .join(MaskVersion, MaskVersion.id == Case.newest_version_id)
        .join(Source, Source.id == Case.source_id)
    )


def _case(columns: Sequence[Any]) -> Known:
    source, name, patient, role = columns
    return Known(f"{source}/{name}", source, patient, role.value)


def _streamed(session: Session, statement: Executable) -> Iterator[Sequence[Any]]:
    """Rows of a statement over tables, so many at a time."""
    return session.connection().execute(statement, execution_options={"yield_per": _ROWS}).partitions()
