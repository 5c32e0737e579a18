"""Folders of DICOM: the volume that they make, held against GDCM's, and what is refused."""

import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import AXIAL, ROOT, SERIES, gdcm_volume, write_series, write_slice
from pydicom.uid import (
    EnhancedCTImageStorage,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
    SegmentationStorage,
    generate_uid,
)

from curation.errors import MaskFileError
from pipelines.dicom_folder import read_series


def noise(slices: int = 5, rows: int = 6, columns: int = 4) -> np.ndarray:
    """Stored values, (slices, rows, columns)."""
    return np.random.default_rng(5).integers(0, 2000, (slices, rows, columns), np.int16)


def refusal(folder: Path, uid: str | None = None) -> str:
    """The one line of a refusal, without the folder's path."""
    with pytest.raises(MaskFileError) as error:
        read_series(folder, uid)
    return str(error.value).replace(f"{folder}/", "").replace(str(folder), "FOLDER")


def test_an_axial_series_lies_where_its_positions_say(tmp_path):
    stored = noise()
    geometry, hu = read_series(write_series(tmp_path, stored))
    # Columns 0.7 mm apart run to the left, rows 0.9 mm to posterior: -x and -y in RAS; slices 2.5 mm up from z -40.
    expected = [[-0.7, 0, 0, 12], [0, -0.9, 0, 150], [0, 0, 2.5, -40], [0, 0, 0, 1]]
    assert np.allclose(geometry.affine, expected)
    assert geometry.axis_codes == "LPS"
    assert hu.dtype == np.int16
    assert np.array_equal(hu, stored.transpose(2, 1, 0) - 1024)


SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.9541666, -0.2080757, 0.2151061, 0.2785886, 0.880128, -0.3843997)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, OBLIQUE], ids=["axial", "sagittal", "oblique"])
@pytest.mark.parametrize("step_mm", [1.5, -1.5], ids=["along the normal", "against it"])
def test_gdcm_reads_the_same_voxels_in_the_same_place(tmp_path, orientation, step_mm):
    normal = np.cross(orientation[:3], orientation[3:])
    for k, pixels in enumerate(noise()):
        position = tuple((np.array([10.0, -20.0, 30.0]) + k * step_mm * normal).tolist())
        write_slice(
            tmp_path / f"{k}.dcm",
            pixels,
            position,
            ImageOrientationPatient=list(orientation),
            RescaleSlope=0.5,
        )
    geometry, hu = read_series(tmp_path)
    affine, voxels = gdcm_volume(tmp_path)
    assert np.abs(geometry.affine - affine).max() < 1e-5
    assert hu.dtype == np.float32  # halves of HU
    assert np.array_equal(hu, voxels)


def test_values_beyond_16_bits_are_kept(tmp_path):
    stored = noise()
    stored[2, 3, 1] = 32767
    folder = write_series(tmp_path, stored, RescaleIntercept=10)  # 32777 is one too many for int16's 32767
    _, hu = read_series(folder)
    assert hu.dtype == np.float32
    assert hu[1, 3, 2] == 32777
    assert np.array_equal(hu, gdcm_volume(folder)[1])


def test_slices_without_an_ending_are_found_and_other_files_passed_over(tmp_path):
    write_series(tmp_path, noise())
    for file in list(tmp_path.iterdir()):
        file.rename(file.with_suffix(""))
    (tmp_path / "README").write_text("from the archive")
    (tmp_path / "nested").mkdir()
    write_slice(tmp_path / "SEG", noise()[0], (0, 0, 0), SOPClassUID=SegmentationStorage)
    assert read_series(tmp_path)[1].shape == (4, 6, 5)


def test_run_length_encoded_slices_are_unpacked(tmp_path):
    write_series(tmp_path, noise())
    for file in tmp_path.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.compress(RLELossless)
        dataset.save_as(file)
    assert np.array_equal(read_series(tmp_path)[1], noise().transpose(2, 1, 0) - 1024)


def test_jpeg_2000_slices_are_unpacked(tmp_path):
    """GDCM compresses the HU; the rest of each file stays as it was."""
    _, plain = read_series(write_series(tmp_path, noise(3, 40, 32)))
    for file in sorted(tmp_path.iterdir()):
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetCompressor("JPEG2000")
        writer.UseCompressionOn()
        writer.SetFileName(str(tmp_path / "packed"))
        writer.Execute(sitk.Cast(sitk.ReadImage(str(file)), sitk.sitkInt16))
        packed = pydicom.dcmread(tmp_path / "packed")
        dataset = pydicom.dcmread(file)
        dataset.PixelData, dataset.RescaleIntercept = packed.PixelData, 0
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.save_as(file)
    assert packed.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert np.array_equal(read_series(tmp_path)[1], plain)  # "packed" is no CT and passed over


def test_of_several_series_one_is_chosen(tmp_path):
    write_series(tmp_path, noise())
    other = ROOT + "9"
    write_slice(
        tmp_path / "scout.dcm", noise()[0], (0, 0, 0), SeriesInstanceUID=other, SeriesNumber=1,
        SeriesDescription="Scout",
    )  # fmt: skip
    listed = f"{SERIES} (2 Abdomen 5.0, 5 files), {other} (1 Scout, 1 files)"
    assert refusal(tmp_path) == f"FOLDER: holds 2 series: {listed}; choose one with --series UID"
    assert refusal(tmp_path, "1.2.3") == f"FOLDER: has no series 1.2.3; it has {listed}"
    assert read_series(tmp_path, SERIES)[1].shape == (4, 6, 5)


def test_a_missing_slice_is_named_by_its_neighbours(tmp_path):
    write_series(tmp_path, noise(7))
    (tmp_path / "IM0004.dcm").unlink()
    assert refusal(tmp_path) == (
        "FOLDER: 1 of 7 slices is missing, the first between IM0005.dcm and IM0003.dcm "
        "(5 mm apart instead of 2.5); fetch the series again"
    )


def test_uneven_slices_are_refused(tmp_path):
    for k, z in enumerate((0, 2, 4, 7, 10, 13)):
        write_slice(tmp_path / f"{k}.dcm", noise()[0], (0, 0, z))
    assert refusal(tmp_path) == (
        "FOLDER: slices are 2 to 3 mm apart; a volume needs one distance: give an even reconstruction, or "
        "resample it with dcm2niix"
    )


def test_slow_drift_of_the_distance_is_refused(tmp_path):
    """Each gap is within 5 % of the usual one; 40 of 2.5 mm and 40 of 2.6 mm are 2 mm off in the middle."""
    z = np.concatenate([np.arange(0, 40) * 2.5, 100 + np.arange(0, 41) * 2.6])
    for k, at in enumerate(z):
        write_slice(tmp_path / f"{k}.dcm", noise()[0], (0, 0, float(at)))
    assert "slices are 2.5 to 2.6 mm apart" in refusal(tmp_path)


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even(tmp_path):
    """0, 1.2, 2.5, 3.8, 5, 6.2: up to 0.05 mm from 1.24 mm each, which is 6.2 / 5."""
    for k in range(6):
        write_slice(tmp_path / f"{k}.dcm", noise()[0], (0, 0, round(k * 1.25, 1)))
    assert read_series(tmp_path)[0].spacing_mm[2] == pytest.approx(1.24)


def test_two_time_points_are_refused(tmp_path):
    write_series(tmp_path / "all", noise())
    write_series(tmp_path / "later", noise())
    for file in (tmp_path / "later").iterdir():
        dataset = pydicom.dcmread(file)
        dataset.SOPInstanceUID = generate_uid()
        dataset.save_as(tmp_path / "all" / f"later_{file.name}")
    assert refusal(tmp_path / "all") == (
        "FOLDER: 5 slices lie where another lies (IM0005.dcm and later_IM0005.dcm): several time points or "
        "phases; put the slices of one into a folder of its own"
    )


def test_a_copied_slice_is_called_a_copy(tmp_path):
    write_series(tmp_path, noise())
    shutil.copy(tmp_path / "IM0002.dcm", tmp_path / "IM0002 (1).dcm")
    found = "FOLDER: IM0002 (1).dcm and IM0002.dcm are copies of one slice; delete one of them"
    assert refusal(tmp_path) == found


@pytest.mark.parametrize(
    ("elements", "found"),
    [
        (
            {"ImageOrientationPatient": list(SAGITTAL)},
            r"odd.dcm: orientation \(0, 1, 0, 0, 0, -1\), IM0001.dcm has \(1, 0, 0, 0, 1, 0\): one of them may be a "
            "localizer; these are two stacks in one series: put each into a folder of its own",
        ),
        ({"PixelSpacing": [0.9, 0.8]}, r"odd.dcm: pixels of \(0.8, 0.9\) mm, IM0001.dcm has \(0.7, 0.9\) mm; these"),
        ({"ImagePositionPatient": None}, "odd.dcm: has no ImagePositionPatient, so no place in the patient; export"),
        ({"RescaleType": "Z_EFF"}, r"odd.dcm: its values are Z_EFF \(RescaleType\), not HU; give the series of"),
        ({"NumberOfFrames": 3}, r"odd.dcm: a multi-frame \(enhanced\) CT, not a slice; convert it to .nii.gz with"),
        ({"SOPClassUID": EnhancedCTImageStorage}, r"odd.dcm: a multi-frame \(enhanced\) CT, not a slice; convert"),
        (
            {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
            r"odd.dcm: ImageOrientationPatient \(1, 0, 0, 1, 0, 0\), pixels of .* not a grid; export the series again",
        ),
    ],
)  # fmt: skip
def test_one_odd_slice_is_named(tmp_path, elements, found):
    write_series(tmp_path, noise())
    write_slice(tmp_path / "odd.dcm", noise()[0], (-12, -150, -27.5), **elements)
    assert re.match(found, refusal(tmp_path))


def test_slices_of_two_sizes_are_refused(tmp_path):
    write_series(tmp_path, noise())
    write_slice(tmp_path / "odd.dcm", noise(1, 6, 5)[0], (-12, -150, -27.5))
    assert refusal(tmp_path).startswith("odd.dcm: 5 × 6 pixels, IM0001.dcm has 4 × 6; these are two stacks")


def test_a_tilted_gantry_is_refused(tmp_path):
    for k in range(4):  # 1 mm to posterior and 2 mm up each time, and axial all the same
        write_slice(tmp_path / f"{k}.dcm", noise()[0], (0, k * 1.0, k * 2.0))
    assert refusal(tmp_path) == (
        "FOLDER: each slice lies 1 mm aside of the one before (a tilted gantry); straighten it with dcm2niix, "
        "which writes a .nii.gz"
    )


def test_one_slice_is_no_volume(tmp_path):
    write_slice(tmp_path / "only.dcm", noise()[0], (0, 0, 0))
    assert refusal(tmp_path) == "FOLDER: one slice only, only.dcm; give the folder of the whole series"


def test_a_folder_without_ct_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    assert refusal(tmp_path) == (
        "FOLDER: holds neither DICOM slices of a CT nor a .nii.gz or .nii file; give a folder of one CT series"
    )


def test_a_slice_that_cannot_be_read_is_not_passed_over(tmp_path):
    write_series(tmp_path, noise())
    (tmp_path / "IM0001.dcm").write_bytes(b"404: Not Found")
    assert refusal(tmp_path) == "IM0001.dcm: not DICOM, though it is called so; fetch it again"


def test_a_slice_cut_off_is_refused(tmp_path):
    write_series(tmp_path, noise())
    cut = tmp_path / "IM0003.dcm"
    cut.write_bytes(cut.read_bytes()[:-10])
    assert re.match(r"IM0003.dcm: its pixels cannot be read \(.*\); fetch it again", refusal(tmp_path))


def test_a_compression_that_nothing_unpacks_is_named_with_what_does(tmp_path):
    write_series(tmp_path, noise())
    for file in tmp_path.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.save_as(file)
    assert re.match(
        r"IM0005.dcm: compressed as JPEG Lossless.*, which no installed decoder unpacks \(.*pylibjpeg.*\); "
        "`pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg`, or unpack the series with `gdcmconv --raw`",
        refusal(tmp_path),
    )
