"""Combine: the predictions of several models for one case become one prediction, booked with its parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy.orm import Session

from curation import combine as rules
from curation.errors import CurationError, GridError, UsageError
from curation.rle import RunLengths
from curation.volumes import decode_mask, encode_and_hash
from db import case_files, offers, queries, writes
from db.case_files import CaseFile
from db.offers import OfferedPrediction
from db.store import Store, StoreUnwritableError
from db.writes import PredictionClassValues
from pipelines.predictions import class_rows
from pipelines.runs import Outcome, Workbench, map_cases, run


@dataclass(frozen=True)
class Combination:
    """How predictions are combined.

    `least_dice` None: voxel by voxel, what more than half of them say. Else: the classes on which every two
    of them reach that Dice, as the first model draws them.
    """

    models: tuple[str, ...]
    least_dice: float | None = None

    @property
    def name(self) -> str:
        """What the combination is registered as; the order matters where the first model's drawing is taken."""
        if self.least_dice is None:
            return f"majority({','.join(sorted(self.models))})"
        return f"agree{self.least_dice:g}({','.join(self.models)})"


@dataclass(frozen=True)
class _Job:
    """One case: `lineage` names its parts and what these were combined from, so that a retraction reaches it."""

    case: CaseFile
    parts: tuple[OfferedPrediction, ...]
    lineage: frozenset[int]
    predictable: frozenset[int]
    least_dice: float | None
    store: Store


@dataclass(frozen=True)
class _Combined:
    job: _Job
    refused: str | None = None
    file_hash: str = ""
    voxel_hash: str = ""
    classes: tuple[PredictionClassValues, ...] = ()


def combine(bench: Workbench, query: str, combination: Combination) -> Outcome:
    """Make the combined prediction of every queried case that all the models have predicted.

    A case whose parts are the same as last time is left as it is.

    Raises:
        UsageError: A model is unknown, retracted or named twice, or the query cannot be read.
    """
    names = combination.models
    if not 2 <= len(set(names)) == len(names) <= rules.MOST_MASKS:
        raise UsageError(
            f"--model {', '.join(names)}: name 2 to {rules.MOST_MASKS} different models to combine"
        )
    with bench.catalog.reading() as session:
        ids = [queries.known_model(session, name).id for name in names]
        for model_id in ids:
            offers.require_trusted(session, model_id)
        # The run keeps what was asked, whatever @NAME stands for later.
        query = queries.spelled_out(session, query)
        cases = case_files.queried(session, query)
        offered = [offers.newest_predictions(session, model_id) for model_id in ids]
    with bench.catalog.writing() as session:
        model_id = writes.ensure_model(session, combination.name)
    parameters = {"query": query, "models": list(names), "least_dice": combination.least_dice}
    with run(bench, "combine", parameters, key=combination.name, total=len(cases)) as booking:
        jobs = _plan(bench, cases, offered, combination, model_id)
        if unchanged := len(cases) - len(jobs):
            booking.outcome.count("without new parts", unchanged)
        bench.progress.start(f"combine {', '.join(names)}", len(jobs))
        for done, result in enumerate(map_cases(bench, _combine_case, jobs, len(jobs)), 1):
            address = result.job.case.address
            if result.refused:
                booking.refuse(address, result.refused)
            else:
                booking.outcome.count("combined")
                booking.add(partial(_write, result, model_id, booking.outcome.run_id))
            bench.progress.step(done, address)
        booking.flush()
        bench.progress.finish()
        return booking.outcome


def _plan(
    bench: Workbench,
    cases: Sequence[CaseFile],
    offered: Sequence[dict[int, OfferedPrediction]],
    combination: Combination,
    model_id: int,
) -> list[_Job]:
    with bench.catalog.reading() as session:
        known = offers.newest_predictions(session, model_id)
        parts = offers.parts_of(session, {prediction.id for prediction in known.values()})
        every_part = {prediction.id for by_case in offered for prediction in by_case.values()}
        speaks_of = offers.predicted_classes(session, every_part)
        parts_of_parts = offers.parts_of(session, every_part)
    jobs = []
    for case in cases:
        found = [by_case[case.case_id] for by_case in offered if case.case_id in by_case]
        before = known.get(case.case_id)
        lineage = frozenset(part.id for part in found).union(
            *(parts_of_parts.get(part.id, frozenset()) for part in found)
        )
        same = before is not None and parts.get(before.id) == lineage
        if len(found) == len(offered) and not same:
            predictable = frozenset().union(*(speaks_of.get(part.id, frozenset()) for part in found))
            jobs.append(_Job(case, tuple(found), lineage, predictable, combination.least_dice, bench.store))
    return jobs


def _combine_case(job: _Job) -> _Combined:
    """Combine the predictions of one case. Touches no database, so it runs in any worker."""
    try:
        masks: list[RunLengths] = []
        for part in job.parts:
            geometry, runs = decode_mask(job.store.get(part.file_hash), f"prediction for {job.case.address}")
            if difference := geometry.difference(job.case.geometry):
                raise GridError(f"a prediction does not lie on the case's grid any more: {difference}")
            masks.append(runs)
        combined = rules.majority(masks) if job.least_dice is None else rules.agreeing(masks, job.least_dice)
        stored, voxel_hash = encode_and_hash(combined, job.case.geometry)
        return _Combined(
            job,
            file_hash=job.store.put(stored),
            voxel_hash=voxel_hash,
            classes=class_rows(combined, job.case.geometry, job.case, job.store, predictable=job.predictable),
        )
    except StoreUnwritableError:
        raise  # no case's fault, and the same for the next one
    except (CurationError, OSError) as error:
        return _Combined(job, refused=f"{job.case.address}: {error}; run `maskledger verify`")


def _write(combined: _Combined, model_id: int, run_id: int, session: Session) -> None:
    case = combined.job.case
    writes.add_prediction(
        session,
        case_id=case.case_id,
        model_id=model_id,
        settings={"least_dice": combined.job.least_dice},
        file_hash=combined.file_hash,
        voxel_hash=combined.voxel_hash,
        parts=sorted(combined.job.lineage),
        compared_version_id=case.version_id if case.file_hash else None,
        classes=combined.classes,
        run_id=run_id,
    )
