"""What lies outside the body: by hand, by scipy, and on a real CT whose tumors were put where none can be."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from curation.body import TumorOutside, outside_body
from curation.images import look_at_image
from curation.labels import TUMOR_ID
from curation.phantom import make_phantom
from curation.rle import RunLengths
from curation.status import Finding, Severity
from curation.volumes import Geometry, decode_image

CM = np.diag([10.0, 10.0, 10.0, 1.0])  # 1 ml a voxel, each one a cell of its own


def outside(picture: str, reach: int = 0) -> str:
    """The slice drawn as text (# tissue), with o where it is outside."""
    rows = picture.split()
    tissue = np.array([[sign == "#" for sign in row] for row in rows]).T[..., None]
    found = outside_body(tissue, (reach, reach))[..., 0].T
    return "\n".join("".join("o" if o else "." for o in row) for row in found)


def test_the_air_around_is_outside_and_lung_and_bowel_are_not():
    found = outside("""
        ............
        ............
        ..#######...
        ..#..#..#...
        ..#..####...
        ..#######...
        ............
        ............
    """)
    assert found.split() == [
        "oooooooooooo",
        "o.........oo",  # next to the body is neither
        "o.........oo",
        "o.........oo",
        "o.........oo",
        "o.........oo",
        "o.........oo",
        "oooooooooooo",
    ]


def test_a_table_that_touches_the_body_is_outside_and_a_limb_beside_it_is_not():
    table = """
        ................
        ....########....
        ....########....
        ....########....
        ....########....
        ....########....
        ..#..#..........
        .##############.
        .#............#.
        .##############.
        ................
    """
    # Of blocks of three pixels the body has eight columns and five rows; one more to each side is next to it.
    assert outside(table, reach=1).split() == ["ooo..........ooo"] * 7 + ["o" * 16] * 4
    limb = """
        ..................
        .########...####..
        .########...####..
        .########...####..
        .########.........
        ..................
    """
    assert [row[-8:] for row in outside(limb, reach=1).split()] == ["o......o"] * 5 + ["oooooooo"]


@pytest.mark.parametrize(
    "picture",
    [
        "##..#### ##..#### ######## ###....# ###....#",  # a crop: gas at two of its sides
        "...##### ..###### ######## #######. ######..",  # lung in two of its corners
        "........ .######. ........ ........",  # a table alone
    ],
)
def test_a_slice_inside_the_body_or_without_one_has_no_outside(picture):
    assert "o" not in outside(picture, reach=1)


def test_of_random_slices_the_same_is_outside_as_by_scipy():
    """Blobs of tissue, air and holes; the pieces are scipy's, the blocks its erosions."""
    rng = np.random.default_rng(7)
    seen = 0
    for _ in range(12):
        tissue = ndimage.gaussian_filter(rng.standard_normal((60, 50, 3)), (4, 4, 0)) > 0.02
        tissue[[0, 0, -1], [0, -1, 0]] = False
        expected = np.zeros_like(tissue)
        for z in range(3):
            flesh = tissue[..., z]
            pockets, _ = ndimage.label(~flesh)
            around = np.isin(pockets, np.unique(np.concatenate(
                [pockets[0], pockets[-1], pockets[:, 0], pockets[:, -1]]
            ))) & ~flesh  # fmt: skip
            inner = ndimage.binary_erosion(~around, np.ones((5, 3)), border_value=1)
            pieces, _ = ndimage.label(inner)
            solid = ndimage.binary_erosion(flesh, np.ones((5, 3)))
            body = np.isin(pieces, np.unique(pieces[solid])) & inner
            if body.any():
                expected[..., z] = ~ndimage.binary_dilation(body, np.ones((7, 5)))
        assert np.array_equal(outside_body(tissue, (2, 1)), expected)
        seen += np.count_nonzero(expected)
    assert seen > 3000


def body_at_09_mm() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A CT of 110 × 95 × 13 voxels, 0.9 × 0.9 × 2 mm: a trunk with a lung, a table below; and a tumor astray."""
    x, y, _ = np.ogrid[:110, :95, :13]
    image = np.random.default_rng(2).normal(-1000, 30, (110, 95, 13))
    trunk = ((x - 52) / 40) ** 2 + ((y - 50) / 27) ** 2 < 1
    lung = ((x - 35) / 12) ** 2 + ((y - 50) / 12) ** 2 < 1
    image[np.broadcast_to(trunk & ~lung, image.shape)] += 1040
    image[5:105, 14:16] += 700
    mask = np.zeros(image.shape, np.uint8)
    for place in range(11):
        mask[20 + 7 * place : 30 + 7 * place, 60 + 3 * place : 63 + 3 * place, 1 + place] = TUMOR_ID
    return image.astype(np.int16), mask, np.diag([0.9, 0.9, 2.0, 1.0])


def found_in(image: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> tuple[Finding, ...]:
    data = nib.Nifti1Image(image, affine).to_bytes()
    return look_at_image(data, "image.nii", RunLengths.from_array(mask)).findings


def test_all_48_orientations_give_one_volume_outside():
    image, mask, affine = body_at_09_mm()
    pair = nib.Nifti1Image(image, affine), nib.Nifti1Image(mask, affine)
    values = []
    for axes, signs in itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    ):
        ct, drawn = (volume.as_reoriented(np.array([axes, signs]).T) for volume in pair)
        (finding,) = found_in(np.asarray(ct.dataobj), np.asarray(drawn.dataobj), ct.affine)
        values.append(finding.value)
        place = tuple(map(int, finding.message.split("voxel (")[1].split(")")[0].split(",")))
        assert np.asarray(drawn.dataobj)[place] == TUMOR_ID
        assert np.asarray(ct.dataobj)[place] < -500
    assert len({round(value, 9) for value in values}) == 1
    # 0.00162 ml a voxel; between 1 and 1.45 of the ellipse lie the 3 to 5 mm next to the skin.
    ellipse = ((np.arange(110)[:, None] - 52) / 40) ** 2 + ((np.arange(95) - 50) / 27) ** 2
    tumor = mask.any(axis=2)
    surely = np.count_nonzero(tumor & (ellipse > 1.45)), np.count_nonzero(tumor & (ellipse > 1.05))
    assert surely[0] * 0.00162 < values[0] < surely[1] * 0.00162


def test_the_image_may_pass_by_in_any_pieces():
    image, mask, affine = body_at_09_mm()
    flat = image.ravel(order="F").astype(np.float32)
    found = []
    for piece in (len(flat), 1009, 45):
        look = TumorOutside(RunLengths.from_array(mask), Geometry(mask.shape, affine))
        for at in range(0, len(flat), piece):
            look.feed(at, flat[at : at + piece])
        found.append(look.findings())
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 1


def trunk(shape: tuple[int, int, int] = (20, 16, 5)) -> np.ndarray:
    """A trunk of 12 × 10 voxels in air, in HU."""
    image = np.full(shape, -1000, np.int16)
    image[4:16, 3:13] = 40
    return image


def test_what_is_drawn_in_the_air_is_told_with_volume_share_and_place():
    mask = np.zeros((20, 16, 5), np.uint8)
    mask[6:9, 5, 2] = TUMOR_ID  # three in the body
    mask[0:4, 1, 3] = TUMOR_ID  # four in the air; y = 2 would be next to it
    (finding,) = found_in(trunk(), mask, CM)
    assert (finding.check, finding.severity, finding.class_id) == (
        "tumor_outside_body", Severity.WARNING, TUMOR_ID,
    )  # fmt: skip
    assert (finding.value, finding.limit) == (pytest.approx(4), 0.1)
    assert finding.message == (
        "4.00 ml of the tumor (57.1% of it) lie outside the body, in the air around the patient or in the table, at "
        "most 0.1 ml is tolerated; look around voxel (2, 1, 3) whether it was drawn astray or the image is another "
        "one's."
    )


def test_at_the_skin_and_in_small_strokes_a_tumor_is_tolerated():
    mask = np.zeros((20, 16, 5), np.uint8)
    mask[3:16, 2, 1:4] = TUMOR_ID  # the voxel next to the skin
    assert found_in(trunk(), mask, CM) == ()
    fine = np.diag([4.0, 4.0, 4.0, 1.0])  # 0.064 ml a voxel
    mask[0, 0, 0] = TUMOR_ID
    assert found_in(trunk(), mask, fine) == ()
    mask[1, 0, 0] = TUMOR_ID
    (finding,) = found_in(trunk(), mask, fine)
    assert finding.value == pytest.approx(0.128)


def test_lungs_at_the_top_of_the_scan_are_inside_and_an_image_that_is_not_hu_says_nothing():
    image, mask = trunk(), np.zeros((20, 16, 5), np.uint8)
    image[6:9, 6:10] = -900  # open at top and bottom
    mask[7, 7, :] = TUMOR_ID
    assert found_in(image, mask, CM) == ()
    mask[0, 0, :] = TUMOR_ID
    assert len(found_in(image, mask, CM)) == 1
    assert found_in(image + np.int16(1024), mask, CM) == ()


def test_no_tumor_of_a_phantom_is_outside_it_and_one_in_a_corner_is():
    for index in (1, 2, 3):
        phantom = make_phantom(3, index)
        tumor = np.where(phantom.truth == TUMOR_ID, np.uint8(TUMOR_ID), np.uint8(0))
        assert tumor.any()
        assert found_in(phantom.image, tumor, phantom.affine) == ()
        tumor[:2, :2, 20:23] = TUMOR_ID
        (finding,) = found_in(phantom.image, tumor, phantom.affine)
        assert finding.value == pytest.approx(12 * 0.125)  # voxels of 5 mm


@pytest.fixture(scope="module")
def real(shared) -> tuple[bytes, Geometry, np.ndarray]:
    data = (shared / "data" / "totalsegmentator" / "example_ct.nii.gz").read_bytes()
    return data, *decode_image(data, "image")


@pytest.mark.parametrize(
    ("what", "box", "hu", "outside_ml"),
    [
        ("liver", (86, 47, 105), (0, 300), 0),
        ("colon gas", (76, 77, 84), (-1100, -900), 0),
        ("left lung", (76, 25, 105), (-1100, -600), 0),
        ("air in front of the belly", (10, 92, 40), (-1100, -900), 3.375),
        ("air beside the belly", (2, 70, 90), (-1100, -900), 3.375),
        ("table", (112, 6, 40), (-1100, 400), 3.375),
    ],
)
def test_a_tumor_in_a_real_patient_is_outside_where_the_air_or_the_table_is(real, what, box, hu, outside_ml):
    data, geometry, image = real
    x, y, z = box
    mask = np.zeros(geometry.shape, np.uint8)
    mask[x - 2 : x + 3, y - 2 : y + 3, z - 2 : z + 3] = TUMOR_ID  # 125 voxels of 27 mm³ are 3.375 ml
    low, high = hu
    assert low <= np.median(image[mask == TUMOR_ID]) <= high, what
    found = look_at_image(data, "image", RunLengths.from_array(mask)).findings
    assert sum(finding.value for finding in found) == pytest.approx(outside_ml, rel=0.1), what


def test_of_a_real_patient_nearly_all_air_around_is_outside_and_no_organ(real, shared):
    data, geometry, image = real
    everything = RunLengths.from_array(np.full(geometry.shape, TUMOR_ID, np.uint8))
    (finding,) = look_at_image(data, "image", everything).findings
    # Air that no closed surface of tissue holds, by scipy in three dimensions and without the table's.
    pockets, _ = ndimage.label(image <= -500)
    air_ml = np.count_nonzero(pockets == pockets[0, -1, 0]) * 0.027
    assert 0.9 * air_ml < finding.value < 1.1 * air_ml
    path = shared / "data" / "totalsegmentator" / "example_ct_flare13.nii.gz"
    organs = (np.asarray(nib.load(path).dataobj) > 0).astype(np.uint8) * np.uint8(TUMOR_ID)
    assert look_at_image(data, "image", RunLengths.from_array(organs)).findings == ()
