"""A mask as run lengths: stretches of one value along the file's fastest axis, unfolded only to be looked at.

A 512×512×300 label map has 79 million voxels but some 80,000 runs; census, merge, conflicts, diff, components
and DSC are sums over runs. "Run" in this module never means a pipeline run.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import EllipsisType, ModuleType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from curation import compiled
from curation.errors import GridError

# Fits the second-level cache of current CPUs together with its comparison mask.
CHUNK_BYTES = 1 << 19
_WORD_BYTES = 8


@dataclass(frozen=True, eq=False)
class RunLengths:
    """A mask as runs of one value along the file's fastest axis (the first array axis).

    Foreground only, sorted by (row, start); a run never crosses a row, and touching runs of one value in one
    row are joined. So equal masks have equal runs (`same_as`), and hashes of runs are hashes of voxels.

    `shape` is (X, Y, Z) of the file's own axes, X fastest on disk. `value` is never 0, and uint8 in
    a stored mask, any integer type in an incoming one. `row` is y + Y * z. `start` and `stop` count along X,
    half open.
    """

    shape: tuple[int, int, int]
    value: NDArray[Any]
    row: NDArray[np.int32]
    start: NDArray[np.int32]
    stop: NDArray[np.int32]

    @classmethod
    def empty(cls, shape: tuple[int, int, int]) -> Self:
        """A mask of background alone."""
        none = np.zeros(0, np.int32)
        return cls(shape, np.zeros(0, np.uint8), none, none, none)

    @classmethod
    def from_flat(
        cls,
        shape: tuple[int, int, int],
        start: NDArray[np.int64],
        stop: NDArray[np.int64],
        value: NDArray[Any],
    ) -> Self:
        """Bring stretches of the flat file order into canonical runs.

        Args:
            shape: (X, Y, Z).
            start: First voxel of each stretch in file order (X fastest), ascending.
            stop: One past the last voxel; stretches do not overlap but may cross rows.
            value: Label value per stretch; 0 drops it.
        """
        width = shape[0]
        drawn = (value != 0) & (stop > start)
        start, stop, value = start[drawn], stop[drawn], value[drawn]
        row = start // width
        crossed = (stop - 1) // width - row
        if crossed.any():
            pieces = crossed + 1
            number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
            row = np.repeat(row, pieces) + number
            start = np.maximum(np.repeat(start, pieces), row * width)
            stop = np.minimum(np.repeat(stop, pieces), (row + 1) * width)
            value = np.repeat(value, pieces)
        touches = (stop[:-1] == start[1:]) & (value[:-1] == value[1:]) & (row[:-1] == row[1:])
        if touches.any():
            first = np.concatenate(([True], ~touches))
            last = np.concatenate((~touches, [True]))
            row, start, stop, value = row[first], start[first], stop[last], value[first]
        origin = row * width
        return cls(
            shape,
            value,
            row.astype(np.int32),
            (start - origin).astype(np.int32),
            (stop - origin).astype(np.int32),
        )

    @classmethod
    def from_array(cls, array: NDArray[Any]) -> Self:
        """Find the runs of an integer (or boolean) array of shape (X, Y, Z)."""
        if array.dtype == np.bool_:
            array = array.view(np.uint8)
        shape = (array.shape[0], array.shape[1], array.shape[2])
        builder = RunBuilder(shape)
        for z in range(shape[2]):
            builder.feed(array[:, :, z].ravel(order="F"))
        return cls(shape, *builder.finish().columns())

    def columns(self) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Value, row, start and stop, in the order of the constructor."""
        return self.value, self.row, self.start, self.stop

    def __len__(self) -> int:
        return len(self.value)

    @property
    def flat_start(self) -> NDArray[np.int64]:
        """First voxel of each run in file order: x + X * row."""
        return self.start + self.row.astype(np.int64) * self.shape[0]

    @property
    def flat_stop(self) -> NDArray[np.int64]:
        """One past the last voxel of each run in file order."""
        return self.stop + self.row.astype(np.int64) * self.shape[0]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Voxels of each run."""
        return (self.stop - self.start).astype(np.int64)

    def voxels(self) -> dict[int, int]:
        """Label value to voxel count, for the values that are there."""
        values, of_run = distinct(self.value)
        counts = np.bincount(of_run, weights=self.lengths, minlength=len(values))
        return {int(v): int(n) for v, n in zip(values.tolist(), counts.tolist(), strict=True)}

    def same_as(self, other: "RunLengths") -> bool:
        """True if both are the same mask on the same shape, voxel by voxel."""
        return self.shape == other.shape and all(
            np.array_equal(a, b) for a, b in zip(self.columns(), other.columns(), strict=True)
        )

    def keep(self, chosen: NDArray[np.bool_]) -> "RunLengths":
        """The runs that `chosen` marks, as they are."""
        value, row, start, stop = (column[chosen] for column in self.columns())
        return RunLengths(self.shape, value, row, start, stop)

    def select(self, values: Collection[int]) -> "RunLengths":
        """Only the voxels of these label values."""
        return self.keep(np.isin(self.value, list(values)))

    def without(self, values: Collection[int]) -> "RunLengths":
        """All voxels but those of these label values, which become background."""
        return self.keep(np.isin(self.value, list(values), invert=True))

    def remap(self, table: Mapping[int, int]) -> "RunLengths":
        """Change label values; 0 makes a value background, a value that the table does not name stays.

        The result is uint8 where its values fit, else int64.
        """
        values, of_run = distinct(self.value)
        target = np.array([table.get(int(v), int(v)) for v in values.tolist()], np.int64)
        if not len(target) or (target.min() >= 0 and target.max() <= 255):
            target = target.astype(np.uint8)
        return RunLengths.from_flat(self.shape, self.flat_start, self.flat_stop, target[of_run])

    def every_second(self) -> "RunLengths":
        """Every second voxel along each axis, from the first on: shape halved, rounded up."""
        x, y, z = ((n + 1) // 2 for n in self.shape)
        at_y, at_z = self.row % self.shape[1], self.row // self.shape[1]
        kept = (at_y % 2 == 0) & (at_z % 2 == 0)
        origin = (at_y[kept] // 2 + y * (at_z[kept] // 2)).astype(np.int64) * x
        start, stop = (self.start[kept] + 1) // 2, (self.stop[kept] + 1) // 2
        return RunLengths.from_flat((x, y, z), origin + start, origin + stop, self.value[kept])

    def slabs(self, max_bytes: int = CHUNK_BYTES) -> Iterator[NDArray[Any]]:
        """Unfold the mask piece by piece: flat chunks of whole rows in file order, of the type of `value`."""
        width, rows = self.shape[0], self.shape[1] * self.shape[2]
        step = max(1, max_bytes // max(1, width * self.value.itemsize))
        edges = np.arange(0, rows + step, step).clip(max=rows)
        first_run = np.searchsorted(self.row, edges)
        start, stop = self.flat_start, self.flat_stop
        for top, bottom, i, j in zip(edges[:-1], edges[1:], first_run[:-1], first_run[1:], strict=True):
            if top == bottom:
                continue
            # Background and runs alternate: edge, start, stop, start, stop, …, edge.
            bounds = np.empty(2 * (j - i) + 2, np.int64)
            bounds[0], bounds[-1] = top * width, bottom * width
            bounds[1:-1:2], bounds[2:-1:2] = start[i:j], stop[i:j]
            values = np.zeros(len(bounds) - 1, self.value.dtype)
            values[1::2] = self.value[i:j]
            yield np.repeat(values, np.diff(bounds))

    def to_array(self) -> NDArray[Any]:
        """Unfold the whole mask: shape (X, Y, Z), first axis fastest in memory, of the type of `value`."""
        flat = np.empty(self.shape[0] * self.shape[1] * self.shape[2], self.value.dtype)
        at = 0
        for slab in self.slabs():
            flat[at : at + len(slab)] = slab
            at += len(slab)
        return flat.reshape(self.shape, order="F")


class RunBuilder:
    """Collects the runs of a volume that arrives in flat chunks, file order, any number type.

    `convert` turns the values at which runs begin into label values (scaling, rounding, checks): it sees
    thousands of values where the file has millions of voxels. It must map equal values to equal values.
    `kernels` is `curation.kernels`, or None to do it in numpy; left out, what pays is taken.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        convert: Callable[[NDArray[Any]], NDArray[Any]] = lambda values: values,
        kernels: ModuleType | EllipsisType | None = ...,
    ) -> None:
        self._shape = shape
        self._convert = convert
        self._kernels = compiled.kernels() if isinstance(kernels, EllipsisType) else kernels
        self._changes = np.empty(0, np.int64)
        self._starts: list[NDArray[np.int64]] = []
        self._values: list[NDArray[Any]] = []
        self.voxels = 0

    def feed(self, chunk: NDArray[Any]) -> None:
        """Take the next voxels in file order."""
        if not len(chunk):
            return
        starts = self._compiled(chunk) if self._kernels else _starts_of_runs(chunk)
        self._values.append(self._convert(chunk[starts]))
        starts += self.voxels
        self._starts.append(starts)
        self.voxels += len(chunk)
        compiled.book(chunk.nbytes)

    def _compiled(self, chunk: NDArray[Any]) -> NDArray[np.int64]:
        assert self._kernels is not None
        per_word = _WORD_BYTES // chunk.itemsize
        whole = len(chunk) // per_word * per_word
        if len(self._changes) < len(chunk) + per_word:
            self._changes = np.empty(len(chunk) + per_word, np.int64)
        found = self._changes
        count, bits = 0, 8 * chunk.itemsize
        if whole:
            words = np.ascontiguousarray(chunk[:whole]).view(np.uint64)
            count = self._kernels.changes(words, bits, 0, found)
        if whole < len(chunk):
            # Filled up with its last voxel, the rest is a word, too, and no change is made up.
            rest = np.full(per_word, chunk[-1])
            rest[: len(chunk) - whole] = chunk[whole:]
            count += self._kernels.changes(rest.view(np.uint64), bits, whole, found[count:])
        return found[:count].copy()

    def finish(self) -> RunLengths:
        """The runs of everything fed.

        Raises:
            GridError: More or fewer voxels came than the shape holds.
        """
        expected = self._shape[0] * self._shape[1] * self._shape[2]
        if self.voxels != expected:
            raise GridError(f"{self.voxels} voxels came for a volume of {self._shape} = {expected}")
        if not expected:
            return RunLengths.empty(self._shape)
        start, value = np.concatenate(self._starts), np.concatenate(self._values)
        if not self._kernels or value.dtype != np.uint8:
            return RunLengths.from_flat(self._shape, start, np.append(start[1:], self.voxels), value)
        room = len(start) + self._shape[1] * self._shape[2]
        drawn = np.empty(room, np.uint8)
        row, begin, end = (np.empty(room, np.int32) for _ in range(3))
        count = self._kernels.canonical(start, value, self.voxels, self._shape[0], drawn, row, begin, end)
        return RunLengths(
            self._shape, drawn[:count].copy(), row[:count].copy(), begin[:count].copy(), end[:count].copy()
        )


def _starts_of_runs(chunk: NDArray[Any]) -> NDArray[np.int64]:
    """Where a run begins: at the first voxel, and wherever the value is not that of the voxel before."""
    changes = np.flatnonzero(chunk[1:] != chunk[:-1])
    starts = np.empty(len(changes) + 1, np.int64)
    starts[0] = 0
    np.add(changes, 1, out=starts[1:])
    return starts


@dataclass(frozen=True, eq=False)
class Joint:
    """Two masks walked together: stretches of the flat file order where either is drawn.

    `start` and `stop` count voxels in file order (half open, ascending); `a` and `b` are the two masks' label
    values on the stretch, 0 where one has background. No stretch crosses a row.
    """

    shape: tuple[int, int, int]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    a: NDArray[Any]
    b: NDArray[Any]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Voxels of each stretch."""
        return self.stop - self.start

    @property
    def row(self) -> NDArray[np.int64]:
        """Row of each stretch, y + Y * z."""
        return self.start // self.shape[0]

    def pairs(self) -> dict[tuple[int, int], int]:
        """(value in a, value in b) to voxel count; (0, 0) is not in it."""
        values_a, code_a = distinct(self.a)
        values_b, code_b = distinct(self.b)
        width = max(1, len(values_b))
        counts = np.bincount(
            code_a * width + code_b, weights=self.lengths, minlength=len(values_a) * width
        ).reshape(-1, width)
        return {
            (int(values_a[i]), int(values_b[j])): int(counts[i, j]) for i, j in np.argwhere(counts).tolist()
        }

    def runs(self, value: NDArray[Any]) -> RunLengths:
        """The mask that has `value` on each stretch (0: background)."""
        return RunLengths.from_flat(self.shape, self.start, self.stop, value)


def overlay(a: RunLengths, b: RunLengths) -> Joint:
    """Walk two masks of one grid together.

    Raises:
        GridError: The shapes differ.
    """
    if a.shape != b.shape:
        raise GridError(f"the masks have shapes {a.shape} and {b.shape}; resample one to the other's grid")
    edges = np.empty(2 * (len(a) + len(b)), np.int64)
    split = 2 * len(a)
    edges[0:split:2], edges[1:split:2] = a.flat_start, a.flat_stop
    edges[split::2], edges[split + 1 :: 2] = b.flat_start, b.flat_stop
    # Both halves are ascending already: a stable sort (timsort) merges them in one walk.
    order = np.argsort(edges, kind="stable")
    edges = edges[order]
    from_a = order < split
    passed_a: NDArray[np.int64] = np.cumsum(from_a, dtype=np.int64)[:-1]
    passed_b: NDArray[np.int64] = np.cumsum(~from_a, dtype=np.int64)[:-1]
    in_a, in_b = passed_a & 1 == 1, passed_b & 1 == 1  # an odd number of edges passed: inside a run
    drawn = (in_a | in_b) & (edges[1:] > edges[:-1])

    def value_of(mask: RunLengths, inside: NDArray[np.bool_], passed: NDArray[np.int64]) -> NDArray[Any]:
        if not len(mask):
            return np.zeros(np.count_nonzero(drawn), mask.value.dtype)
        run = (passed[drawn] >> 1).clip(max=len(mask) - 1)
        return np.where(inside[drawn], mask.value[run], mask.value.dtype.type(0))

    return Joint(
        a.shape,
        edges[:-1][drawn],
        edges[1:][drawn],
        value_of(a, in_a, passed_a),
        value_of(b, in_b, passed_b),
    )


def distinct(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The distinct values, ascending, and for each element its place among them."""
    if values.dtype == np.uint8:
        # 256 possible values: counting beats sorting.
        there = np.flatnonzero(np.bincount(values, minlength=256))
        place = np.zeros(256, np.int64)
        place[there] = np.arange(len(there))
        return there.astype(np.uint8), place[values]
    found, place = np.unique(values, return_inverse=True)
    return found, place.reshape(-1)
