"""One look at an image: the same names in every orientation, the means that numpy finds, and what is no HU."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from curation.errors import GridError, MaskFileError
from curation.images import ImageLook, look_at_image
from curation.rle import RunLengths
from curation.volumes import decode_mask

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def look(voxels: np.ndarray, affine: np.ndarray = AFFINE, **options: object) -> ImageLook:
    return look_at_image(nib.Nifti1Image(voxels, affine).to_bytes(), "image.nii", **options)


def ct(shape: tuple[int, int, int] = (9, 8, 7)) -> np.ndarray:
    return np.random.default_rng(3).integers(-1024, 1500, shape).astype(np.int16)


def test_mean_and_deviation_of_a_class_are_numpys():
    image, mask = ct((40, 30, 20)), np.random.default_rng(4).integers(0, 4, (40, 30, 20)).astype(np.uint8)
    found = look(image, runs=RunLengths.from_array(mask)).intensities
    for value in (1, 2, 3):
        assert found[value].mean == pytest.approx(image[mask == value].mean(), rel=1e-12)
        assert found[value].std == pytest.approx(image[mask == value].std(), rel=1e-9)
    assert sorted(found) == [1, 2, 3]


def test_real_means_are_numpys(shared):
    folder = shared / "data" / "totalsegmentator"
    (image_path,) = folder.glob("example_ct.nii*")
    mask_path = folder / "example_ct_flare13.nii.gz"
    _, runs = decode_mask(mask_path.read_bytes(), "mask")
    found = look_at_image(image_path.read_bytes(), "image", runs)
    image, mask = nib.load(image_path).get_fdata(), np.asarray(nib.load(mask_path).dataobj)
    assert found.is_hu
    assert sorted(found.intensities) == [int(v) for v in np.unique(mask) if v]
    for value, measured in found.intensities.items():
        assert measured.mean == pytest.approx(image[mask == value].mean(), abs=1e-3)
        assert measured.std == pytest.approx(image[mask == value].std(), abs=1e-3)
    assert 40 < found.intensities[1].mean < 180  # a liver, with or without contrast


def test_all_48_orientations_have_one_histogram_hash_and_48_voxel_hashes():
    image = nib.Nifti1Image(ct(), AFFINE)
    looks = []
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turned = image.as_reoriented(np.array([axes, signs]).T)
            looks.append(look(np.asarray(turned.dataobj), turned.affine))
    assert len({one.histogram_hash for one in looks}) == 1
    assert len({one.voxel_hash for one in looks}) == 48
    assert len({one.geometry.shape_ras for one in looks}) == 1


def test_the_data_type_does_not_rename_an_image_but_one_voxel_does():
    voxels = ct()
    assert look(voxels).voxel_hash == look(voxels.astype(np.float32)).voxel_hash
    other = voxels.copy()
    other[4, 4, 4] += 1
    assert look(other).voxel_hash != look(voxels).voxel_hash
    assert look(other).histogram_hash != look(voxels).histogram_hash


@pytest.mark.parametrize(
    ("voxels", "note"),
    [
        (np.zeros((5, 5, 5), np.int16), "every voxel is 0"),
        (np.linspace(0, 1, 125, dtype=np.float32).reshape(5, 5, 5), "scaled to 0 to 1"),
        (np.arange(125, dtype=np.uint8).reshape(5, 5, 5), "grey levels of a window"),
        ((ct() + 1024).astype(np.int16), "perhaps 1024 was added"),
        (ct().astype(np.float32) / 1000, "normalised"),
        (ct() * np.int16(8), "lie above 2000, denser than bone"),
        ((ct().clip(-1024, -900) - 1024).astype(np.int16), "no HU"),
    ],
)
def test_what_cannot_be_hounsfield_units_says_why(voxels, note):
    if note == "no HU":  # air, noisy around -1986, and a body
        voxels[3:, 3:, 3:] = 40
        note = "instead of -1000 HU: perhaps 1024 was taken off twice"
    found = look(voxels)
    assert not found.is_hu
    assert note in found.note


def test_of_real_images_the_ct_is_hu_and_the_mr_and_the_windowed_ones_are_not(shared):
    data = shared / "data"
    notes = {
        "totalsegmentator/example_ct.nii.gz": "",
        "totalsegmentator/example_mr_sm.nii.gz": "values from -47 to 833, hardly any below -30: neither fat nor air, "
        "perhaps an MR",
        "odd_nifti/nibabel/anatomical.nii": "98% of the voxels lie above 2000, denser than bone: another unit, "
        "perhaps of an MR",
        "odd_nifti/niivue-images/CT_AVM.nii.gz": "no value below 0 (up to 563.2): air is -1000 HU, so perhaps 1024 "
        "was added",
        "odd_nifti/niivue-images/CT_pitch.nii.gz": "values from 0 to 255: grey levels of a window, not HU",
    }
    for name, note in notes.items():
        assert look_at_image((data / name).read_bytes(), name).note == note


def test_a_ct_is_hu_also_where_the_scanner_padded_it():
    voxels = ct()
    voxels[:4] = -2048
    found = look(voxels)
    assert (found.is_hu, found.note, found.low, found.high) == (True, "", -2048, float(voxels.max()))


def test_a_mask_of_another_shape_and_a_nan_are_refused():
    with pytest.raises(GridError, match="its mask"):
        look(ct(), runs=RunLengths.empty((9, 8, 6)))
    broken = ct().astype(np.float32)
    broken[1, 1, 1] = np.nan
    with pytest.raises(MaskFileError, match="NaN"):
        look(broken)
