"""How much of two masks' surfaces lies within a tolerance of each other: the normalised surface dice.

The method of google-deepmind/surface-distance: surface elements sit on the corner grid, where 2×2×2 voxels
meet; each has an area that follows from which of the eight are foreground. The way here is our own: a
row of voxels is a row of bits, so 64 voxels are shifted, joined and tested at once, and "is a surface point
within the tolerance" is asked instead of "how far is it".
"""

import functools
import itertools
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.rle import RunLengths

Bits = NDArray[np.uint64]
_ALL = np.uint64(2**64 - 1)
_ONE = np.uint64(1)
_TOP = np.uint64(63)


def surface_dice(
    reference: RunLengths,
    prediction: RunLengths,
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
) -> float:
    """The share of both surfaces' area that lies within the tolerance of the other surface.

    Args:
        reference: Mask of one class on (X, Y, Z); whatever is drawn is foreground, beyond the volume is none.
        prediction: Mask of the same class on the same grid.
        spacing_mm: Voxel size along X, Y, Z.
        tolerance_mm: Points up to this distance count as near.

    Returns:
        0.0 to 1.0; 1.0 where neither has a surface, 0.0 where one has none.
    """
    if not len(reference) or not len(prediction):
        return float(len(reference) == len(prediction))
    grid = _Grid.around(reference, prediction, _reach(spacing_mm, tolerance_mm))
    of_reference = _Surface.of(reference, grid)
    of_prediction = _Surface.of(prediction, grid)
    areas = element_areas_mm2(spacing_mm)
    rows = _near_rows(spacing_mm, tolerance_mm)
    near_mm2 = all_mm2 = 0.0
    for mine, other in ((of_reference, of_prediction), (of_prediction, of_reference)):
        far = _far_points(mine, other, rows, grid)
        all_mm2 += float(mine.count_codes(mine.points) @ areas)
        near_mm2 += float(mine.count_codes(mine.points & ~far) @ areas)
    return near_mm2 / all_mm2


@functools.lru_cache(maxsize=64)
def element_areas_mm2(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Area of the surface element at a corner, for each of the 256 ways its eight voxels may be drawn.

    Returns:
        256 areas. Bit ``i + 2j + 4k`` of the index is the voxel at offset (i, j, k) along X, Y, Z.
    """
    x, y, z = spacing_mm
    faces_mm2 = np.array([y * z, x * z, x * y])
    areas = np.zeros(256)
    for code in range(256):
        for normal in _element_normals(code):
            areas[code] += np.linalg.norm(np.array(normal) / 8 * faces_mm2)
    return areas


def _element_normals(code: int) -> list[tuple[int, ...]]:
    """The flat pieces of one surface element: |normal| along X, Y, Z, in eighths of a unit voxel's face.

    The element cuts the edges between drawn and other voxels in the middle. The side that has fewer of the
    eight is looked at (four against four give the same figure from both sides); what hangs together
    along edges is cut off in one go, so voxels that touch only diagonally stay apart.
    """
    corners = {corner for corner in range(8) if code >> corner & 1}
    if len(corners) > 4:
        corners = set(range(8)) - corners
    normals: list[tuple[int, ...]] = []
    while corners:
        group = [corners.pop()]
        for corner in group:  # grows while we walk it
            linked = {corner ^ step for step in (1, 2, 4)} & corners
            group.extend(linked)
            corners -= linked
        normals += _cut_off(group)
    return normals


def _cut_off(group: list[int]) -> list[tuple[int, ...]]:
    """The pieces that cut one group of up to four linked corners off, spanned by the midpoints around it.

    Worked out by hand from the midpoints' coordinates: half the cross product of two sides of each piece.
    """
    links = [(a, b) for a, b in itertools.combinations(group, 2) if (a ^ b).bit_count() == 1]
    axes = {(a ^ b).bit_length() - 1 for a, b in links}

    def along(length: int, which: Collection[int]) -> tuple[int, ...]:
        return tuple(length if axis in which else 0 for axis in range(3))

    others = {0, 1, 2} - axes
    if len(group) == 1:  # a triangle cuts the corner off
        return [(1, 1, 1)]
    if len(group) == 2:  # a rectangle cuts the edge off
        return [along(4, others)]
    if len(group) == 3:  # an angle in one face: a trapezoid, and a triangle parallel to that face
        return [(3, 3, 3), along(4, others)]
    if len(axes) == 2:  # a whole face
        return [along(8, others)]
    degree = Counter(itertools.chain.from_iterable(links))
    if max(degree.values()) == 3:  # a corner with its three neighbours: a flat hexagon
        return [(6, 6, 6)]
    # A chain along three axes: its hexagon is not flat. A trapezoid, and a triangle at either end.
    middle = next((a ^ b).bit_length() - 1 for a, b in links if degree[a] == degree[b] == 2)
    return [(4, 4, 4), *(along(2, {middle, end}) for end in axes - {middle})]


@dataclass(frozen=True)
class _Grid:
    """Rows of bits around two masks, with room for the tolerance on every side.

    A shift by less than that room never carries a drawn bit into another row. `origin` is the voxel (X, Y, Z)
    of bit 0 of row 0; `words` are 64-bit words per row; rows run along Y, then Z.
    """

    origin: tuple[int, int, int]
    words: int
    rows_y: int
    rows_z: int

    @classmethod
    def around(cls, a: RunLengths, b: RunLengths, reach: tuple[int, int, int]) -> "_Grid":
        height = a.shape[1]
        y = np.concatenate((a.row % height, b.row % height))
        z_low, z_high = min(a.row[0], b.row[0]) // height, max(a.row[-1], b.row[-1]) // height
        x_low, x_high = min(a.start.min(), b.start.min()), max(a.stop.max(), b.stop.max())
        # One more than the reach: a mask's corners begin half a voxel before it.
        x, yz = reach[0] + 1, (reach[1] + 1, reach[2] + 1)
        return cls(
            (int(x_low) - x, int(y.min()) - yz[0], int(z_low) - yz[1]),
            -(-int(x_high - x_low + 2 * x) // 64),
            int(y.max() - y.min()) + 1 + 2 * yz[0],
            int(z_high - z_low) + 1 + 2 * yz[1],
        )

    def step(self, y: int, z: int) -> int:
        """How many words further the same bit of another row lies."""
        return (z * self.rows_y + y) * self.words

    def draw(self, mask: RunLengths) -> Bits:
        """The mask as bits: all words of all rows, flat."""
        row = mask.row.astype(np.int64)
        height = mask.shape[1]
        row = (row // height - self.origin[2]) * self.rows_y + row % height - self.origin[1]
        first = row * (self.words * 64) + (mask.start - self.origin[0])
        last = first + mask.lengths - 1
        # One piece for every word that a run reaches into.
        pieces = (last >> 6) - (first >> 6) + 1
        number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        word = np.repeat(first >> 6, pieces) + number
        low = np.where(number == 0, np.repeat(first & 63, pieces), 0).astype(np.uint64)
        high = np.where(word == np.repeat(last >> 6, pieces), np.repeat(last & 63, pieces), 63)
        piece = (_ALL << low) & (_ALL >> (_TOP - high.astype(np.uint64)))
        begins = np.flatnonzero(np.concatenate(([True], word[1:] != word[:-1])))
        bits = np.zeros(self.words * self.rows_y * self.rows_z, np.uint64)
        bits[word[begins]] = np.bitwise_or.reduceat(piece, begins)
        return bits


@dataclass(frozen=True)
class _Surface:
    """One mask's surface: bit (x, y, z) is the corner between the voxels (x, y, z) and (x+1, y+1, z+1).

    `places` are the words that hold a point, `points` those words; `dense` has a word for every place of the
    grid. `voxels` is, for the eight voxels around each point in the order of the code's bits, their bit
    at the point's place.
    """

    places: NDArray[np.intp]
    points: Bits
    dense: Bits
    voxels: tuple[Bits, ...]

    @classmethod
    def of(cls, mask: RunLengths, grid: _Grid) -> "_Surface":
        here = grid.draw(mask)
        beside = _towards_lower(here)
        steps = [grid.step(y, z) for z in (0, 1) for y in (0, 1)]
        either, both = here | beside, here & beside
        some = _joined(np.bitwise_or, either, steps)
        every = _joined(np.bitwise_and, both, steps)
        dense = some & ~every
        places = np.flatnonzero(dense)
        voxels = tuple(bits[places + step] for step in steps for bits in (here, beside))
        return cls(places, dense[places], dense, voxels)

    def count_codes(self, chosen: Bits) -> NDArray[np.intp]:
        """How often each of the 256 codes stands at the chosen points (a word for each of `places`)."""
        there = np.flatnonzero(np.unpackbits(chosen.astype("<u8").view(np.uint8), bitorder="little"))
        place = there >> 6
        shift = (there & 63).astype(np.uint64)
        codes = np.zeros(len(there), np.uint64)
        for bit, voxel in enumerate(self.voxels):
            codes |= (voxel[place] >> shift & _ONE) << np.uint64(bit)
        return np.bincount(codes.astype(np.intp), minlength=256)


def _joined(join: np.ufunc, bits: Bits, steps: list[int]) -> Bits:
    """Join every word with those that lie `steps` further; beyond the end nothing is drawn."""
    end = len(bits) - steps[-1]
    joined = np.zeros_like(bits)
    joined[:end] = functools.reduce(join, (bits[step : step + end] for step in steps))
    return joined


def _towards_lower(bits: Bits) -> Bits:
    """Every voxel's bit one place lower, over the words of a row."""
    moved = bits >> _ONE
    moved[:-1] |= bits[1:] << _TOP
    return moved


def _towards_higher(bits: Bits) -> Bits:
    moved = bits << _ONE
    moved[1:] |= bits[:-1] >> _TOP
    return moved


def _reach(spacing_mm: tuple[float, float, float], tolerance_mm: float) -> tuple[int, int, int]:
    """How many voxels the tolerance reaches along each axis, rounded up."""
    x, y, z = (int(tolerance_mm / spacing) + 1 for spacing in spacing_mm)
    return x, y, z


@functools.lru_cache(maxsize=64)
def _near_rows(
    spacing_mm: tuple[float, float, float], tolerance_mm: float
) -> tuple[tuple[int, int, int], ...]:
    """The rows that hold points within the tolerance, nearest first: (y, z, how far along X)."""
    reach = _reach(spacing_mm, tolerance_mm)
    x = np.arange(reach[0] + 1) * spacing_mm[0]
    rows = []
    for dy, dz in itertools.product(range(-reach[1], reach[1] + 1), range(-reach[2], reach[2] + 1)):
        # The sum in the order in which scipy's distance transform adds, so that a tie falls the same way.
        squares = x**2 + (dy * spacing_mm[1]) ** 2 + (dz * spacing_mm[2]) ** 2
        within = int(np.count_nonzero(np.sqrt(squares) <= tolerance_mm))
        if within:
            rows.append((squares[0], dy, dz, within - 1))
    return tuple((dy, dz, width) for _, dy, dz, width in sorted(rows))


def _far_points(
    mine: _Surface, other: _Surface, rows: tuple[tuple[int, int, int], ...], grid: _Grid
) -> Bits:
    """Those of my points (a word for each of my places) with no point of the other within the tolerance.

    Nearest rows first: most points find one at once, and words without open points are dropped.
    """
    widened = [other.dense]
    while len(widened) <= max(width for _, _, width in rows):
        last = widened[-1]
        widened.append(last | _towards_lower(last) | _towards_higher(last))
    far = mine.points.copy()
    open_words = np.arange(len(far))
    for dy, dz, width in rows:
        left = far[open_words] & ~widened[width][mine.places[open_words] + grid.step(dy, dz)]
        far[open_words] = left
        open_words = open_words[left != 0]
        if not len(open_words):
            break
    return far
