"""Which tumors students find: DSC over folders of predictions, and voxels found per host organ, dark or bright lesion.

Run ``python -m benchmarks.lesions IMAGES TRUTH PREDICTIONS PREDICTIONS ...``. TRUTH and PREDICTIONS hold masks of the
same names, IMAGES the images with ``_0000`` behind; ``maskledger predict MODEL IMAGES/*.nii.gz --out PREDICTIONS``
makes the predictions. Protocol FLARE23; differences are from the first folder, with paired bootstrap intervals.
"""

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from curation.bootstrap import paired_intervals
from curation.labels import BY_ID, CLASS_IDS, ORGAN_IDS, TUMOR_ID
from curation.metrics import score
from curation.volumes import decode_image, decode_mask

ORGANS = [CLASS_IDS.index(class_id) for class_id in ORGAN_IDS]
TUMOR = CLASS_IDS.index(TUMOR_ID)
# Voxels around a lesion that say which organ it lies in and how bright that is.
RIM = 2


@dataclass(frozen=True)
class Lesion:
    """One connected piece of tumor: its host organ and whether it is darker, and its voxels as a boolean volume."""

    kind: str
    voxels: NDArray[np.bool_]


def lesions(labels: NDArray[np.uint8], image_hu: NDArray[np.generic]) -> list[Lesion]:
    """The lesions of a case, by what lies around each; those with nothing around them are in no organ."""
    tumor = labels == TUMOR_ID
    pieces, count = ndimage.label(tumor, np.ones((3, 3, 3)))
    found = []
    for number in range(1, count + 1):
        piece = pieces == number
        around = ndimage.binary_dilation(piece, iterations=RIM) & (labels > 0) & ~tumor
        if not around.any():
            found.append(Lesion("in no organ", piece))
            continue
        host = BY_ID[int(np.bincount(labels[around]).argmax())].title
        dark = image_hu[piece].mean() < image_hu[around].mean()
        found.append(Lesion(f"{host}, {'dark' if dark else 'bright'}", piece))
    return found


def main() -> None:
    """Score every folder, then compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("predictions", type=Path, nargs="+")
    given = parser.parse_args()
    scores: dict[Path, list[list[float]]] = defaultdict(list)
    of_kind: dict[str, int] = defaultdict(int)
    drawn: dict[str, int] = defaultdict(int)
    found: dict[tuple[Path, str], int] = defaultdict(int)
    for file in sorted(given.truth.glob("*.nii.gz")):
        image = given.images / file.name.replace(".nii.gz", "_0000.nii.gz")
        geometry, truth = decode_mask(file.read_bytes(), str(file))
        there = lesions(truth.to_array(), decode_image(image.read_bytes(), str(image))[1])
        for lesion in there:
            of_kind[lesion.kind] += 1
            drawn[lesion.kind] += int(lesion.voxels.sum())
        for folder in given.predictions:
            _, predicted = decode_mask((folder / file.name).read_bytes(), str(folder / file.name))
            by_class = score(truth, predicted, geometry)
            scores[folder].append([by_class[class_id].dsc for class_id in CLASS_IDS])
            tumor = predicted.to_array() == TUMOR_ID
            for lesion in there:
                found[folder, lesion.kind] += int((tumor & lesion.voxels).sum())

    first, *others = given.predictions
    print(f"{len(scores[first])} cases, DSC in %, differences from {first.name} in points")
    for folder in given.predictions:
        means = 100 * np.array(scores[folder]).mean(axis=0)
        print(f"{folder.name:20} tumor {means[TUMOR]:5.1f}  organs {means[ORGANS].mean():5.1f}")
    for folder in others:
        compared = paired_intervals(100 * np.array(scores[folder]), 100 * np.array(scores[first]), [ORGANS])
        for what, one in (("tumor", compared[TUMOR]), ("organs", compared[-1])):
            print(f"{folder.name:20} {what:6} {one.difference:+.1f} [{one.low:+.1f}, {one.high:+.1f}]")
    print("\nlesions, and which share of their voxels was found")
    for kind in sorted(drawn):
        shares = "  ".join(
            f"{100 * found[folder, kind] / drawn[kind]:3.0f} %" for folder in given.predictions
        )
        print(f"{kind:28}{of_kind[kind]:4}  {shares}")


if __name__ == "__main__":
    main()
