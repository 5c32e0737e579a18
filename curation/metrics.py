"""How well a prediction agrees with a reference: DSC and NSD per class by the FLARE23 protocol."""

import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.errors import UsageError
from curation.geometry import Geometry
from curation.labels import BY_ID, CLASS_IDS
from curation.rle import RunLengths, overlay
from curation.surface import surface_dice

PROTOCOLS = ("flare23", "known")
# Aorta, inferior vena cava, esophagus: drawn to different lengths by different hands, so only the slices
# that the reference has are compared. From FLARE23_DSC_NSD_Eval.py, JunMa11/FLARE.
SLICE_LIMITED_IDS = (5, 6, 10)
# Below this DSC the NSD is 0, from the same script.
LEAST_DSC_FOR_NSD = 0.2


@dataclass(frozen=True)
class Score:
    """Dice similarity coefficient and normalised surface dice of one class, 0 to 1."""

    dsc: float
    nsd: float


@dataclass(frozen=True)
class Summary:
    """Mean and population standard deviation of one class over `n` cases."""

    n: int
    dsc: float
    dsc_std: float
    nsd: float
    nsd_std: float


def score(
    reference: RunLengths,
    prediction: RunLengths,
    geometry: Geometry,
    protocol: str = "flare23",
    known: Collection[int] | None = None,
) -> dict[int, Score]:
    """Score one case by the FLARE23 protocol.

    Both masks without the class score 1 / 1, one without it 0 / 0. Aorta, inferior vena cava and esophagus
    count only from the reference's lowest slice up to its highest, which is left out; where that leaves no
    slice (the official script: NaN) they score 1 / 1. Voxel values outside the label table are background.

    Args:
        reference: Label values of the 14 classes.
        prediction: The same on the same grid.
        geometry: The grid of both; says which axis runs from inferior to superior.
        protocol: ``flare23`` scores all 14 classes; ``known`` only those that somebody looked for, because
            "both empty scores 1" rewards a class that nobody annotated.
        known: The class ids for ``known``.

    Returns:
        Class id to score, rounded to 4 digits as the official script does before it averages.

    Raises:
        UsageError: An unknown protocol, or ``known`` without the classes.
        GridError: The masks' shapes differ.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"unknown protocol '{protocol}': protocols are {', '.join(PROTOCOLS)}")
    if protocol == "known" and known is None:
        raise UsageError("protocol 'known' scores the classes that somebody looked for: say which")
    class_ids = CLASS_IDS if protocol == "flare23" or known is None else sorted(known)
    joint = overlay(reference, prediction)
    pairs = joint.pairs()
    in_reference, in_prediction = _by_class(reference), _by_class(prediction)
    scores = {}
    for class_id in class_ids:
        a, b = in_reference[class_id], in_prediction[class_id]
        if not len(a) or not len(b):
            same = float(len(a) == len(b))
            scores[class_id] = Score(same, same)
            continue
        dsc = _dice(pairs, class_id)
        if class_id in SLICE_LIMITED_IDS:
            a, b = _within_slices_of(a, b, geometry)
            dsc = dice(a, b, class_id)
        nsd = 0.0
        if dsc >= LEAST_DSC_FOR_NSD:
            nsd = surface_dice(a, b, geometry.spacing_mm, BY_ID[class_id].tolerance_mm)
        scores[class_id] = Score(round(dsc, 4), round(nsd, 4))
    return scores


def dice(a: RunLengths, b: RunLengths, value: int) -> float:
    """Dice similarity coefficient of one label value in two masks, 0 to 1; 1.0 if neither has it."""
    return agreement(a, b, (value,))[value]


def agreement(a: RunLengths, b: RunLengths, class_ids: Collection[int]) -> dict[int, float]:
    """`dice` of several label values, in one walk over both masks."""
    pairs = overlay(a.select(class_ids), b.select(class_ids)).pairs()
    return {class_id: _dice(pairs, class_id) for class_id in class_ids}


def summarise(cases: Iterable[Mapping[int, Score]]) -> dict[int, Summary]:
    """Mean and spread per class over the cases that score it; classes that none scores are left out."""
    by_class: dict[int, list[Score]] = {}
    for scores in cases:
        for class_id, one in scores.items():
            by_class.setdefault(class_id, []).append(one)

    def spread(values: list[float]) -> tuple[float, float]:
        return statistics.fmean(values), statistics.pstdev(values)

    return {
        class_id: Summary(len(of), *spread([s.dsc for s in of]), *spread([s.nsd for s in of]))
        for class_id, of in sorted(by_class.items())
    }


def _dice(pairs: Mapping[tuple[int, int], int], value: int) -> float:
    drawn = sum(n for (in_a, _), n in pairs.items() if in_a == value)
    predicted = sum(n for (_, in_b), n in pairs.items() if in_b == value)
    return 2 * pairs.get((value, value), 0) / (drawn + predicted) if drawn + predicted else 1.0


def _by_class(mask: RunLengths) -> dict[int, RunLengths]:
    """Each class's runs; sorts once where `RunLengths.select` would search 14 times."""
    order = np.argsort(mask.value, kind="stable")
    sorted_values = mask.value[order]
    begins = np.searchsorted(sorted_values, CLASS_IDS, side="left")
    ends = np.searchsorted(sorted_values, CLASS_IDS, side="right")
    value, row, start, stop = (column[order] for column in mask.columns())
    return {
        class_id: RunLengths(mask.shape, value[i:j], row[i:j], start[i:j], stop[i:j])
        for class_id, i, j in zip(CLASS_IDS, begins, ends, strict=True)
    }


def _within_slices_of(
    reference: RunLengths, prediction: RunLengths, geometry: Geometry
) -> tuple[RunLengths, RunLengths]:
    """Both masks on the reference's slices from its lowest up to, but without, its highest.

    Slices lie across the patient's inferior–superior axis, whichever axis of the file that is, and the
    uppermost is the one left out, whichever way the file runs.
    """
    axis, backwards = geometry.ras_axes[2]
    if axis == 0:
        low, high = int(reference.start.min()), int(reference.stop.max()) - 1
    else:
        slices = _slices(reference, axis)
        low, high = int(slices.min()), int(slices.max())
    if backwards:
        low, high = low + 1, high + 1
    return _clipped(reference, axis, low, high), _clipped(prediction, axis, low, high)


def _slices(mask: RunLengths, axis: int) -> NDArray[np.int32]:
    """Each run's index along the second (1) or third (2) axis."""
    return mask.row % mask.shape[1] if axis == 1 else mask.row // mask.shape[1]


def _clipped(mask: RunLengths, axis: int, low: int, high: int) -> RunLengths:
    """The part of a mask with low <= index < high along one axis."""
    if axis != 0:
        slices = _slices(mask, axis)
        return mask.keep((slices >= low) & (slices < high))
    start, stop = np.maximum(mask.start, low), np.minimum(mask.stop, high)
    return RunLengths(mask.shape, mask.value, mask.row, start, stop).keep(start < stop)
