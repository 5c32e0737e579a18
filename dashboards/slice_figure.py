"""A slice as a Plotly figure: the picture that `dashboards.slices` draws, which tells HU and class under the mouse."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import find_objects

# Pixels. The picture fits into its column, and is no higher than a laptop's screen.
_USUAL_WIDTH, _HIGHEST = 620, 720


def slice_figure(
    picture: NDArray[np.uint8],
    spacing_mm: tuple[float, float],
    hu: NDArray[np.generic] | None,
    labels: NDArray[np.generic] | None,
    titles: Mapping[int, str],
    kept: str,
) -> go.Figure:
    """A slice to look at: its picture in millimetres, drawn by the server, and over it what each voxel is.

    Args:
        picture: RGB, shape (H, W, 3), with square pixels.
        spacing_mm: Height and width of a voxel.
        hu: The slice's Hounsfield units, (rows, columns), the first row above; None without an image.
        labels: Its label values, likewise; None without a mask.
        titles: What a label value stands for; of others, as of the background, nothing is said.
        kept: While it stays the same, what is zoomed into stays, too.
    """
    rows, columns = next(voxels.shape for voxels in (hu, labels) if voxels is not None)
    height, width = rows * spacing_mm[0], columns * spacing_mm[1]
    figure = go.Figure()
    if hu is not None:
        _add_voxels(figure, hu, spacing_mm, (0, 0), "%{z:.0f} HU")
    if labels is not None:
        _add_classes(figure, labels, hu, spacing_mm, titles)
    figure.add_layout_image(
        source=Image.fromarray(picture), x=0, y=0, sizex=width, sizey=height, xref="x", yref="y",
        sizing="stretch", layer="below",
    )  # fmt: skip
    figure.update_xaxes(range=[0, width], visible=False, constrain="domain")
    figure.update_yaxes(range=[height, 0], visible=False, constrain="domain", scaleanchor="x")
    return figure.update_layout(
        height=round(min(_HIGHEST, _USUAL_WIDTH * height / width)),
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        hoverlabel={"bgcolor": "#1d2b33", "bordercolor": "#1d2b33", "font": {"color": "#ffffff", "size": 13}},
        uirevision=kept,
    )


def _add_classes(
    figure: go.Figure,
    labels: NDArray[np.generic],
    hu: NDArray[np.generic] | None,
    spacing_mm: tuple[float, float],
    titles: Mapping[int, str],
) -> None:
    """Each class tells its title, in its bounding box alone: a text for every voxel would make megabytes of a slice."""
    for value, box in enumerate(find_objects(labels), 1):
        if box is not None and value in titles:
            told = np.where(labels[box] == value, 0 if hu is None else hu[box], np.nan).astype(np.float32)
            words = titles[value] if hu is None else f"%{{z:.0f}} HU · {titles[value]}"
            _add_voxels(figure, told, spacing_mm, (box[0].start, box[1].start), words)


def _add_voxels(
    figure: go.Figure,
    values: NDArray[np.generic],
    spacing_mm: tuple[float, float],
    first: tuple[int, int],
    words: str,
) -> None:
    """Voxels that nobody sees and that say something where the mouse is; those that are NaN say nothing."""
    (high, wide), (row, column) = spacing_mm, first
    figure.add_heatmap(
        z=values, x0=(column + 0.5) * wide, dx=wide, y0=(row + 0.5) * high, dy=high,
        hovertemplate=words + "<extra></extra>", hoverongaps=False, opacity=0, showscale=False,
    )  # fmt: skip
