"""Complement: a model's predictions fill the classes that nobody drew, class by class, never over what stands there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy.orm import Session

from curation import merge
from curation.components import keep_largest
from curation.errors import CurationError
from curation.labels import CLASS_IDS, ORGAN_IDS
from curation.merge import Conflict
from curation.rle import RunLengths
from curation.status import Evidence, Origin, Status
from curation.volumes import decode_mask, encode_and_hash
from db import case_files, offers, queries, writes
from db.case_files import CaseFile
from db.models import VersionKind
from db.offers import OfferedPrediction
from db.store import Store
from db.writes import AnnotationValues, ConflictValues, NewVersion
from pipelines.annotate import MaskFacts, examine, measured
from pipelines.runs import Outcome, Workbench, map_cases, run


@dataclass(frozen=True)
class _Job:
    case: CaseFile
    prediction: OfferedPrediction
    fill: frozenset[int]
    largest_only: bool
    store: Store


@dataclass(frozen=True)
class _Complemented:
    """What a worker made of one case; `version` is None where the prediction adds nothing."""

    job: _Job
    refused: str | None = None
    facts: MaskFacts | None = None
    conflicts: tuple[Conflict, ...] = ()
    filled: Mapping[int, int] | None = None
    file_hash: str = ""
    voxel_hash: str = ""


def complement(bench: Workbench, query: str, model: str, *, largest_only: bool = True) -> Outcome:
    """Fill the missing classes of the queried cases from one model's predictions.

    A class is filled only where its status is missing and its side is not unresolved; only background
    voxels change; what could not be written is booked as a conflict. A case to which the prediction
    adds nothing gets no new version, so a second call changes nothing.

    Args:
        bench: What to work with.
        query: Cases to complement, at their newest version.
        model: Whose newest prediction per case is offered.
        largest_only: Offer only the largest connected piece of each organ, as the paper does.

    Raises:
        UsageError: The model is unknown, or the query cannot be read.
    """
    with bench.catalog.reading() as session:
        model_id = queries.known_model(session, model).id
        cases = case_files.queried(session, query)
    parameters = {"query": query, "model": model, "components": "largest" if largest_only else "all"}
    with run(bench, "complement", parameters, key=model, total=len(cases)) as booking:
        jobs, skipped = _plan(bench, cases, model_id, largest_only)
        for reason, n in skipped.items():
            booking.outcome.count(reason, n)
        bench.progress.start(f"complement from {model}", len(jobs))
        for done, result in enumerate(map_cases(bench, _complement_case, jobs, len(jobs)), 1):
            address = result.job.case.address
            if result.refused:
                booking.refuse(address, result.refused)
            elif not result.filled:
                booking.outcome.count("nothing to add")
            else:
                booking.outcome.count("complemented")
                message = f"complemented {len(result.filled)} classes from {model}"
                booking.add(partial(_write, bench, result, message, booking.outcome.run_id))
            bench.progress.step(done, address)
        booking.flush()
        bench.progress.finish()
        return booking.outcome


def _plan(
    bench: Workbench, cases: list[CaseFile], model_id: int, largest_only: bool
) -> tuple[list[_Job], dict[str, int]]:
    """Which cases can be complemented, and how many cannot and why."""
    jobs: list[_Job] = []
    skipped = {"without missing classes": 0, "without a prediction": 0}
    with bench.catalog.reading() as session:
        offered = offers.newest_predictions(session, model_id)
        rejected = offers.rejected_classes(session, model_id)
    for case in cases:
        fill = frozenset(
            c for c in case.missing if case.annotations[c].evidence is not Evidence.UNRESOLVED_SIDE
        ) - rejected.get(case.case_id, frozenset())
        prediction = offered.get(case.case_id)
        if not fill:
            skipped["without missing classes"] += 1
        elif prediction is None:
            skipped["without a prediction"] += 1
        else:
            jobs.append(_Job(case, prediction, fill, largest_only, bench.store))
    return jobs, {reason: n for reason, n in skipped.items() if n}


def _complement_case(job: _Job) -> _Complemented:
    """Merge one prediction into one mask. Touches no database, so it runs in any worker."""
    try:
        geometry, offered = decode_mask(
            job.store.get(job.prediction.file_hash), f"prediction for {job.case.address}"
        )
        if job.case.file_hash:
            geometry, kept = decode_mask(job.store.get(job.case.file_hash), job.case.address)
        else:
            kept = RunLengths.empty(geometry.shape)
        offered = offered.select(job.fill)
        if job.largest_only:
            offered = keep_largest(offered, ORGAN_IDS)
        merged = merge.complement(kept, offered, job.fill)
        filled = {class_id: voxels for class_id, voxels in merged.filled.items() if voxels}
        if not filled:
            return _Complemented(job)
        stored, voxel_hash = encode_and_hash(merged.runs, geometry)
        return _Complemented(
            job,
            facts=examine(merged.runs, geometry),
            conflicts=merged.conflicts,
            filled=filled,
            file_hash=job.store.put(stored),
            voxel_hash=voxel_hash,
        )
    except (CurationError, OSError) as error:
        return _Complemented(job, refused=f"{job.case.address}: {error}; run `maskledger verify`")


def _annotations(result: _Complemented) -> Iterator[AnnotationValues]:
    """The 14 rows of the new version: the parent's, with the filled classes drawn by the prediction."""
    assert result.facts is not None, "only a complemented case is written"
    before = result.job.case.annotations
    for class_id in CLASS_IDS:
        if result.filled and class_id in result.filled:
            yield measured(
                class_id,
                result.facts.census[class_id],
                Origin.PSEUDO,
                prediction_id=result.job.prediction.id,
            )
        else:
            assert before[class_id].status is Status.ANNOTATED or class_id not in result.facts.census
            yield before[class_id]


def _write(bench: Workbench, result: _Complemented, message: str, run_id: int, session: Session) -> None:
    assert result.facts is not None, "only a complemented case is written"
    case = result.job.case
    voxel_ml = case.geometry.voxel_ml
    writes.add_version(
        session,
        case.case_id,
        case.version_id,
        NewVersion(
            kind=VersionKind.COMPLEMENTED,
            author=bench.author,
            message=message,
            geometry=case.geometry,
            incoming_hash=None,
            file_hash=result.file_hash,
            voxel_hash=result.voxel_hash,
            annotations=tuple(_annotations(result)),
            reserved=dict(result.facts.reserved),
            conflicts=tuple(
                ConflictValues(c.kept, c.offered, c.voxels, c.voxels * voxel_ml) for c in result.conflicts
            ),
            findings=result.facts.findings,
            revision_id=None,
            run_id=run_id,
        ),
    )
