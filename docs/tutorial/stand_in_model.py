"""A stand-in for a segmentation model: it draws a liver and a spleen beside the kidneys of a KiTS mask.

For the tutorial alone, where no trained model is at hand: python docs/tutorial/stand_in_model.py kits19 predicted
[--mirrored]. It knows no anatomy beyond "the liver is on the right", and with --mirrored not even that.
"""

import argparse
import itertools
from pathlib import Path

import nibabel
import numpy as np

LIVER, SPLEEN = 1, 3  # FLARE23's label values
# Centre relative to the middle of both kidneys and radii, in mm towards the patient's right, front and head.
ORGANS = {LIVER: ((75, 45, 60), (75, 60, 65)), SPLEEN: ((-85, -15, 65), (32, 38, 45))}


def predict(mask_file: Path, mirrored: bool) -> nibabel.Nifti1Image:
    """A label map on the grid of a kidney mask (any orientation), values 1 liver and 3 spleen."""
    mask = nibabel.load(mask_file)
    drawn = np.argwhere(np.asarray(mask.dataobj) > 0)
    middle = nibabel.affines.apply_affine(mask.affine, (drawn.min(axis=0) + drawn.max(axis=0)) / 2)
    side = -1 if mirrored else 1
    prediction = np.zeros(mask.shape, np.uint8)
    for value, (offset, radii) in ORGANS.items():
        centre = middle + np.array(offset) * (side, 1, 1)
        corners = centre + np.array(list(itertools.product((-1, 1), repeat=3))) * radii
        voxels = nibabel.affines.apply_affine(np.linalg.inv(mask.affine), corners)
        low = np.clip(np.floor(voxels.min(axis=0)), 0, mask.shape).astype(int)
        high = np.clip(np.ceil(voxels.max(axis=0)) + 1, 0, mask.shape).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        places = np.moveaxis(np.mgrid[box], 0, -1)
        depth = ((nibabel.affines.apply_affine(mask.affine, places) - centre) / radii) ** 2
        prediction[box][depth.sum(axis=-1) < 1] = value
    return nibabel.Nifti1Image(prediction, mask.affine)


def main() -> None:
    """Predict every case of a folder in KiTS's layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path, help="folder with CASE/segmentation.nii.gz")
    parser.add_argument("out", type=Path, help="folder for CASE.nii.gz")
    parser.add_argument("--mirrored", action="store_true", help="confuse left and right")
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    files = sorted(options.cases.glob("*/segmentation.nii.gz"))
    for file in files:
        nibabel.save(predict(file, options.mirrored), options.out / f"{file.parent.name}.nii.gz")
    print(f"{options.out}: {len(files)} predictions")


if __name__ == "__main__":
    main()
