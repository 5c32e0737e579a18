"""The picture of a diff: for the most changed classes, the axial slice with most changes before, after, and apart."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curation.diff import changed_per_slice
from curation.geometry import Geometry
from curation.labels import is_reserved, value_color, value_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pipelines.changes import Comparison, ValueDiff

MOST_CLASSES = 4
# Abdomen: level 40, width 400.
_WINDOW_HU = (-160.0, 240.0)
# Sky blue and orange of Okabe and Ito's palette, which every kind of color vision tells apart.
_GAINED, _LOST, _KEPT = "#56b4e9", "#e69f00", "#ffffff"
_PAPER, _INK, _NO_IMAGE = "#16181c", "#e8e8e8", 0.22
_MARGIN_MM, _LEAST_MM, _BAR_MM = 12.0, 64.0, 20


def picture(
    compared: "Comparison", changed: Sequence["ValueDiff"], image: NDArray[np.float32 | np.int16] | None
) -> bytes:
    """Draw up to four values, the most changed first, as a PNG.

    Args:
        compared: The two versions.
        changed: The values of which voxels changed; at least one.
        image: The CT on the versions' grid, (X, Y, Z) in HU; None: drawn on dark gray.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    # A class says more than voxels whose class is not resolved yet.
    ranked = sorted(changed, key=lambda one: (is_reserved(one.value), -one.voxels.gained - one.voxels.lost))
    shown = ranked[:MOST_CLASSES]
    geometry = compared.after.file.geometry
    before, after = (geometry.to_ras(side.runs.to_array()) for side in (compared.before, compared.after))
    ct = None if image is None else geometry.to_ras(image)

    figure = Figure(figsize=(13.2, 0.9 + 3.75 * len(shown)), facecolor=_PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    names = f"{compared.before.address} → {compared.after.address}"
    figure.suptitle(names, color=_INK, fontsize=15, fontweight="bold", x=0.01, ha="left")
    seen: set[int] = set()
    rows = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
    for part, one in zip(rows, shown, strict=True):
        z = _slice_of_most_changes(compared, one.value)
        planes = _axial(before, z), _axial(after, z)
        gray = np.full(planes[0].shape, _NO_IMAGE) if ct is None else _windowed(_axial(ct, z))
        part.set_facecolor(_PAPER)
        part.suptitle(_title(one), color=_INK, fontsize=12, x=0.01, ha="left")
        seen |= _draw_row(part, one.value, gray, planes, geometry, z, compared)
    legend = [
        Patch(facecolor=_GAINED, label="gained"),
        Patch(facecolor=_LOST, label="lost"),
        Patch(facecolor=_KEPT, alpha=0.4, label="in both"),
    ] + [Patch(facecolor=value_color(v), label=_words(v)) for v in sorted(seen)]
    foot = figure.legend(
        handles=legend, loc="outside lower left", ncols=8, frameon=False, labelcolor=_INK, alignment="left"
    )
    if len(ranked) > len(shown):
        foot.set_title(f"and {len(ranked) - len(shown)} more that changed less")
        foot.get_title().set_color(_INK)
    stream = io.BytesIO()
    # Without the program's name, so that the same diff is the same file.
    figure.savefig(stream, format="png", dpi=110, facecolor=_PAPER, metadata={"Software": None})
    return stream.getvalue()


def _slice_of_most_changes(compared: "Comparison", value: int) -> int:
    """Index along the patient's z, of the slice in which most voxels took or left a value."""
    geometry = compared.after.file.geometry
    axis, backwards = geometry.ras_axes[2]
    at = int(np.argmax(changed_per_slice(compared.before.runs, compared.after.runs, value, axis)))
    return geometry.shape[axis] - 1 - at if backwards else at


def _axial(volume_ras: NDArray[Any], z: int) -> NDArray[Any]:
    """An axial slice as radiologists look at it: anterior above, the patient's right on the left."""
    return volume_ras[::-1, ::-1, z].T


def _windowed(slice_hu: NDArray[Any]) -> NDArray[np.float64]:
    low, high = _WINDOW_HU
    return np.clip((slice_hu.astype(np.float64) - low) / (high - low), 0, 1)


def _words(value: int) -> str:
    return value_name(value).replace("_", " ")


def _title(one: "ValueDiff") -> str:
    change = one.voxels
    who = [
        f" ({', '.join(filter(None, pair))})" if any(pair) else ""
        for pair in zip(one.origin, one.by, strict=True)
    ]
    states = [f"{status}{of}" for status, of in zip(one.status, who, strict=True) if status]
    drawn = f"   {states[0]} → {states[1]}" if states and states[0] != states[1] else ""
    return (
        f"{_words(one.value).capitalize()}   gained {one.gained_ml:.2f} ml, lost {one.lost_ml:.2f} ml, "
        f"Dice {change.dice:.3f}{drawn}"
    )


def _draw_row(
    part: Any,
    value: int,
    gray: NDArray[np.float64],
    planes: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    geometry: Geometry,
    z: int,
    compared: "Comparison",
) -> set[int]:
    """Whole slice, before, after, difference; returns the values that are to be seen in it."""
    pixel_mm = geometry.spacing_ras_mm[:2]
    before, after = planes
    was, now = before == value, after == value
    box = _box_mm(was | now, pixel_mm)
    panels = part.subplots(1, 4)
    whole, *near = panels
    for axes in panels:
        axes.set_facecolor("black")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#444444")
        _show(axes, np.repeat(gray[:, :, None], 3, axis=2), pixel_mm)
    for axes in near:
        axes.set_xlim(box[0], box[1])
        axes.set_ylim(box[3], box[2])
    _mark_place(whole, box, gray.shape, pixel_mm)
    slices = geometry.shape_ras[2]
    titles = (
        f"axial slice {z + 1} of {slices}",
        _version_words(compared.before), _version_words(compared.after), "difference",
    )  # fmt: skip
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, color=_INK, fontsize=10)
    for axes, plane in ((whole, after), (near[0], before), (near[1], after)):
        for other in np.unique(plane[plane != 0]).tolist():
            own = other == value
            strength = 0.5 if own or axes is whole else 0.22
            _paint(axes, plane == other, value_color(other), strength, pixel_mm)
            if axes is not whole:
                _outline(axes, plane == other, value_color(other), 1.6 if own else 0.8, pixel_mm)
    # Areas without outlines: a line around what stayed would hide what changed along it.
    _paint(near[2], was & now, _KEPT, 0.3, pixel_mm)
    _paint(near[2], now & ~was, _GAINED, 0.9, pixel_mm)
    _paint(near[2], was & ~now, _LOST, 0.9, pixel_mm)
    _scale_bar(near[2], box)
    return {int(v) for v in np.unique(np.stack(planes)).tolist() if v}


def _version_words(side: Any) -> str:
    row = side.row
    made = f"{row.kind} {row.revision}" if row.revision else str(row.kind)
    return f"@{row.number}   {made}"


def _extent(shape: tuple[int, ...], pixel_mm: tuple[float, float]) -> tuple[float, float, float, float]:
    """Left, right, bottom, top of a slice in mm, so that every panel has the patient's proportions."""
    return 0.0, shape[1] * pixel_mm[0], shape[0] * pixel_mm[1], 0.0


def _show(axes: "Axes", rgb: NDArray[Any], pixel_mm: tuple[float, float]) -> None:
    axes.imshow(rgb, extent=_extent(rgb.shape, pixel_mm), interpolation="nearest", aspect="equal")


def _paint(
    axes: "Axes", there: NDArray[np.bool_], color: str, strength: float, pixel_mm: tuple[float, float]
) -> None:
    from matplotlib.colors import to_rgba

    if there.any():
        paint = np.zeros((*there.shape, 4))
        paint[there] = to_rgba(color, strength)
        _show(axes, paint, pixel_mm)


def _outline(
    axes: "Axes", there: NDArray[np.bool_], color: str, width: float, pixel_mm: tuple[float, float]
) -> None:
    if there.any():
        # A border of background, so that what touches the edge of the slice is closed, too.
        framed = np.pad(there, 1).astype(np.float64)
        x = (np.arange(framed.shape[1]) - 0.5) * pixel_mm[0]
        y = (np.arange(framed.shape[0]) - 0.5) * pixel_mm[1]
        axes.contour(x, y, framed, levels=[0.5], colors=[color], linewidths=width)


def _box_mm(there: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> tuple[float, float, float, float]:
    """A square around what is drawn, within the slice where it fits: left, right, top, bottom in mm."""
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    spans = (columns * pixel_mm[0], rows * pixel_mm[1])
    side = max(_LEAST_MM, *(float(s[-1] - s[0]) + 2 * _MARGIN_MM for s in spans))
    box: list[float] = []
    for span, voxels, mm in zip(spans, there.shape[::-1], pixel_mm, strict=True):
        middle, length = float(span[0] + span[-1] + mm) / 2, voxels * mm
        low = min(max(middle - side / 2, 0.0), max(length - side, 0.0))
        box += [low, low + side]
    return box[0], box[1], box[2], box[3]


def _mark_place(
    axes: "Axes",
    box: tuple[float, float, float, float],
    shape: tuple[int, ...],
    pixel_mm: tuple[float, float],
) -> None:
    """Frame the part that the other panels show, and say which side is which."""
    from matplotlib.patches import Rectangle

    left, right, top, bottom = box
    axes.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=_INK, linewidth=1)
    )
    _, width, height, _ = _extent(shape, pixel_mm)
    for letter, x, y in (("R", 0.03, 0.5), ("L", 0.97, 0.5), ("A", 0.5, 0.96), ("P", 0.5, 0.04)):
        axes.text(x, y, letter, color=_INK, fontsize=9, ha="center", va="center", transform=axes.transAxes)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _scale_bar(axes: "Axes", box: tuple[float, float, float, float]) -> None:
    from matplotlib.patheffects import withStroke

    left, right, _, bottom = box
    x, y = left + 0.05 * (right - left), bottom - 0.06 * (right - left)
    edge = [withStroke(linewidth=4, foreground="black")]  # to be read on bone, too
    axes.plot([x, x + _BAR_MM], [y, y], color=_INK, linewidth=2.5, path_effects=edge)
    axes.text(
        x, y - 0.02 * (right - left), f"{_BAR_MM} mm", color=_INK, fontsize=8, va="bottom",
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )  # fmt: skip
