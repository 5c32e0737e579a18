"""A phantom cohort on disk, in nnU-Net's folder names, the full truth beside the partial labels."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from curation.errors import UsageError
from curation.geometry import Geometry
from curation.phantom import label_plan, make_phantom, weak_labels
from curation.rle import RunLengths
from curation.volumes import encode_image, encode_mask
from pipelines.whole_files import write_whole

RECIPE = "phantom.json"


def write_cohort(
    out: Path,
    *,
    train: int,
    test: int,
    strong: int,
    spacing_mm: float = 5.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write a cohort of `train` partially labelled and `test` fully labelled cases.

    The folder gets imagesTr, labelsTr (partial), truthTr (complete, with tumors), imagesTs and labelsTs
    (complete); cases are PHANTOM_0000 … and PHANTOM_T0000 …, images end in _0000 as nnU-Net wants it.
    Files appear whole or not at all. Called again with the same figures it writes only what is not there.

    Args:
        progress: Called with (cases done, cases in all) after each case.

    Returns:
        How many cases were written now.

    Raises:
        UsageError: The folder holds a cohort made with other figures, or `strong` is more than `train`.
    """
    plan = label_plan(train, strong)
    recipe = {"train": train, "test": test, "strong": strong, "spacing_mm": spacing_mm, "seed": seed}
    _claim(out, recipe)
    written = 0
    for index in range(train + test):
        kept = plan[index] if index < train else None
        written += _write_case(out, index, train, kept, seed, spacing_mm)
        if progress is not None:
            progress(index + 1, train + test)
    return written


def _claim(out: Path, recipe: dict[str, float]) -> None:
    """Leave the recipe in the folder, or make sure that the one there is the same."""
    file = out / RECIPE
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found != recipe:
            raise UsageError(f"{file}: made with {found}, not {recipe}; give another folder or remove it")
        return
    out.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(recipe, indent=1).encode())


def _write_case(
    out: Path, index: int, train: int, kept: tuple[int, ...] | None, seed: int, spacing_mm: float
) -> bool:
    """Write one case's files; False if they were all there."""
    if index < train:
        name, image_folder, label_folder = f"PHANTOM_{index:04d}", "imagesTr", "labelsTr"
        truth_file = out / "truthTr" / f"{name}.nii.gz"
    else:
        name, image_folder, label_folder = f"PHANTOM_T{index - train:04d}", "imagesTs", "labelsTs"
        truth_file = out / label_folder / f"{name}.nii.gz"
    image_file = out / image_folder / f"{name}_0000.nii.gz"
    label_file = out / label_folder / f"{name}.nii.gz"
    if image_file.is_file() and label_file.is_file() and truth_file.is_file():
        return False

    phantom = make_phantom(seed, index, spacing_mm)
    x, y, z = phantom.image.shape
    geometry = Geometry((x, y, z), phantom.affine)

    def mask(labels: np.ndarray) -> bytes:
        return encode_mask(RunLengths.from_array(labels), geometry)

    write_whole(truth_file, mask(phantom.truth))
    if index < train:
        write_whole(label_file, mask(weak_labels(phantom, kept)))
    write_whole(image_file, encode_image(phantom.image, geometry))
    return True
