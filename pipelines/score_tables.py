"""Scores of models as tables of text: Table 4 of the paper, differences with intervals, Table 6; for every output."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from curation.bootstrap import LEVEL, Interval
from pipelines.compare import MEAN_OF_ALL, METRICS, ORGAN_MEAN, Comparison
from pipelines.efficiency import TOLERANCE_MB, TOLERANCE_S, Spent

NOTHING = "–"
MEANS = (ORGAN_MEAN, MEAN_OF_ALL)


@dataclass(frozen=True)
class Table:
    """Text in rows; `numeric` are the columns that read better to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()


def comparison_tables(comparison: Comparison) -> list[Table]:
    """All tables of a comparison: means, differences where there are any, and what predicting took where measured."""
    efficiency = efficiency_table(comparison)
    return [
        means_table(comparison),
        *difference_tables(comparison),
        *([efficiency] if efficiency else []),
    ]


def means_table(comparison: Comparison) -> Table:
    """Mean ± standard deviation of DSC / NSD per class and model."""
    models = comparison.models
    return Table(
        f"DSC / NSD in %, protocol {comparison.protocol}, mean ± standard deviation of {_cases(comparison.cases)}",
        ("class", "cases", *models),
        tuple((row.label, str(row.n), *(row.values[m].text for m in models)) for row in comparison.rows),
        tuple(range(1, len(models) + 2)),
    )


def difference_tables(comparison: Comparison) -> list[Table]:
    """By how much each other model lies above the baseline: DSC, then NSD; none without another or intervals."""
    others = [model for model in comparison.models if model != comparison.baseline]
    if not others or not comparison.resamples:
        return []
    return [
        Table(
            f"{metric.upper()}: percentage points above {comparison.baseline}, {100 * LEVEL:.0f} % paired bootstrap "
            f"interval ({comparison.resamples:,} resamples of the cases, seed {comparison.seed}); * leaves out 0, "
            "[–] fewer than two cases",
            ("class", "cases", *others),
            tuple(
                (row.label, str(row.n), *(_starred(getattr(row.differences[m], metric)) for m in others))
                for row in comparison.rows
            ),
            (1,),
        )
        for metric in METRICS
    ]


def efficiency_table(comparison: Comparison) -> Table | None:
    """What predicting took; None where nobody measured it."""
    measured = {n: e for n, e in comparison.efficiency.items() if e.seconds or e.peak_memory_mb}
    if not measured:
        return None
    limit_gb = f"{TOLERANCE_MB / 1024:.0f} GB"
    rows = []
    for name, one in comparison.efficiency.items():
        some = one.seconds or one.peak_memory_mb
        rows.append(
            (
                name, str(some.cases) if some else NOTHING,
                *_spent(one.seconds, 2), _above(one.seconds),
                *_spent(one.peak_memory_mb, 0), _above(one.peak_memory_mb),
                *_spent(one.memory_area_mb_s, 0),
            )
        )  # fmt: skip
    return Table(
        f"What predicting a case took, mean and highest; tolerances {TOLERANCE_S:.0f} s and {limit_gb} (memory of the "
        "GPU where one predicted, else resident memory of the process)",
        (
            "model", "cases", "time, s", "highest", f"above {TOLERANCE_S:.0f} s", "peak memory, MB", "highest",
            f"above {limit_gb}", "memory–time area, MB·s", "highest",
        ),
        tuple(rows),
        tuple(range(1, 10)),
    )  # fmt: skip


def interval_text(interval: Interval) -> str:
    """In percentage points: ``+3.10 [+1.20, +4.95]``."""
    if math.isnan(interval.difference):
        return NOTHING
    text = f"{100 * interval.difference:+.2f}"
    if math.isnan(interval.low):
        return f"{text} [{NOTHING}]"
    return f"{text} [{100 * interval.low:+.2f}, {100 * interval.high:+.2f}]"


def _starred(interval: Interval) -> str:
    """The star says that the interval leaves out 0."""
    return interval_text(interval) + (" *" if interval.beyond_chance else "")


def _spent(spent: Spent | None, digits: int) -> Sequence[str]:
    if spent is None:
        return NOTHING, NOTHING
    return f"{spent.mean:,.{digits}f}", f"{spent.max:,.{digits}f}"


def _above(spent: Spent | None) -> str:
    return NOTHING if spent is None else str(spent.above)


def _cases(n: int) -> str:
    return "1 case" if n == 1 else f"{n} cases"
