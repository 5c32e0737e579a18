"""Scores of models as Plotly figures, for the dashboard and for the report of an ablation."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from curation.labels import BY_ID, CLASSES
from db.queries import EvaluationRow
from pipelines.compare import METRICS, Comparison
from pipelines.score_tables import MEANS

# One per model, by lightness as well as hue; none is a class's color.
_COLORS = ("#90a0a8", "#2a8ca3", "#c98a2b", "#5b6ee1", "#4d7c4a", "#a4507a")
_ALL_POINTS = 14 * 200
_GRID = "rgba(125, 139, 146, 0.25)"


def model_color(number: int) -> str:
    """The color of the model (or curve) of this number, counted from 0; after six they come again."""
    return _COLORS[number % len(_COLORS)]


def label(model: str) -> str:
    """A model's name as Plotly shows it: it takes a ``<`` in names for markup."""
    return model.replace("<", "‹")


def add_scores(
    figure: go.Figure, number: int, model: str, rows: Sequence[EvaluationRow], metric: str, **layout: Any
) -> None:
    """Add a model's box plots of one metric, a box per class and every case a point.

    Args:
        figure: With classes along x and percent along y.
        number: Of the model, for its color.
        model: Its name.
        rows: Its scores by one protocol.
        metric: ``dsc`` or ``nsd``.
        layout: What else Plotly is to know of the boxes, such as their row and column.
    """
    figure.add_box(
        x=[BY_ID[row.class_id].title for row in rows],
        y=[100 * getattr(row, metric) for row in rows],
        text=[row.case for row in rows],
        name=label(model), marker={"color": model_color(number), "size": 4}, line={"width": 1.4},
        # Thousands of points hide the boxes and take the browser's time: then those that stand out.
        boxpoints="all" if len(rows) <= _ALL_POINTS else "outliers", jitter=0.3, pointpos=0,
        hovertemplate="%{text}: %{y:.2f} %<extra>" + label(model) + "</extra>",
        **layout,
    )  # fmt: skip


def scores_figure(comparison: Comparison) -> go.Figure:
    """Box plots of DSC and NSD per class, a box per model."""
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.05)
    for number, (model, rows) in enumerate(comparison.scores.items()):
        for at, metric in enumerate(METRICS, 1):
            add_scores(
                figure, number, model, rows, metric,
                legendgroup=str(number), offsetgroup=str(number), showlegend=at == 1, row=at, col=1,
            )  # fmt: skip
    for at, metric in enumerate(METRICS, 1):
        figure.update_yaxes(title=f"{metric.upper()} (%)", range=[-3, 103], gridcolor=_GRID, row=at, col=1)
    figure.update_xaxes(categoryorder="array", categoryarray=[c.title for c in CLASSES], showgrid=False)
    figure.update_xaxes(tickangle=-35, row=2, col=1)
    return _laid_out(figure, 760, boxmode="group", boxgap=0.25)


def differences_figure(comparison: Comparison) -> go.Figure:
    """Differences from the baseline with their intervals: a row per class, a mark per model, DSC beside NSD."""
    figure = make_subplots(
        cols=2, shared_yaxes=True, horizontal_spacing=0.03,
        subplot_titles=[f"{metric.upper()}, percentage points" for metric in METRICS],
    )  # fmt: skip
    others = [model for model in comparison.models if model != comparison.baseline]
    colors = {model: model_color(number) for number, model in enumerate(comparison.models)}
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
                name=label(model), legendgroup=model, showlegend=at == 1,
                mode="markers", marker={"color": colors[model], "size": 8},
                hovertemplate="%{text}: %{x:+.2f} [%{customdata[0]:+.2f}, %{customdata[1]:+.2f}]<extra>"
                + label(model) + "</extra>",
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


def _laid_out(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    return figure.update_layout(
        height=height, margin={"l": 8, "r": 8, "t": 70, "b": 8}, paper_bgcolor="#fff", plot_bgcolor="#fff",
        legend={"orientation": "h", "x": 0, "y": 1.04, "yanchor": "bottom"}, **layout,
    )  # fmt: skip
