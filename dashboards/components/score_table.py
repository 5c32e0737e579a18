"""The comparison of models as the paper prints it: DSC and NSD per class, in percent."""

import math

from curation.labels import CLASSES
from dashboards.components.markup import Html, markup, square, table
from pipelines.compare import Comparison


def comparison_table(comparison: Comparison, models: list[str]) -> Html:
    """A row per class and per mean, two columns per model; the best of a row is set bold."""
    by_title = {c.title: c.name for c in CLASSES}
    columns = ["Class"]
    for model in models:
        columns += [f"{model} DSC (%)", f"{model} NSD (%)"]
    rows: list[list[object]] = []
    for row in comparison.rows:
        name = by_title.get(row.label)
        cells: list[object] = [
            Html(square(name, "original") + " " + markup(row.label)) if name else row.label
        ]
        scores = [(row.values[model].dsc, row.values[model].nsd) for model in models]
        best = [
            max((pair[i] for pair in scores if not math.isnan(pair[i])), default=math.nan) for i in (0, 1)
        ]
        for pair in scores:
            for value, highest in zip(pair, best, strict=True):
                text = "–" if math.isnan(value) else f"{100 * value:.2f}"
                cells.append(Html(f"<b>{text}</b>") if value == highest and len(models) > 1 else text)
        rows.append(cells)
    sums = [i for i, row in enumerate(comparison.rows) if row.label not in by_title]
    return table(columns, rows, numeric=range(1, len(columns)), sums=sums, label="Scores per class and model")
