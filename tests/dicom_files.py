"""Writes CT series in DICOM, slice by slice, as a scanner exports them, and reads them as GDCM does."""

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import PYDICOM_ROOT_UID as ROOT
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SERIES = ROOT + "1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def write_slice(file: Path, stored: np.ndarray, position: tuple[float, ...], **elements: Any) -> Path:
    """Write one slice.

    Args:
        file: Where to; its folder is made.
        stored: Stored values, (rows, columns), int16; HU are these minus 1024.
        position: ImagePositionPatient, LPS+ mm.
        **elements: Replace or, with None, leave out an element.
    """
    uid = generate_uid(entropy_srcs=[file.name, str(position)])
    values = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": uid, "SeriesInstanceUID": SERIES, "Modality": "CT",
        "SeriesNumber": 2, "SeriesDescription": "Abdomen 5.0", "Rows": stored.shape[0], "Columns": stored.shape[1],
        "PixelSpacing": [0.9, 0.7], "ImageOrientationPatient": list(AXIAL), "ImagePositionPatient": list(position),
        "RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU", "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15,
        "PixelRepresentation": 1, "PixelData": stored.astype("<i2").tobytes(),
    }  # fmt: skip
    dataset = Dataset()
    for name, value in (values | elements).items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, enforce_file_format=True)
    return file


def write_series(
    folder: Path, stored: np.ndarray, *, step_mm: float = 2.5, z0: float = -40.0, **elements: Any
) -> Path:
    """Write an axial series from `stored`, (slices, rows, columns); the files' names run against the patient's z."""
    for k, pixels in enumerate(stored):
        write_slice(
            folder / f"IM{len(stored) - k:04d}.dcm", pixels, (-12.0, -150.0, z0 + k * step_mm), **elements
        )
    return folder


def gdcm_volume(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What SimpleITK's GDCM reader makes of a folder: affine in RAS+ and voxels as (columns, rows, slices)."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ lps, sitk.GetArrayFromImage(image).transpose(2, 1, 0)
