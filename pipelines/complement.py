"""Complement: a model's predictions fill the classes that nobody drew, class by class, never over what stands there."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy.orm import Session

from curation.components import keep_largest
from curation.errors import CurationError, GridError
from curation.labels import BY_ID, ORGAN_IDS
from curation.merge import COMPLEMENT, Conflict, Merged, merge
from curation.probability import ignore_uncertain, newly_drawn, threshold_percent, unsure_classes
from curation.rle import RunLengths
from curation.status import Evidence, Origin
from curation.volumes import decode_mask, encode_and_hash
from db import case_files, offers, queries, standing, writes
from db.case_files import CaseFile
from db.models import VersionKind
from db.offers import OfferedPrediction, Said
from db.store import Store, StoreUnwritableError
from db.writes import NewVersion
from pipelines.annotate import Drawn, MaskFacts, conflict_values, examine, rederived
from pipelines.case_masks import stored_mask
from pipelines.comparing import compare_at_the_end
from pipelines.gates import Gates, doubtful_classes, read_map
from pipelines.images import read_images
from pipelines.runs import Booking, Outcome, Workbench, map_cases, run

NO_GATES = Gates()


@dataclass(frozen=True)
class _Job:
    """One case and what it is offered: `fill` is missing, `redraw` is the model's own or to be replaced.

    `said` is what the prediction says of its classes; empty where no gate asks for it.
    """

    case: CaseFile
    prediction: OfferedPrediction
    fill: frozenset[int]
    redraw: frozenset[int]
    accepted: frozenset[int]
    largest_only: bool
    store: Store
    gates: Gates = NO_GATES
    said: Mapping[int, Said] = field(default_factory=dict)

    @property
    def offered_by(self) -> str:
        """How messages call the prediction."""
        return f"the prediction for {self.case.address}"


@dataclass(frozen=True)
class _Complemented:
    """What a worker made of one case; `drawn` is empty where the prediction adds nothing.

    What the gates kept out: `doubtful` classes with their mean probability, `unsure` classes without one voxel
    that is sure, and per class the voxels that are `ignored` now.
    """

    job: _Job
    refused: str | None = None
    facts: MaskFacts | None = None
    conflicts: tuple[Conflict, ...] = ()
    drawn: frozenset[int] = frozenset()
    redrawn: frozenset[int] = frozenset()
    file_hash: str = ""
    voxel_hash: str = ""
    doubtful: Mapping[int, float] = field(default_factory=dict)
    unsure: frozenset[int] = frozenset()
    ignored: Mapping[int, int] = field(default_factory=dict)


def complement(
    bench: Workbench,
    query: str,
    model: str,
    *,
    largest_only: bool = True,
    replace_pseudo: bool = False,
    gates: Gates = NO_GATES,
) -> Outcome:
    """Fill the missing classes of the queried cases from one model's predictions.

    A class is filled only where its status is missing and its side is not unresolved; only background
    voxels change; what could not be written is booked as a conflict. A class that this model drew
    earlier is drawn again where it is stale: the model predicted anew, or the source was revised since. A
    case to which the prediction adds nothing gets no new version, so a second call changes nothing.

    Args:
        bench: What to work with.
        query: Cases to complement, at their newest version.
        model: Whose newest prediction per case is offered.
        largest_only: Offer only the largest connected piece of each organ, as the paper does.
        replace_pseudo: Also draw anew the pseudo classes of other models, unless a person accepted them.
        gates: What a prediction has to reach. A class below the least confidence is left as it is. Voxels that
            would be filled and are not probable enough become ones to ignore, which nothing fills later; a class
            without one voxel that is probable enough is left as it is, too, so that a call with a lower gate
            fills it.

    Raises:
        UsageError: The model is unknown or retracted, or the query cannot be read.
    """
    with bench.catalog.reading() as session:
        model_id = queries.known_model(session, model).id
        offers.require_trusted(session, model_id)
        # The run keeps what was asked, whatever @NAME stands for later.
        query = queries.spelled_out(session, query)
        cases = case_files.queried(session, query)
    parameters = {
        "query": query,
        "model": model,
        "components": "largest" if largest_only else "all",
        "replace_pseudo": replace_pseudo,
        **gates.parameters,
    }
    with run(bench, "complement", parameters, key=model, total=len(cases)) as booking:
        jobs, skipped = _plan(bench, cases, model_id, largest_only, replace_pseudo, gates)
        for reason, n in skipped.items():
            booking.outcome.count(reason, n)
        bench.progress.start(f"complement from {model}", len(jobs))
        for done, result in enumerate(map_cases(bench, _complement_case, jobs, len(jobs)), 1):
            address = result.job.case.address
            _say_what_was_kept_out(booking, result)
            if result.refused:
                booking.refuse(address, result.refused)
            elif not result.drawn | result.redrawn:
                booking.outcome.count("nothing to add")
            else:
                booking.add(partial(_write, bench, result, model, booking.outcome.run_id), address)
            bench.progress.step(done, address)
        booking.flush()
        bench.progress.finish()
        # What was drawn just now has no mean HU yet.
        read_images(bench, booking, case_ids=[job.case.case_id for job in jobs])
        compare_at_the_end(bench, booking)
        return booking.outcome


def _say_what_was_kept_out(booking: Booking, result: _Complemented) -> None:
    if result.doubtful:
        booking.outcome.count("classes left below --min-confidence", len(result.doubtful))
    if result.unsure:
        booking.outcome.count("classes left without a sure voxel", len(result.unsure))
    if result.ignored:
        booking.outcome.count("voxels ignored", sum(result.ignored.values()))
    if told := _kept_out(result):
        address = result.job.case.address
        booking.note(address, f"{address}: {told}")


def _plan(
    bench: Workbench,
    cases: list[CaseFile],
    model_id: int,
    largest_only: bool,
    replace_pseudo: bool,
    gates: Gates,
) -> tuple[list[_Job], dict[str, int]]:
    """Which cases can be complemented, and how many cannot and why."""
    jobs: list[_Job] = []
    skipped = {"without missing classes": 0, "without a prediction": 0}
    versions = [case.version_id for case in cases]
    with bench.catalog.reading() as session:
        offered = offers.newest_predictions(session, model_id)
        rejected = offers.rejected_classes(session, model_id)
        own = offers.prediction_ids(session, model_id)
        accepted = standing.accepted_classes(session, versions)
        stale = standing.stale_classes(session, versions)
        asked = [p.id for case in cases if (p := offered.get(case.case_id))] if gates.min_confidence else []
        said = offers.said_of_classes(session, asked)
    nothing: frozenset[int] = frozenset()
    for case in cases:
        prediction = offered.get(case.case_id)
        refused = rejected.get(case.case_id, nothing)
        keeps = accepted.get(case.version_id, nothing)
        fill = frozenset(
            c for c in case.missing if case.annotations[c].evidence is not Evidence.UNRESOLVED_SIDE
        )
        is_stale = stale.get(case.version_id, nothing)
        redraw = frozenset(
            c
            for c, row in case.annotations.items()
            if row.origin is Origin.PSEUDO
            and (c in is_stale or (replace_pseudo and prediction and row.prediction_id != prediction.id))
            and (replace_pseudo or row.prediction_id in own)
        )
        fill, redraw = fill - refused, redraw - refused - keeps
        if not fill | redraw:
            skipped["without missing classes"] += 1
        elif prediction is None:
            skipped["without a prediction"] += 1
        else:
            of_classes = said.get(prediction.id, {})
            jobs.append(
                _Job(case, prediction, fill, redraw, keeps, largest_only, bench.store, gates, of_classes)
            )
    return jobs, {reason: n for reason, n in skipped.items() if n}


def _complement_case(job: _Job) -> _Complemented:
    """Merge one prediction into one mask. Touches no database, so it runs in any worker."""
    try:
        geometry, offered = decode_mask(
            job.store.get(job.prediction.file_hash), f"prediction for {job.case.address}"
        )
        if difference := geometry.difference(job.case.geometry):
            raise GridError(
                f"the prediction does not lie on its grid: {difference}; predict the case again, or import "
                "predictions that were made on its present image"
            )
        kept = stored_mask(job.store, job.case)
        wanted = job.fill | job.redraw
        doubtful = doubtful_classes(job.gates, job.said, wanted, job.offered_by)
        offered = offered.select(wanted - doubtful.keys())
        if job.largest_only:
            offered = keep_largest(offered, ORGAN_IDS)
        merged, redrawn, unsure, ignored = _merged(job, kept, offered)
        if not merged.filled and not redrawn:
            return _Complemented(job, doubtful=doubtful, unsure=unsure)
        stored, voxel_hash = encode_and_hash(merged.runs, job.case.geometry)
        return _Complemented(
            job,
            facts=examine(merged.runs, job.case.geometry),
            doubtful=doubtful,
            unsure=unsure,
            ignored=ignored,
            conflicts=merged.conflicts,
            drawn=frozenset(merged.filled),
            redrawn=frozenset(redrawn),
            file_hash=job.store.put(stored),
            voxel_hash=voxel_hash,
        )
    except StoreUnwritableError:
        raise  # no case's fault, and the same for the next one
    except (CurationError, OSError) as error:
        return _Complemented(job, refused=f"{job.case.address}: {error}; run `maskledger verify`")


def _merged(
    job: _Job, kept: RunLengths, offered: RunLengths
) -> tuple[Merged, frozenset[int], frozenset[int], dict[int, int]]:
    """Merge what is offered, and ignore what of it is not sure enough.

    Returns:
        The merge; the classes drawn again; those left out without a sure voxel; per class the voxels ignored.
    """
    below, of_map = 0, None
    if job.gates.uncertain_below is not None:
        below = threshold_percent(job.gates.uncertain_below)
        of_map = read_map(job.store, job.prediction, job.case.geometry, job.offered_by)
    unsure: frozenset[int] = frozenset()
    while True:
        # Only what the model draws again is released: where it finds nothing now, the earlier label stays.
        redrawn = frozenset(job.redraw & offered.voxels().keys())
        take = job.fill | redrawn
        merged = merge(kept, offered, COMPLEMENT, take=take, release=redrawn, locked=job.accepted)
        if of_map is None:
            return merged, redrawn, unsure, {}
        filled = newly_drawn(kept.without(redrawn), merged.runs, take)
        more = unsure_classes(filled, of_map, below)
        if not more:
            runs, ignored = ignore_uncertain(merged.runs, filled, of_map, below)
            return replace(merged, runs=runs), redrawn, unsure, ignored
        # Left out altogether and merged again: a class that is not drawn disputes no voxel, either.
        unsure |= more
        offered = offered.without(more)


def _write(bench: Workbench, result: _Complemented, model: str, run_id: int, session: Session) -> str:
    assert result.facts is not None, "only a complemented case is written"
    case = result.job.case
    owner = Drawn(Origin.PSEUDO, prediction_id=result.job.prediction.id)
    writes.add_version(
        session,
        case.case_id,
        case.version_id,
        NewVersion(
            kind=VersionKind.COMPLEMENTED,
            author=bench.author,
            message=_message(result, model),
            geometry=case.geometry,
            file_hash=result.file_hash,
            voxel_hash=result.voxel_hash,
            annotations=rederived(case.annotations, result.facts, dict.fromkeys(result.drawn, owner)),
            reserved=dict(result.facts.reserved),
            conflicts=conflict_values(result.conflicts, case.geometry.voxel_ml),
            findings=result.facts.findings,
            run_id=run_id,
        ),
    )
    return "complemented"


def _message(result: _Complemented, model: str) -> str:
    fresh, again = len(result.drawn - result.redrawn), len(result.redrawn)
    did = [f"complemented {_classes(fresh)}"] if fresh else []
    did += [f"drew {_classes(again)} anew"] if again else []
    told = _kept_out(result)
    return f"{' and '.join(did)} from {model}" + (f"; {told}" if told else "")


def _kept_out(result: _Complemented) -> str:
    """What the gates kept out of one case, in words; empty where it is nothing."""
    gates = result.job.gates
    told = []
    if result.doubtful:
        each = (
            f"{BY_ID[c].name} ({p:.2f} below {gates.min_confidence[c]:g})"
            for c, p in sorted(result.doubtful.items())
        )
        told.append(f"left as it was: {', '.join(each)}")
    if result.unsure:
        names = ", ".join(BY_ID[c].name for c in sorted(result.unsure))
        told.append(f"no voxel as probable as {gates.uncertain_below:g}: {names}")
    if result.ignored:
        each = (f"{BY_ID[c].name} {n}" for c, n in sorted(result.ignored.items()))
        told.append(f"voxels less probable than {gates.uncertain_below:g} ignored: {', '.join(each)}")
    return "; ".join(told)


def _classes(n: int) -> str:
    return f"{n} class{'' if n == 1 else 'es'}"
