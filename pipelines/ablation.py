"""Ablation: baseline, teacher and students on the same unseen cases, with intervals of their differences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from curation.bootstrap import RESAMPLES
from curation.errors import UsageError
from curation.metrics import PROTOCOLS
from db import case_files, offers, queries
from db.case_files import CaseFile
from pipelines.compare import Comparison, LeftOut, compare
from pipelines.evaluate import evaluate_cases, scorable, unscored
from pipelines.fairness import Seen, TrainedOn, doubts, seen, seen_lines, trained_on
from pipelines.runs import Workbench


@dataclass(frozen=True)
class AblationRequest:
    """Which models, the columns of the table in this order, on the cases of which query.

    `baseline` is the model that differences are from, default the first; if it is none of `models` it is put
    before them.
    """

    models: tuple[str, ...]
    query: str = "role = test"
    baseline: str | None = None
    protocol: str = "flare23"
    seed: int = 0
    resamples: int = RESAMPLES
    device: str = "auto"


@dataclass(frozen=True)
class Ablation:
    """The comparison and what it rests on.

    Attributes:
        query: As it was asked, saved queries spelled out.
        comparison: Table, differences and efficiency; `left_out` says which of the queried cases are not in it.
        models: The models and what they were trained on, in the table's order.
        leaks: Sentences on cases that a model has seen.
        doubts: Sentences on what else makes the comparison unequal.
        refused: Lines on cases that could not be predicted or scored.
        noted: Lines on cases that had nothing to be scored.
    """

    query: str
    comparison: Comparison
    models: tuple[TrainedOn, ...]
    leaks: tuple[str, ...]
    doubts: tuple[str, ...]
    refused: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()


def ablation(bench: Workbench, request: AblationRequest) -> Ablation:
    """Compare models on the same cases; what is not predicted or not scored yet is so first.

    A case that a model was trained on says nothing of how it does on others: it is left out for all models,
    and the result says so loudly. So is a case of a patient that a model was trained on, and one that a student
    knows through its teacher.

    Raises:
        UsageError: Fewer than two models, an unknown or retracted one, no case with a mask, or none that is unseen
            and scored for all models.
    """
    names = _names(request)
    with bench.catalog.reading() as session:
        models = []
        for name in names:
            row = queries.known_model(session, name)
            offers.require_trusted(session, row.id)
            models.append(trained_on(session, row))
    query, cases = scorable(bench, request.query)
    with bench.catalog.reading() as session:
        known = {case.case_id for case in cases}
        left_out = [
            LeftOut(case.address, "has no mask to score against")
            for case in case_files.queried(session, query)
            if case.case_id not in known
        ]
        met = seen(session, models, cases)
    kept = _unseen(query, cases, met)
    left_out += _why_seen(met)
    refused: list[str] = []
    noted: list[str] = []
    for name in names:
        if todo := unscored(bench, name, kept):
            outcome = evaluate_cases(bench, name, query, todo, device=request.device)
            refused += outcome.refused
            noted += outcome.noted
    kept = _scored_for_all(bench, names, kept, left_out)
    comparison = compare(
        bench, names, request.protocol, baseline=request.baseline, cases={case.case_id for case in kept},
        resamples=request.resamples, seed=request.seed,
    )  # fmt: skip
    everything = sorted([*left_out, *comparison.left_out], key=lambda one: one.case)
    return Ablation(
        query=query,
        comparison=replace(comparison, left_out=tuple(everything)),
        models=tuple(models),
        leaks=tuple(seen_lines(met, "they are left out for all models")),
        doubts=tuple(doubts(models, kept)),
        refused=tuple(refused),
        noted=tuple(noted),
    )


def _names(request: AblationRequest) -> list[str]:
    names = list(request.models)
    if request.baseline is not None and request.baseline not in names:
        names.insert(0, request.baseline)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"model '{twice[0]}' is named twice; name each once")
    if len(names) < 2:
        raise UsageError(
            f"an ablation compares two or more models, and only {', '.join(names)} is named; name another"
        )
    if request.protocol not in PROTOCOLS:
        raise UsageError(f"unknown protocol '{request.protocol}'; use {' or '.join(PROTOCOLS)}")
    return names


def _unseen(query: str, cases: Sequence[CaseFile], met: Sequence[Seen]) -> list[CaseFile]:
    known = {one.case.case_id for one in met}
    unseen = [case for case in cases if case.case_id not in known]
    if not unseen:
        raise UsageError(
            f"all {len(cases)} cases of '{query}' were seen in training (e.g. {met[0].case.address}: "
            f"{met[0].reason}); ask for others"
        )
    return unseen


def _why_seen(met: Sequence[Seen]) -> list[LeftOut]:
    reasons: dict[str, list[str]] = {}
    for one in met:
        reasons.setdefault(one.case.address, []).append(one.reason)
    return [LeftOut(case, "; ".join(why)) for case, why in reasons.items()]


def _scored_for_all(
    bench: Workbench, names: Sequence[str], cases: Sequence[CaseFile], left_out: list[LeftOut]
) -> list[CaseFile]:
    """The cases that every model now has a score of; the others are added to `left_out`."""
    without: dict[int, list[str]] = {}
    for name in names:
        for case in unscored(bench, name, cases):
            without.setdefault(case.case_id, []).append(name)
    left_out += [
        LeftOut(case.address, f"no score of {', '.join(without[case.case_id])}")
        for case in cases
        if case.case_id in without
    ]
    kept = [case for case in cases if case.case_id not in without]
    if not kept:
        case = cases[0]
        raise UsageError(
            f"no case was scored for all of {', '.join(names)} (e.g. {case.address}: not for "
            f"{', '.join(without[case.case_id])}); predict the same cases with all, or import their predictions"
        )
    return kept
