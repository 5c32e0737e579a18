"""Compiled loops over voxels and runs. Importing this costs up to half a second: ask `curation.compiled`.

Each equals a numpy path word for word (tests/curation/test_rle.py); one signature each, so that little is
compiled, once per machine.
"""

import numba
import numpy as np
from numpy.typing import NDArray

# Words looked at together: as many as the compiler packs well, then few.
_PAGE = 128
_LINE = 16


# Bytes out of a file are not to be written to.
_WORDS = numba.types.Array(numba.uint64, 1, "C", readonly=True)
_PLACES = numba.types.Array(numba.int64, 1, "C")


@numba.njit(numba.int64(_WORDS, numba.int64, numba.int64, _PLACES), cache=True, nogil=True)
def changes(words: NDArray[np.uint64], bits: int, first: int, out: NDArray[np.int64]) -> int:
    """Where the values of packed voxels change: voxels whose value differs from the one before.

    Args:
        words: Voxels in file order, eight bytes at a time, little endian.
        bits: Bits of a voxel: 8, 16, 32 or 64.
        first: Number of the first voxel. It always counts as a change.
        out: Takes the numbers of the voxels, ascending; as long as there are voxels.

    Returns:
        How many there are.
    """
    lanes = 64 // bits
    low = np.uint64(2**64 - 1) >> np.uint64(64 - bits)
    everywhere = np.uint64(2**64 - 1) // low  # times a voxel: a word full of it
    out[0] = first
    n = 1
    current = words[0] & low
    filled = current * everywhere
    pages = words[: len(words) // _PAGE * _PAGE].reshape((-1, _PAGE))
    lines = words[: len(words) // _LINE * _LINE].reshape((-1, _LINE))
    for p in range(len(pages) + 1):
        differs = np.uint64(0)
        if p < len(pages):
            # Nearly all pages are full of one value: this loop is where the time goes.
            for i in range(_PAGE):
                differs |= pages[p, i] ^ filled
            if differs == 0:
                continue
        for m in range(p * _PAGE // _LINE, min((p + 1) * _PAGE, len(words) + _LINE - 1) // _LINE):
            differs = np.uint64(0)
            if m < len(lines):
                for i in range(_LINE):
                    differs |= lines[m, i] ^ filled
                if differs == 0:
                    continue
            for k in range(m * _LINE, min((m + 1) * _LINE, len(words))):
                word = words[k]
                if word == filled:
                    continue
                for j in range(lanes):
                    voxel = (word >> np.uint64(j * bits)) & low
                    out[n] = first + k * lanes + j
                    n += voxel != current
                    current = voxel
                filled = current * everywhere
    return n


@numba.njit(
    "int64(int64[::1], uint8[::1], int64, int64, uint8[::1], int32[::1], int32[::1], int32[::1])",
    cache=True,
    nogil=True,
)
def canonical(
    starts: NDArray[np.int64],
    values: NDArray[np.uint8],
    voxels: int,
    width: int,
    value: NDArray[np.uint8],
    row: NDArray[np.int32],
    start: NDArray[np.int32],
    stop: NDArray[np.int32],
) -> int:
    """Cut stretches at the ends of rows, join those that touch, drop background.

    Args:
        starts: First voxel of each stretch in file order, ascending; it ends where the next one starts.
        values: Label value of each stretch.
        voxels: Of the whole volume, where the last stretch ends.
        width: Voxels of a row.
        value, row, start, stop: Take the columns of `RunLengths`; one place per stretch and row.

    Returns:
        How many runs there are.
    """
    n = 0
    for i in range(len(starts)):
        here = values[i]
        if here == 0:
            continue
        at = starts[i]
        end = starts[i + 1] if i + 1 < len(starts) else voxels
        if at == end:
            continue
        y = at // width
        x = at - y * width
        while at < end:
            length = min(end - at, width - x)
            if n and value[n - 1] == here and row[n - 1] == y and stop[n - 1] == x:
                stop[n - 1] = x + length
            else:
                value[n] = here
                row[n] = y
                start[n] = x
                stop[n] = x + length
                n += 1
            at += length
            y += 1
            x = 0
    return n
