"""A small cohort to freeze and export: four strong cases, six with a tumor alone, all with images."""

import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from volume_files import boxes, write_image, write_volume

from curation.labels import ORGAN_IDS
from curation.mappings import load_builtin
from pipelines.ingest import IngestRequest, ingest
from pipelines.runs import Workbench

FLARE = load_builtin("flare23")
LIVER, SPLEEN, TUMOR = 1, 3, 14
STRONG = boxes(dict.fromkeys(ORGAN_IDS, 4))


def take_in_cohort(bench: Workbench, folder: Path) -> None:
    """Write S/C0 to S/C9 below `folder` (l: masks, i: images) and ingest them; C0 to C3 are strong."""
    for number in range(10):
        mask = STRONG if number < 4 else boxes({TUMOR: 3})
        write_volume(folder / "l" / f"C{number}.nii.gz", mask)
        write_image(folder / "i" / f"C{number}_0000.nii.gz")
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=folder / "l", images=folder / "i"))


def voxels(path: Path) -> NDArray:
    """A mask's values, read by nibabel."""
    return np.asarray(nib.load(path).dataobj)


def counts(path: Path) -> dict[int, int]:
    """Value to voxel count of a mask, background left out."""
    values, n = np.unique(voxels(path), return_counts=True)
    return {int(v): int(k) for v, k in zip(values, n, strict=True) if v}


def fingerprint(folder: Path) -> dict[str, str]:
    """What a folder holds: path to the SHA-256 of its bytes, or to the target of a link."""
    return {
        str(path.relative_to(folder)): f"→ {path.readlink()}"
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }
