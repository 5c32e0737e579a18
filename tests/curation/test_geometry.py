"""Grids: which file axis runs where in the patient, against nibabel, and how two grids differ."""

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.geometry import Geometry

# The 48 ways in which a file's axes can run through the patient.
ORIENTATIONS = [
    "".join(codes)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for codes in itertools.product(*order)
]
SHAPE, SPACING_MM = (2, 3, 4), (0.7, 1.5, 5.0)


def oriented(codes: str) -> Geometry:
    directions = nibabel.orientations.inv_ornt_aff(nibabel.orientations.axcodes2ornt(codes), SHAPE)
    affine = np.linalg.inv(directions)
    affine[:3, :3] = np.sign(np.round(affine[:3, :3])) * SPACING_MM
    affine[:3, 3] = 10, -20, 30
    return Geometry(SHAPE, affine)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_axes_and_reorientation_agree_with_nibabel(codes):
    geometry = oriented(codes)
    voxels = np.arange(24).reshape(SHAPE)
    image = nibabel.Nifti1Image(voxels.astype(np.int16), geometry.affine)
    canonical = nibabel.as_closest_canonical(image)

    assert geometry.axis_codes == "".join(nibabel.aff2axcodes(geometry.affine)) == codes
    assert geometry.spacing_mm == pytest.approx(SPACING_MM)
    assert geometry.shape_ras == canonical.shape
    assert geometry.spacing_ras_mm == pytest.approx(canonical.header.get_zooms())
    turned = geometry.turned(*zip(*geometry.ras_axes, strict=True))
    assert np.allclose(turned.affine, canonical.affine)
    assert turned.shape == canonical.shape
    assert np.array_equal(geometry.to_ras(voxels), np.asarray(canonical.dataobj))
    assert np.array_equal(geometry.from_ras(geometry.to_ras(voxels)), voxels)


@given(st.lists(st.floats(-180, 180), min_size=3, max_size=3))
def test_axis_codes_of_oblique_scans_agree_with_nibabel(angles):
    affine = np.eye(4)
    affine[:3, :3] = nibabel.eulerangles.euler2mat(*np.radians(angles)) * SPACING_MM
    closeness = np.sort(np.abs(affine[:3, :3] / SPACING_MM), axis=0)
    if (closeness[2] - closeness[1]).min() < 1e-6:
        return  # exactly between two axes either answer is right
    assert Geometry(SHAPE, affine).axis_codes == "".join(nibabel.aff2axcodes(affine))


def test_a_voxel_of_0_8_by_0_8_by_2_5_mm_is_1_6_microlitres():
    assert Geometry((1, 1, 1), np.diag([-0.8, 0.8, 2.5, 1])).voxel_ml == pytest.approx(0.0016)


def changed(**parts: object) -> Geometry:
    affine = np.diag([0.8, 0.8, 2.5, 1.0])
    affine[:3, 3] = -100, -120, 40
    for (row, column), number in parts.get("affine", {}).items():  # type: ignore[attr-defined]
        affine[row, column] = number
    return Geometry(parts.get("shape", (10, 11, 12)), affine)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (changed(), None),
        (changed(affine={(0, 3): -100.0005}), None),  # less than 0.001 of 0.8 mm
        (changed(affine={(2, 2): 2.502}), None),  # less than 0.001 of 2.5 mm
        (changed(shape=(10, 11, 13)), "shape (10, 11, 12) against (10, 11, 13)"),
        (changed(affine={(2, 2): 3.0}), "spacing (0.8, 0.8, 2.5) against (0.8, 0.8, 3) mm"),
        (changed(affine={(0, 0): -0.8}), "axes RAS against LAS"),
        (changed(affine={(0, 1): 0.01}), "the directions of the axes, by more than 0.001"),
        (changed(affine={(1, 3): -121}), "origin (-100, -120, 40) against (-100, -121, 40) mm"),
    ],
)
def test_a_difference_is_named(other, sentence):
    assert changed().difference(other) == sentence
