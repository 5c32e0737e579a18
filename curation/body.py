"""Which voxels lie outside the body: in the air around the patient, or in the table; and tumors drawn there.

The image passes by once, in file order; only a sample of the slices that hold tumor is kept, a voxel in 3 × 3 × 5 mm.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.geometry import Geometry
from curation.labels import TUMOR_ID
from curation.later_checks import TUMOR_OUTSIDE_BODY
from curation.rle import RunLengths
from curation.status import Finding, Severity

# Half air (-1000 HU) and half water (0 HU, both by definition). The noise of air and of fat (-100) stays far from it.
_AIR_HU = -500
# Within a slice: what lies between two sampled voxels is thinner than any wall of a body. And from slice to slice.
_CELL_MM, _SLICE_MM = 3.0, 5.0
# To each side. The shell of a table, its cover, blankets and tubes are thinner than twice this; a limb is not.
_REACH_MM = 6.0
# A slice of a whole body has air in its corners; one may be hidden by the table. A cropped one may have a lung there.
_AIRY_CORNERS = 3
# A ball of 6 mm. Less is single voxels that a brush left; a lesion is measured from 10 mm (RECIST 1.1,
# Eisenhauer et al., Eur J Cancer 2009;45:228), which is 0.52 ml. Our choice.
_TOLERATED_ML = 0.1


def outside_body(tissue: NDArray[np.bool_], reach: tuple[int, int]) -> NDArray[np.bool_]:
    """Say of each pixel of some axial slices whether it lies outside the body.

    The air around the patient is what is connected with the slice's edge; lungs and gas in the bowel are not. The
    rest falls apart where it is narrower than a block, and a body is every piece that holds a block of nothing but
    tissue. A table holds none, for it is thin or hollow, and touches the back in a few places; one that lies
    flush against the skin is taken for body.

    Args:
        tissue: Not air, shape (X, Y, slices).
        reach: Half the block's side along X and Y, in pixels.

    Returns:
        The pixels that are neither in a body nor next to one. None are in a slice that seems to be a part of a body
        (fewer than three corners of air), or to hold none.
    """
    edge = np.ones(tissue.shape, np.bool_)
    edge[1:-1, 1:-1] = False
    around = _grown(edge & ~tissue, ~tissue)
    # Beyond the edge a body may go on; but what is only there is none.
    body = _grown(_worn(tissue, reach, beyond=False), _worn(~around, reach, beyond=True))
    airy = np.count_nonzero(~tissue[[0, 0, -1, -1], [0, -1, 0, -1]], axis=0) >= _AIRY_CORNERS
    beside = (reach[0] + 1, reach[1] + 1)
    outside: NDArray[np.bool_] = _worn(~body, beside, beyond=True) & (airy & body.any(axis=(0, 1)))
    return outside


def _grown(seeds: NDArray[np.bool_], room: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of `room` that hang together with seeds, across their sides and within their slice.

    Swept to and fro along X and Y until nothing is added: some rounds for what is round. scipy.ndimage.label
    takes as long, and its import half a second.
    """
    grown, before = seeds.copy(), -1
    while (now := np.count_nonzero(grown)) > before:
        before = int(now)
        for swept, free in ((grown, room), (grown.swapaxes(0, 1), room.swapaxes(0, 1))):
            for last, line in pairwise((*range(len(swept)), *reversed(range(len(swept) - 1)))):
                swept[line] |= swept[last] & free[line]
    return grown


def _worn(mask: NDArray[np.bool_], reach: tuple[int, int], *, beyond: bool) -> NDArray[np.bool_]:
    """The pixels around which a block of the mask reaches that far; `beyond`: what lies outside the slice."""
    for axis, pixels in enumerate(reach):
        around = [(pixels, pixels) if axis == padded else (0, 0) for padded in range(3)]
        wide = np.pad(mask, around, constant_values=beyond).swapaxes(0, axis)
        mask = mask.copy()
        for begin in range(2 * pixels + 1):
            mask &= wide[begin : begin + mask.shape[axis]].swapaxes(0, axis)
    return mask


class TumorOutside:
    """Looks where the tumor of a mask lies, while its image passes by in file order.

    Args:
        runs: A mask with a tumor.
        geometry: Its grid, and that of the image.
    """

    def __init__(self, runs: RunLengths, geometry: Geometry) -> None:
        self._tumor = runs.select([TUMOR_ID])
        self._geometry = geometry
        z, y = np.divmod(self._tumor.row, runs.shape[1])
        self._ends = ((self._tumor.start, self._tumor.stop - 1), (y, y), (z, z))
        up = geometry.ras_axes[2][0]
        axes = [
            _Axis(n, mm, _SLICE_MM if axis == up else _CELL_MM)
            for axis, (n, mm) in enumerate(zip(runs.shape, geometry.spacing_mm, strict=True))
        ]
        axes[up].keep(*self._ends[up])
        self._axes = axes
        self._rows = (axes[1].middle + runs.shape[1] * axes[2].middle[:, None]).ravel()
        self._tissue = np.empty(len(axes[0].middle) * len(self._rows), np.bool_)
        self._seen = 0

    def feed(self, at: int, voxels: NDArray[np.float32]) -> None:
        """Take the image's next voxels, in HU; `at` counts those before."""
        width = self._tumor.shape[0]
        first, last = np.searchsorted(self._rows, [at // width, (at + len(voxels) - 1) // width + 1])
        wanted = (self._rows[first:last, None] * width + self._axes[0].middle - at).ravel()
        begin, end = np.searchsorted(wanted, [0, len(voxels)])
        self._tissue[self._seen : self._seen + end - begin] = voxels[wanted[begin:end]] > _AIR_HU
        self._seen += int(end - begin)

    def findings(self) -> list[Finding]:
        """What was seen, once all has passed: a finding, or none."""
        outside = self._outside()
        along, y, z = self._axes
        first, last = (along.cell(end) for end in self._ends[0])
        rows, row = np.unique(
            y.cell(self._ends[1][0]) + len(y.middle) * z.cell(self._ends[2][0]), return_inverse=True
        )
        outside = outside.reshape((len(along.middle), -1), order="F")[:, rows]
        before = np.zeros((len(outside), len(rows)), np.int64)
        np.cumsum(outside[:-1] * (along.stop - along.begin)[:-1, None], axis=0, out=before[1:])
        # Whole cells from the first to before the last; less what of the first, and with what of the last, is its.
        voxels = before[last, row] - before[first, row]
        voxels -= outside[first, row] * (self._tumor.start - along.begin[first])
        voxels += outside[last, row] * (self._tumor.stop - along.begin[last])
        count = int(voxels.sum())
        ml = count * self._geometry.voxel_ml
        if ml <= _TOLERATED_ML:
            return []
        most = int(np.argmax(voxels))
        cells = first[most] + np.flatnonzero(outside[first[most] : last[most] + 1, row[most]])
        x = along.middle[cells[len(cells) // 2]].clip(self._tumor.start[most], self._tumor.stop[most] - 1)
        place = f"({x}, {self._ends[1][0][most]}, {self._ends[2][0][most]})"
        return [
            Finding(
                TUMOR_OUTSIDE_BODY,
                Severity.WARNING,
                TUMOR_ID,
                ml,
                _TOLERATED_ML,
                f"{ml:.2f} ml of the tumor ({count / self._tumor.lengths.sum():.1%} of it) lie outside the body, in "
                f"the air around the patient or in the table, at most {_TOLERATED_ML:g} ml is tolerated; look around "
                f"voxel {place} whether it was drawn astray or the image is another one's.",
            )
        ]

    def _outside(self) -> NDArray[np.bool_]:
        """The sampled voxels that lie outside, on the file's own axes."""
        tissue = self._tissue.reshape([len(axis.middle) for axis in self._axes], order="F")
        x, y, z = (axis for axis, _ in self._geometry.ras_axes)
        slices = np.ascontiguousarray(tissue.transpose(x, y, z))
        found = outside_body(slices, (self._axes[x].reach, self._axes[y].reach))
        return found.transpose(np.argsort([x, y, z]))


class _Axis:
    """An axis of the file cut into cells of up to `cell_mm`, each known by the voxel in its middle.

    `begin`, `middle` and `stop` are voxels, one a cell; `reach` is in cells. Backwards they are the same cells.
    """

    def __init__(self, size: int, spacing_mm: float, cell_mm: float) -> None:
        step = min(max(1, int(cell_mm / spacing_mm)), size)
        step -= 1 - step % 2  # odd, so that a cell has a middle
        # The first middle m, with as many voxels before it as after the last one: 2 * m = size - 1 (modulo step).
        self.middle: NDArray[np.int64] = np.arange((size - 1) * ((step + 1) // 2) % step, size, step)
        between = self.middle[1:] - step // 2
        self.begin = np.concatenate(([0], between))
        self.stop = np.concatenate((between, [size]))
        self.reach = int(_REACH_MM / (step * spacing_mm))

    def keep(self, first: NDArray[Any], last: NDArray[Any]) -> None:
        """Forget the cells that none of the stretches from `first` to `last` (voxels) is in."""
        entered = np.zeros(len(self.middle) + 1, np.int64)
        np.add.at(entered, self.cell(first), 1)
        np.add.at(entered, self.cell(last) + 1, -1)
        kept = np.cumsum(entered)[:-1] > 0
        self.begin, self.middle, self.stop = self.begin[kept], self.middle[kept], self.stop[kept]

    def cell(self, voxel: NDArray[Any]) -> NDArray[np.int64]:
        """The cell that each voxel is in."""
        found: NDArray[np.int64] = np.searchsorted(self.begin, voxel, side="right") - 1
        return found
