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
    turned = _turned(found, order, backwards)
    if difference := turned.difference(wanted):
        raise GridError(difference)
    flips = tuple(slice(None, None, -1 if back else 1) for back in backwards)
    array = runs.to_array().transpose(order)[flips]
    return RunLengths.from_array(array), f"axes {found.axis_codes} turned to {wanted.axis_codes}"


def _turned(grid: Geometry, order: list[int], backwards: list[bool]) -> Geometry:
    """The grid of an array that was transposed to `order` and then flipped where `backwards`."""
    to_file = np.zeros((4, 4))  # index in the turned array to index in the file
    to_file[3, 3] = 1
    for wanted_axis, (axis, back) in enumerate(zip(order, backwards, strict=True)):
        to_file[axis, wanted_axis] = -1 if back else 1
        to_file[axis, 3] = grid.shape[axis] - 1 if back else 0
    x, y, z = (grid.shape[axis] for axis in order)
    return Geometry((x, y, z), grid.affine @ to_file)
