"""The paper's complement: background takes the classes that nobody drew; what stands in the way is booked."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from curation.rle import RunLengths, overlay


@dataclass(frozen=True)
class Conflict:
    """Voxels offered for one class that were not written because another value stands there."""

    kept: int
    offered: int
    voxels: int


@dataclass(frozen=True)
class Merged:
    """A complemented mask, its conflict ledger, and the voxels that each filled class gained."""

    runs: RunLengths
    conflicts: tuple[Conflict, ...]
    filled: dict[int, int]


def complement(kept: RunLengths, offered: RunLengths, fill: Collection[int]) -> Merged:
    """Fill the classes in `fill` from `offered`, on background only.

    The rule of section 2.2 of the two-stage paper: nothing drawn is ever overwritten, the tumor and the
    reserved values (unresolved pairs, ignore) included, and classes outside `fill` are not taken.

    Args:
        kept: The case's mask.
        offered: A prediction or pseudo label on the same grid.
        fill: Classes to take. By the catalog's rule those whose status is `missing` and whose pair is not
            drawn unresolved; choosing them is the caller's part.

    Returns:
        The merged mask (uint8); conflicts by (kept, offered), where an offered voxel of `fill` stands on a
        different drawn value; classes of `fill` that gained no voxel are not in `filled`.

    Raises:
        GridError: The shapes differ.
    """
    joint = overlay(kept, offered)
    wanted = np.isin(joint.b, list(fill))
    taken = wanted & (joint.a == 0)
    table = {pair: voxels for pair, voxels in joint.pairs().items() if pair[1] in fill and pair[0] != pair[1]}
    return Merged(
        joint.runs(np.where(taken, joint.b, joint.a)),
        tuple(Conflict(a, b, voxels) for (a, b), voxels in sorted(table.items()) if a),
        {b: voxels for (a, b), voxels in sorted(table.items()) if not a},
    )
