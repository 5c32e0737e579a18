"""Quality checks: what in a mask wants a curator's eyes, what was measured, and where to look."""

from collections.abc import Callable, Mapping

import numpy as np

from curation.census import ClassCensus
from curation.components import find_components
from curation.holes import holes_in_organ
from curation.labels import BY_ID, SIDED_PAIRS
from curation.rle import RunLengths
from curation.status import Finding, Severity
from curation.tumor_place import tumor_far_from_organs
from curation.volume_ranges import implausible_volume
from curation.volumes import Geometry

# The part of a class's voxels that its largest piece should hold. Our choice: solid organs lose a few voxels
# to noise only; thin and long ones fall apart in thick slices. Tumors come in numbers and are not checked.
_WHOLE_SHARE: dict[int, float] = {
    1: 0.98,  # liver
    2: 0.95,  # right kidney
    3: 0.95,  # spleen
    4: 0.90,  # pancreas
    5: 0.85,  # aorta: branches
    6: 0.85,  # inferior vena cava
    7: 0.80,  # right adrenal gland: limbs of one or two voxels
    8: 0.80,  # left adrenal gland
    9: 0.95,  # gallbladder
    10: 0.85,  # esophagus
    11: 0.95,  # stomach
    12: 0.85,  # duodenum
    13: 0.95,  # left kidney
}
# Aorta, inferior vena cava and esophagus run through the top or bottom of every abdominal scan.
_PASSES_THROUGH = (5, 6, 10)
_LIVER, _SPLEEN = 1, 3
# Faces of the volume by patient axis: where the axis begins, where it ends (RAS+).
_FACES = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))


def check_mask(census: Mapping[int, ClassCensus], runs: RunLengths, geometry: Geometry) -> list[Finding]:
    """Run every check on one mask.

    Args:
        census: Of the same mask, with components.
        runs: The stored mask; reserved values (unresolved, ignore) are not checked.
        geometry: Its grid.

    Returns:
        Findings by check, then by class; empty if nothing was noticed.
    """
    classes = {value: of_class for value, of_class in census.items() if value in BY_ID}
    return [finding for check in CHECKS.values() for finding in check(classes, runs, geometry)]


def organ_in_pieces(census: Mapping[int, ClassCensus], runs: RunLengths, geometry: Geometry) -> list[Finding]:
    """Organs whose largest piece holds too little of them; info only where the scan's edge may have cut."""
    findings = []
    for class_id, organ in census.items():
        limit = _WHOLE_SHARE.get(class_id)
        if limit is None or organ.largest_share >= limit:
            continue
        first, second = _two_largest(runs.select([class_id]))
        x, y, z = _middle(second)
        cut = _voxels_on_faces(first, geometry).keys() & _voxels_on_faces(second, geometry).keys()
        excuse = f" (both end at the {min(cut)} face of the volume, which may have cut it)" if cut else ""
        second_ml = second.voxels()[class_id] * geometry.voxel_ml
        findings.append(
            Finding(
                "organ_in_pieces",
                Severity.INFO if excuse else Severity.WARNING,
                class_id,
                organ.largest_share,
                limit,
                f"{BY_ID[class_id].title} is in {organ.components} pieces{excuse}: the largest holds "
                f"{organ.largest_share:.1%} of its {organ.volume_ml:.1f} ml, at least {limit:.0%} is usual; "
                f"look at the second, {second_ml:.2f} ml around voxel ({x}, {y}, {z}).",
            )
        )
    return findings


def touches_border(census: Mapping[int, ClassCensus], runs: RunLengths, geometry: Geometry) -> list[Finding]:
    """Classes on the outermost voxels of the volume.

    Cut by the top or bottom of the scan is common (info; not even that for the great vessels and the
    esophagus). At a side it is not: the image was cropped, or the class ran astray (warning).
    """
    findings = []
    for class_id, drawn in census.items():
        if not drawn.touches_border:
            continue
        on_face = _voxels_on_faces(runs.select([class_id]), geometry)
        if class_id in _PASSES_THROUGH:
            on_face = {face: n for face, n in on_face.items() if face not in _FACES[2]}
        if not on_face:
            continue
        lateral = not set(on_face) <= set(_FACES[2])
        faces = " and ".join(f"the {face} face ({n} voxels)" for face, n in on_face.items())
        advice = (
            "see whether the image was cropped there or the class ran astray"
            if lateral
            else "its volume is that of the part in the scan"
        )
        findings.append(
            Finding(
                "touches_border",
                Severity.WARNING if lateral else Severity.INFO,
                class_id,
                float(sum(on_face.values())),
                0.0,
                f"{BY_ID[class_id].title} touches {faces} of the volume; {advice}.",
            )
        )
    return findings


def left_right_swap(
    census: Mapping[int, ClassCensus],
    runs: RunLengths,  # noqa: ARG001 — every check takes the same three
    geometry: Geometry,  # noqa: ARG001
) -> list[Finding]:
    """Pairs whose right one lies left of the left one along patient x, and a liver left of a spleen."""
    findings = []
    mirrored = _rightward_mm(census, _LIVER, _SPLEEN) < 0
    for right, left in (*SIDED_PAIRS, (_LIVER, _SPLEEN)):
        offset_mm = _rightward_mm(census, right, left)
        if offset_mm >= 0:
            continue
        if mirrored:
            advice = "liver and spleen are swapped, so look at the file's orientation, or for situs inversus"
        elif _LIVER in census and _SPLEEN in census:
            advice = "liver and spleen lie as usual, so look whether the two labels were swapped"
        else:
            advice = "look whether the two labels were swapped or the file's orientation is wrong"
        findings.append(
            Finding(
                "left_right_swap",
                Severity.ERROR,
                right,
                offset_mm,
                0.0,
                f"{BY_ID[right].title} lies {-offset_mm:.1f} mm to the patient's left of the "
                f"{BY_ID[left].title.lower()}, where at least 0 mm to the right is expected; {advice}.",
            )
        )
    return findings


Check = Callable[[Mapping[int, ClassCensus], RunLengths, Geometry], list[Finding]]
CHECKS: dict[str, Check] = {
    "organ_in_pieces": organ_in_pieces,
    "touches_border": touches_border,
    "left_right_swap": left_right_swap,
    "implausible_volume": implausible_volume,
    "holes_in_organ": holes_in_organ,
    "tumor_far_from_organs": tumor_far_from_organs,
}


def _rightward_mm(census: Mapping[int, ClassCensus], right: int, left: int) -> float:
    """How far the first class's centroid lies to the patient's right of the second's; 0 if one is missing."""
    if right not in census or left not in census:
        return 0.0
    return census[right].centroid_mm[0] - census[left].centroid_mm[0]


def _two_largest(own: RunLengths) -> tuple[RunLengths, RunLengths]:
    """The largest and the second largest piece of one class that has two at least."""
    pieces = find_components(own)
    first, second = np.argsort(-pieces.voxels, kind="stable")[:2].tolist()
    return own.keep(pieces.of_run == first), own.keep(pieces.of_run == second)


def _middle(piece: RunLengths) -> tuple[int, int, int]:
    """The voxel of the file in the middle of the piece's box."""
    z, y = np.divmod(piece.row, piece.shape[1])
    x_middle = (piece.start.min() + piece.stop.max() - 1) // 2
    return int(x_middle), int(y.min() + y.max()) // 2, int(z.min() + z.max()) // 2


def _voxels_on_faces(own: RunLengths, geometry: Geometry) -> dict[str, int]:
    """Voxels on each touched face of the volume, by its name in the patient; axes of one voxel aside."""
    z, y = np.divmod(own.row, own.shape[1])
    begins: list[int] = [int(np.count_nonzero(own.start == 0))]
    ends: list[int] = [int(np.count_nonzero(own.stop == own.shape[0]))]
    for along, size in ((y, own.shape[1]), (z, own.shape[2])):
        begins.append(int(own.lengths[along == 0].sum()))
        ends.append(int(own.lengths[along == size - 1].sum()))
    found = {}
    for (axis, backwards), names in zip(geometry.ras_axes, _FACES, strict=True):
        if own.shape[axis] == 1:
            continue
        low, high = (ends[axis], begins[axis]) if backwards else (begins[axis], ends[axis])
        found.update({name: n for name, n in zip(names, (low, high), strict=True) if n})
    return found
