"""Compare: evaluated models side by side per class, on the cases that all of them were scored on."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from curation.bootstrap import RESAMPLES, Interval, paired_intervals
from curation.errors import UsageError
from curation.labels import BY_ID, CLASS_IDS, ORGAN_IDS
from curation.metrics import PROTOCOLS
from db import queries
from db.queries import METRICS, EvaluationRow
from pipelines.efficiency import Efficiency, efficiency
from pipelines.runs import Workbench

ORGAN_MEAN, MEAN_OF_ALL = "Organ mean", "Mean of all"
_COLUMN = {class_id: i for i, class_id in enumerate(CLASS_IDS)}
# Columns of an array of scores, and how the means over them are called.
_GROUPS = {ORGAN_MEAN: [_COLUMN[c] for c in ORGAN_IDS], MEAN_OF_ALL: list(_COLUMN.values())}


@dataclass(frozen=True)
class MeanScore:
    """Mean DSC and NSD, 0 to 1, with population standard deviations over `n` cases; NaN where no case was scored.

    A mean over classes is that of the class means; its deviation is that of the cases' own means.
    """

    dsc: float
    nsd: float
    dsc_std: float = math.nan
    nsd_std: float = math.nan
    n: int = 0

    @property
    def text(self) -> str:
        """As the paper prints it, with standard deviations: percent, DSC / NSD."""
        if math.isnan(self.dsc):
            return "–"
        return " / ".join(
            f"{100 * mean:.2f} ± {100 * std:.2f}"
            for mean, std in ((self.dsc, self.dsc_std), (self.nsd, self.nsd_std))
        )


@dataclass(frozen=True)
class Difference:
    """By how much a model's means lie above the baseline's, 0 to 1, with paired bootstrap intervals."""

    dsc: Interval
    nsd: Interval


@dataclass(frozen=True)
class ComparedRow:
    """One line: a class, or a mean over classes; model name to mean score, and to difference from the baseline."""

    label: str
    values: dict[str, MeanScore]
    differences: dict[str, Difference]

    @property
    def n(self) -> int:
        """In how many cases the class was scored (of a mean: any of its classes)."""
        return max((value.n for value in self.values.values()), default=0)


@dataclass(frozen=True)
class LeftOut:
    """A case that is not compared, and why."""

    case: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """All classes, then the mean over the organs and over all classes.

    Attributes:
        cases: How many cases the means are of.
        rows: Classes in the label table's order, then the means.
        protocol: By which the cases were scored.
        baseline: The model that differences are from.
        resamples: Bootstrap resamples of the intervals.
        seed: Of the resamples.
        left_out: Cases that not all models were scored on.
        efficiency: Model to what its predictions of these cases took.
        scores: Model to its scores of these cases.
    """

    cases: int
    rows: list[ComparedRow]
    protocol: str
    baseline: str
    resamples: int
    seed: int
    left_out: tuple[LeftOut, ...]
    efficiency: dict[str, Efficiency]
    scores: dict[str, list[EvaluationRow]]

    @property
    def models(self) -> list[str]:
        """The models in the order in which they were asked for."""
        return list(self.rows[0].values)


def compare(
    bench: Workbench,
    models: Sequence[str],
    protocol: str = "flare23",
    *,
    baseline: str | None = None,
    cases: Collection[int] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Mean DSC and NSD per class and model, over the cases common to all of them, and differences from the first.

    Means over organs are means of the class means, as the FLARE23 tables are. Cases that the models were
    scored on against different versions of the reference are left out: another mask is another task.

    Args:
        bench: An open workspace.
        models: Evaluated models.
        protocol: ``flare23`` or ``known``.
        baseline: The model of `models` that differences are from; default the first.
        cases: Only these case ids; default all that were scored.
        resamples: Bootstrap resamples of the intervals; 0 for none.
        seed: Of the resamples.

    Raises:
        UsageError: A model is unknown or has not been evaluated, or no case was scored for all of them.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"unknown protocol '{protocol}'; use {' or '.join(PROTOCOLS)}")
    baseline = models[0] if baseline is None else baseline
    rows: dict[str, list[EvaluationRow]] = {}
    with bench.catalog.reading() as session:
        for name in models:
            queries.known_model(session, name)
            found = queries.evaluations(session, model=name, protocol=protocol)
            if not found:
                raise UsageError(
                    f"model '{name}' has no scores; run `maskledger evaluate {name} \"role = test\"`"
                )
            rows[name] = [row for row in found if cases is None or row.case_id in cases]
    return compare_scores(rows, protocol, baseline, resamples=resamples, seed=seed)


def compare_scores(
    rows: Mapping[str, list[EvaluationRow]],
    protocol: str,
    baseline: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """The same of scores that were read before: model name to its scores by the protocol.

    Raises:
        UsageError: No case was scored for all of them.
    """
    common, left_out = _common_cases(rows)
    if not common:
        raise UsageError(f"no case was scored for all of {', '.join(rows)}; evaluate them on the same query")
    scores = {name: [row for row in of if row.case_id in common] for name, of in rows.items()}
    return Comparison(
        cases=len(common),
        rows=_rows(scores, sorted(common), baseline, resamples, seed),
        protocol=protocol,
        baseline=baseline,
        resamples=resamples,
        seed=seed,
        left_out=left_out,
        efficiency={name: efficiency(of) for name, of in scores.items()},
        scores=scores,
    )


def _common_cases(rows: Mapping[str, list[EvaluationRow]]) -> tuple[set[int], tuple[LeftOut, ...]]:
    """Cases that all models were scored on against the same mask, and why the others are left out."""
    versions = {name: {row.case_id: row.reference_version_id for row in of} for name, of in rows.items()}
    address = {row.case_id: row.case for of in rows.values() for row in of}
    common, left_out = set(), []
    for case_id, case in sorted(address.items(), key=lambda item: item[1]):
        if without := [name for name, of in versions.items() if case_id not in of]:
            left_out.append(LeftOut(case, f"not scored for {', '.join(without)}"))
        elif len({of[case_id] for of in versions.values()}) > 1:
            left_out.append(
                LeftOut(case, "scored against different versions of its mask; evaluate the models again")
            )
        else:
            common.add(case_id)
    return common, tuple(left_out)


def _rows(
    scores: Mapping[str, list[EvaluationRow]], cases: list[int], baseline: str, resamples: int, seed: int
) -> list[ComparedRow]:
    arrays = {name: {metric: _array(of, cases, metric) for metric in METRICS} for name, of in scores.items()}
    # A class counts in a case where all models have it; from one reference they all have the same.
    known = np.logical_and.reduce([~np.isnan(of["dsc"]) for of in arrays.values()])
    for of in arrays.values():
        for array in of.values():
            array[~known] = np.nan
    means = {name: _means(of["dsc"], of["nsd"]) for name, of in arrays.items()}
    differences = {
        name: [
            Difference(dsc, nsd)
            for dsc, nsd in zip(
                *(
                    paired_intervals(
                        of[metric], arrays[baseline][metric], tuple(_GROUPS.values()),
                        resamples=resamples, seed=seed,
                    )
                    for metric in METRICS
                ),
                strict=True,
            )
        ]
        for name, of in arrays.items()
        if name != baseline
    }  # fmt: skip
    labels = [*(BY_ID[class_id].title for class_id in CLASS_IDS), *_GROUPS]
    return [
        ComparedRow(
            label,
            {name: of[i] for name, of in means.items()},
            {name: of[i] for name, of in differences.items()},
        )
        for i, label in enumerate(labels)
    ]


def _array(rows: Sequence[EvaluationRow], cases: list[int], metric: str) -> NDArray[np.float64]:
    """Shape (cases, classes); NaN where a class was not scored in a case."""
    place = {case_id: i for i, case_id in enumerate(cases)}
    array = np.full((len(cases), len(CLASS_IDS)), np.nan)
    for row in rows:
        array[place[row.case_id], _COLUMN[row.class_id]] = getattr(row, metric)
    return array


def _means(dsc: NDArray[np.float64], nsd: NDArray[np.float64]) -> list[MeanScore]:
    """Per class, then per group of classes."""
    found = [_spread(dsc[:, [i]], nsd[:, [i]]) for i in range(dsc.shape[1])]
    for columns in _GROUPS.values():
        group = _spread(dsc[:, columns], nsd[:, columns])
        of_classes = [found[i] for i in columns if found[i].n]
        if of_classes:
            n = len(of_classes)
            dsc_mean, nsd_mean = sum(m.dsc for m in of_classes) / n, sum(m.nsd for m in of_classes) / n
            group = replace(group, dsc=dsc_mean, nsd=nsd_mean)
        found.append(group)
    return found


def _spread(dsc: NDArray[np.float64], nsd: NDArray[np.float64]) -> MeanScore:
    """Mean and deviation over the cases of each case's mean over its known columns."""
    known = ~np.isnan(dsc)
    some = known.any(axis=1)
    if not some.any():
        return MeanScore(math.nan, math.nan)
    dsc_of_cases, nsd_of_cases = (
        np.where(known, values, 0.0).sum(axis=1)[some] / known.sum(axis=1)[some] for values in (dsc, nsd)
    )
    return MeanScore(
        float(dsc_of_cases.mean()), float(nsd_of_cases.mean()),
        float(dsc_of_cases.std()), float(nsd_of_cases.std()), int(some.sum()),
    )  # fmt: skip
