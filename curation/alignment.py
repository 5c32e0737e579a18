"""Putting a mask on the grid that it belongs to, where no more than order and direction of its axes differ."""

import numpy as np

from curation.errors import GridError
from curation.geometry import Geometry
from curation.rle import RunLengths


def aligned(runs: RunLengths, found: Geometry, wanted: Geometry) -> tuple[RunLengths, str | None]:
    """Turn a mask whose file runs through the same voxels along other axes, as annotation tools write them.

    Args:
        runs: A mask.
        found: Its grid.
        wanted: The grid that it should lie on.

    Returns:
        The mask on the wanted grid, and what was done to it in words; None if it lay there already.

    Raises:
        GridError: The grids differ in more than a flip or permutation of axes; says how, as a half sentence.
    """
    if found.difference(wanted) is None:
        return runs, None
    # Column j: where the file's axis j runs, along the wanted axes.
    turn = np.rint(np.linalg.inv(wanted.directions) @ found.directions).astype(int)
    if (np.abs(turn).sum(axis=0) != 1).any() or (np.abs(turn).sum(axis=1) != 1).any():
        raise GridError(str(found.difference(wanted)))
    order = [int(axis) for axis in np.abs(turn).argmax(axis=1)]
    backwards = [turn[wanted_axis, axis] < 0 for wanted_axis, axis in enumerate(order)]
    if difference := found.turned(order, backwards).difference(wanted):
        raise GridError(difference)
    flips = tuple(slice(None, None, -1 if back else 1) for back in backwards)
    array = runs.to_array().transpose(order)[flips]
    return RunLengths.from_array(array), f"axes {found.axis_codes} turned to {wanted.axis_codes}"
