"""Public CT slices in DICOM, held against what GDCM makes of them."""

import re

import numpy as np
import pytest
from dicom_files import gdcm_volume

from curation.errors import MaskFileError
from pipelines.dicom_folder import read_series

SERIES = {
    "dcmqi/data/segmentations/ct-3slice": "LPS",
    "dcmqi/data/segmentations/24x38x3/image": "LPS",
    "dcmqi/data/segmentations/23x38x3/image": "LPS",
    "rt-utils/mock_data": "LPS",  # beside three RTSTRUCTs
    "rt-utils/oriented_data": "LPS",
}


@pytest.mark.parametrize("place", SERIES)
def test_a_real_series_is_what_gdcm_reads(shared, place):
    geometry, hu = read_series(shared / "data" / place)
    affine, voxels = gdcm_volume(shared / "data" / place)
    assert np.abs(geometry.affine - affine).max() < 1e-6
    # The slope of oriented_data is 0.001: float32 keeps seven digits of 9.999.
    assert np.abs(hu - voxels).max() < 1e-6
    assert geometry.axis_codes == SERIES[place]


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (
            "dcmqi/data/segmentations/24x38x3/multiframe",
            r".*mf\.dcm: a multi-frame \(enhanced\) CT, not a slice; ",
        ),
        ("dcmqi/data/segmentations", ".*: holds neither DICOM slices of a CT nor"),  # DICOM-SEG and NRRD
        ("rt-utils/one_slice_data", r".*: one slice only, .*0\.dcm; give the folder of the whole series"),
    ],
)
def test_what_is_no_series_of_slices_is_refused(shared, place, found):
    with pytest.raises(MaskFileError) as error:
        read_series(shared / "data" / place)
    assert re.match(found, str(error.value))
