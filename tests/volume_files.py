"""Small NIfTI files for tests, written by nibabel so that our own writer is never its own judge."""

from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SHAPE = (12, 10, 8)
# 2 × 2 × 2.5 mm, RAS: 0.01 ml a voxel.
AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])


def boxes(values: Mapping[int, int], shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    """A mask with a bar of the given number of voxels per value, each in a row of its own."""
    mask = np.zeros(shape, np.uint8)
    for place, (value, voxels) in enumerate(values.items()):
        mask[1 : 1 + voxels, 1 + place % (shape[1] - 2), 1 + place // (shape[1] - 2) * 2] = value
    return mask


def write_volume(path: Path, array: NDArray, affine: NDArray = AFFINE) -> Path:
    """Write an array as NIfTI, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def write_image(path: Path, shape: tuple[int, int, int] = SHAPE, affine: NDArray = AFFINE) -> Path:
    """Write a CT of noise in HU."""
    noise = np.random.default_rng(0).integers(-1000, 1000, shape)
    return write_volume(path, noise.astype(np.int16), affine)
