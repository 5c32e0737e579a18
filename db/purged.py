"""What was purged, and what a patient's data are: cases, stored files, paths, and who has learned from them."""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from db.batches import batches
from db.models import (
    Case,
    Dataset,
    DatasetVersion,
    Event,
    MaskVersion,
    Member,
    Model,
    Prediction,
    Run,
    Source,
    Tombstone,
)

# Stage of the runs that purge; while one has not deleted all its files, their hashes stand in its parameters.
STAGE, PENDING = "purge", "pending"
# What names a file of the store; the bytes of an imported prediction are not kept, only their hash.
_STORED = (
    (MaskVersion, MaskVersion.file_hash),
    (MaskVersion, MaskVersion.incoming_hash),
    (Prediction, Prediction.file_hash),
    (Prediction, Prediction.probability_hash),
)


@dataclass(frozen=True)
class PatientCase:
    """One case of a patient; `purged` once its rows are emptied."""

    id: int
    address: str
    purged: bool


@dataclass(frozen=True)
class Holdings:
    """Everything that the catalog knows of a patient's cases.

    Attributes:
        hashes: Case id to the hashes of all its stored files: masks, incoming files, predictions and their maps.
        shared: Those of them that another case needs, too.
        predictions: Predictions for the cases, by model.
        datasets: Dataset versions (``NAME@N``) of which a case is a member.
        models: Models that were trained on these.
        exports: Folders that these were exported to.
        files: The user's own files that were read: images, masks, predictions.
        texts: What names the patient or the files: identities and paths, as they are written in the catalog.
    """

    hashes: dict[int, frozenset[str]]
    shared: frozenset[str]
    predictions: dict[str, int]
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    exports: tuple[str, ...]
    files: tuple[Path, ...]
    texts: tuple[str, ...]


def patient_digest(patient: str) -> str:
    """How a purged patient is known again: SHA-256 of the identity."""
    return hashlib.sha256(patient.encode()).hexdigest()


def sentence(address: str, stone: Tombstone) -> str:
    """What is left to say of a purged case."""
    return (
        f"{address} was purged on {stone.created_at:%Y-%m-%d} by {stone.person} ({stone.reason}); "
        "nothing of it is kept"
    )


def purged_cases(session: Session, source_id: int) -> dict[str, str]:
    """The purged cases of a source: name to a sentence that says when, by whom and why."""
    rows = session.execute(
        select(Case.name, Source.name, Tombstone)
        .join(Source, Source.id == Case.source_id)
        .join(Tombstone, Tombstone.case_id == Case.id)
        .where(Case.source_id == source_id)
    )
    return {name: sentence(f"{source}/{name}", stone) for name, source, stone in rows}


def purged_patients(session: Session) -> dict[str, str]:
    """The purged patients: digest of the identity to a sentence that says when, by whom and why."""
    return {
        stone.patient_digest: f"the patient was purged on {stone.created_at:%Y-%m-%d} by {stone.person} "
        f"({stone.reason})"
        for stone in session.scalars(select(Tombstone).order_by(Tombstone.case_id.desc()))
    }


def patient_cases(session: Session, patient: str) -> list[PatientCase]:
    """The cases of a patient in all sources, purged ones too, by address."""
    rows = session.execute(
        select(Case.id, Source.name, Case.name, Tombstone.case_id)
        .join(Source, Source.id == Case.source_id)
        .outerjoin(Tombstone, Tombstone.case_id == Case.id)
        .where(
            or_(
                Tombstone.patient_digest == patient_digest(patient),
                (Case.patient == patient) & Tombstone.case_id.is_(None),
            )
        )
        .order_by(Source.name, Case.name)
    )
    return [
        PatientCase(case_id, f"{source}/{name}", stone is not None) for case_id, source, name, stone in rows
    ]


def holdings(session: Session, patient: str, cases: Iterable[PatientCase]) -> Holdings:
    """Look up all that there is of a patient's cases."""
    cases = list(cases)
    ids = [case.id for case in cases]
    hashes: dict[int, set[str]] = {case_id: set() for case_id in ids}
    for table, column in _STORED:
        for case_id, name in session.execute(select(table.case_id, column).where(table.case_id.in_(ids))):
            if name:
                hashes[case_id].add(name)
    predictions = session.execute(
        select(Model.name, func.count())
        .join(Prediction, Prediction.model_id == Model.id)
        .where(Prediction.case_id.in_(ids))
        .group_by(Model.id, Model.name)
        .order_by(Model.id)
    )
    datasets = session.execute(
        select(DatasetVersion.id, Dataset.name, DatasetVersion.number)
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .where(DatasetVersion.id.in_(select(Member.dataset_version_id).where(Member.case_id.in_(ids))))
        .order_by(Dataset.name, DatasetVersion.number)
    ).all()
    models = session.scalars(
        select(Model.name)
        .where(Model.dataset_version_id.in_([row.id for row in datasets]))
        .order_by(Model.id)
    )
    addresses = tuple(f"{row.name}@{row.number}" for row in datasets)
    files, texts = _files(session, ids)
    # A patient whom nobody named is called as the case is, and so is the tombstone.
    named = {patient} - {case.address for case in cases}
    return Holdings(
        hashes={case_id: frozenset(found) for case_id, found in hashes.items()},
        shared=needed_by_others(session, set().union(*hashes.values()), ids),
        predictions=dict(predictions.all()),
        datasets=addresses,
        models=tuple(models),
        exports=_exports(session, addresses),
        files=tuple(sorted(files)),
        texts=tuple(sorted(named | texts | {str(file) for file in files})),
    )


def needed_by_others(session: Session, hashes: Collection[str], case_ids: Collection[int]) -> frozenset[str]:
    """Those of the stored files that a version or prediction of another case needs."""
    wanted = sorted(hashes)
    found: set[str | None] = set()
    for batch in batches(wanted):
        for table, column in _STORED:
            found.update(
                session.scalars(select(column).where(column.in_(batch), table.case_id.not_in(case_ids)))
            )
    return frozenset(name for name in found if name)


def pending_files(session: Session, patient: str) -> dict[int, list[str]]:
    """Purge run id to the stored files that it has still to delete, of runs that did not get to it."""
    rows = session.execute(
        select(Run.id, Run.parameters).where(Run.stage == STAGE, Run.key == patient_digest(patient))
    )
    return {run_id: parameters[PENDING] for run_id, parameters in rows if parameters.get(PENDING)}


def _files(session: Session, case_ids: Collection[int]) -> tuple[set[Path], set[str]]:
    """The user's own files of the cases, and how their paths are written in the catalog."""
    files: set[Path] = set()
    written: set[str] = set()
    for root, image in session.execute(
        select(Source.image_root, Case.image_path)
        .join(Case, Case.source_id == Source.id)
        .where(Case.id.in_(case_ids), Case.image_path.is_not(None))
    ):
        if image is not None:
            files.add(Path(root or "") / image)
            written.add(image)
    for table in (MaskVersion, Prediction):
        paths = session.scalars(
            select(table.incoming_path).where(table.case_id.in_(case_ids), table.incoming_path.is_not(None))
        )
        files.update(Path(path) for path in paths if path)
    return files, written


def _exports(session: Session, datasets: Collection[str]) -> tuple[str, ...]:
    rows = session.scalars(
        select(Event.parameters).where(Event.action == "dataset export", Event.subject.in_(datasets))
    )
    return tuple(sorted({parameters["folder"] for parameters in rows if parameters.get("folder")}))
