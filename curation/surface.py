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
        points = mine.count_codes(mine.points)
        all_mm2 += float(points @ areas)
        # Counted are the few that are far. Code 0 has no area.
        near_mm2 += float((points - mine.count_codes(far)) @ areas)
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
    """Rows of bits around two masks: only rows that a surface may touch are kept, wherever specks lie.

    `origin` is the voxel (X, Y, Z) of bit 0 of grid row 0; grid rows run along Y (`rows_y` of them), then Z;
    the grid has room for the tolerance on every side, so that no step from a mask leaves it or reaches
    around its edge. `rows` are the grid rows that are kept, `kept` says for each grid row which of them it is,
    `len(rows)` for the others: an empty row behind them. A row has `words` words of 64 bits.
    """

    origin: tuple[int, int, int]
    words: int
    rows_y: int
    rows: NDArray[np.intp]
    kept: NDArray[np.int32]

    @classmethod
    def around(cls, a: RunLengths, b: RunLengths, reach: tuple[int, int, int]) -> "_Grid":
        """The grid that holds two masks, neither empty, and `reach` voxels (x, y, z) on all sides of them."""
        height = a.shape[1]
        row = np.concatenate((a.row, b.row))
        y, z = row % height, row // height
        x_low, x_high = min(a.start.min(), b.start.min()), max(a.stop.max(), b.stop.max())
        # One more than the reach: a mask's corners begin half a voxel before it.
        margin_x, margin_y, margin_z = (n + 1 for n in reach)
        origin = int(x_low) - margin_x, int(y.min()) - margin_y, int(z.min()) - margin_z
        rows_y = int(y.max()) - origin[1] + margin_y + 1
        rows_z = int(z.max()) - origin[2] + margin_z + 1
        touched = np.zeros(rows_y * rows_z, bool)
        touched[(z - origin[2]) * rows_y + y - origin[1]] = True
        touched[:-1] |= touched[1:]
        touched[:-rows_y] |= touched[rows_y:]
        rows = np.flatnonzero(touched)
        kept = np.full(len(touched), len(rows), np.int32)
        kept[rows] = np.arange(len(rows))
        return cls(origin, -(-int(x_high - x_low + 2 * margin_x) // 64), rows_y, rows, kept)

    def step(self, y: int, z: int) -> int:
        """How many grid rows lie between a row and one y, z further."""
        return z * self.rows_y + y

    def draw(self, mask: RunLengths) -> Bits:
        """The mask as bits: the words of all kept rows and of the empty row, flat."""
        y, z = mask.row % mask.shape[1] - self.origin[1], mask.row // mask.shape[1] - self.origin[2]
        first = self.kept[z * self.rows_y + y].astype(np.int64) * (self.words * 64)
        first += mask.start - self.origin[0]
        last = first + mask.lengths - 1
        # One piece for every word that a run reaches into.
        pieces = (last >> 6) - (first >> 6) + 1
        number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        word = np.repeat(first >> 6, pieces) + number
        low = np.where(number == 0, np.repeat(first & 63, pieces), 0).astype(np.uint64)
        high = np.where(word == np.repeat(last >> 6, pieces), np.repeat(last & 63, pieces), 63)
        piece = (_ALL << low) & (_ALL >> (np.uint64(63) - high.astype(np.uint64)))
        begins = np.flatnonzero(np.concatenate(([True], word[1:] != word[:-1])))
        bits = np.zeros(self.words * (len(self.rows) + 1), np.uint64)
        bits[word[begins]] = np.bitwise_or.reduceat(piece, begins)
        return bits


@dataclass(frozen=True)
class _Surface:
    """One mask's surface: bit (x, y, z) is the corner between the voxels (x, y, z) and (x+1, y+1, z+1).

    `dense` are the words of all kept rows. Of those that hold a point, `points` is the word, `row` its grid
    row, `word` its place in the row, and `voxels`, for the eight voxels around a point in the order of the
    code's bits, has their bit at the point's place.
    """

    dense: Bits
    points: Bits
    row: NDArray[np.intp]
    word: NDArray[np.intp]
    voxels: tuple[Bits, ...]

    @classmethod
    def of(cls, mask: RunLengths, grid: _Grid) -> "_Surface":
        """Find the surface of one mask, of one class, on a grid made around it."""
        here = grid.draw(mask)
        beside = _shifted(here, -1)
        steps = [grid.step(y, z) for z in (0, 1) for y in (0, 1)]
        neighbours = [grid.kept[grid.rows + step] for step in steps]
        some, every = (
            functools.reduce(join, (pair.reshape(-1, grid.words)[rows] for rows in neighbours))
            for join, pair in ((np.bitwise_or, here | beside), (np.bitwise_and, here & beside))
        )
        dense = np.zeros_like(here)
        dense[: some.size] = (some & ~every).reshape(-1)
        places = np.flatnonzero(dense)
        row, word = grid.rows[places // grid.words], places % grid.words
        around = [grid.kept[row + step] * np.intp(grid.words) + word for step in steps]
        voxels = tuple(bits[place] for place in around for bits in (here, beside))
        return cls(dense, dense[places], row, word, voxels)

    def count_codes(self, chosen: Bits) -> NDArray[np.intp]:
        """How often each of the 256 codes stands at the chosen points, a subset of `points`; 0 is elsewhere."""
        words = np.flatnonzero(chosen)
        around = np.empty((8, len(words)), "<u8")
        for bit, voxel in enumerate(self.voxels):
            np.bitwise_and(voxel[words], chosen[words], out=around[bit])
        # Byte k of the eight words is a square of 8 × 8 bits, a row per voxel: turned over, a row per point.
        rows = around.view(np.uint8).reshape(8, -1).T
        squares = np.ascontiguousarray(rows).view("<u8").reshape(-1)
        return np.bincount(_turned(squares).view(np.uint8), minlength=256)


def _turned(squares: Bits) -> Bits:
    """Squares of 8 × 8 bits with rows and columns exchanged: halves of 4 × 4, of 2 × 2, then single bits."""
    for places, mask in ((28, 0x00000000F0F0F0F0), (14, 0x0000CCCC0000CCCC), (7, 0x00AA00AA00AA00AA)):
        apart = (squares ^ (squares >> np.uint64(places))) & np.uint64(mask)
        squares = squares ^ apart ^ (apart << np.uint64(places))
    return squares


def _shifted(bits: Bits, places: int) -> Bits:
    """Every bit moved by up to 63 places to higher x, or lower where negative, over the words of its row."""
    by, rest = np.uint64(abs(places)), np.uint64(64 - abs(places))
    if places < 0:
        moved = bits >> by
        moved[:-1] |= bits[1:] << rest
    else:
        moved = bits << by
        moved[1:] |= bits[:-1] >> rest
    return moved


class _Widened:
    """A surface with each point widened along X, by as many voxels as are asked for, worked out once each."""

    def __init__(self, bits: Bits) -> None:
        self._by_width = {0: bits}

    def __getitem__(self, width: int) -> Bits:
        while width not in self._by_width:
            least = max(known for known in self._by_width if known < width)
            # Twice the width and one more: copies moved that far to either side leave no gap.
            more = min(width - least, 2 * least + 1, 63)
            bits = self._by_width[least]
            self._by_width[least + more] = bits | _shifted(bits, more) | _shifted(bits, -more)
        return self._by_width[width]


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


def _far_points(mine: _Surface, other: _Surface, rows: tuple[tuple[int, int, int], ...], grid: _Grid) -> Bits:
    """Those of my points with no point of the other within the tolerance: a word for each of `mine.points`.

    Nearest rows first: most points find one at once, and words without open points are dropped.
    """
    widened = _Widened(other.dense)
    far = mine.points.copy()
    open_words = np.arange(len(far))
    row, word, points = mine.row, mine.word, mine.points
    for dy, dz, width in rows:
        place = grid.kept[row + grid.step(dy, dz)] * np.intp(grid.words) + word
        points = points & ~widened[width][place]
        far[open_words] = points
        still_open = np.flatnonzero(points)
        if not len(still_open):
            break
        if len(still_open) < len(points):
            open_words, row, word = open_words[still_open], row[still_open], word[still_open]
            points = points[still_open]
    return far
