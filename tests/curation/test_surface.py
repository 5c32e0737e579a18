"""Surface areas and the normalised surface dice: by hand, and against a plain distance transform."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from curation.rle import RunLengths
from curation.surface import element_areas_mm2, surface_dice

UNIT_MM = (1.0, 1.0, 1.0)


def drawn(array: NDArray[np.bool_]) -> RunLengths:
    return RunLengths.from_array(array.astype(np.uint8))


def box(shape: tuple[int, int, int], low: tuple[int, int, int], high: tuple[int, int, int]) -> RunLengths:
    array = np.zeros(shape, bool)
    array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return drawn(array)


@pytest.mark.parametrize(
    ("code", "spacing_mm", "area_mm2"),
    [
        (0b00000000, UNIT_MM, 0.0),
        (0b11111111, UNIT_MM, 0.0),
        # One corner: a triangle over three midpoints, half of |(½,½,0) × (½,0,½)| = √3/8.
        (0b00000001, UNIT_MM, math.sqrt(3) / 8),
        (0b01111111, UNIT_MM, math.sqrt(3) / 8),
        # Spacing 2, 3, 4: the same triangle has the normal (3·4, 2·4, 2·3)/8 = (12, 8, 6)/8.
        (0b00100000, (2.0, 3.0, 4.0), math.sqrt(12**2 + 8**2 + 6**2) / 8),
        # Four voxels of one x face: a flat 3 × 4 mm rectangle.
        (0b01010101, (2.0, 3.0, 4.0), 12.0),
        # Two voxels along x: a rectangle 2 mm long over the diagonal of a 1½ × 2 mm corner.
        (0b00000011, (2.0, 3.0, 4.0), 2 * math.hypot(1.5, 2)),
        # Two voxels that touch only along a diagonal: two triangles.
        (0b00001001, UNIT_MM, 2 * math.sqrt(3) / 8),
        # A corner with its three neighbours: a regular hexagon with sides of √½, area 3√3/2 · ½.
        (0b00010111, UNIT_MM, 3 * math.sqrt(3) / 4),
    ],
)
def test_area_of_one_surface_element(code, spacing_mm, area_mm2):
    assert element_areas_mm2(spacing_mm)[code] == pytest.approx(area_mm2)


def test_areas_equal_the_published_table_as_monai_carries_it():
    utils = pytest.importorskip("monai.metrics.utils")
    spacing_mm = (0.7, 1.3, 2.9)
    table, kernel = utils.create_table_neighbour_code_to_surface_area(spacing_mm, device="cpu")
    weights = kernel.numpy().reshape(2, 2, 2).astype(int)
    theirs = [
        sum(weights[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8) if code >> i & 1) for code in range(256)
    ]
    np.testing.assert_allclose(element_areas_mm2(spacing_mm), table.numpy()[theirs], rtol=1e-6)


def test_a_shift_within_the_tolerance_is_perfect():
    a, b = box((8, 8, 8), (1, 1, 1), (5, 5, 5)), box((8, 8, 8), (2, 1, 1), (6, 5, 5))
    assert surface_dice(a, b, UNIT_MM, 1.0) == 1.0


def test_two_cubes_shifted_along_thick_slices_lose_their_outer_faces():
    # Two 4³ cubes, one voxel apart along x, where a voxel is 6 mm; tolerance 2 mm. Only the corners on the
    # outer x face of either cube have no surface of the other within 2 mm. That face, by kind of corner:
    #   inner 9 × 1 mm², on its edges 12 × |(½·1·1, ½·6·1)|, at its corners 4 × |(1, 6, 6)|/8
    edge, corner = math.hypot(0.5, 3), math.sqrt(1 + 36 + 36) / 8
    face = 9 * 1 + 12 * edge + 4 * corner
    # A whole cube: two such faces, four sides of 9 × 6 mm², and four edges along x with 3 × |(½·6, ½·6)|.
    cube = 2 * face + 4 * 9 * 6 + 4 * 3 * math.hypot(3, 3)
    a, b = box((8, 8, 8), (1, 1, 1), (5, 5, 5)), box((8, 8, 8), (2, 1, 1), (6, 5, 5))
    assert surface_dice(a, b, (6.0, 1.0, 1.0), 2.0) == pytest.approx(1 - face / cube)
    assert surface_dice(a, b, (6.0, 1.0, 1.0), 6.0) == 1.0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_tolerance_counts_millimetres_along_every_axis(axis):
    spacing_mm = tuple(3.0 if i == axis else 1.0 for i in range(3))
    low = [2, 2, 2]
    low[axis] += 1
    a, b = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    a[2, 2, 2] = True
    b[tuple(low)] = True
    assert surface_dice(drawn(a), drawn(b), spacing_mm, 3.0) == 1.0
    # Two of the three corner layers are not shared: the four corners of each that are 3 mm away are lost.
    assert surface_dice(drawn(a), drawn(b), spacing_mm, 2.9) == 0.5


def test_without_surfaces_both_agree_and_with_one_they_do_not():
    none, one = RunLengths.empty((3, 3, 3)), box((3, 3, 3), (1, 1, 1), (2, 2, 2))
    assert surface_dice(none, none, UNIT_MM, 1.0) == 1.0
    assert surface_dice(none, one, UNIT_MM, 1.0) == 0.0
    assert surface_dice(one, none, UNIT_MM, 1.0) == 0.0


def test_a_mask_that_fills_the_volume_has_its_surface_at_the_border():
    full = box((3, 4, 5), (0, 0, 0), (3, 4, 5))
    inner = box((3, 4, 5), (1, 1, 1), (2, 3, 4))
    assert surface_dice(full, full, UNIT_MM, 1.0) == 1.0
    # Corners of the full box lie 1 mm from the inner one on its faces (near), √2 on its edges and √3 at its
    # corners (far). A box of 3 × 4 × 5 has 2·(2·3 + 2·4 + 3·4) corners of 1 mm² on its faces, 4·(2 + 3 + 4) of
    # √½ on its edges, 8 of √3/8; one of 1 × 2 × 3 has 2·(0 + 0 + 1·2), 4·(0 + 1 + 2) and 8 of them.
    near, far = 52 + 4 + 12 * math.sqrt(0.5) + math.sqrt(3), 36 * math.sqrt(0.5) + math.sqrt(3)
    assert surface_dice(full, inner, UNIT_MM, 1.0) == pytest.approx(near / (near + far))


def plain_surface_dice(a, b, spacing_mm, tolerance_mm):
    """The definition, with a distance transform over the whole volume."""
    areas = element_areas_mm2(spacing_mm)
    codes = []
    for mask in (a, b):
        padded = np.pad(mask, 1).astype(int)
        x, y, z = (n - 1 for n in padded.shape)
        codes.append(
            sum(
                padded[i : i + x, j : j + y, k : k + z] << (i + 2 * j + 4 * k)
                for i in (0, 1) for j in (0, 1) for k in (0, 1)
            )
        )  # fmt: skip
    surfaces = [(code != 0) & (code != 255) for code in codes]
    near = total = 0.0
    for mine, other in ((0, 1), (1, 0)):
        distance = ndimage.distance_transform_edt(~surfaces[other], sampling=spacing_mm)
        area = areas[codes[mine]][surfaces[mine]]
        near += area[distance[surfaces[mine]] <= tolerance_mm].sum()
        total += area.sum()
    return near / total


@pytest.mark.parametrize("seed", range(25))
def test_bits_and_distance_transform_agree_on_random_shapes(seed):
    rng = np.random.default_rng(seed)
    # Widths around and beyond 64 voxels: rows of one word, of just two, of several.
    shape = tuple(rng.integers((3, 3, 3), (200, 20, 20)))
    field = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0, 2))
    other = field + rng.uniform(0, 1) * field.std() * rng.normal(size=shape)
    a = field > np.quantile(field, rng.uniform(0.3, 0.98))
    b = other > np.quantile(other, rng.uniform(0.3, 0.98))
    spacing_mm = tuple(rng.choice([0.5, 0.78, 1.0, 1.5, 2.5, 5.0], 3).tolist())
    tolerance_mm = float(rng.choice([1, 2, 3, 5, 7]))
    expected = plain_surface_dice(a, b, spacing_mm, tolerance_mm)
    assert surface_dice(drawn(a), drawn(b), spacing_mm, tolerance_mm) == pytest.approx(expected, abs=1e-12)


def test_specks_far_apart_count_as_in_the_definition():
    rng = np.random.default_rng(0)
    a, b = np.zeros((150, 40, 30), bool), np.zeros((150, 40, 30), bool)
    a[70:80, 10:20, 10:20] = b[71:82, 10:19, 11:20] = True
    for array in (a, b):
        array[tuple(rng.integers(0, n, 6) for n in array.shape)] = True
        array[0, 0, 0] = array[-1, -1, -1] = True
    spacing_mm = (0.8, 1.1, 2.0)
    expected = plain_surface_dice(a, b, spacing_mm, 3.0)
    assert surface_dice(drawn(a), drawn(b), spacing_mm, 3.0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("apart", [1, 62, 63, 64, 65, 127, 128, 139, 140, 141, 150])
def test_a_tolerance_may_reach_over_several_words(apart):
    # Voxels of 0.0625 mm, a power of two, so that 140 of them are 8.75 mm exactly: tolerance just so.
    a, b = (
        box((400, 3, 3), (100, 1, 1), (101, 2, 2)),
        box((400, 3, 3), (100 + apart, 1, 1), (101 + apart, 2, 2)),
    )
    # Either voxel has two layers of corners along x; the nearer one of them is `apart` - 1 from the other voxel's.
    near_layers = int(apart - 1 <= 140) + int(apart <= 140)
    assert surface_dice(a, b, (0.0625, 1.0, 1.0), 8.75) == near_layers / 2
