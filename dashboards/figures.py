"""The dashboard's charts: numbers in, Plotly figures out. Color says which class, pattern says who drew it."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from curation.labels import CLASS_NAMES, CLASSES
from curation.status import Origin, Status
from dashboards import chart_queries
from db.queries import EvaluationRow
from pipelines import score_figures
from pipelines.compare import Comparison
from pipelines.curves import curve_series
from pipelines.score_figures import add_scores, model_color

ClassCounts = Mapping[str, Mapping[str, int]]

# Grays that stand out from a white and from a near-black page alike.
NEUTRAL = "#7d8b92"
FAINT = "rgba(125, 139, 146, 0.28)"
ACCENT = "#2a8ca3"
# How an annotated class was drawn: plain, hatched, dotted.
ORIGIN_PATTERNS = {Origin.ORIGINAL: "", Origin.PSEUDO: "/", Origin.CORRECTED: "."}
STATUS_TITLES = {
    Status.ANNOTATED: "annotated",
    Status.ABSENT: "absent",
    Status.OUT_OF_FIELD: "out of field",
    Status.MISSING: "missing",
}
_LOSS, _SCORE = "Loss", "Validation score"
_PANELS = {_LOSS: True, _SCORE: False}
_GRID = "rgba(125, 139, 146, 0.25)"


# Which panel of `labels_per_case_figure` a bar stands in: carried behind the query, for a click.
BEFORE, AFTER = "before", "after"


def labels_per_case_figure(
    before: Mapping[int, int], after: Mapping[int, int], *, now: str = "Now"
) -> go.Figure:
    """The paper's Fig. 2 twice: cases by number of annotated classes, as ingested and as they are now.

    Args:
        before: Number of annotated classes to number of cases, in the first versions.
        after: The same in the newest versions, or in those of another snapshot.
        now: What the second panel is called.

    Returns:
        Two panels that share the axis of cases. Bars 1 to 13 always stand there; 0 (unlabeled) and 14
        (all organs and tumor) where a case has so many. Every bar carries the query that it stands for and
        its panel.
    """
    bars = range(0 if 0 in {*before, *after} else 1, (14 if 14 in {*before, *after} else 13) + 1)
    titles = (f"As ingested: {_cases(before)}", f"{now}: {_cases(after)}")
    figure = make_subplots(cols=2, shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.04)
    highest = max([1, *before.values(), *after.values()])
    panels = ((before, NEUTRAL, BEFORE), (after, ACCENT, AFTER))
    for column, (counts, color, panel) in enumerate(panels, 1):
        heights = [counts.get(n, 0) for n in bars]
        figure.add_bar(
            x=list(bars),
            y=heights,
            customdata=[[chart_queries.of_labels(n), panel] for n in bars],
            text=[f"{n:,}" if n else "" for n in heights],
            textposition="outside",
            cliponaxis=False,
            marker_color=color,
            hovertemplate="%{y} cases with %{x} annotated classes<extra></extra>",
            showlegend=False,
            row=1,
            col=column,
        )
    figure.update_xaxes(title="Annotated classes per case", dtick=1, showgrid=False, fixedrange=True)
    figure.update_yaxes(range=[0, highest * 1.12], gridcolor=_GRID, fixedrange=True)
    figure.update_yaxes(title="Cases", row=1, col=1)
    return _laid_out(figure, height=320, bargap=0.18, top=36)


def _cases(counts: Mapping[int, int]) -> str:
    n = sum(counts.values())
    labels = sum(number * cases for number, cases in counts.items())
    return f"{labels:,} labels on {n:,} cases"


def status_figure(classes: ClassCounts) -> go.Figure:
    """Cases per class by status, stacked; the classes in the label table's order from above."""
    figure = go.Figure()
    styles: dict[Status, dict[str, Any]] = {
        Status.ANNOTATED: {"color": _class_colors(), "line": _thin()},
        Status.ABSENT: {
            "color": _class_colors(),
            "pattern": {"shape": "x", "fillmode": "replace", "size": 6, "solidity": 0.25},
            "line": _thin(),
        },
        Status.OUT_OF_FIELD: {
            "color": NEUTRAL, "pattern": {"shape": "-", "fillmode": "replace", "size": 5}, "line": _thin(),
        },
        Status.MISSING: {"color": FAINT, "line": _thin()},
    }  # fmt: skip
    for status, style in styles.items():
        counts = [classes[name][status] for name in CLASS_NAMES]
        asked = [chart_queries.of_class(name, status) for name in CLASS_NAMES]
        title = STATUS_TITLES[status]
        _add_stack(figure, title, counts, style, asked, numbers="pattern" not in style)
    return _stacked(figure)


def origin_figure(classes: ClassCounts) -> go.Figure:
    """Cases in which a class is annotated, per class by origin, stacked."""
    figure = go.Figure()
    for origin, shape in ORIGIN_PATTERNS.items():
        pattern = {"shape": shape, "fillmode": "replace", "size": 6, "solidity": 0.45}
        style = {"color": _class_colors(), "pattern": pattern, "line": _thin()}
        counts = [classes[name][origin] for name in CLASS_NAMES]
        # Numbers on a hatched bar cannot be read: these stand behind the stack.
        asked = [chart_queries.of_class(name, origin) for name in CLASS_NAMES]
        _add_stack(figure, origin.value, counts, style, asked, numbers=not shape)
    others = (Origin.PSEUDO, Origin.CORRECTED)
    figure.add_scatter(
        y=[c.title for c in CLASSES],
        x=[sum(classes[name][origin] for origin in Origin) for name in CLASS_NAMES],
        text=[
            " ".join(f" +{classes[name][o]:,} {o}" for o in others if classes[name][o])
            for name in CLASS_NAMES
        ],
        mode="text",
        textposition="middle right",
        textfont_size=11,
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )
    most = max([1, *(sum(classes[name][origin] for origin in Origin) for name in CLASS_NAMES)])
    return _stacked(figure).update_xaxes(range=[0, most * 1.18])


def source_figure(coverage: Mapping[str, ClassCounts], *, dark: bool = False) -> go.Figure:
    """Class × source heat map: in how many of a source's cases a class is annotated, share and number.

    Args:
        coverage: Source to class to counts.
        dark: The page is dark. Cells of low shares let the page shine through, so the numbers must know it.
    """
    sources = list(coverage)
    shares: list[list[float]] = []
    texts: list[list[str]] = []
    hovers: list[list[str]] = []
    for source in sources:
        counts = [coverage[source][name] for name in CLASS_NAMES]
        drawn = [c[Status.ANNOTATED] for c in counts]
        total = [sum(c[status] for status in Status) for c in counts]
        row = [d / t if t else 0.0 for d, t in zip(drawn, total, strict=True)]
        shares.append(row)
        texts.append([f"{share:.0%}" for share in row])
        hovers.append([f"{d:,} of {t:,} cases" for d, t in zip(drawn, total, strict=True)])
    figure = go.Figure(
        go.Heatmap(
            x=[c.title for c in CLASSES],
            y=sources,
            z=shares,
            hoverinfo="skip",
            colorscale=[[0, "rgba(125, 139, 146, 0.10)"], [1, "#1a7288"]],
            zmin=0,
            zmax=1,
            xgap=2,
            ygap=2,
            showscale=False,
        )
    )
    # Over the cells and not in them: there Plotly would choose black or white by a color that shines through.
    # Unseen squares over the cells are what is pointed at and clicked: Plotly selects no cell of a heat map.
    figure.add_scatter(
        x=[c.title for _ in sources for c in CLASSES],
        y=[source for source in sources for _ in CLASSES],
        text=[text for row in texts for text in row],
        textfont={
            "color": ["#ffffff" if dark or share > 0.75 else "#1e292e" for row in shares for share in row]
        },
        mode="markers+text",
        marker={"symbol": "square", "size": 30, "opacity": 0, "line": _thin()},
        customdata=[
            [chart_queries.of_source(name, source), hover]
            for source, row in zip(sources, hovers, strict=True)
            for name, hover in zip(CLASS_NAMES, row, strict=True)
        ],
        hovertemplate="%{y}: %{x} annotated in %{customdata[1]}<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(tickangle=-35, showgrid=False, fixedrange=True)
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True, type="category")
    return _laid_out(figure, height=150 + 34 * len(sources))


def curves_figure(curves: Sequence[Mapping[str, Any]], *, along: str = "Epoch") -> go.Figure:
    """Losses and validation scores of a training over its epochs, one line per figure and stage.

    Args:
        curves: One mapping per epoch: `epoch`, losses (whatever contains "loss") and scores from 0 to 1,
            and `stage` where a training has several. Of a running one, `step` in place of `epoch`.
        along: What the points are counted by.
    """
    series = curve_series(curves)
    # Whatever is no loss is a score. A training that goes on may have none yet.
    panels = [
        title for title, is_loss in _PANELS.items() if any(("loss" in name) is is_loss for name in series)
    ]
    figure = make_subplots(cols=max(1, len(panels)), subplot_titles=panels, horizontal_spacing=0.08)
    for number, (name, (epochs, values)) in enumerate(series.items()):
        figure.add_scatter(
            x=epochs, y=values, name=name.replace("_", " "), mode="lines" if len(epochs) > 1 else "markers",
            line={"color": model_color(number), "width": 2},
            row=1, col=1 + panels.index(_LOSS if "loss" in name else _SCORE),
        )  # fmt: skip
    figure.update_xaxes(title=along, gridcolor=_GRID)
    figure.update_yaxes(gridcolor=_GRID)
    if _SCORE in panels:
        figure.update_yaxes(range=[0, 1], row=1, col=1 + panels.index(_SCORE))
    return _laid_out(figure, height=330, top=36, legend_above=False)


def scores_figure(rows: Sequence[EvaluationRow], models: Sequence[str], metric: str) -> go.Figure:
    """Box plot of one metric per class, a box per model, every case a point.

    Args:
        rows: Scores of one protocol.
        models: Which models, in this order.
        metric: ``dsc`` or ``nsd``; shown in percent.
    """
    figure = go.Figure()
    for number, model in enumerate(models):
        add_scores(figure, number, model, [row for row in rows if row.model == model], metric)
    figure.update_xaxes(
        categoryorder="array", categoryarray=[c.title for c in CLASSES], tickangle=-35, showgrid=False
    )
    figure.update_yaxes(title=f"{metric.upper()} (%)", range=[-3, 103], gridcolor=_GRID)
    return _laid_out(figure, height=400, top=36, boxmode="group", boxgap=0.25)


def differences_figure(comparison: Comparison) -> go.Figure:
    """By how much models lie above the baseline, with intervals, DSC beside NSD; the report's figure on a page."""
    figure = score_figures.differences_figure(comparison)
    figure.update_shapes(line_color=NEUTRAL)
    return _laid_out(
        figure, height=110 + 26 * len(comparison.rows), top=48, showlegend=len(comparison.models) > 2
    )


def _class_colors() -> list[str]:
    return [c.color for c in CLASSES]


def _thin() -> dict[str, Any]:
    return {"width": 0}


def _add_stack(
    figure: go.Figure,
    title: str,
    counts: Sequence[int],
    marker: dict[str, Any],
    asked: Sequence[str],
    *,
    numbers: bool = True,
) -> None:
    """One layer of a stack; a colorless twin in the legend, whose square would else be the liver's.

    `asked` are the queries that its bars stand for.
    """
    figure.add_bar(
        y=[c.title for c in CLASSES],
        x=list(counts),
        name=title,
        orientation="h",
        marker=marker,
        customdata=[[query] for query in asked],
        text=[f"{n:,}" if n and numbers else "" for n in counts],
        textposition="inside",
        insidetextanchor="middle",
        insidetextfont={"size": 11} if marker["color"] != FAINT else {"size": 11, "color": NEUTRAL},
        constraintext="none",
        textangle=0,
        hovertemplate="%{y}: %{x} cases " + title + "<extra></extra>",
        showlegend=False,
        legendgroup=title,
    )
    color = marker["color"]
    swatch = marker | {"color": NEUTRAL if isinstance(color, list) else color}
    figure.add_bar(y=[None], x=[None], name=title, orientation="h", marker=swatch, legendgroup=title)


def _stacked(figure: go.Figure) -> go.Figure:
    figure.update_yaxes(autorange="reversed", fixedrange=True)
    figure.update_xaxes(title="Cases", gridcolor=_GRID, fixedrange=True, rangemode="tozero")
    return _laid_out(figure, height=450, top=36, barmode="stack", bargap=0.28)


def _laid_out(
    figure: go.Figure, *, height: int, top: int = 8, legend_above: bool = True, **layout: Any
) -> go.Figure:
    """What all charts share; page and theme give fonts and text colors."""
    above = {"y": 1.0, "yanchor": "bottom"}
    below = {"y": -0.32, "yanchor": "top"}
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": top, "b": 8},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        legend={"orientation": "h", "x": 0, "traceorder": "normal", **(above if legend_above else below)},
        **layout,
    )
