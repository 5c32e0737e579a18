"""Evaluate: score a model's predictions against the newest masks of the queried cases, by both protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from curation.errors import CurationError, UsageError
from curation.metrics import PROTOCOLS, Score, score
from curation.volumes import decode_mask
from db import case_files, offers, queries, writes
from db.case_files import CaseFile
from db.models import ModelKind
from db.offers import OfferedPrediction
from db.store import Store
from db.writes import NewEvaluation
from pipelines.compare import Comparison, compare
from pipelines.predict import predict_cases, trained_model
from pipelines.runs import Outcome, Workbench, map_cases, run

IMPLEMENTATION = "maskledger curation.metrics"


@dataclass(frozen=True)
class _Job:
    case: CaseFile
    prediction: OfferedPrediction
    store: Store


@dataclass(frozen=True)
class _Scored:
    job: _Job
    scores: dict[str, dict[int, Score]]
    refused: str | None = None


def evaluate(bench: Workbench, model: str, query: str, *, device: str = "auto") -> Outcome:
    """Score one model on the queried cases; what it has not predicted yet is predicted first.

    ``flare23`` scores all 14 classes of a case, ``known`` leaves out the classes that are missing there:
    nobody can say what a prediction of them is worth. Scoring again replaces earlier scores.

    Raises:
        UsageError: The model is unknown or the query finds no case with a mask.
    """
    query, cases = scorable(bench, query)
    return evaluate_cases(bench, model, query, cases, device=device)


def scorable(bench: Workbench, query: str) -> tuple[str, list[CaseFile]]:
    """The query as a run keeps it, whatever @NAME stands for later, and its cases with a mask to score against.

    Raises:
        UsageError: There are none.
    """
    with bench.catalog.reading() as session:
        query = queries.spelled_out(session, query)
        cases = [case for case in case_files.queried(session, query) if case.annotated]
    if not cases:
        raise UsageError(
            f"'{query}' finds no case with a mask to score against; ingest reference masks first"
        )
    return query, cases


def unscored(bench: Workbench, model: str, cases: Sequence[CaseFile]) -> list[CaseFile]:
    """Those of the cases whose newest mask and prediction this program has not scored by both protocols."""
    with bench.catalog.reading() as session:
        row = queries.known_model(session, model)
        offered = offers.newest_predictions(session, row.id)
        scored = {
            (e.case_id, e.prediction_id, e.reference_version_id, e.protocol)
            for e in queries.evaluations(session, model=model)
            if e.implementation == IMPLEMENTATION
        }
    return [
        case
        for case in cases
        if case.case_id not in offered
        or any(
            (case.case_id, offered[case.case_id].id, case.version_id, protocol) not in scored
            for protocol in PROTOCOLS
        )
    ]


def summaries(bench: Workbench, model: str, query: str) -> list[Comparison]:
    """Mean and deviation of a model's scores of the queried cases, by each protocol; none where it has no score."""
    _, cases = scorable(bench, query)
    ids = {case.case_id for case in cases}
    with bench.catalog.reading() as session:
        scored = any(e.case_id in ids for e in queries.evaluations(session, model=model))
    return [compare(bench, [model], p, cases=ids, resamples=0) for p in PROTOCOLS] if scored else []


def evaluate_cases(
    bench: Workbench, model: str, query: str, cases: Sequence[CaseFile], *, device: str = "auto"
) -> Outcome:
    """Predict and score some of the cases that a query found, see `evaluate`."""
    with bench.catalog.reading() as session:
        row = queries.known_model(session, model)
    with run(bench, "evaluate", {"model": model, "query": query}, key=model, total=len(cases)) as booking:
        if row.kind is not ModelKind.EXTERNAL:
            predict_cases(bench, booking, trained_model(bench, model), list(cases), device)
        with bench.catalog.reading() as session:
            offered = offers.newest_predictions(session, row.id)
        jobs = []
        for case in cases:
            if case.case_id in offered:
                jobs.append(_Job(case, offered[case.case_id], bench.store))
            else:
                booking.note(case.address, f"{case.address}: no prediction of {model}, so no score")
        bench.progress.start(f"score {model}", len(jobs))
        for done, scored in enumerate(map_cases(bench, _score_case, jobs, len(jobs)), 1):
            if scored.refused:
                booking.refuse(scored.job.case.address, scored.refused)
            else:
                booking.outcome.count("scored")
                rows = _rows(scored, row.id, booking.outcome.run_id)
                booking.add(partial(writes.add_evaluations, rows=rows))
            bench.progress.step(done, scored.job.case.address)
        booking.flush()
        bench.progress.finish()
        return booking.outcome


def _score_case(job: _Job) -> _Scored:
    """Compare one prediction with its reference. Touches no database."""
    case = job.case
    try:
        assert case.file_hash is not None, "a case with an annotated class has a mask"
        geometry, reference = decode_mask(job.store.get(case.file_hash), case.address)
        _, prediction = decode_mask(job.store.get(job.prediction.file_hash), f"prediction for {case.address}")
        known = {c for c in case.annotations if c not in case.missing}
        return _Scored(
            job,
            {
                protocol: score(
                    reference,
                    prediction,
                    geometry,
                    protocol=protocol,
                    known=known if protocol == "known" else None,
                )
                for protocol in PROTOCOLS
            },
        )
    except (CurationError, OSError) as error:
        return _Scored(job, {}, refused=f"{case.address}: {error}; run `maskledger verify`")


def _rows(scored: _Scored, model_id: int, run_id: int) -> list[NewEvaluation]:
    return [
        NewEvaluation(
            model_id=model_id,
            prediction_id=scored.job.prediction.id,
            reference_version_id=scored.job.case.version_id,
            case_id=scored.job.case.case_id,
            class_id=class_id,
            protocol=protocol,
            implementation=IMPLEMENTATION,
            dsc=value.dsc,
            nsd=value.nsd,
            seconds=scored.job.prediction.seconds,
            peak_memory_mb=scored.job.prediction.peak_memory_mb,
            memory_area_mb_s=scored.job.prediction.memory_area_mb_s,
            run_id=run_id,
        )
        for protocol, values in scored.scores.items()
        for class_id, value in values.items()
    ]
