"""An ablation on paper: Markdown, CSV and one HTML file that needs nothing beside it."""

import csv
import html
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.bootstrap import LEVEL, Interval
from curation.errors import UsageError
from curation.labels import BY_ID, CLASSES
from curation.one_line import one_line
from db.models import Split
from pipelines.ablation import Ablation
from pipelines.compare import MODEL_COLORS, Comparison
from pipelines.score_tables import (
    MEANS,
    NOTHING,
    Table,
    comparison_tables,
    difference_tables,
)
from pipelines.whole_files import write_whole

if TYPE_CHECKING:
    import plotly.graph_objects as go

NAMES = ("ablation.md", "ablation.csv", "ablation_cases.csv", "ablation.html")
METRICS = ("dsc", "nsd")
_GRID = "rgba(125, 139, 146, 0.25)"


def write_report(found: Ablation, folder: Path, *, replace: bool = False) -> list[Path]:
    """Write Markdown, CSV (the table, and the scores behind it) and HTML, each whole.

    Args:
        found: What to write.
        folder: Where; made if it is not there.
        replace: Whether files of an earlier report may be replaced.

    Returns:
        The files.

    Raises:
        UsageError: The folder is a file, or holds such a file and `replace` is not given.
    """
    check_folder(folder, replace=replace)
    texts = (markdown(found), table_csv(found.comparison), cases_csv(found.comparison), html_page(found))
    files = [folder / name for name in NAMES]
    for file, text in zip(files, texts, strict=True):
        write_whole(file, text.encode())
    return files


def check_folder(folder: Path, *, replace: bool) -> None:
    """Refuse what a report could not be written to, before hours are spent on scores.

    Raises:
        UsageError: As `write_report`.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give a folder for the report")
    there = [folder / name for name in NAMES if (folder / name).exists()]
    if there and not replace:
        raise UsageError(f"{there[0]}: exists already; give another folder, or --force to replace the report")


def models_table(found: Ablation) -> Table:
    """What each model was trained on and how."""
    return Table(
        "Models",
        ("model", "kind", "dataset", "train", "val", "labels of", "profile", "seed", "code"),
        tuple(
            (
                one.name,
                one.model.kind.value,
                one.dataset.address if one.dataset else NOTHING,
                str(len(one.split(Split.TRAIN))) if one.dataset else NOTHING,
                str(len(one.split(Split.VAL))) if one.dataset else NOTHING,
                ", ".join(one.model.origins or ()) or NOTHING,
                str((one.model.profile or {}).get("name") or NOTHING),
                NOTHING if one.model.seed is None else str(one.model.seed),
                one.model.code_version or NOTHING,
            )
            for one in found.models
        ),
        (3, 4, 7),
    )


def tables(found: Ablation) -> list[Table]:
    """All tables of a report, in its order."""
    return [*comparison_tables(found.comparison), models_table(found)]


def warnings(found: Ablation) -> list[str]:
    """What a reader has to know before the table, the worst first."""
    return [*(f"SEEN IN TRAINING: {line}" for line in found.leaks), *found.doubts]


def summary(found: Ablation) -> str:
    """One sentence on what was compared."""
    comparison = found.comparison
    left_out = f"; {len(comparison.left_out)} left out, see below" if comparison.left_out else ""
    return (
        f"{', '.join(comparison.models)} on {comparison.cases} of {comparison.cases + len(comparison.left_out)} cases "
        f"of '{found.query}', protocol {comparison.protocol}{left_out}."
    )


def markdown(found: Ablation) -> str:
    """The report as Markdown."""
    lines = ["# Ablation", "", _escaped(summary(found)), ""]
    lines += [f"> **{_escaped(line)}**\n" for line in warnings(found)]
    for table in tables(found):
        lines += [f"## {_escaped(table.title)}", ""]
        rule = [("--:" if i in table.numeric else "---") for i in range(len(table.columns))]
        lines += [_md_row(map(_escaped, table.columns)), _md_row(rule)]
        lines += [
            _md_row([f"**{c}**" if row[0] in MEANS else c for c in map(_escaped, row)]) for row in table.rows
        ]
        lines.append("")
    if found.comparison.left_out:
        lines += ["## Left out", ""]
        lines += [f"- {_escaped(one.case)}: {_escaped(one.reason)}" for one in found.comparison.left_out]
        lines.append("")
    return "\n".join(lines)


def _md_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    # A pipe would end a cell; angle brackets would be markup.
    text = one_line(text).replace("\\", "\\\\")
    for sign in "|<*_`":
        text = text.replace(sign, f"\\{sign}")
    return text


def table_csv(comparison: Comparison) -> str:
    """A row per class and model; shares from 0 to 1, empty where nothing is known."""
    columns = ["class", "model", "cases", "dsc", "dsc_std", "nsd", "nsd_std"]
    columns += [f"{metric}_{part}" for metric in METRICS for part in ("difference", "low", "high")]
    rows: list[list[object]] = []
    for row in comparison.rows:
        for model, value in row.values.items():
            cells: list[object] = [row.label, model, value.n]
            cells += map(_number, (value.dsc, value.dsc_std, value.nsd, value.nsd_std))
            difference = row.differences.get(model)
            for metric in METRICS:
                interval = (
                    getattr(difference, metric) if difference else Interval(math.nan, math.nan, math.nan)
                )
                cells += map(_number, (interval.difference, interval.low, interval.high))
            rows.append(cells)
    return _csv(columns, rows)


def cases_csv(comparison: Comparison) -> str:
    """A row per case, class and model: the scores that the table is made of, and what the prediction took."""
    rows = [
        [
            row.case, row.class_name, model, row.dsc, row.nsd,
            *("" if figure is None else figure for figure in (row.seconds, row.peak_memory_mb, row.memory_area_mb_s)),
        ]
        for model, of in comparison.scores.items()
        for row in of
    ]  # fmt: skip
    return _csv(
        ["case", "class", "model", "dsc", "nsd", "seconds", "peak_memory_mb", "memory_area_mb_s"], rows
    )


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def html_page(found: Ablation) -> str:
    """The report as one HTML file, Plotly within."""
    comparison = found.comparison
    figures = [("Scores per class, every case a point", scores_figure(comparison))]
    if difference_tables(comparison):
        title = f"Differences from {comparison.baseline}, with {100 * LEVEL:.0f} % intervals"
        figures.append((title, differences_figure(comparison)))
    parts = [f"<h1>Ablation</h1><p>{html.escape(summary(found))}</p>"]
    parts += [f'<p class="beware">{html.escape(line)}</p>' for line in warnings(found)]
    first, *others = tables(found)
    parts.append(_html_table(first))
    for number, (title, figure) in enumerate(figures):
        drawn = figure.to_html(
            full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False, "responsive": True}
        )
        parts.append(f"<h2>{html.escape(title)}</h2>{drawn}")
    parts += [_html_table(table) for table in others]
    if comparison.left_out:
        items = "".join(
            f"<li>{html.escape(one.case)}: {html.escape(one.reason)}</li>" for one in comparison.left_out
        )
        parts.append(f"<h2>Left out</h2><ul>{items}</ul>")
    return _PAGE.replace("BODY", "\n".join(parts))


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Ablation</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2429; background: #fff; max-width: 1180px; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.7rem } h2 { font-size: 1.05rem; margin-top: 2.2rem }
.beware { background: #fdecea; border-left: 4px solid #c0392b; padding: .5rem .8rem; font-weight: 600 }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #e3e8ea; white-space: nowrap }
th { border-bottom: 2px solid #7d8b92 } .n { text-align: right } .sum td { font-weight: 600; background: #f4f7f8 }
</style></head><body>
BODY
</body></html>
"""


def _html_table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if i in table.numeric else ''}>{html.escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(
        f"<tr{' class=sum' if cells[0] in MEANS else ''}>{row(cells, 'td')}</tr>" for cells in table.rows
    )
    return (
        f'<h2>{html.escape(table.title)}</h2><div class="wide"><table>'
        f"<thead><tr>{row(table.columns, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def scores_figure(comparison: Comparison) -> "go.Figure":
    """Box plots of DSC and NSD per class, a box per model."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.05)
    for number, (model, rows) in enumerate(comparison.scores.items()):
        for at, metric in enumerate(METRICS, 1):
            figure.add_box(
                x=[BY_ID[row.class_id].title for row in rows],
                y=[100 * getattr(row, metric) for row in rows],
                text=[row.case for row in rows],
                name=_label(model), legendgroup=str(number), offsetgroup=str(number), showlegend=at == 1,
                marker={"color": _color(number), "size": 4}, line={"width": 1.4},
                boxpoints="all", jitter=0.3, pointpos=0,
                hovertemplate="%{text}: %{y:.2f} %<extra>" + _label(model) + "</extra>",
                row=at, col=1,
            )  # fmt: skip
    for at, metric in enumerate(METRICS, 1):
        figure.update_yaxes(title=f"{metric.upper()} (%)", range=[-3, 103], gridcolor=_GRID, row=at, col=1)
    figure.update_xaxes(categoryorder="array", categoryarray=[c.title for c in CLASSES], showgrid=False)
    figure.update_xaxes(tickangle=-35, row=2, col=1)
    return _laid_out(figure, 760, boxmode="group", boxgap=0.25)


def differences_figure(comparison: Comparison) -> "go.Figure":
    """Differences from the baseline with their intervals: a row per class, a mark per model, DSC beside NSD."""
    from plotly.subplots import make_subplots

    figure = make_subplots(
        cols=2, shared_yaxes=True, horizontal_spacing=0.03,
        subplot_titles=[f"{metric.upper()}, percentage points" for metric in METRICS],
    )  # fmt: skip
    others = [model for model in comparison.models if model != comparison.baseline]
    colors = {model: _color(number) for number, model in enumerate(comparison.models)}
    # Rows from above; the models of a row side by side within it.
    places = {row.label: -float(i) for i, row in enumerate(comparison.rows)}
    for number, model in enumerate(others):
        shift = 0.6 * ((number + 0.5) / len(others) - 0.5)
        for at, metric in enumerate(METRICS, 1):
            shown = [
                (row.label, getattr(row.differences[model], metric))
                for row in comparison.rows
                if not math.isnan(getattr(row.differences[model], metric).difference)
            ]
            figure.add_scatter(
                x=[100 * one.difference for _, one in shown],
                y=[places[label] - shift for label, _ in shown],
                error_x={
                    "type": "data", "symmetric": False, "thickness": 2, "width": 4,
                    "array": [_reach(one.high - one.difference) for _, one in shown],
                    "arrayminus": [_reach(one.difference - one.low) for _, one in shown],
                },
                text=[label for label, _ in shown],
                customdata=[[100 * one.low, 100 * one.high] for _, one in shown],
                name=_label(model), legendgroup=model, showlegend=at == 1,
                mode="markers", marker={"color": colors[model], "size": 8},
                hovertemplate="%{text}: %{x:+.2f} [%{customdata[0]:+.2f}, %{customdata[1]:+.2f}]<extra>"
                + _label(model) + "</extra>",
                row=1, col=at,
            )  # fmt: skip
    figure.add_vline(x=0, line={"color": "#1d2429", "width": 1, "dash": "dot"})
    figure.add_hline(y=max(places[label] for label in MEANS) + 0.5, line={"color": "#7d8b92", "width": 1})
    figure.update_xaxes(gridcolor=_GRID, zeroline=False)
    figure.update_yaxes(
        tickvals=list(places.values()), ticktext=list(places), range=[-len(places) + 0.4, 0.6], showgrid=False,
        zeroline=False, ticks="outside", ticklen=6, tickcolor="rgba(0, 0, 0, 0)",
    )  # fmt: skip
    return _laid_out(figure, 120 + 34 * len(places))


def _reach(share: float) -> float:
    return 0.0 if math.isnan(share) else max(0.0, 100 * share)


def _color(number: int) -> str:
    return MODEL_COLORS[number % len(MODEL_COLORS)]


def _label(model: str) -> str:
    # Plotly takes a "<" in names for markup.
    return model.replace("<", "‹")


def _laid_out(figure: "go.Figure", height: int, **layout: Any) -> "go.Figure":
    return figure.update_layout(
        height=height, margin={"l": 8, "r": 8, "t": 70, "b": 8}, paper_bgcolor="#fff", plot_bgcolor="#fff",
        legend={"orientation": "h", "x": 0, "y": 1.04, "yanchor": "bottom"}, **layout,
    )  # fmt: skip
