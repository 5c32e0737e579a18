"""Which files of the store the catalog's rows stand on, and what the rows say of their voxels."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from db.batches import batches
from db.ingest_state import REDERIVE
from db.models import (
    Annotation,
    Case,
    MaskVersion,
    Model,
    Prediction,
    PredictionClass,
    ReservedVoxels,
    Run,
    Source,
    SourceRevision,
    Tombstone,
)


@dataclass(frozen=True)
class Claim:
    """One row that names a stored mask: which row, how the user calls it, and the voxel hash it states."""

    of: Literal["version", "prediction"]
    id: int
    address: str
    voxel_hash: str


@dataclass(frozen=True)
class StoredFile:
    """One file that rows need. `claims` are the rows of which it is the mask; none for incoming bytes.

    `map_of`: The stored masks to which it is the map of probabilities.
    """

    hash: str
    needed_by: str
    claims: tuple[Claim, ...] = ()
    map_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contents:
    """What a row says of a mask's voxels: value to count, and class to class hash.

    A version's rows name every value; a prediction's only the classes that its model knows, with 0 for those
    that it found nowhere.
    """

    voxels: Mapping[int, int] = field(default_factory=dict)
    class_hashes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Incoming:
    """Bytes that came in and were decoded to a stored mask: where they were read, and how.

    `mapping` is incoming label value (as text) to stored value; None for a prediction, whose row keeps no
    more than its name, and for a correction, which has our own values.
    """

    address: str
    hash: str
    path: str | None
    in_store: bool
    mapping: Mapping[str, Any] | None
    mapping_name: str | None


def stored_files(session: Session) -> list[StoredFile]:
    """Every file that a version or a prediction needs, each hash once; what was purged needs none."""
    claims: dict[str, list[Claim]] = defaultdict(list)
    came_in: dict[str, str] = {}
    # Of a prediction that found nothing, the map is the mask: both are empty.
    maps: dict[str, set[str]] = defaultdict(set)
    for version in session.execute(_versions()):
        address = f"{version.source}/{version.case}@{version.number}"
        if version.file_hash:
            claims[version.file_hash].append(Claim("version", version.id, address, version.voxel_hash))
        if version.incoming_hash:
            came_in.setdefault(version.incoming_hash, f"{address}, as it came in")
    for row in session.execute(_predictions()):
        address = f"prediction of {row.model} for {row.source}/{row.case}"
        claims[row.file_hash].append(Claim("prediction", row.id, address, row.voxel_hash))
        if row.probability_hash:
            came_in.setdefault(row.probability_hash, f"{address}, its probabilities")
            maps[row.probability_hash].add(row.file_hash)
    masks = [
        StoredFile(name, _all_of(rows), tuple(rows), tuple(sorted(maps[name])))
        for name, rows in claims.items()
    ]
    others = [(name, by) for name, by in came_in.items() if name not in claims]
    return masks + [StoredFile(name, by, (), tuple(sorted(maps[name]))) for name, by in others]


def needed_hashes(session: Session) -> set[str]:
    """The hashes of all files that a row needs."""
    columns = (
        MaskVersion.file_hash,
        MaskVersion.incoming_hash,
        Prediction.file_hash,
        Prediction.probability_hash,
    )
    return {name for column in columns for name in session.scalars(select(column).distinct()) if name}


def contents(session: Session, claims: Iterable[Claim]) -> dict[Claim, Contents]:
    """What the rows of these versions and predictions say of their masks."""
    claims = list(claims)
    versions = [claim.id for claim in claims if claim.of == "version"]
    predictions = [claim.id for claim in claims if claim.of == "prediction"]
    voxels: dict[tuple[str, int], dict[int, int]] = defaultdict(dict)
    hashes: dict[int, dict[int, str]] = defaultdict(dict)
    for ids in batches(versions):
        columns = (Annotation.version_id, Annotation.class_id, Annotation.voxels, Annotation.class_hash)
        for row in session.execute(
            select(*columns).where(Annotation.version_id.in_(ids), Annotation.voxels > 0)
        ):
            voxels["version", row.version_id][row.class_id] = row.voxels
            hashes[row.version_id][row.class_id] = row.class_hash
        for reserved in session.scalars(select(ReservedVoxels).where(ReservedVoxels.version_id.in_(ids))):
            voxels["version", reserved.version_id][reserved.value] = reserved.voxels
    for ids in batches(predictions):
        found = select(PredictionClass.prediction_id, PredictionClass.class_id, PredictionClass.voxels)
        for one in session.execute(found.where(PredictionClass.prediction_id.in_(ids))):
            voxels["prediction", one.prediction_id][one.class_id] = one.voxels
    return {
        claim: Contents(
            voxels[claim.of, claim.id], hashes[claim.id] if claim.of == "version" else {}
        )
        for claim in claims
    }  # fmt: skip


def places_of(session: Session, incoming_hash: str) -> list[str]:
    """Where bytes that came in were read, the latest first."""
    paths = [
        path
        for table in (MaskVersion, Prediction)
        for path in session.scalars(
            select(table.incoming_path)
            .where(table.incoming_hash == incoming_hash, table.incoming_path.is_not(None))
            .order_by(table.id.desc())
        )
        if path
    ]
    return list(dict.fromkeys(paths))


def made_from(session: Session, claims: Collection[Claim]) -> list[Incoming]:
    """What came in for these rows. Whether it alone makes their masks, nobody has noted."""
    found: list[Incoming] = []
    for claim in claims:
        if claim.of == "version":
            rows = session.execute(
                select(
                    MaskVersion.incoming_hash, MaskVersion.incoming_path,
                    SourceRevision.mapping, SourceRevision.mapping_name, MaskVersion.revision_id,
                )
                .outerjoin(SourceRevision, SourceRevision.id == MaskVersion.revision_id)
                .where(MaskVersion.id == claim.id, MaskVersion.incoming_hash.is_not(None))
            ).all()  # fmt: skip
            for r in rows:
                came_in = partial(Incoming, claim.address, r.incoming_hash, r.incoming_path, True)
                found.append(came_in(r.mapping, r.mapping_name))
                found.extend(came_in(*mapping) for mapping in _mappings_before(session, r.revision_id))
        else:
            row = session.get_one(Prediction, claim.id)
            if row.incoming_hash:
                name = row.settings.get("mapping")
                found.append(Incoming(claim.address, row.incoming_hash, row.incoming_path, False, None, name))
    return found


def _mappings_before(
    session: Session, revision_id: int | None
) -> list[tuple[Mapping[str, Any] | None, str | None]]:
    """What a revision was read by before it was read anew, or by a run that did not get to its end; with names."""
    key = session.scalar(
        select(Source.name + "/" + SourceRevision.name)
        .join(SourceRevision, SourceRevision.source_id == Source.id)
        .where(SourceRevision.id == revision_id)
    )
    runs = session.scalars(select(Run.parameters).where(Run.stage == REDERIVE, Run.key == key))
    return [(by["values"], by["mapping"]) for said in runs for by in (said, said["before"])]


def twins(session: Session, voxel_hash: str) -> list[str]:
    """The hashes of all stored files that hold a mask of this voxel hash."""
    tables = (MaskVersion, Prediction)
    return sorted(
        {
            name
            for table in tables
            for name in session.scalars(select(table.file_hash).where(table.voxel_hash == voxel_hash))
            if name
        }
    )


def rename(session: Session, old: str, new: str) -> int:
    """Let every row that names a stored mask by its old file hash name it by its new one.

    The same mask may be other bytes with another release of the compressing library; its voxel hash stays.

    Returns:
        How many rows were changed.
    """
    changed = 0
    for table, column in (
        (MaskVersion, MaskVersion.file_hash),
        (Prediction, Prediction.file_hash),
        # An empty mask is an empty map, too.
        (Prediction, Prediction.probability_hash),
    ):
        rows = session.scalars(select(table.id).where(column == old)).all()
        session.execute(update(table).where(column == old).values({column.key: new}))
        changed += len(rows)
    return changed


def _versions() -> Select[*tuple[Any, ...]]:
    return (
        select(
            MaskVersion.id, MaskVersion.number, MaskVersion.file_hash, MaskVersion.voxel_hash,
            MaskVersion.incoming_hash, Source.name.label("source"), Case.name.label("case"),
        )
        .join(Case, Case.id == MaskVersion.case_id)
        .join(Source, Source.id == Case.source_id)
        .order_by(MaskVersion.id)
    )  # fmt: skip


def _predictions() -> Select[*tuple[Any, ...]]:
    return (
        select(
            Prediction.id, Prediction.file_hash, Prediction.voxel_hash, Prediction.probability_hash,
            Model.name.label("model"),
            Source.name.label("source"), Case.name.label("case"),
        )
        .join(Model, Model.id == Prediction.model_id)
        .join(Case, Case.id == Prediction.case_id)
        .join(Source, Source.id == Case.source_id)
        .where(Prediction.case_id.not_in(select(Tombstone.case_id)))
        .order_by(Prediction.id)
    )  # fmt: skip


def _all_of(claims: list[Claim]) -> str:
    more = f" and {len(claims) - 1} more" if len(claims) > 1 else ""
    return f"{claims[0].address}{more}"
