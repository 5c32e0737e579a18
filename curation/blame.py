"""Who drew each voxel: from a chain of versions to the version that put every voxel's present value there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from curation.rle import RunLengths, overlay

# A stretch is known by its label value and the version that put it there, both in one int32: the value in its
# lowest byte, the version above.
_VALUES = 256


@dataclass(frozen=True)
class ChainVersion:
    """One version of a case, as blame sees it.

    Attributes:
        number: Its number, from 1, rising along the chain.
        runs: Its mask; a mask of another shape than the version before begins anew.
        redrawn: Values that a new hand drew as a whole in this version: no voxel of theirs is an earlier one's.
        restores: Number of the earlier version whose state this one brings back; None: it follows the one
            before it.
    """

    number: int
    runs: RunLengths
    redrawn: frozenset[int] = frozenset()
    restores: int | None = None


@dataclass(frozen=True, eq=False)
class Blame:
    """The drawn voxels of a mask, each with the version that put it there.

    `voxels` counts them by (label value, version number), both ascending.
    """

    voxels: dict[tuple[int, int], int]
    _marked: RunLengths

    def versions(self) -> RunLengths:
        """The label map whose value at each drawn voxel is the number of the version that put it there."""
        return self.numbered({pair: pair[1] for pair in self.voxels})

    def numbered(self, numbers: Mapping[tuple[int, int], int]) -> RunLengths:
        """The label map whose value at each drawn voxel is the number given for its (value, version)."""
        return self._marked.remap({_mark(*pair): numbers[pair] for pair in self.voxels})


def blame(chain: Iterable[ChainVersion]) -> Blame:
    """Follow a mask through its versions.

    A voxel is blamed on the version in which it took its present value and has kept it since. A value that a
    version redraws as a whole is blamed on that version altogether. A version that restores an earlier one
    is compared with that one instead of its predecessor: what it brings back stays with those who drew it.

    Args:
        chain: The versions, the oldest first; at least one.

    Returns:
        The blame of the last version.

    Raises:
        ValueError: The chain is empty, or a version restores one that is not before it.
    """
    marked: dict[int, RunLengths] = {}
    masks: dict[int, RunLengths] = {}
    last: int | None = None
    for version in chain:
        base = version.restores if version.restores is not None else last
        if base is None:
            marked[version.number] = _all_by(version)
        elif base not in marked:
            raise ValueError(f"version {version.number} restores version {base}, which is not before it")
        elif not version.redrawn and version.runs.same_as(masks[base]):
            marked[version.number] = marked[base]
        elif version.runs.shape != masks[base].shape:
            marked[version.number] = _all_by(version)
        else:
            marked[version.number] = _followed(marked[base], version)
        masks[version.number] = version.runs
        last = version.number
    if last is None:
        raise ValueError("a chain has at least one version")
    found = marked[last]
    voxels = {divmod(mark, _VALUES)[::-1]: n for mark, n in found.voxels().items()}
    return Blame(dict(sorted(voxels.items())), found)


def _mark(value: int, number: int) -> int:
    return number * _VALUES + value


def _all_by(version: ChainVersion) -> RunLengths:
    """Every drawn voxel marked with this very version."""
    runs = version.runs
    return RunLengths(
        runs.shape, runs.value.astype(np.int32) + _mark(0, version.number), runs.row, runs.start, runs.stop
    )


def _followed(before: RunLengths, version: ChainVersion) -> RunLengths:
    """The marks of a version: those of the state before where a value stood, its own elsewhere."""
    joint = overlay(before, version.runs)
    value = joint.b.astype(np.int32)
    stood = joint.a & (_VALUES - 1) == value
    if version.redrawn:
        stood &= ~np.isin(value, list(version.redrawn))
    mark = np.where(stood, joint.a, value + _mark(0, version.number))
    return joint.runs(np.where(value == 0, 0, mark))
