"""Sides of pairs that a source drew in one value (KiTS: both kidneys): told where the mask tells, else left alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.components import find_components
from curation.labels import BY_ID, TUMOR_ID, UNRESOLVED, UnresolvedPair
from curation.mappings import LabelMapping, apply_mapping
from curation.rle import RunLengths
from curation.status import Finding, Severity
from curation.volumes import Geometry

# All limits are our choice, made so that doubt wins.
# A piece with less than this part of the largest one's voxels is a fragment, not an organ of its own.
_BIG_SHARE = 0.1
# The nearest that the centres of a right and a left one come: two halves of one organ lie closer. A kidney is
# 50 to 70 mm wide and the spine lies between the two; adrenal glands lie at its sides.
_APART_MM = {200: 60.0, 201: 30.0}
# Between the two, seen along the patient's right-left axis, there has to be room.
_GAP_MM = 5.0
# Of the distance between the centres, the part that has to run along that axis: 45 degrees.
_SIDEWAYS = 0.7
# A fragment further from the organ than this may be anything.
_NEAR_MM = 10.0
# How far into the gap between the two a fragment may reach and still be of the nearer one.
_INTO_GAP = 1 / 3
# What lies right of what in the patient, if both are drawn. Without any, only the affine says where right is.
_WITNESSES = ((1, 3), (1, 11), (2, 13), (7, 8))
_REMEDY = "look at it, and give each its side with `maskledger checkout` and `maskledger correct`"


@dataclass(frozen=True)
class Sided:
    """A mask with the sides that could be told, and what there is to say of those pairs.

    `findings`: per pair `side_unresolved` (warning) where something of it stays without a side, and
    `side_from_geometry` (info) where a side rests on the affine alone.
    """

    runs: RunLengths
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Groups:
    """Pieces of one pair; pieces that touch the same tumor are one. Arrays have a row per group.

    `low` and `high`: the box, half open, in voxels of the file's axes. `x_low`, `x_high` and `centre`: world mm,
    x towards the patient's right. `of_run`: the group of each run of the pair.
    """

    of_run: NDArray[np.int64]
    voxels: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    centre: NDArray[np.float64]
    x_low: NDArray[np.float64]
    x_high: NDArray[np.float64]


class _InDoubtError(Exception):
    """A pair's sides cannot be told: the measured value, its limit, and why in half a sentence."""

    def __init__(self, value: float, limit: float, why: str, remedy: str = _REMEDY) -> None:
        super().__init__(why)
        self.value, self.limit, self.why, self.remedy = value, limit, why, remedy


def map_with_sides(raw: RunLengths, mapping: LabelMapping, geometry: Geometry, filename: str) -> Sided:
    """Take a mask's own label values to stored ones, pairs without a side to their sides where these can be told.

    Every derivation of a mask from incoming bytes goes this way, so that the same bytes give the same sides.

    Raises:
        LabelValueError: The mask has values that the mapping does not name.
    """
    return resolve_sides(apply_mapping(raw, mapping, filename), geometry)


def resolve_sides(runs: RunLengths, geometry: Geometry) -> Sided:
    """Split each pair without a side by connected pieces and the patient's axes.

    Two big groups of pieces decide, by their order along the patient's x as the affine has it; never a cut at
    the middle of the image, which goes through a kidney where the pair lies off centre. Smaller pieces
    follow where they lie close to one of the two and on its side. Whatever leaves doubt (one group, two that
    are not clearly side by side, liver and spleen the other way round, …) stays as it is.

    Args:
        runs: A stored mask (0–14, 200–239, 255).
        geometry: Its grid.

    Returns:
        The mask with right and left class ids in place of the pair where told; the same voxels are drawn.
    """
    findings: list[Finding] = []
    if not len(runs) or int(runs.value.max()) < UNRESOLVED[0].value:
        return Sided(runs, ())
    for pair in UNRESOLVED:
        own = runs.value == pair.value
        if not own.any():
            continue
        try:
            sides, witnessed = _tell(pair, runs, own, geometry)
        except _InDoubtError as doubt:
            findings.append(_unresolved(pair, doubt))
            continue
        value = runs.value.copy()
        value[own] = sides
        runs = RunLengths.from_flat(runs.shape, runs.flat_start, runs.flat_stop, value)
        if not witnessed:
            findings.append(_from_geometry(pair, geometry))
        if left := _left_over(pair, runs, geometry):
            findings.append(_unresolved(pair, left))
    return Sided(runs, tuple(findings))


def unresolved_sides(runs: RunLengths, geometry: Geometry) -> list[Finding]:
    """Why what has no side in a stored mask, of whatever version, has none: the warnings of `resolve_sides`."""
    return [f for f in resolve_sides(runs, geometry).findings if f.severity is Severity.WARNING]


def _tell(
    pair: UnresolvedPair, runs: RunLengths, own: NDArray[np.bool_], geometry: Geometry
) -> tuple[NDArray[np.uint8], bool]:
    """The value of each run of a pair, and whether something else in the mask bears the sides out.

    Raises:
        _InDoubtError: The sides cannot be told.
    """
    if left := _left_over(pair, runs, geometry):
        raise left
    witnessed = _ask_witnesses(runs, geometry)
    groups = _grouped(runs, own, geometry)
    right, left_one = _two_sides(pair, groups, geometry)
    gap_low, gap_high = groups.x_high[left_one].max(), groups.x_low[right].min()
    reach = (gap_high - gap_low) * _INTO_GAP
    side = np.full(len(groups.voxels), pair.value, np.uint8)
    side[_near(groups, right, geometry) & (groups.x_low >= gap_high - reach)] = pair.sides[0]
    side[_near(groups, left_one, geometry) & (groups.x_high <= gap_low + reach)] = pair.sides[1]
    return side[groups.of_run], witnessed


def _left_over(pair: UnresolvedPair, runs: RunLengths, geometry: Geometry) -> _InDoubtError | None:
    """Of a pair of which a side is drawn, what has none; what it is cannot be said from the pair's other voxels."""
    drawn = runs.voxels()
    if pair.value not in drawn or not drawn.keys() & set(pair.sides):
        return None
    rest = runs.select([pair.value])
    pieces = find_components(rest)
    at = int(np.argmax(pieces.voxels))
    z, y = np.divmod(rest.row, rest.shape[1])
    first = int(np.flatnonzero(pieces.of_run == at)[0])
    place = f"({int(rest.start[first])}, {int(y[first])}, {int(z[first])})"
    many, rest_ml = len(pieces.voxels), drawn[pair.value] * geometry.voxel_ml
    return _InDoubtError(
        rest_ml,
        0.0,
        f"{rest_ml:.3f} ml in {many} piece{'' if many == 1 else 's'} have no side beside "
        f"{_drawn_sides(pair, drawn)}; the largest begins at voxel {place}",
    )


def _drawn_sides(pair: UnresolvedPair, drawn: Mapping[int, int]) -> str:
    return " and ".join(BY_ID[side].title.lower() for side in pair.sides if side in drawn)


def _ask_witnesses(runs: RunLengths, geometry: Geometry) -> bool:
    """Whether other classes show which way right is.

    Raises:
        _InDoubtError: They lie the other way round.
    """
    drawn = runs.voxels()
    asked = [(right, left) for right, left in _WITNESSES if right in drawn and left in drawn]
    for right, left in asked:
        offset = _centre_x(runs, right, geometry) - _centre_x(runs, left, geometry)
        if offset <= 0:
            raise _InDoubtError(
                offset,
                0.0,
                f"{BY_ID[right].title.lower()} lies {-offset:.1f} mm to the patient's left of "
                f"{BY_ID[left].title.lower()} by the file's affine",
                "look at the file's orientation, or for situs inversus, before giving each its side with "
                "`maskledger correct`",
            )
    return bool(asked)


def _centre_x(runs: RunLengths, value: int, geometry: Geometry) -> float:
    """Mean world x of one value's voxels, in mm."""
    own = runs.select([value])
    z, y = np.divmod(own.row, own.shape[1])
    middle = np.array([(own.start + own.stop - 1) / 2, y, z])
    mean = (middle * own.lengths).sum(axis=1) / own.lengths.sum()
    return float(geometry.affine[0, :3] @ mean + geometry.affine[0, 3])


def _grouped(runs: RunLengths, own: NDArray[np.bool_], geometry: Geometry) -> _Groups:
    """Find the groups of one pair's pieces and measure them."""
    pair = runs.keep(own)
    # One value for pair and tumor: a kidney that its tumor cuts in two is one group.
    bonded = runs.keep(own | (runs.value == TUMOR_ID)).remap({TUMOR_ID: 1, int(pair.value[0]): 1})
    within = np.searchsorted(bonded.flat_start, pair.flat_start, side="right") - 1
    _, of_run = np.unique(find_components(bonded).of_run[within], return_inverse=True)
    of_run = of_run.reshape(-1)
    z, y = np.divmod(pair.row, pair.shape[1])
    first = np.stack([pair.start, y, z], axis=1).astype(np.int64)
    last = np.stack([pair.stop - 1, y, z], axis=1).astype(np.int64)
    voxels = np.bincount(of_run, weights=pair.lengths)
    along_x = geometry.affine[0, :3]
    ends = np.stack([first @ along_x, last @ along_x])
    order = np.argsort(of_run, kind="stable")
    begins = np.searchsorted(of_run[order], np.arange(len(voxels)))
    weighted = ((first + last) / 2 * pair.lengths[:, None])[order]
    middle = np.add.reduceat(weighted, begins) / voxels[:, None]
    return _Groups(
        of_run,
        voxels.astype(np.int64),
        np.minimum.reduceat(first[order], begins),
        np.maximum.reduceat(last[order], begins) + 1,
        middle @ geometry.affine[:3, :3].T + geometry.affine[:3, 3],
        np.minimum.reduceat(ends.min(axis=0)[order], begins) + geometry.affine[0, 3],
        np.maximum.reduceat(ends.max(axis=0)[order], begins) + geometry.affine[0, 3],
    )


def _two_sides(
    pair: UnresolvedPair, groups: _Groups, geometry: Geometry
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The big groups of the right one and of the left one.

    Raises:
        _InDoubtError: There are no two, or they do not lie clearly side by side.
    """
    largest = int(groups.voxels.max())
    big = np.flatnonzero(groups.voxels >= _BIG_SHARE * largest)
    if len(big) == 1:
        smaller = np.sort(groups.voxels)[-2] / largest if len(groups.voxels) > 1 else 0.0
        wide = groups.x_high[big[0]] - groups.x_low[big[0]]
        raise _InDoubtError(
            float(smaller),
            _BIG_SHARE,
            f"there is one large piece ({largest * geometry.voxel_ml:.1f} ml, {wide:.0f} mm wide), which is a "
            "single one or two that are joined (fused, or by a tumor); the second largest holds "
            f"{smaller:.1%} of its voxels where {_BIG_SHARE:.0%} is the least",
        )
    big = big[np.argsort(groups.x_low[big], kind="stable")]
    # The widest room between neighbours along x; what lies before it is left.
    covered = np.maximum.accumulate(groups.x_high[big])
    gaps = groups.x_low[big][1:] - covered[:-1]
    cut = int(np.argmax(gaps))
    gap = float(gaps[cut])
    left, right = big[: cut + 1], big[cut + 1 :]
    apart = _centre(groups, right) - _centre(groups, left)
    sideways = float(apart[0] / np.linalg.norm(apart))
    doubts = (
        (gap, _GAP_MM, f"the room between its two largest parts is {gap:.1f} mm along the patient's right-left "
         f"axis where {_GAP_MM:g} mm is the least (below 0 they overlap)"),
        (float(apart[0]), _APART_MM[pair.value], f"its two largest parts lie {apart[0]:.1f} mm apart along the "
         f"patient's right-left axis where {_APART_MM[pair.value]:g} mm is the least, so they may be of one side"),
        (sideways, _SIDEWAYS, f"its two largest parts lie obliquely: {sideways:.2f} of their distance runs along "
         f"the patient's right-left axis where {_SIDEWAYS:g} is the least, so one may have crossed over"),
    )  # fmt: skip
    for value, limit, why in doubts:
        if value < limit:
            raise _InDoubtError(value, limit, why)
    for side in (right, left):
        main = side[[int(np.argmax(groups.voxels[side]))]]
        if not _near(groups, main, geometry)[side].all():
            raise _InDoubtError(
                float(len(big)),
                2.0,
                f"{len(big)} large pieces lie apart where two sides have 2, so one is not of them",
            )
    return right, left


def _centre(groups: _Groups, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """World centre of several groups together, in mm."""
    voxels = groups.voxels[chosen]
    centre: NDArray[np.float64] = (groups.centre[chosen] * voxels[:, None]).sum(axis=0) / voxels.sum()
    return centre


def _near(groups: _Groups, body: Sequence[int] | NDArray[np.int64], geometry: Geometry) -> NDArray[np.bool_]:
    """Marks the groups whose box is within reach of the box of one of the body's."""
    spacing = np.array(geometry.spacing_mm)
    near = np.zeros(len(groups.voxels), np.bool_)
    for part in body:
        # Voxels between the boxes along each axis; 0 where they share a stretch of it.
        between = np.maximum(groups.low - groups.high[part], groups.low[part] - groups.high).clip(min=0)
        near |= np.linalg.norm(between * spacing, axis=1) <= _NEAR_MM
    return near


def _unresolved(pair: UnresolvedPair, doubt: _InDoubtError) -> Finding:
    return Finding(
        "side_unresolved",
        Severity.WARNING,
        pair.sides[0],
        doubt.value,
        doubt.limit,
        f"{pair.name.title()} without a side: {doubt.why}; {doubt.remedy}.",
    )


def _from_geometry(pair: UnresolvedPair, geometry: Geometry) -> Finding:
    return Finding(
        "side_from_geometry",
        Severity.INFO,
        pair.sides[0],
        0.0,
        1.0,
        f"Which {pair.name} is the right one rests on the file's header alone (axes {geometry.axis_codes}): 0 other "
        "classes of the mask show which way right is, where 1 pair such as liver and spleen would; compare with the "
        "image where sides matter.",
    )
