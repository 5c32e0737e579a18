"""How scores of models are printed: means, differences, what predicting took; as text and as JSON."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.cli.common import print_table

if TYPE_CHECKING:
    from curation.bootstrap import Interval
    from pipelines.compare import ComparedRow, Comparison
    from pipelines.efficiency import Efficiency, Spent
    from pipelines.score_tables import Table


def print_titled(table: "Table") -> None:
    """Print a table under its title."""
    print(table.title)
    print_table(table.columns, table.rows, table.numeric)


def print_comparison(comparison: "Comparison") -> None:
    """Print mean ± deviation per class and model, differences where there are several models, and efficiency."""
    from pipelines.score_tables import comparison_tables

    print_tables(comparison_tables(comparison), comparison)


def print_tables(tables: "Sequence[Table]", comparison: "Comparison") -> None:
    """Print tables with empty lines between them, then which cases the comparison left out."""
    for number, table in enumerate(tables):
        if number:
            print()
        print_titled(table)
    for one in comparison.left_out:
        print(f"left out: {one.case}: {one.reason}")


def print_means(comparison: "Comparison") -> None:
    """Print mean ± standard deviation of DSC / NSD per class and model, as Table 4 of the paper is laid out."""
    from pipelines.score_tables import means_table

    print_titled(means_table(comparison))


def print_efficiency(comparison: "Comparison") -> None:
    """Print what predicting took, as Table 6 of the paper does; nothing where nobody measured it."""
    from pipelines.score_tables import efficiency_table

    if table := efficiency_table(comparison):
        print()
        print_titled(table)


def comparison_json(table: "Comparison") -> dict[str, Any]:
    """The same as JSON values; shares from 0 to 1, null where nothing is known."""
    return {
        "protocol": table.protocol,
        "cases": table.cases,
        "baseline": table.baseline,
        "resamples": table.resamples,
        "seed": table.seed,
        "rows": [_row_json(row) for row in table.rows],
        "left_out": [{"case": one.case, "reason": one.reason} for one in table.left_out],
        "efficiency": {name: _efficiency_json(one) for name, one in table.efficiency.items()},
    }


def _row_json(row: "ComparedRow") -> dict[str, Any]:
    found: dict[str, Any] = {"class": row.label}
    for name, value in row.values.items():
        found[name] = {
            "dsc": _number(value.dsc),
            "nsd": _number(value.nsd),
            "dsc_std": _number(value.dsc_std),
            "nsd_std": _number(value.nsd_std),
            "cases": value.n,
        }
        if name in row.differences:
            difference = row.differences[name]
            found[name]["difference"] = {
                "dsc": _interval_json(difference.dsc),
                "nsd": _interval_json(difference.nsd),
            }
    return found


def _interval_json(interval: "Interval") -> dict[str, float | None]:
    return {
        "mean": _number(interval.difference),
        "low": _number(interval.low),
        "high": _number(interval.high),
    }


def _efficiency_json(one: "Efficiency") -> dict[str, Any]:
    def figures(spent: "Spent | None") -> dict[str, Any] | None:
        if spent is None:
            return None
        return {"cases": spent.cases, "mean": spent.mean, "max": spent.max, "above_tolerance": spent.above}

    return {
        "seconds": figures(one.seconds),
        "peak_memory_mb": figures(one.peak_memory_mb),
        "memory_area_mb_s": figures(one.memory_area_mb_s),
    }


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else value
