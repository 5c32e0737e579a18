"""Scores as the paper prints them: per class in percent, with deviations, differences and what predicting took."""

import math
from collections.abc import Mapping, Sequence

from curation.labels import BY_ID, CLASSES
from dashboards.components.markup import Html, case_link, class_cell, markup, table
from db.queries import CaseCost, CaseScore
from pipelines.compare import METRICS, Comparison, MeanScore
from pipelines.efficiency import TOLERANCE_MB, TOLERANCE_S
from pipelines.score_tables import MEANS, NOTHING, Table, interval_text

_NAME_OF_TITLE = {c.title: c.name for c in CLASSES}


def comparison_table(comparison: Comparison) -> Html:
    """Table 4: a row per class and per mean, two columns per model; the best of a row is set bold."""
    columns = {
        model: {row.label: row.values[model] for row in comparison.rows} for model in comparison.models
    }
    return _scores(columns, "Scores per class and model", mark_best=True)


def sets_table(by_set: Mapping[str, Comparison], model: str) -> Html:
    """Table 5: one model, two columns per set of cases."""
    columns = {
        f"{title} ({comparison.cases})": {row.label: row.values[model] for row in comparison.rows}
        for title, comparison in by_set.items()
    }
    return _scores(columns, "Scores per class and set of cases")


def _scores(columns: Mapping[str, Mapping[str, MeanScore]], label: str, *, mark_best: bool = False) -> Html:
    headings = ["Class", "Cases"]
    for title in columns:
        headings += [f"{title} DSC (%)", f"{title} NSD (%)"]
    labels = list(next(iter(columns.values())))
    rows: list[list[object]] = []
    for name in labels:
        scores = [of[name] for of in columns.values()]
        cells: list[object] = [_row_title(name), max(score.n for score in scores)]
        best = [
            max((v for v in values if not math.isnan(v)), default=math.nan)
            for values in ([s.dsc for s in scores], [s.nsd for s in scores])
        ]
        for score in scores:
            for value, std, highest in zip(
                (score.dsc, score.nsd), (score.dsc_std, score.nsd_std), best, strict=True
            ):
                cells.append(_mean(value, std, bold=mark_best and value == highest and len(scores) > 1))
        rows.append(cells)
    sums = [i for i, name in enumerate(labels) if name in MEANS]
    return table(headings, rows, numeric=range(1, len(headings)), sums=sums, label=label)


def differences_table(comparison: Comparison) -> Html:
    """Two models: their means, and by how much the second lies above the first, with the paired interval.

    What is beyond chance is set bold and has an arrow, so that it needs no color.
    """
    first = comparison.baseline
    (other,) = (model for model in comparison.models if model != first)
    rows: list[list[object]] = []
    for row in comparison.rows:
        cells: list[object] = [_row_title(row.label), row.n]
        for metric in METRICS:
            for model in (first, other):
                score = row.values[model]
                cells.append(_mean(getattr(score, metric), getattr(score, f"{metric}_std")))
            interval = getattr(row.differences[other], metric)
            said = interval_text(interval)
            if interval.beyond_chance:
                said = Html(f"<b>{'▲' if interval.difference > 0 else '▼'} {markup(said)}</b>")
            cells.append(said)
        rows.append(cells)
    headings = ["Class", "Cases"]
    for title in map(str.upper, METRICS):
        headings += [f"{first} {title} (%)", f"{other} {title} (%)", f"{title} difference (pp)"]
    sums = [i for i, row in enumerate(comparison.rows) if row.label in MEANS]
    return table(headings, rows, numeric=range(1, 8), sums=sums, label="Two models compared", compact=True)


def text_table(content: Table) -> Html:
    """A table of a report."""
    columns = [column[:1].upper() + column[1:] for column in content.columns]
    return table(columns, content.rows, numeric=content.numeric, label=content.title)


def costs_table(rows: Sequence[CaseCost]) -> Html:
    """Table 6: what predicting each case took; what is above FLARE23's tolerance is set bold."""
    return table(
        ("Case", "Image size (x, y, z)", "Time (s)", "Peak memory (MB)", "Memory–time area (MB·s)"),
        [
            (
                _viewed(row),
                " × ".join(map(str, row.shape)),
                _cost(row.seconds, 2, TOLERANCE_S),
                _cost(row.peak_memory_mb, 0, TOLERANCE_MB),
                _cost(row.memory_area_mb_s, 0, math.inf),
            )
            for row in rows
        ],
        numeric=(1, 2, 3, 4),
        label="What predicting each case took",
    )


def worst_table(rows: Sequence[CaseScore]) -> Html:
    """A model's lowest scores, each with a link to the case and the prediction in the viewer."""
    return table(
        ("Case", "Class", "DSC (%)", "NSD (%)", "Scored against", "Prediction"),
        [
            (
                _viewed(row),
                class_cell(BY_ID[row.class_id].name),
                f"{100 * row.dsc:.2f}",
                f"{100 * row.nsd:.2f}",
                f"version {row.version}",
                row.prediction_id,
            )
            for row in rows
        ],
        numeric=(2, 3, 5),
        label="Worst cases",
    )


def _viewed(row: CaseCost | CaseScore) -> Html:
    """A link to the version that was scored against, with the prediction beside it."""
    return case_link(row.case, row.version, within={"prediction": str(row.prediction_id)})


def left_out_table(comparison: Comparison) -> Html:
    """Cases that are not compared, and why."""
    rows = [(case_link(one.case), one.reason) for one in comparison.left_out]
    return table(("Case", "Why"), rows, label="Cases left out")


def _row_title(title: str) -> Html:
    """A class's square and title; a mean over classes is its name alone."""
    name = _NAME_OF_TITLE.get(title)
    return class_cell(name) if name else markup(title)


def _mean(value: float, std: float, *, bold: bool = False) -> Html:
    if math.isnan(value):
        return Html(NOTHING)
    text = f"{100 * value:.2f}"
    return Html(f'{f"<b>{text}</b>" if bold else text} <span class="quiet">± {100 * std:.2f}</span>')


def _cost(value: float | None, digits: int, tolerance: float) -> Html | None:
    if value is None:
        return None
    text = f"{value:,.{digits}f}"
    return Html(f'<b title="above the tolerance">{text} ▲</b>' if value > tolerance else text)
