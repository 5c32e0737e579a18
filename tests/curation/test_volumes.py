"""Files in, files out: what is read, what is refused and how, and that a mask keeps its name."""

import gzip
import io
import warnings

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from curation.errors import LabelValueError, MaskFileError
from curation.rle import RunLengths
from curation.volumes import (
    Geometry,
    decode_and_hash,
    decode_geometry,
    decode_image,
    decode_mask,
    encode_and_hash,
    encode_image,
    encode_mask,
    voxel_hash,
)

AFFINE = np.array([[0, 0, -0.78, 90.5], [0, -0.78, 0, 101.25], [-3.0, 0, 0, 1234.5], [0, 0, 0, 1]])  # IPL
MASKS = arrays(
    np.uint8,
    array_shapes(min_dims=3, max_dims=3, max_side=7),
    elements=st.sampled_from([0, 0, 1, 2, 14, 200, 255]),
)


def small_mask() -> np.ndarray:
    array = np.zeros((6, 5, 4), np.uint8)
    array[1:4, 1:3, 1:3] = 1
    array[4, 4, 3] = 14
    return array


def nifti(
    array: np.ndarray,
    affine: np.ndarray | None = AFFINE,
    *,
    kind: type = nibabel.Nifti1Image,
    dtype: object = None,
    slope: float | None = None,
    inter: float = 0.0,
    sform: int = 1,
    qform: int = 1,
    endianness: str = "<",
) -> bytes:
    """An uncompressed NIfTI file as nibabel writes it."""
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(dtype or array.dtype)
    image = kind(array, affine, header)
    if affine is not None:
        image.set_sform(affine, sform)
        image.set_qform(affine, qform)
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    return image.to_bytes()


@given(MASKS)
def test_a_mask_comes_back_from_its_file(array):
    runs, geometry = RunLengths.from_array(array), Geometry(array.shape, AFFINE)
    back_geometry, back = decode_mask(encode_mask(runs, geometry), "mask.nii.gz")
    assert back.same_as(runs)
    assert back.value.dtype == np.uint8
    assert geometry.difference(back_geometry) is None
    assert np.array_equal(back_geometry.affine, AFFINE.astype(np.float32))


@settings(deadline=None)  # The first example loads both.
@given(MASKS)
def test_nibabel_and_simpleitk_read_what_we_write(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("written") / "mask.nii.gz"
    path.write_bytes(encode_mask(RunLengths.from_array(array), Geometry(array.shape, AFFINE)))
    image = nibabel.load(path)
    assert np.array_equal(np.asarray(image.dataobj), array)
    assert image.get_data_dtype() == np.uint8
    assert np.allclose(image.affine, AFFINE)
    assert (image.header["sform_code"], image.header["qform_code"]) == (1, 1)
    assert np.allclose(image.get_qform(), AFFINE, atol=1e-4)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    itk = SimpleITK.ReadImage(str(path))
    assert np.array_equal(SimpleITK.GetArrayFromImage(itk), array.transpose(2, 1, 0))
    assert itk.GetSpacing() == pytest.approx((3.0, 0.78, 0.78))
    assert itk.GetOrigin() == pytest.approx((-90.5, -101.25, 1234.5))  # LPS


def test_the_same_mask_is_written_as_the_same_bytes_without_time_or_name():
    runs, geometry = RunLengths.from_array(small_mask()), Geometry((6, 5, 4), AFFINE)
    data = encode_mask(runs, geometry)
    assert data == encode_mask(runs, geometry)
    assert data[3] == 0  # gzip flags: no name, no comment
    assert data[4:8] == bytes(4)  # gzip mtime


@given(MASKS)
def test_the_hash_is_the_same_alone_with_encoding_and_after_reading(array):
    runs, geometry = RunLengths.from_array(array), Geometry(array.shape, AFFINE)
    data, name = encode_and_hash(runs, geometry)
    assert data == encode_mask(runs, geometry)
    assert name == voxel_hash(runs, geometry)
    again_geometry, again = decode_mask(data, "mask.nii.gz")
    assert name == voxel_hash(again, again_geometry)


@given(MASKS, st.sampled_from(["u1", "<i2", ">f4", "scaled"]))
def test_reading_and_hashing_at_once_is_both_one_after_the_other(array, how):
    scaled = {"slope": 1.0, "inter": 3.0} if how == "scaled" and array.max() < 200 else {}
    data = nifti(array if scaled else array.astype("u1" if how == "scaled" else how), **scaled)
    geometry, runs, name = decode_and_hash(data, "mask.nii")
    alone_geometry, alone = decode_mask(data, "mask.nii")
    assert runs.same_as(alone)
    assert geometry.difference(alone_geometry) is None
    assert name == voxel_hash(alone, alone_geometry)


def test_the_hash_is_blake3_of_voxels_shape_and_affine():
    from blake3 import blake3

    array = small_mask()
    expected = blake3(np.ascontiguousarray(array.transpose(2, 1, 0)).tobytes())
    expected.update(np.array([6, 5, 4], "<i8").tobytes())
    # Steps of 1e-4; 0.78 is 0.7799999713897705 as float32, still 7800 steps.
    steps = [[0, 0, -7800, 905000], [0, -7800, 0, 1012500], [-30000, 0, 0, 12345000], [0, 0, 0, 10000]]
    expected.update(np.array(steps, "<i8").tobytes())
    assert voxel_hash(RunLengths.from_array(array), Geometry((6, 5, 4), AFFINE)) == expected.hexdigest()


def test_the_hash_changes_with_a_voxel_the_shape_and_the_affine():
    array = small_mask()
    geometry = Geometry((6, 5, 4), AFFINE)
    moved, longer = AFFINE.copy(), np.pad(array, ((0, 0), (0, 0), (0, 1)))
    moved[0, 3] += 0.001
    other = array.copy()
    other[0, 0, 0] = 1
    names = {
        voxel_hash(RunLengths.from_array(array), geometry),
        voxel_hash(RunLengths.from_array(other), geometry),
        voxel_hash(RunLengths.from_array(array), Geometry((6, 5, 4), moved)),
        voxel_hash(RunLengths.from_array(longer), Geometry((6, 5, 5), AFFINE)),
    }
    assert len(names) == 4
    tiny = AFFINE.copy()
    tiny[0, 0] += 1e-6
    assert voxel_hash(RunLengths.from_array(array), Geometry((6, 5, 4), tiny)) in names


@pytest.mark.parametrize("dtype", [">u1", "<i1", ">i2", "<u2", ">i4", "<u4", ">i8", "<u8", ">f4", "<f8"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_every_number_type_in_either_byte_order_and_version_is_read(kind, dtype):
    array = small_mask().astype(dtype[1:])
    data = nifti(array, kind=kind, endianness=dtype[0])
    geometry, runs = decode_mask(gzip.compress(data), "mask.nii.gz")
    assert runs.same_as(RunLengths.from_array(small_mask()))
    assert np.allclose(geometry.affine, AFFINE)
    assert decode_mask(data, "mask.nii")[1].same_as(runs)


def test_a_stream_is_read_like_bytes_and_the_geometry_without_the_voxels():
    data = encode_mask(RunLengths.from_array(small_mask()), Geometry((6, 5, 4), AFFINE))
    assert decode_mask(io.BytesIO(data), "m.nii.gz")[1].voxels() == {1: 12, 14: 1}
    # Level 0 of gzip keeps the header readable in the first bytes of a file that is cut right after them.
    stored = gzip.compress(nifti(np.zeros((50, 50, 50), np.uint8)), compresslevel=0)[:1000]
    assert decode_geometry(io.BytesIO(stored), "m.nii.gz").axis_codes == "IPL"


def test_several_gzip_members_and_zeros_after_them_are_one_file():
    data = nifti(small_mask())
    members = gzip.compress(data[:400]) + gzip.compress(data[400:]) + bytes(512)
    assert decode_mask(members, "m.nii.gz")[1].voxels() == {1: 12, 14: 1}
    assert decode_mask(gzip.compress(data + bytes(16)), "m.nii.gz")[1].voxels() == {1: 12, 14: 1}


def test_labels_that_scaling_leaves_beside_integers_are_rounded():
    # 5.9999 is 6: raw 59999 with a slope of 0.0001; raw 9990 gives 0.999.
    raw = np.array([0, 59999, 59999, 9990], np.uint16).reshape(4, 1, 1)
    _, runs = decode_mask(nifti_raw_scaled(raw, 0.0001, 0.0), "m.nii")
    assert runs.voxels() == {1: 1, 6: 2}


def nifti_raw_scaled(raw: np.ndarray, slope: float, inter: float) -> bytes:
    """A file whose header scales voxels that stand there as they are (nibabel would scale them back)."""
    data = bytearray(nifti(raw))
    header = nibabel.Nifti1Header(bytes(data[:348]))
    header["scl_slope"], header["scl_inter"] = slope, inter
    data[:348] = header.binaryblock
    return bytes(data)


def test_an_intercept_moves_the_background_too():
    raw = np.array([5, 5, 6, 7], np.uint8).reshape(4, 1, 1)
    assert decode_mask(nifti_raw_scaled(raw, 1.0, -5.0), "m.nii")[1].voxels() == {1: 1, 2: 1}


def test_a_slope_of_zero_means_no_scaling():
    raw = np.array([0, 0, 3, 7], np.uint8).reshape(4, 1, 1)
    assert decode_mask(nifti_raw_scaled(raw, 0.0, 9.0), "m.nii")[1].voxels() == {3: 1, 7: 1}


@pytest.mark.parametrize(
    ("voxel", "said"), [(1.5, "1.5"), (0.02, "0.02"), (np.nan, "nan"), (np.inf, "inf"), (1e20, "1e+20")]
)
def test_labels_that_are_not_integers_are_refused(voxel, said):
    array = small_mask().astype(np.float32)
    array[0, 0, 0] = voxel
    with pytest.raises(LabelValueError) as caught:
        decode_mask(nifti(array), "m.nii")
    assert str(caught.value) == (
        f"m.nii: label values {said} are not integers; save labels as integers "
        "(nearest neighbour where the mask was resampled)"
    )


def test_negative_labels_are_left_to_the_mapping():
    array = small_mask().astype(np.int16)
    array[0, 0, 0] = -1
    assert decode_mask(nifti(array), "m.nii")[1].voxels() == {-1: 1, 1: 12, 14: 1}


def damaged() -> dict[str, tuple[bytes, str]]:
    """What was given as m.nii.gz, and what is said about it."""
    plain = nifti(small_mask())
    packed = gzip.compress(nifti(np.random.default_rng(1).integers(0, 9, (30, 30, 30), np.uint8)))
    crc = bytearray(packed)
    crc[-8] ^= 1
    again = "fetch or write the file again"
    cut_off = f"the gzip stream is cut off; {again}"
    rgb = np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.2  # atan(0.2 / 0.78) = 14.4 degrees
    noise = np.random.default_rng(2).integers(0, 3000, (32, 32, 32), np.int16)
    return {
        "truncated": (packed[: len(packed) // 2], cut_off),
        "cut in its trailer": (packed[:-1], cut_off),
        "cut to its magic": (packed[:2], cut_off),
        "wrong checksum": (
            bytes(crc),
            f"the gzip stream is damaged (Error -6 Incorrect checksum found); {again}",
        ),
        "garbage behind": (packed + b"junk", f"what follows the gzip stream is not gzip; {again}"),
        "empty": (b"", "the file is empty; fetch or write it again"),
        "text": (b"404: Not Found\n", f"text, not NIfTI (it begins with '404: Not Found'); {again}"),
        "gzipped text": (gzip.compress(b"hello"), f"text, not NIfTI (it begins with 'hello'); {again}"),
        "LFS pointer": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "a git-LFS pointer, not the file itself; run `git lfs pull`",
        ),
        "DICOM": (
            bytes(128) + b"DICM" + bytes(900),
            "a DICOM file; convert the series to .nii.gz with dcm2niix",
        ),
        "noise": (bytes(range(256)) * 4, "not a NIfTI file; convert it to NIfTI (.nii.gz)"),
        "too few voxels": (plain[:-7], "the file ends after 113 of 120 voxels; fetch or write it again"),
        "too many voxels": (
            plain + b"\1",
            "the file goes on after the 120 voxels of its header; write it again with the program that made it",
        ),
        "4D": (
            nifti(np.zeros((3, 3, 3, 2), np.uint8)),
            "shape (3, 3, 3, 2) instead of three axes; save one 3D volume per file",
        ),
        "2D": (
            nifti(np.zeros((3, 3), np.uint8)),
            "shape (3, 3) instead of three axes; save one 3D volume per file",
        ),
        "complex": (
            nifti(np.zeros((3, 3, 3), np.complex64)),
            "voxels are complex numbers; save a label map or image of plain integers or floats",
        ),
        "RGB": (nifti(rgb), "voxels are colors (RGB); save a label map or image of plain integers or floats"),
        "no orientation": (
            nifti(small_mask(), sform=0, qform=0),
            "neither sform nor qform is set, so nothing says which side is left; "
            "set the orientation, for a mask by copying its image's header",
        ),
        "sheared": (
            nifti(small_mask(), sheared, qform=0),
            "a grid sheared by 14.4 degrees; resample image and mask to right angles",
        ),
        "flat axis": (
            plain[:296] + bytes(16) + plain[312:],  # srow_y, so the second axis goes nowhere
            "an affine with an axis of no length; set the orientation anew, for a mask by copying its image's header",
        ),
        "image": (
            nifti(noise),
            "voxel values change like an image's, not a mask's; give the label map instead",
        ),
    }


@pytest.mark.parametrize("what", damaged())
def test_a_file_that_is_no_mask_is_refused_in_one_line(what):
    data, said = damaged()[what]
    with pytest.raises(MaskFileError) as caught:
        decode_mask(data, "m.nii.gz")
    assert str(caught.value) == f"m.nii.gz: {said}"


def test_half_of_a_pair_is_refused():
    data = bytearray(nifti(small_mask()))
    data[344:348] = b"ni1\0"
    with pytest.raises(
        MaskFileError,
        match=r"half of a \.hdr/\.img pair; join the two with `nib-convert NAME\.hdr NAME\.nii\.gz`",
    ):
        decode_mask(bytes(data), "m.hdr")


def test_trailing_axes_of_one_are_no_fourth_dimension():
    geometry, runs = decode_mask(nifti(small_mask()[..., None, None]), "m.nii")
    assert geometry.shape == (6, 5, 4)
    assert runs.voxels() == {1: 12, 14: 1}


def test_the_qform_is_taken_where_there_is_no_sform_and_the_sform_where_both_are():
    other = AFFINE.copy()
    other[0, 3] += 7
    image = nibabel.Nifti1Image(small_mask(), AFFINE)
    image.set_sform(other, 0)
    image.set_qform(AFFINE, 1)
    only_qform = decode_geometry(image.to_bytes(), "m.nii")
    assert np.allclose(only_qform.affine, AFFINE, atol=1e-4)
    assert only_qform.note is None
    image.set_sform(other, 2)
    both = decode_geometry(image.to_bytes(), "m.nii")
    assert np.allclose(both.affine, other)
    assert both.note == "sform and qform differ by up to 7 mm: the sform is taken (SimpleITK may not)"


def test_a_qfac_of_zero_reads_as_one():
    affine = np.diag([0.8, 0.8, 2.5, 1.0])
    data = bytearray(nifti(small_mask(), affine, sform=0))
    data[76:80] = bytes(4)  # pixdim[0]
    assert np.allclose(decode_geometry(bytes(data), "m.nii").affine, affine)


def test_lengths_in_metres_are_converted_and_noted():
    image = nibabel.Nifti1Image(small_mask(), np.diag([0.001, 0.001, 0.005, 1.0]))
    image.header.set_xyzt_units("meter")
    geometry = decode_geometry(image.to_bytes(), "m.nii")
    assert geometry.spacing_mm == pytest.approx((1.0, 1.0, 5.0))
    assert geometry.note == "lengths are given in units of 1000 mm and were converted"


def test_label_values_beyond_uint8_are_not_stored():
    runs = RunLengths.from_array(np.full((1, 1, 1), 300, np.int16))
    with pytest.raises(LabelValueError, match=r"label values \[300\] do not fit a stored mask"):
        encode_mask(runs, Geometry((1, 1, 1), np.eye(4)))


def test_a_volume_longer_than_nifti_1_can_say_is_written_as_nifti_2():
    shape = (40_000, 1, 1)
    runs = RunLengths.from_array(np.ones(shape, np.uint8))
    geometry, back = decode_mask(encode_mask(runs, Geometry(shape, np.eye(4))), "m.nii.gz")
    assert geometry.shape == shape
    assert back.same_as(runs)


def test_an_image_keeps_its_hounsfield_units():
    hu = np.arange(-1024, -1024 + 120, dtype=np.int16).reshape(6, 5, 4)
    geometry, back = decode_image(encode_image(hu, Geometry((6, 5, 4), AFFINE)), "ct.nii.gz")
    assert back.dtype == np.int16
    assert np.array_equal(back, hu)
    assert np.allclose(geometry.affine, AFFINE)


def test_a_scaled_image_agrees_with_nibabel():
    raw = np.arange(120, dtype=np.uint16).reshape(6, 5, 4)
    data = nifti_raw_scaled(raw, 1.5, -1024.0)
    _, back = decode_image(data, "ct.nii")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = nibabel.Nifti1Image.from_bytes(data).get_fdata(dtype=np.float32)
    assert back.dtype == np.float32
    assert np.array_equal(back, expected)
    assert back[5, 4, 3] == 119 * 1.5 - 1024


def test_an_image_with_nan_is_refused():
    hu = np.zeros((2, 2, 2), np.float32)
    hu[1, 1, 1] = np.nan
    with pytest.raises(MaskFileError, match=r"ct.nii: voxels are NaN or infinite; give them a value"):
        decode_image(nifti(hu), "ct.nii")


@pytest.mark.parametrize("read", [decode_image, decode_mask])
def test_a_header_that_promises_more_than_any_memory_holds_is_refused(read):
    header = nibabel.Nifti2Header()
    header.set_data_shape((2**20, 2**20, 2**20))
    header.set_data_dtype(np.int16)
    header.set_sform(np.eye(4), 1)
    header.set_data_offset(544)
    with pytest.raises(MaskFileError, match=rf"^m\.nii: the .*{2**60} voxels.*; .* again$"):
        read(header.binaryblock + bytes(4) + bytes(100), "m.nii")
