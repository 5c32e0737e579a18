"""Where a volume's voxels lie in the patient: shape, affine, and how the file's axes run through the body."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of the spacing (for spacing and origin) or of 1 (direction cosines): far below a voxel, far above float32.
_TOLERANCE = 1e-3
_POSITIVE, _NEGATIVE = "RAS", "LPI"


@dataclass(frozen=True, eq=False)
class Geometry:
    """The voxel grid of one volume in RAS+ millimetres.

    `shape` is (X, Y, Z) of the file's own axes. `affine`, (4, 4) float64, takes voxel indices to RAS+ mm.
    `note` is what a curator should know of how the affine was found (sform against qform, units), or None.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    note: str | None = field(default=None, repr=False)

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along the file's axes."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)).tolist()
        return x, y, z

    @cached_property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def directions(self) -> NDArray[np.float64]:
        """Unit vectors of the file's axes as columns, (3, 3), in RAS+."""
        return self.affine[:3, :3] / np.array(self.spacing_mm)

    @cached_property
    def ras_axes(self) -> tuple[tuple[int, bool], tuple[int, bool], tuple[int, bool]]:
        """For the patient's x (towards right), y, z: the file axis that runs along it, and whether backwards.

        The rule of nibabel.orientations.io_orientation: of the nearest rotation of the affine, each file axis
        takes the free patient axis that it is closest to, the closest of them first.
        """
        left, _, right = np.linalg.svd(self.directions)
        rotation = left @ right
        found: dict[int, tuple[int, bool]] = {}
        for axis in np.argsort(-(rotation**2).max(axis=0), kind="stable").tolist():
            closeness = np.abs(rotation[:, axis])
            closeness[list(found)] = -1
            patient = int(np.argmax(closeness))
            found[patient] = (axis, bool(rotation[patient, axis] < 0))
        return found[0], found[1], found[2]

    @property
    def axis_codes(self) -> str:
        """Where the file's axes point, e.g. "IPL" for KiTS (first axis towards inferior)."""
        codes = [""] * 3
        for patient, (axis, backwards) in enumerate(self.ras_axes):
            codes[axis] = (_NEGATIVE if backwards else _POSITIVE)[patient]
        return "".join(codes)

    @property
    def shape_ras(self) -> tuple[int, int, int]:
        """Shape of the volume once it is turned to RAS."""
        (x, _), (y, _), (z, _) = self.ras_axes
        return self.shape[x], self.shape[y], self.shape[z]

    @property
    def spacing_ras_mm(self) -> tuple[float, float, float]:
        """Voxel size along the patient's x, y, z."""
        (x, _), (y, _), (z, _) = self.ras_axes
        return self.spacing_mm[x], self.spacing_mm[y], self.spacing_mm[z]

    def to_ras(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn an array of `shape` to RAS: a view of shape `shape_ras`."""
        turned = array.transpose([axis for axis, _ in self.ras_axes])
        return turned[tuple(slice(None, None, -1 if backwards else 1) for _, backwards in self.ras_axes)]

    def from_ras(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn an array of `shape_ras` back to the file's own axes: a view of shape `shape`."""
        flipped = array[tuple(slice(None, None, -1 if backwards else 1) for _, backwards in self.ras_axes)]
        return flipped.transpose(np.argsort([axis for axis, _ in self.ras_axes]))

    def turned(self, order: Sequence[int], backwards: Sequence[bool]) -> "Geometry":
        """The grid of an array of `shape` after it is transposed to `order`, then flipped where `backwards`.

        With the axes and directions of `ras_axes` it is the grid of what `to_ras` returns.
        """
        to_file = np.zeros((4, 4))  # takes an index in the turned array to the index in the file
        to_file[3, 3] = 1
        for place, (axis, back) in enumerate(zip(order, backwards, strict=True)):
            to_file[axis, place] = -1 if back else 1
            to_file[axis, 3] = self.shape[axis] - 1 if back else 0
        x, y, z = (self.shape[axis] for axis in order)
        return Geometry((x, y, z), self.affine @ to_file, self.note)

    def difference(self, other: "Geometry") -> str | None:
        """How two grids differ, as a half sentence for an error message; None if they are the same.

        Tolerated: 1e-3 of the spacing in spacing and origin, 1e-3 in direction cosines.
        """
        if self.shape != other.shape:
            return f"shape {self.shape} against {other.shape}"
        mine, theirs = np.array(self.spacing_mm), np.array(other.spacing_mm)
        if (np.abs(mine - theirs) > _TOLERANCE * mine).any():
            return f"spacing {_triple(mine)} against {_triple(theirs)} mm"
        if (np.abs(self.directions - other.directions) > _TOLERANCE).any():
            if self.axis_codes != other.axis_codes:
                return f"axes {self.axis_codes} against {other.axis_codes}"
            return "the directions of the axes, by more than 0.001"
        mine_at, theirs_at = self.affine[:3, 3], other.affine[:3, 3]
        if (np.abs(mine_at - theirs_at) > _TOLERANCE * mine.min()).any():
            return f"origin {_triple(mine_at)} against {_triple(theirs_at)} mm"
        return None


def _triple(numbers: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{n:.6g}" for n in numbers.tolist()) + ")"
