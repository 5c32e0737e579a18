"""What lies where in a picture of a slice, checked with single voxels and gray values worked out by hand."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from curation.geometry import Geometry
from curation.labels import BY_ID
from dashboards.components.viewer import best_slice, draw, value_title
from dashboards.components.volumes import Scene
from dashboards.slice_figure import slice_figure
from dashboards.slices import (
    Plane,
    Window,
    cut,
    gray,
    lettered,
    nearest,
    overlay,
    picture_size,
    pixel_mm,
    rgb,
)

# A RAS volume of 3 × 4 × 5 voxels; its last voxel along each axis lies furthest right, anterior, superior.
SHAPE = (3, 4, 5)


def one_voxel(*at: int) -> np.ndarray:
    volume = np.zeros(SHAPE, np.uint8)
    volume[at] = 1
    return volume


def where(picture: np.ndarray) -> tuple[int, int]:
    """Row and column of the only pixel that is set."""
    ((row, column),) = np.argwhere(picture)
    return int(row), int(column)


@pytest.mark.parametrize(
    ("plane", "at", "pixel"),
    [
        # Right, anterior, superior: x = 2, y = 3, z = 4.
        (Plane.AXIAL, (2, 3, 4), (0, 0)),  # right: left of the picture; anterior: above
        (Plane.AXIAL, (0, 3, 4), (0, 2)),  # left: right of the picture
        (Plane.AXIAL, (2, 0, 4), (3, 0)),  # posterior: below
        (Plane.CORONAL, (2, 3, 4), (0, 0)),  # right: left; superior: above
        (Plane.CORONAL, (0, 3, 4), (0, 2)),
        (Plane.CORONAL, (2, 3, 0), (4, 0)),  # inferior: below
        (Plane.SAGITTAL, (2, 3, 4), (0, 0)),  # anterior: left; superior: above
        (Plane.SAGITTAL, (2, 0, 4), (0, 3)),  # posterior: right
        (Plane.SAGITTAL, (2, 3, 0), (4, 0)),
    ],
)
def test_a_known_voxel_lands_where_a_radiologist_looks_for_it(plane, at, pixel):
    assert where(cut(one_voxel(*at), plane, at[plane.axis])) == pixel


def test_the_same_patient_looks_the_same_in_any_file_orientation():
    # KiTS runs its axes towards inferior, posterior, left. The voxel that lies furthest right, anterior and
    # superior is its voxel (0, 0, 0).
    affine = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]], float)
    geometry = Geometry((5, 4, 3), affine)
    stored = np.zeros((5, 4, 3), np.uint8)
    stored[0, 0, 0] = 1
    assert geometry.axis_codes == "IPL"
    assert where(cut(geometry.to_ras(stored), Plane.AXIAL, 4)) == (0, 0)


def test_letters_name_the_edges():
    assert Plane.AXIAL.edges == ("R", "L", "A", "P")
    assert Plane.CORONAL.edges == ("R", "L", "S", "I")
    assert Plane.SAGITTAL.edges == ("A", "P", "S", "I")
    written = lettered(np.zeros((60, 60, 3), np.uint8), Plane.AXIAL)
    # An L's foot: its lowest row, two pixels high, is white over all its 10 columns, 4 from the right edge.
    rows = slice((60 - 14) // 2 + 12, (60 - 14) // 2 + 14)
    assert (written[rows, 46:56] == 255).all()
    assert (written[rows, 56:] == 0).all()


def test_a_picture_too_small_for_letters_has_none():
    assert not lettered(np.zeros((10, 10, 3), np.uint8), Plane.AXIAL).any()


@pytest.mark.parametrize(
    ("hu", "shade"),
    [(-160, 0), (-1000, 0), (240, 255), (3000, 255), (40, 128), (-60, 64)],
    # W 400 L 40: -160 is black, 240 white. (40 + 160) / 400 · 255 = 127.5 → 128; 100 / 400 · 255 = 63.75 → 64.
)
def test_a_window_makes_black_and_white_of_its_ends(hu, shade):
    assert gray(np.full((2, 2), hu, np.int16), Window(40, 400), (2, 2)).tolist() == [[shade] * 2] * 2


def test_gray_values_between_voxels_are_interpolated():
    # Two voxels over four pixels: pixel centres at 0.25, 0.75, 1.25, 1.75 voxels are -0.25, 0.25, 0.75, 1.25
    # from the first centre, the ends held: 0, 0.25, 0.75, 1 of the way from 0 to 255.
    row = gray(np.array([[0, 100]], np.int16), Window(50, 100), (1, 4))
    assert row.tolist() == [[0, 64, 191, 255]]


def test_labels_are_never_interpolated():
    assert nearest(np.array([[1, 4]], np.uint8), (2, 4)).tolist() == [[1, 1, 4, 4]] * 2
    assert nearest(np.array([[1, 2, 3, 4]], np.uint8), (1, 2)).tolist() == [[2, 4]]


def test_pixels_are_square_in_millimetres():
    # 0.8 mm in the plane, 2.5 mm between slices; a coronal slice of 100 × 40 voxels is 80 mm × 100 mm.
    assert pixel_mm((0.8, 0.9, 2.5), Plane.CORONAL) == (2.5, 0.8)
    assert pixel_mm((0.8, 0.9, 2.5), Plane.AXIAL) == (0.9, 0.8)
    assert pixel_mm((0.8, 0.9, 2.5), Plane.SAGITTAL) == (2.5, 0.9)
    assert picture_size((40, 100), (2.5, 0.8), 500) == (500, 400)


def test_an_area_is_mixed_and_its_outline_is_pure():
    background = np.full((5, 5), 100, np.uint8)
    labels = np.zeros((5, 5), np.uint8)
    labels[1:4, 1:4] = 4
    color = rgb(BY_ID[4].color)
    picture = overlay(background, labels, 0.5, {4: BY_ID[4].color})
    # In the middle half gray, half color; around it the color itself; outside the gray.
    assert picture[2, 2].tolist() == [round((100 + c) / 2) for c in color]
    assert picture[1, 1].tolist() == list(color)
    assert picture[0, 0].tolist() == [100, 100, 100]


def test_a_class_switched_off_or_without_opacity_leaves_the_image_alone():
    background = np.full((3, 3), 100, np.uint8)
    labels = np.full((3, 3), 4, np.uint8)
    assert (overlay(background, labels, 0.5, {5: "#ffffff"}) == 100).all()
    assert (overlay(background, labels, 0) == 100).all()


def test_the_viewer_begins_where_most_classes_are():
    # Two boxes meet in slices 6 to 8 of 20; in a file that runs towards inferior these are 11 to 13 of RAS.
    boxes = [[0, 0, 2, 5, 5, 9], [0, 0, 6, 5, 5, 15]]
    assert best_slice(boxes, Geometry((10, 10, 20), np.eye(4)), Plane.AXIAL) == 7
    assert best_slice(boxes, Geometry((10, 10, 20), np.diag([1.0, 1, -1, 1])), Plane.AXIAL) == 12
    assert best_slice([], Geometry((10, 10, 20), np.eye(4)), Plane.AXIAL) == 10


def test_a_mask_without_its_image_is_drawn_alone():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 4] = 1
    scene = Scene(Geometry((8, 8, 8), np.eye(4)), None, labels, "gone")
    picture = draw(scene, Plane.AXIAL, 4, "Abdomen", 1.0, [1])
    assert picture.shape == (720, 720, 3)
    assert picture[360, 360].tolist() == list(rgb(BY_ID[1].color))


# 3 rows of 2 mm and 4 columns of 1.5 mm: a picture of 6 × 6 mm.
HU = np.array([[-1000, 0, 10, 20], [30, 40, 50, 60], [70, 80, 90, 3000]], np.int16)
LABELS = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 4]], np.uint8)
GREEN = np.full((6, 6, 3), (0, 255, 0), np.uint8)


def told(trace, x_mm, y_mm):
    """What a trace of a figure says at a place: its words and the value there."""
    column, row = round((x_mm - trace.x0) / trace.dx), round((y_mm - trace.y0) / trace.dy)
    return trace.hovertemplate, float(np.asarray(trace.z)[row, column])


def test_a_slice_tells_hu_everywhere_and_a_class_where_it_lies():
    whole, liver = slice_figure(GREEN, (2.0, 1.5), HU, LABELS, {1: "Liver", 2: "Spleen"}, "kept").data
    assert told(whole, 5.25, 5.0) == ("%{z:.0f} HU<extra></extra>", 3000)  # the last voxel's middle
    assert told(whole, 0.75, 1.0) == ("%{z:.0f} HU<extra></extra>", -1000)
    # In its box of 2 × 2 voxels: (1, 1), (2, 1) and (2, 2) are liver, (1, 2) is none.
    assert told(liver, 2.25, 3.0) == ("%{z:.0f} HU · Liver<extra></extra>", 40)
    assert told(liver, 3.75, 5.0)[1] == 90
    assert np.isnan(told(liver, 3.75, 3.0)[1])
    assert liver.hoverongaps is False  # there, the whole slice speaks
    assert np.asarray(liver.z).shape == (2, 2)


def test_a_slices_picture_lies_under_its_voxels():
    figure = slice_figure(GREEN, (2.0, 1.5), HU, LABELS, {}, "kept")
    (picture,) = figure.layout.images
    assert (picture.x, picture.y, picture.sizex, picture.sizey) == (0, 0, 6, 6)
    assert figure.layout.xaxis.range == (0, 6)
    assert figure.layout.yaxis.range == (6, 0)  # the first row above
    data = base64.b64decode(picture.source.removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), GREEN)


def test_a_slice_without_an_image_tells_its_classes_alone():
    (liver,) = slice_figure(GREEN, (2.0, 1.5), None, LABELS, {1: "Liver"}, "kept").data
    assert told(liver, 2.25, 3.0) == ("Liver<extra></extra>", 0)


@pytest.mark.parametrize(
    ("value", "title"), [(14, "Tumor"), (200, "Unresolved kidney"), (210, "Unresolved 210"), (255, "Ignore")]
)
def test_every_voxel_value_has_a_name(value, title):
    assert value_title(value) == title
