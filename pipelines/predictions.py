"""Predictions: masks that a model made, taken into the catalog with what each class amounts to."""

import contextlib
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from curation.census import take_census
from curation.errors import CurationError, GridError, UsageError
from curation.labels import BY_ID
from curation.mappings import LabelMapping, apply_mapping
from curation.metrics import agreement
from curation.one_line import one_line
from curation.rle import RunLengths
from curation.volumes import Geometry, decode_mask, encode_and_hash
from db import case_files, offers, writes
from db.case_files import CaseFile
from db.models import ModelKind
from db.queries import PurgedCaseError, UnknownCaseError
from db.store import Store, StoreUnwritableError
from db.writes import PredictionClassValues
from pipelines.files_of_users import case_name_problem, file_bytes, kept_path
from pipelines.folders import CHANNEL_SUFFIX, book_left_out, list_volumes, volume_stem
from pipelines.runs import Outcome, Workbench, map_cases, run


@dataclass(frozen=True)
class ClassConfidence:
    """What a model said of its own class: mean probability, and the share its mirrored passes dispute."""

    confidence: float | None = None
    tta_disagreement: float | None = None


@dataclass(frozen=True)
class PredictionFile:
    """One mask file that a model wrote for one case, before it is read.

    `probability`: The file of its map of probabilities. `path_lasts`: the file is the user's and stays; else it is
    deleted once the store has it.
    """

    path: Path
    case: CaseFile
    mapping: LabelMapping
    store: Store
    known_hash: str | None = None
    confidence: Mapping[int, ClassConfidence] = field(default_factory=dict)
    seconds: float | None = None
    peak_memory_mb: float | None = None
    memory_area_mb_s: float | None = None
    image_hash: str | None = None
    probability: Path | None = None
    path_lasts: bool = True


@dataclass(frozen=True)
class ReadPrediction:
    """The same, read: hashes of the stored mask and one row per class; or the reason it was refused."""

    source: PredictionFile
    refused: str | None = None
    unchanged: bool = False
    incoming_hash: str = ""
    file_hash: str = ""
    voxel_hash: str = ""
    probability_hash: str | None = None
    classes: tuple[PredictionClassValues, ...] = ()


def import_predictions(
    bench: Workbench, folder: Path, model: str, mapping: LabelMapping, source: str | None = None
) -> Outcome:
    """Take a folder of masks that some model made elsewhere; files are matched to cases by name.

    Args:
        bench: What to work with.
        folder: ``CASE.nii.gz`` (or ``CASE_0000.nii.gz``) per case.
        model: Name to book them under; made known as an external model if it is new.
        mapping: How the files' label values read.
        source: Look for the cases in this source only.

    Raises:
        UsageError: An absent or empty folder, or a model name that a model trained here holds.
    """
    files = list_volumes(folder, "predictions")
    with bench.catalog.writing() as session:
        model_id = writes.ensure_model(session, model, kind=ModelKind.EXTERNAL)
        offers.require_trusted(session, model_id)
    parameters = {"folder": one_line(str(folder)), "model": model, "mapping": mapping.name, "source": source}
    with run(bench, "predictions import", parameters, key=model, total=len(files)) as booking:
        book_left_out(booking, folder)
        jobs: dict[str, PredictionFile] = {}
        with bench.catalog.reading() as session:
            offered = offers.newest_predictions(session, model_id)
            for path in files:
                try:
                    case = _case_of(session, path, source)
                except PurgedCaseError as error:
                    booking.refuse(str(path), f"{path}: {error}")
                    continue
                except UsageError as error:
                    booking.refuse(str(path), f"{path}: {error}; ingest the case first or rename the file")
                    continue
                if case.address in jobs:
                    booking.refuse(
                        str(path),
                        f"{path}: a second file for {case.address} beside {jobs[case.address].path}; keep one",
                    )
                    continue
                known = offered.get(case.case_id)
                jobs[case.address] = PredictionFile(
                    path, case, mapping, bench.store, known.incoming_hash if known else None
                )
        bench.progress.start(f"import predictions of {model}", len(jobs))
        for done, result in enumerate(map_cases(bench, read_prediction, jobs.values(), len(jobs)), 1):
            address = result.source.case.address
            if result.refused:
                booking.refuse(address, result.refused)
            else:
                booking.outcome.count("unchanged" if result.unchanged else "imported")
                if not result.unchanged:
                    booking.add(
                        partial(
                            book_prediction,
                            result,
                            model_id,
                            {"mapping": mapping.name},
                            booking.outcome.run_id,
                        )
                    )
            bench.progress.step(done, address)
        booking.flush()
        bench.progress.finish()
        return booking.outcome


def _case_of(session: Session, path: Path, source: str | None) -> CaseFile:
    """The case that a predicted file is named after, with or without nnU-Net's channel suffix.

    The whole name comes first: in PHANTOM_0000 the end is the case's number, not a channel.
    """
    stem = volume_stem(path) or path.name
    if problem := case_name_problem(stem):
        raise UsageError(problem)
    shorter = stem.removesuffix(CHANNEL_SUFFIX)
    prefix = f"{source}/" if source else ""
    if shorter != stem:
        with contextlib.suppress(UnknownCaseError):
            return case_files.case_file(session, prefix + stem)
    return case_files.case_file(session, prefix + shorter)


def read_prediction(file: PredictionFile) -> ReadPrediction:
    """Decode, map, measure and store one predicted mask. Touches no database."""
    try:
        data = file_bytes(file.path)
        incoming_hash = hashlib.sha256(data).hexdigest()
        if file.known_hash == incoming_hash:
            return ReadPrediction(file, unchanged=True)
        geometry, raw = decode_mask(data, str(file.path))
        runs = apply_mapping(raw, file.mapping, str(file.path))
        if difference := geometry.difference(file.case.geometry):
            raise GridError(
                f"{file.path}: does not lie on the grid of {file.case.address}: {difference}; "
                "predict on the case's own image, or resample the file onto its grid"
            )
        stored, voxel_hash = encode_and_hash(runs, geometry)
        # Ours is as it is stored: the child wrote it with the mask.
        probability = None if file.probability is None else file.store.put(file_bytes(file.probability))
        return ReadPrediction(
            file,
            incoming_hash=incoming_hash,
            file_hash=file.store.put(stored),
            voxel_hash=voxel_hash,
            probability_hash=probability,
            classes=class_rows(
                runs,
                geometry,
                file.case,
                file.store,
                predictable={v for v in file.mapping.values.values() if v in BY_ID},
                confidence=file.confidence,
            ),
        )
    except StoreUnwritableError:
        raise  # no case's fault, and the same for the next one
    except CurationError as error:
        return ReadPrediction(file, refused=str(error))
    except OSError as error:
        return ReadPrediction(file, refused=f"{file.path}: {error.strerror}; check the file")


def class_rows(
    runs: RunLengths,
    geometry: Geometry,
    case: CaseFile,
    store: Store,
    *,
    predictable: Collection[int],
    confidence: Mapping[int, ClassConfidence] | None = None,
) -> tuple[PredictionClassValues, ...]:
    """One row per class that the model can predict, also where it found nothing."""
    census = take_census(runs, geometry, with_components=False)
    agreed: Mapping[int, float] = {}
    if case.file_hash and case.annotated:
        _, drawn = decode_mask(store.get(case.file_hash), case.address)
        agreed = agreement(drawn, runs, case.annotated & set(predictable))
    rows = []
    for class_id in sorted(predictable):
        said = (confidence or {}).get(class_id, ClassConfidence())
        measured = census.get(class_id)
        rows.append(
            PredictionClassValues(
                class_id=class_id,
                voxels=measured.voxels if measured else 0,
                volume_ml=measured.volume_ml if measured else 0.0,
                confidence=said.confidence,
                tta_disagreement=said.tta_disagreement,
                agreement=agreed.get(class_id),
            )
        )
    return tuple(rows)


def book_prediction(
    read: ReadPrediction, model_id: int, settings: dict[str, Any], run_id: int, session: Session
) -> None:
    """Write one read prediction into the catalog."""
    writes.add_prediction(
        session,
        case_id=read.source.case.case_id,
        model_id=model_id,
        settings=settings,
        incoming_hash=read.incoming_hash,
        incoming_path=kept_path(read.source.path) if read.source.path_lasts else None,
        file_hash=read.file_hash,
        voxel_hash=read.voxel_hash,
        compared_version_id=read.source.case.version_id if read.source.case.file_hash else None,
        classes=read.classes,
        seconds=read.source.seconds,
        peak_memory_mb=read.source.peak_memory_mb,
        memory_area_mb_s=read.source.memory_area_mb_s,
        image_hash=read.source.image_hash,
        probability_hash=read.probability_hash,
        run_id=run_id,
    )
