"""The slice viewer: plane, slice, window, opacity and classes to choose from; one picture that tells its voxels."""

from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from curation.geometry import Geometry
from curation.labels import BACKGROUND, BY_ID, IGNORE, UNRESOLVED_BY_VALUE
from dashboards.components.volumes import Scene
from dashboards.session import plain, problems_told
from dashboards.slice_figure import slice_figure
from dashboards.slices import (
    COLORS,
    WINDOWS,
    Plane,
    cut,
    gray,
    lettered,
    nearest,
    overlay,
    picture_size,
    pixel_mm,
)

# Pixels of the picture's longer side: what fits a laptop's screen beside the census.
LONGEST = 720
# Where there is no image, the mask lies on a plain dark gray.
PLAIN_GRAY = 38
_SIDES = {"R": "right", "L": "left", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior"}


def value_title(value: int) -> str:
    """What a voxel value stands for, in words."""
    if value in BY_ID:
        return BY_ID[value].title
    if value in (BACKGROUND, IGNORE):
        return "Ignore" if value == IGNORE else "Background"
    pair = UNRESOLVED_BY_VALUE.get(value)
    return f"Unresolved {pair.name}" if pair else f"Unresolved {value}"


def best_slice(boxes: Sequence[Sequence[int]], geometry: Geometry, plane: Plane) -> int:
    """The slice to begin with: the middle one of those that meet most classes.

    Args:
        boxes: Bounding boxes on the file's axes, [x0, y0, z0, x1, y1, z1), half open.
        geometry: The file's grid.
        plane: Which slices; they are counted as in RAS.
    """
    axis, backwards = geometry.ras_axes[plane.axis]
    size = geometry.shape[axis]
    met = np.zeros(size, int)
    for box in boxes:
        met[box[axis] : box[axis + 3]] += 1
    if backwards:
        met = met[::-1]
    best = np.flatnonzero(met == met.max())
    return int(best[len(best) // 2])


def draw(
    scene: Scene, plane: Plane, index: int, window: str, opacity: float, values: Sequence[int]
) -> NDArray[np.uint8]:
    """The picture of one slice, RGB, with the chosen label values over it and the patient's sides at its edges."""
    voxels = scene.labels if scene.image_hu is None else scene.image_hu
    assert voxels is not None, "a scene has an image or a mask"
    flat = cut(voxels, plane, index)
    height, width = flat.shape
    size = picture_size((height, width), pixel_mm(scene.geometry.spacing_ras_mm, plane), LONGEST)
    background = np.full(size, PLAIN_GRAY, np.uint8)
    if scene.image_hu is not None:
        background = gray(flat, WINDOWS[window], size)
    if scene.labels is None:
        return lettered(overlay(background, np.zeros(size, np.uint8), 0), plane)
    labels = nearest(cut(scene.labels, plane, index), size)
    colors = {value: COLORS.get(value, COLORS[IGNORE]) for value in values}
    return lettered(overlay(background, labels, opacity, colors), plane)


@st.fragment
def viewer(scene: Scene, boxes: Sequence[Sequence[int]], present: Mapping[int, float], key: str) -> None:
    """Show a scene with its controls; moving them draws nothing else of the page anew.

    Args:
        scene: Image and mask.
        boxes: Bounding boxes of the classes, for the slice to begin with.
        present: Voxel values of the mask and their volume in ml.
        key: Names case and version, so that another one begins with its own slice.
    """
    with problems_told():
        if scene.problem:
            st.warning(plain(scene.problem), icon=":material/hide_image:")
        planes, windows = st.columns([1, 1.15], gap="small")
        plane = planes.segmented_control(
            "Plane", list(Plane), default=Plane.AXIAL, format_func=lambda p: p.value.title(), key="plane",
            required=True,
        )  # fmt: skip
        window = windows.segmented_control(
            "Window", list(WINDOWS), default="Abdomen", key="window", required=True,
            disabled=scene.image_hu is None,
            help=", ".join(f"{name} W {w.width_hu:g} L {w.level_hu:g} HU" for name, w in WINDOWS.items()),
        )  # fmt: skip
        slices = scene.geometry.shape_ras[plane.axis]
        slider, opacity_slider = st.columns([1.6, 1], gap="medium")
        start = best_slice(boxes, scene.geometry, plane) + 1
        number = slider.slider("Slice", 1, slices, start, key=f"slice {plane} {key}") if slices > 1 else 1
        opacity = opacity_slider.slider(
            "Overlay (%)", 0, 100, 40, step=5, key="opacity", disabled=not present,
        )  # fmt: skip
        values: list[int] = list(present)
        picture_place = st.container(key="slice")
        if present:
            values = st.pills(
                "Classes shown", list(present), selection_mode="multi", default=list(present),
                format_func=value_title, key=f"classes {key}",
            )  # fmt: skip
            st.html(pill_colors(list(present)))
        picture = draw(scene, plane, number - 1, window, opacity / 100, values)
        figure = slice_figure(
            picture,
            pixel_mm(scene.geometry.spacing_ras_mm, plane),
            None if scene.image_hu is None else cut(scene.image_hu, plane, number - 1),
            None if scene.labels is None else cut(scene.labels, plane, number - 1),
            {value: value_title(value) for value in present},
            f"{key} {plane}",
        )
        w = WINDOWS[window]
        left, right, above, _ = (_SIDES[edge] for edge in plane.edges)
        shown = f"W {w.width_hu:g} L {w.level_hu:g} HU" if scene.image_hu is not None else "mask alone"
        spacing = scene.geometry.spacing_ras_mm[plane.axis]
        picture_place.plotly_chart(figure, key="slice figure", config={"displayModeBar": False})
        picture_place.caption(
            f"{plane.value.title()} slice {number} of {slices}, {spacing:.2f} mm apart · {shown} · "
            f"radiological convention: patient's {left} on the left of the picture, {right} on the right, "
            f"{above} above · drag to zoom in, double-click to see all"
        )


def pill_colors(values: Sequence[int], key: str = "classes") -> str:
    """A style that gives the buttons of the classes their colors, in order; `key` is how their widget's begins."""
    rules = "".join(
        f'[class*="st-key-{key}"] button:nth-of-type({number})::before '
        f"{{ content: ''; width: 0.7em; height: 0.7em; border-radius: 2px; margin-right: 0.4em; "
        f"background: {COLORS.get(value, COLORS[IGNORE])}; }}"
        for number, value in enumerate(values, 1)
    )
    return f"<style>{rules}</style>"
