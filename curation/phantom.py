"""Synthetic abdominal CT: 13 organs and lesions drawn from formulas, every case different, truth kept apart.

A phantom is not anatomy. It is a task of the same kind (low contrast, noise, sides, organs of all sizes)
that a small network can learn on a CPU and whose truth is known. How it looks stands in phantom_anatomy.py.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.errors import UsageError
from curation.labels import ORGAN_IDS, TUMOR_ID
from curation.phantom_anatomy import Body, Space, paint_body, paint_organs

# How many of FLARE23's cases carry which classes; None: all 13 organs and no tumor. Counts from the authors'
# list (flare23_label_counts.csv; its two single cases with 9 and 11 labels are left out). Which classes they
# are is from FLARE23's sources: liver, kidneys, spleen and pancreas are what AbdomenCT-1K annotates.
_FIVE = (1, 2, 3, 4, 13)
FLARE23_KINDS: tuple[tuple[int, tuple[int, ...] | None], ...] = (
    (888, (TUMOR_ID,)),
    (10, (1, 2, 3, 13)),
    (455, _FIVE),
    (597, (*_FIVE, TUMOR_ID)),
    (26, tuple(organ for organ in ORGAN_IDS if organ != 9)),
    (222, None),
)

# No organ is smaller than this (40 voxels at 5 mm): smaller ones cannot be learnt from a few cases.
_SMALLEST_ORGAN_ML = 5.0
_LESION_HOSTS = (1, 1, 2, 3, 4, 13)


@dataclass(frozen=True, eq=False)
class Phantom:
    """One case. All arrays have shape (X, Y, Z) and share `affine` (RAS+, isotropic).

    Attributes:
        image: HU, int16.
        truth: Label values 0–14, uint8: organs with lesions (14) drawn over them.
        organs: Label values 0–13, uint8: the same without lesions, as in FLARE23's complete labels.
        affine: Voxel index to millimetres, shape (4, 4).
    """

    image: NDArray[np.int16]
    truth: NDArray[np.uint8]
    organs: NDArray[np.uint8]
    affine: NDArray[np.float64]


def make_phantom(seed: int, index: int, spacing_mm: float = 5.0) -> Phantom:
    """Draw case `index` of the cohort `seed`; the same arguments always give the same voxels.

    At 5 mm a case has about 76 × 56 × 60 voxels.
    """
    rng = np.random.default_rng([seed, index])
    voxel_ml = spacing_mm**3 / 1000
    while True:
        # Now and then an organ is deformed out of the picture or under its neighbour: draw the case anew.
        space = Space.draw(rng, spacing_mm)
        body = Body.draw(rng)
        image, lumen = paint_body(space, body, rng)
        organs = paint_organs(space, body, image, lumen, rng)
        voxels = np.bincount(organs.ravel(), minlength=TUMOR_ID)
        if min(voxels[list(ORGAN_IDS)]) * voxel_ml >= _SMALLEST_ORGAN_ML:
            break
    truth = _grow_lesions(organs, image, spacing_mm, rng)
    return Phantom(_scan(image, spacing_mm, rng), truth, organs, space.affine)


def label_plan(train: int, strong: int) -> list[tuple[int, ...] | None]:
    """Say which classes each of `train` cases keeps, in FLARE23's proportions.

    Args:
        train: Number of training cases.
        strong: How many of them keep all 13 organs, at least.

    Returns:
        Per case the classes its label keeps; None: all 13 organs without the tumor. Weak cases come first.

    Raises:
        UsageError: Fewer cases than are to be strong.
    """
    if not 0 <= strong <= train:
        raise UsageError(f"{train} training cases cannot hold {strong} strong ones; ask for 0 to {train}")
    total = sum(count for count, _ in FLARE23_KINDS)
    complete = max(strong, round(train * FLARE23_KINDS[-1][0] / total))
    weak_kinds = FLARE23_KINDS[:-1]
    weak_total = sum(count for count, _ in weak_kinds)
    shares = [count * (train - complete) / weak_total for count, _ in weak_kinds]
    counts = [int(share) for share in shares]
    # Largest remainders, so that the counts add up.
    by_remainder = sorted(range(len(shares)), key=lambda kind: counts[kind] - shares[kind])
    for kind in by_remainder[: train - complete - sum(counts)]:
        counts[kind] += 1
    plan = [kept for (_, kept), count in zip(weak_kinds, counts, strict=True) for _ in range(count)]
    return plan + [None] * complete


def weak_labels(phantom: Phantom, kept: Collection[int] | None) -> NDArray[np.uint8]:
    """The label map that an annotator of only the classes `kept` would have drawn, shape (X, Y, Z).

    None keeps all 13 organs. Where the tumor is not kept, its voxels belong to the organ it grew in.
    """
    organs = np.isin(phantom.organs, ORGAN_IDS if kept is None else list(kept))
    labels = np.where(organs, phantom.organs, 0).astype(np.uint8)
    if kept is not None and TUMOR_ID in kept:
        labels[phantom.truth == TUMOR_ID] = TUMOR_ID
    return labels


def _grow_lesions(
    organs: NDArray[np.uint8], image: NDArray[np.float32], spacing_mm: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Grow one to three lesions inside organs: changes `image` there, returns truth."""
    truth = organs.copy()
    axes = np.ogrid[tuple(slice(0, n) for n in organs.shape)]
    for _ in range(rng.integers(1, 4)):
        host = int(rng.choice(_LESION_HOSTS))
        inside = np.argwhere(organs == host)
        center = inside[rng.integers(len(inside))]
        radii = rng.uniform(8, 17, 3) / spacing_mm
        squared = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, center, radii, strict=True))
        # A border that wavers by a fifth: no two lesions look alike.
        waver = 1 + 0.2 * np.sin(rng.uniform(0.3, 0.8) * spacing_mm / 5 * sum(axes) + rng.uniform(0, 6))
        lesion = (squared < waver) & (organs == host)
        image[lesion] += rng.choice([-1, -1, 1]) * rng.uniform(35, 65)
        truth[lesion] = TUMOR_ID
    return truth


def _scan(image: NDArray[np.float32], spacing_mm: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """What a scanner makes of it: texture, blurred borders, noise, calibration off by a little; in HU."""
    from scipy import ndimage  # late: it costs a fifth of a second

    texture = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), 1.5)
    blurred = ndimage.gaussian_filter(image, rng.uniform(2.0, 3.2) / spacing_mm)
    # Filtering takes the texture's spread to about 0.05; the factor makes it 5 HU.
    soft = np.where(blurred > -300, texture * 100, 0)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(7, 14)
    scanned = (blurred + soft) * rng.normal(1, 0.02) + rng.normal(0, 4) + noise
    return np.clip(np.rint(scanned), -1024, 3071).astype(np.int16)
