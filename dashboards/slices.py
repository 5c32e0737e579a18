"""From voxels to a picture of one slice: the patient's planes, radiological sides, window, overlay, letters."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from curation.labels import CLASSES, IGNORE, UNRESOLVED


class Plane(StrEnum):
    """The patient's planes."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"

    @property
    def axis(self) -> int:
        """The axis of a RAS volume that the plane's slices are counted along."""
        return {Plane.AXIAL: 2, Plane.CORONAL: 1, Plane.SAGITTAL: 0}[self]

    @property
    def edges(self) -> tuple[str, str, str, str]:
        """Which side of the patient lies left, right, up and down in the picture."""
        return {
            Plane.AXIAL: ("R", "L", "A", "P"),
            Plane.CORONAL: ("R", "L", "S", "I"),
            Plane.SAGITTAL: ("A", "P", "S", "I"),
        }[self]


@dataclass(frozen=True)
class Window:
    """Which Hounsfield units are shown, from black to white."""

    level_hu: float
    width_hu: float

    @property
    def limits_hu(self) -> tuple[float, float]:
        """The HU that become black and white."""
        return self.level_hu - self.width_hu / 2, self.level_hu + self.width_hu / 2


# The usual presets of CT workstations.
WINDOWS: dict[str, Window] = {
    "Abdomen": Window(40, 400),
    "Liver": Window(60, 160),
    "Lung": Window(-600, 1500),
    "Bone": Window(400, 1800),
}
COLORS: dict[int, str] = {
    **{c.id: c.color for c in CLASSES},
    **{pair.value: pair.color for pair in UNRESOLVED},
    IGNORE: "#9e9e9e",
}

# Letters of 5 × 7 pixels, a row per number, its bits from left to right.
_GLYPHS = {
    "R": (30, 17, 17, 30, 20, 18, 17),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "A": (14, 17, 17, 31, 17, 17, 17),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "I": (14, 4, 4, 4, 4, 4, 14),
}
_LETTER_SCALE = 2


def cut(volume_ras: NDArray[np.generic], plane: Plane, index: int) -> NDArray[np.generic]:
    """One slice of a RAS volume as it is looked at: rows from above, columns from the left.

    Radiological convention: the patient is seen from the feet or from the front, so the right side lies on
    the left of the picture; anterior is above in axial slices, left in sagittal ones; superior is above.

    Args:
        volume_ras: Voxels (X, Y, Z), running towards right, anterior, superior.
        plane: Which plane.
        index: Along `plane.axis`, from 0.
    """
    match plane:
        case Plane.AXIAL:
            return volume_ras[::-1, ::-1, index].T
        case Plane.CORONAL:
            return volume_ras[::-1, index, ::-1].T
        case Plane.SAGITTAL:
            return volume_ras[index, ::-1, ::-1].T


def pixel_mm(spacing_ras_mm: tuple[float, float, float], plane: Plane) -> tuple[float, float]:
    """Height and width of one voxel of a slice, in millimetres."""
    x, y, z = spacing_ras_mm
    return {Plane.AXIAL: (y, x), Plane.CORONAL: (z, x), Plane.SAGITTAL: (z, y)}[plane]


def picture_size(shape: tuple[int, int], spacing_mm: tuple[float, float], longest: int) -> tuple[int, int]:
    """Rows and columns of a picture whose pixels are square, its longer side of `longest` pixels."""
    height, width = shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def gray(slice_hu: NDArray[np.generic], window: Window, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A slice of an image as gray values, resized linearly: shape `size`, uint8."""
    low, high = window.limits_hu
    shown = (np.clip(slice_hu.astype(np.float32), low, high) - low) * (255 / (high - low))
    rows, columns = _between(shown.shape[0], size[0]), _between(shown.shape[1], size[1])
    tall = shown[rows[0]] * (1 - rows[2])[:, None] + shown[rows[1]] * rows[2][:, None]
    wide = tall[:, columns[0]] * (1 - columns[2]) + tall[:, columns[1]] * columns[2]
    return np.rint(wide).astype(np.uint8)


def nearest(slice_labels: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.generic]:
    """A slice of a mask, resized to `size` by its nearest voxels."""
    rows, columns = (
        np.minimum(((np.arange(to) + 0.5) * (of / to)).astype(np.intp), of - 1)
        for of, to in zip(slice_labels.shape, size, strict=True)
    )
    return slice_labels[rows[:, None], columns]


def overlay(
    background: NDArray[np.uint8],
    labels: NDArray[np.generic],
    opacity: float,
    colors: Mapping[int, str] = COLORS,
) -> NDArray[np.uint8]:
    """Lay label values over a gray picture.

    Args:
        background: Gray values, shape (H, W).
        labels: Label values of the same shape; values that `colors` does not name stay uncovered.
        opacity: Of the areas, 0 to 1. Outlines are drawn in full color unless it is 0.
        colors: Label value to ``#rrggbb``.

    Returns:
        RGB, shape (H, W, 3).
    """
    picture = np.repeat(background[:, :, None], 3, axis=2)
    if opacity <= 0:
        return picture
    table = np.zeros((256, 3), np.float32)
    known = np.zeros(256, bool)
    for value, color in colors.items():
        table[value] = rgb(color)
        known[value] = True
    shown = known[labels.astype(np.uint8)]
    paint = table[labels.astype(np.uint8)]
    mixed = (1 - opacity) * picture[shown] + opacity * paint[shown]
    picture[shown] = np.rint(mixed).astype(np.uint8)
    edge = shown & _outline(labels)
    picture[edge] = paint[edge].astype(np.uint8)
    return picture


def rgb(color: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def lettered(picture: NDArray[np.uint8], plane: Plane) -> NDArray[np.uint8]:
    """Write at the picture's edges which side of the patient lies there; a copy, (H, W, 3)."""
    written = picture.copy()
    height, width = written.shape[:2]
    left, right, above, below = (_letter(name) for name in plane.edges)
    tall, broad = left.shape
    margin = 4
    middle_row, middle_column = (height - tall) // 2, (width - broad) // 2
    for glyph, row, column in (
        (left, middle_row, margin),
        (right, middle_row, width - broad - margin),
        (above, margin, middle_column),
        (below, height - tall - margin, middle_column),
    ):
        if min(row, column) >= 0 and row + tall <= height and column + broad <= width:
            written[row : row + tall, column : column + broad][glyph] = (255, 255, 255)
    return written


def _letter(name: str) -> NDArray[np.bool_]:
    rows = [[bool(bits >> (4 - column) & 1) for column in range(5)] for bits in _GLYPHS[name]]
    return np.kron(np.array(rows), np.ones((_LETTER_SCALE, _LETTER_SCALE), bool)).astype(bool)


def _outline(labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Pixels whose neighbour above, below, left or right has another value."""
    edge = np.zeros(labels.shape, bool)
    below = labels[1:] != labels[:-1]
    edge[1:] |= below
    edge[:-1] |= below
    beside = labels[:, 1:] != labels[:, :-1]
    edge[:, 1:] |= beside
    edge[:, :-1] |= beside
    return edge


def _between(of: int, to: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `to` pixels over `of` voxels: the two voxels it lies between, and the second one's weight."""
    at = np.clip((np.arange(to) + 0.5) * (of / to) - 0.5, 0, of - 1)
    first = np.floor(at).astype(np.intp)
    return first, np.minimum(first + 1, of - 1), (at - first).astype(np.float32)
