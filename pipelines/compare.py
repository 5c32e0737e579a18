"""Compare: evaluated models side by side per class, on the cases that all of them were scored on."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from curation.errors import UsageError
from curation.labels import BY_ID, CLASSES, ORGAN_IDS
from curation.metrics import PROTOCOLS
from db import queries
from pipelines.runs import Workbench


@dataclass(frozen=True)
class MeanScore:
    """Mean DSC and NSD, 0 to 1; NaN where no case was scored."""

    dsc: float
    nsd: float

    @property
    def text(self) -> str:
        """As the paper prints it: percent, DSC / NSD."""
        if math.isnan(self.dsc):
            return "–"
        return f"{100 * self.dsc:.2f} / {100 * self.nsd:.2f}"


@dataclass(frozen=True)
class ComparedRow:
    """One line: a class, or a mean over classes; model name to mean score."""

    label: str
    values: dict[str, MeanScore]


@dataclass(frozen=True)
class Comparison:
    """All classes, then the mean over the organs and over all classes."""

    cases: int
    rows: list[ComparedRow]


def compare(bench: Workbench, models: Sequence[str], protocol: str = "flare23") -> Comparison:
    """Mean DSC and NSD per class and model, over the cases common to all of them.

    Means over organs are means of the class means, as the FLARE23 tables are.

    Raises:
        UsageError: A model is unknown or has not been evaluated, or no case was scored for all of them.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"unknown protocol '{protocol}'; use {' or '.join(PROTOCOLS)}")
    scores: dict[str, dict[tuple[int, int], tuple[float, float]]] = {}
    with bench.catalog.reading() as session:
        for name in models:
            queries.known_model(session, name)
            scores[name] = {
                (row.case_id, row.class_id): (row.dsc, row.nsd)
                for row in queries.evaluations(session, model=name, protocol=protocol)
            }
            if not scores[name]:
                raise UsageError(
                    f"model '{name}' has no scores; run `maskledger evaluate {name} \"role = test\"`"
                )
    common = set.intersection(*({case_id for case_id, _ in values} for values in scores.values()))
    if not common:
        raise UsageError(
            f"no case was scored for all of {', '.join(models)}; evaluate them on the same query"
        )
    by_class = {
        class_id: {
            name: _mean(v for (case, c), v in values.items() if c == class_id and case in common)
            for name, values in scores.items()
        }
        for class_id in (c.id for c in CLASSES)
    }
    rows = [ComparedRow(BY_ID[class_id].title, values) for class_id, values in by_class.items()]
    for label, ids in (("Organ mean", ORGAN_IDS), ("Mean of all", tuple(by_class))):
        rows.append(
            ComparedRow(label, {name: _mean_of_means([by_class[c][name] for c in ids]) for name in models})
        )
    return Comparison(len(common), rows)


def _mean(values: Iterable[tuple[float, float]]) -> MeanScore:
    pairs = list(values)
    if not pairs:
        return MeanScore(math.nan, math.nan)
    return MeanScore(sum(d for d, _ in pairs) / len(pairs), sum(n for _, n in pairs) / len(pairs))


def _mean_of_means(means: list[MeanScore]) -> MeanScore:
    return _mean((m.dsc, m.nsd) for m in means if not math.isnan(m.dsc))
