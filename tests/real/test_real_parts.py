"""One file per class as TotalSegmentator writes them."""

import nibabel as nib
import numpy as np

from curation.mappings import load_builtin
from pipelines.incoming import decode_incoming, mask_bytes


def test_real_files_of_one_class_are_the_mask_that_numpy_makes_of_them(shared):
    folder = shared / "data" / "totalsegmentator" / "example_seg_fast"
    mapping = load_builtin("totalsegmentator")
    _, runs = decode_incoming(mask_bytes(folder, mapping), "example_seg_fast")
    wanted = np.zeros(runs.shape, np.uint8)
    for number in sorted(mapping.parts, reverse=True):
        wanted[np.asarray(nib.load(folder / mapping.parts[number]).dataobj) > 0] = number
    values, voxels = np.unique(wanted[wanted > 0], return_counts=True)
    assert runs.voxels() == dict(zip(values.tolist(), voxels.tolist(), strict=True))
    assert len(values) > 3
