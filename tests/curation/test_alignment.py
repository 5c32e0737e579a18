"""Turning a mask back onto its grid, in all 48 orientations, and what is refused."""

from itertools import permutations, product

import numpy as np
import pytest
from nibabel.affines import apply_affine

from curation.alignment import aligned
from curation.errors import GridError
from curation.geometry import Geometry
from curation.rle import RunLengths

SHAPE = (5, 4, 3)
# Rotated by some 20 and 10 degrees, as a tilted gantry leaves it; spacing 1 × 2 × 3 mm.
_A, _B = np.radians(20), np.radians(10)
_ROTATION = np.array([[np.cos(_A), -np.sin(_A), 0], [np.sin(_A), np.cos(_A), 0], [0, 0, 1]]) @ np.array(
    [[1, 0, 0], [0, np.cos(_B), -np.sin(_B)], [0, np.sin(_B), np.cos(_B)]]
)
ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def mask() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, SHAPE).astype(np.uint8)


def grid(rotation: np.ndarray) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([1.0, 2.0, 3.0])
    affine[:3, 3] = (-40.0, 12.5, 7.0)
    return Geometry(SHAPE, affine)


def turned(array: np.ndarray, geometry: Geometry, order, signs) -> tuple[np.ndarray, Geometry]:
    """The same voxels along other axes, by numpy; the affine from where three neighbours of voxel 0 lie."""
    flipped = array.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]

    def was(index):  # index in the original array of an index in the turned one
        old = [0, 0, 0]
        for place, (axis, sign) in enumerate(zip(order, signs, strict=True)):
            old[axis] = index[place] if sign > 0 else array.shape[axis] - 1 - index[place]
        return old

    origin = apply_affine(geometry.affine, was((0, 0, 0)))
    affine = np.eye(4)
    affine[:3, 3] = origin
    for place in range(3):
        step = [int(place == i) for i in range(3)]
        affine[:3, place] = apply_affine(geometry.affine, was(step)) - origin
    return flipped, Geometry(flipped.shape, affine)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
@pytest.mark.parametrize("rotation", [np.eye(3), _ROTATION], ids=["straight", "oblique"])
def test_every_flip_and_permutation_is_put_right(order, signs, rotation):
    array, wanted = mask(), grid(rotation)
    other, found = turned(array, wanted, order, signs)
    runs, note = aligned(RunLengths.from_array(other), found, wanted)
    assert runs.same_as(RunLengths.from_array(array))
    straight = order == (0, 1, 2) and signs == (1, 1, 1)
    assert note == (None if straight else f"axes {found.axis_codes} turned to {wanted.axis_codes}")


def test_a_permutation_is_found_between_axes_at_45_degrees_too():
    half = np.sqrt(0.5)
    wanted = grid(np.array([[half, -half, 0], [half, half, 0], [0, 0, 1]]))
    other, found = turned(mask(), wanted, (1, 0, 2), (1, -1, 1))
    assert aligned(RunLengths.from_array(other), found, wanted)[0].same_as(RunLengths.from_array(mask()))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda g: Geometry((5, 4, 4), g.affine), "shape (5, 4, 4) against (5, 4, 3)"),
        (lambda g: Geometry(SHAPE, g.affine @ np.diag([1, 1, 1.5, 1])), "spacing (1, 2, 4.5) against (1, 2, 3)"),
        (lambda g: Geometry(SHAPE, g.affine + _shift(2.0)), "origin"),
    ],
)  # fmt: skip
def test_another_grid_is_refused_with_what_differs(change, complaint):
    wanted = grid(np.eye(3))
    with pytest.raises(GridError) as refused:
        aligned(RunLengths.from_array(np.zeros(SHAPE, np.uint8)), change(wanted), wanted)
    assert complaint in str(refused.value)


def test_a_flip_about_another_place_is_refused():
    """Mirrored in the patient: the body lies elsewhere, so it is no matter of the file's axes."""
    wanted = grid(np.eye(3))
    mirrored = Geometry(SHAPE, wanted.affine @ np.diag([-1.0, 1.0, 1.0, 1.0]))
    with pytest.raises(GridError, match=r"origin \(-44, 12.5, 7\) against \(-40, 12.5, 7\) mm"):
        aligned(RunLengths.from_array(mask()), mirrored, wanted)


def test_axes_between_those_of_the_grid_are_refused():
    wanted = grid(np.eye(3))
    with pytest.raises(GridError, match="directions of the axes"):
        aligned(RunLengths.from_array(mask()), grid(_ROTATION), wanted)


def _shift(mm: float) -> np.ndarray:
    shift = np.zeros((4, 4))
    shift[0, 3] = mm
    return shift
