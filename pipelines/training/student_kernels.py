"""Compiled loops between a CT's grid and a network's input, both ways. Importing this loads numba.

Equal to the torch ways in `student_volumes` up to float32's rounding, in a fraction of their time: an image is read
only where an output voxel lies, and between interpolation and decision class scores never leave the cache. A call
works on a range of slices and leaves the interpreter free.
"""

from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

# Along one axis, for each place of the finer grid: the neighbour below, the one above, and the latter's weight.
Axis = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]

# The same on the way in, with a weight of each neighbour: 0 where it lies outside the crop.
AxisInside = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]

_AXIS_INSIDE = types.Tuple(
    (types.Array(types.int32, 1, "C"),) * 2 + (types.Array(types.float32, 1, "C"),) * 2
)
_AXIS = types.Tuple((types.Array(types.int32, 1, "C"),) * 2 + (types.Array(types.float32, 1, "C"),))
_SCORES = types.Array(types.float32, 4, "A", readonly=True)
_SLICES_READ = types.Array(types.float32, 3, "C")
_STRETCHED = types.Array(types.float32, 4, "C")
_BLOCK = types.Array(types.float32, 2, "C")
_INTS, _HALVES = types.Array(types.int32, 1, "C"), types.Array(types.uint16, 1, "C")

# Slices read at a time: a voxel's scores in several slices lie side by side in a network's output.
_SLICES = 4
# Voxels of a line decided at a time: with 15 classes their scores fit the first-level cache.
PART = 64
# e^x is 2^n times a polynomial in the rest, the one of Cephes' expf; ln 2 in two parts keeps the rest's digits.
_LOG2_E, _LN2_HIGH, _LN2_LOW = (np.float32(n) for n in (1.44269504, 0.693359375, -2.12194440e-4))
_P0, _P1, _P2 = (np.float32(n) for n in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3))
_P3, _P4, _P5 = (np.float32(n) for n in (4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1))
# Below it e^x is nothing beside 1.
_LEAST = np.float32(-80)
_HALF, _ONE = np.float32(0.5), np.float32(1)
_EXPONENT, _BIAS = np.int32(23), np.int32(127)
# What is within half a float16's step below 1 is a 1.
_HALF_STEP, _ONE_AS_HALF = 2.0**-12, np.uint16(0x3C00)


def axis(below: NDArray[Any], above: NDArray[Any], share: NDArray[Any]) -> Axis:
    """An `Axis` of the types that the loops take, filled up to a multiple of `PART` places with its last one."""
    fill = (0, -len(below) % PART)
    low, high = (np.pad(column, fill, mode="edge").astype(np.int32) for column in (below, above))
    return low, high, np.pad(share, fill, mode="edge").astype(np.float32)


def axis_inside(
    below: NDArray[Any], above: NDArray[Any], share: NDArray[Any], length: int, *, flipped: bool
) -> AxisInside:
    """An `AxisInside` from neighbours that may lie outside a crop of `length` voxels, which may run backwards."""

    def inside(at: NDArray[Any]) -> NDArray[np.int32]:
        clipped = at.clip(0, length - 1)
        return (length - 1 - clipped if flipped else clipped).astype(np.int32)

    def weight(at: NDArray[Any], of: NDArray[Any]) -> NDArray[np.float32]:
        return np.where((at >= 0) & (at < length), of, 0).astype(np.float32)

    return inside(below), inside(above), weight(below, 1 - share), weight(above, share)


@numba.njit(
    [
        types.void(
            types.Array(voxel, 3, "A", readonly=True), _AXIS_INSIDE, _AXIS_INSIDE, _AXIS_INSIDE, types.float32,
            types.int64, types.int64, types.Array(types.float32, 3, "A"),
        )
        for voxel in (types.int16, types.float32)
    ],
    cache=True, nogil=True, fastmath={"contract"}, error_model="numpy",
)  # fmt: skip
def resize(volume, along_x, along_y, along_z, padding, first, last, out):  # type: ignore[no-untyped-def]
    """Resize a volume (X, Y, Z) linearly: slices `first` to `last` (half open) of `out` (x, y, z).

    Args:
        volume: HU, fastest where its first axis is.
        along_x, along_y, along_z: Where the output's places lie, of `axis_inside` each.
        padding: What is outside of the volume.
        first, last: Slices along the output's z.
        out: Takes the result.
    """
    low_x, high_x, at_low_x, at_high_x = along_x
    low_y, high_y, at_low_y, at_high_y = along_y
    low_z, high_z, at_low_z, at_high_z = along_z
    for z in range(first, last):
        for y in range(out.shape[1]):
            a, b = at_low_y[y] * at_low_z[z], at_high_y[y] * at_low_z[z]
            c, d = at_low_y[y] * at_high_z[z], at_high_y[y] * at_high_z[z]
            line_a, line_b = volume[:, low_y[y], low_z[z]], volume[:, high_y[y], low_z[z]]
            line_c, line_d = volume[:, low_y[y], high_z[z]], volume[:, high_y[y], high_z[z]]
            all_lines = a + b + c + d
            for x in range(out.shape[0]):
                i, j = low_x[x], high_x[x]
                low = a * line_a[i] + b * line_b[i] + c * line_c[i] + d * line_d[i]
                high = a * line_a[j] + b * line_b[j] + c * line_c[j] + d * line_d[j]
                inside = all_lines * (at_low_x[x] + at_high_x[x])
                out[x, y, z] = at_low_x[x] * low + at_high_x[x] * high + padding * (np.float32(1) - inside)


@numba.njit(types.void(_SCORES, types.int64, _SLICES_READ), cache=True, nogil=True)
def _read(scores, z, out):  # type: ignore[no-untyped-def]
    """Slices from z on of the scores (classes, X, Y, Z), one after the other: out (slices · Y, classes, X)."""
    classes, size_x, size_y, size_z = scores.shape
    slices = min(_SLICES, size_z - z)
    for y in range(size_y):
        for x in range(size_x):
            for i in range(slices):
                for c in range(classes):
                    out[i * size_y + y, c, x] = scores[c, x, y, z + i]


@numba.njit(types.void(_SLICES_READ, _AXIS, _STRETCHED), cache=True, nogil=True, fastmath={"contract"})
def _stretch(coarse, along_x, out):  # type: ignore[no-untyped-def]
    """Bring lines of scores (Y, classes, X) to the finer grid: out (Y, parts, classes, PART)."""
    below = along_x[0].reshape((-1, PART))
    above, share = along_x[1].reshape((-1, PART)), along_x[2].reshape((-1, PART))
    for y in range(coarse.shape[0]):
        for part in range(len(below)):
            low, high, weight = below[part], above[part], share[part]
            for c in range(coarse.shape[1]):
                line, finer = coarse[y, c], out[y, part, c]
                for x in range(PART):
                    a = line[low[x]]
                    finer[x] = a + weight[x] * (line[high[x]] - a)


@numba.njit(
    types.void(_BLOCK, _BLOCK, types.float32, types.float32, _BLOCK, _INTS, _HALVES),
    cache=True, nogil=True, fastmath={"contract"}, error_model="numpy",
)  # fmt: skip
def _decide_part(low, high, share, sure, scores, winner, probability):  # type: ignore[no-untyped-def]
    """Winners and their probabilities of `PART` voxels of a line between two lines of scores (classes, PART).

    Where every winner is ahead of the others by `sure`, all probabilities round to 1. `scores` is room to work in.
    """
    classes = len(low)
    best, total = np.empty(PART, np.float32), np.zeros(PART, np.float32)
    for c in range(classes):
        a, b, here = low[c], high[c], scores[c]
        for x in range(PART):
            here[x] = a[x] + share * (b[x] - a[x])
    best[:] = scores[0]
    winner[:] = 0
    for c in range(1, classes):
        here, number = scores[c], np.int32(c)
        for x in range(PART):
            value, so_far = here[x], best[x]
            winner[x] = number if value > so_far else winner[x]
            best[x] = value if value > so_far else so_far
    close = np.int32(-PART)  # every winner is close to itself
    for c in range(classes):
        here = scores[c]
        for x in range(PART):
            close += np.int32(1) if best[x] - here[x] < sure else np.int32(0)
    if close == 0:
        probability[:] = _ONE_AS_HALF
        return
    power = np.empty(PART, np.int32)
    two_to_n = power.view(np.float32)
    for c in range(classes):
        here = scores[c]
        for x in range(PART):
            v = here[x] - best[x]
            v = v if v > _LEAST else _LEAST
            n = np.floor(v * _LOG2_E + _HALF)
            f = v - n * _LN2_HIGH - n * _LN2_LOW
            p = ((((_P0 * f + _P1) * f + _P2) * f + _P3) * f + _P4) * f + _P5
            here[x] = p * f * f + f + _ONE
            power[x] = (np.int32(n) + _BIAS) << _EXPONENT
        for x in range(PART):
            total[x] += here[x] * two_to_n[x]
    for x in range(PART):
        total[x] = _ONE / total[x]
    bits = total.view(np.uint32)
    for x in range(PART):
        # To the nearest float16, ties to even; the largest of a few shares is far from subnormal numbers.
        b = bits[x]
        b += np.uint32(0xFFF) + ((b >> np.uint32(13)) & np.uint32(1))
        probability[x] = (b >> np.uint32(13)) - np.uint32((127 - 15) << 10)


@numba.njit(
    types.void(
        _SCORES, _AXIS, _AXIS, _AXIS, types.int64, types.int64,
        types.Array(types.uint8, 3, "A"), types.Array(types.uint16, 3, "A"),
    ),
    cache=True, nogil=True, fastmath={"contract"}, error_model="numpy",
)  # fmt: skip
def decide(scores, along_x, along_y, along_z, first, last, winners, probabilities):  # type: ignore[no-untyped-def]
    """Choose the best class, and its probability, for the slices `first` to `last` (half open) of a finer grid.

    Args:
        scores: Logits (classes, X, Y, Z) on the coarser grid, two classes or more, in any memory order.
        along_x, along_y, along_z: Where the finer grid's places lie, of `axis` each.
        first, last: Slices along the finer grid's z.
        winners: Takes the class with the highest interpolated score, the first of equals, (x, y, z).
        probabilities: Takes its share in the softmax, as the bits of a float16, (x, y, z).
    """
    below_y, above_y, share_y = along_y
    below_z, above_z, share_z = along_z
    classes, size_x, size_y, _ = scores.shape
    width, parts = len(winners), len(along_x[0]) // PART
    sure = np.float32(-np.log(_HALF_STEP / (classes - 1)))
    read = np.empty((_SLICES * size_y, classes, size_x), np.float32)
    read_from = -_SLICES
    kept = np.full(2, -1)  # which slices of the coarser grid lie in `stretched`
    stretched = np.empty((2, size_y, parts, classes, PART), np.float32)
    between = np.empty((size_y, parts, classes, PART), np.float32)
    room = np.empty((classes, PART), np.float32)
    winner, probability = np.empty(PART, np.int32), np.empty(PART, np.uint16)
    for z in range(first, last):
        for wanted in (below_z[z], above_z[z]):
            if kept[wanted % 2] == wanted:  # neighbours are even and odd
                continue
            if not read_from <= wanted < read_from + _SLICES:
                _read(scores, wanted, read)
                read_from = wanted
            begin = (wanted - read_from) * size_y
            _stretch(read[begin : begin + size_y], along_x, stretched[wanted % 2])
            kept[wanted % 2] = wanted
        low, high = stretched[below_z[z] % 2].ravel(), stretched[above_z[z] % 2].ravel()
        share, flat = share_z[z], between.ravel()
        for i in range(len(flat)):
            flat[i] = low[i] + share * (high[i] - low[i])
        for y in range(winners.shape[1]):
            for part in range(parts):
                _decide_part(
                    between[below_y[y], part], between[above_y[y], part], share_y[y],
                    sure, room, winner, probability,
                )  # fmt: skip
                begin = part * PART
                for x in range(min(PART, width - begin)):
                    winners[begin + x, y, z] = winner[x]
                    probabilities[begin + x, y, z] = probability[x]
