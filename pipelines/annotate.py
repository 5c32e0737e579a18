"""From a mask to the rows that book it: census, reserved voxels and findings of one version."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from curation.census import ClassCensus, take_census
from curation.labels import CLASS_IDS, is_reserved
from curation.merge import Conflict
from curation.quality import check_mask
from curation.rle import RunLengths
from curation.sides import unresolved_sides
from curation.status import Evidence, Finding, Origin, Status, statuses, unsided
from curation.volumes import Geometry
from db.writes import AnnotationValues, ConflictValues


@dataclass(frozen=True)
class MaskFacts:
    """What one look at a mask tells: per value the census, reserved voxels apart, and what looked odd."""

    census: Mapping[int, ClassCensus]
    reserved: Mapping[int, int]
    findings: tuple[Finding, ...]


def examine(runs: RunLengths, geometry: Geometry) -> MaskFacts:
    """Take census and quality checks of one stored mask (values 0–14 and the reserved ones)."""
    census = take_census(runs, geometry)
    return MaskFacts(
        {value: c for value, c in census.items() if not is_reserved(value)},
        {value: c.voxels for value, c in census.items() if is_reserved(value)},
        (*check_mask(census, runs, geometry), *unresolved_sides(runs, geometry)),
    )


def measured(
    class_id: int,
    census: ClassCensus,
    origin: Origin,
    *,
    prediction_id: int | None = None,
    author: str | None = None,
) -> AnnotationValues:
    """The row of an annotated class."""
    return AnnotationValues(
        class_id=class_id,
        status=Status.ANNOTATED,
        origin=origin,
        evidence=Evidence.VOXELS,
        prediction_id=prediction_id,
        author=author,
        voxels=census.voxels,
        volume_ml=census.volume_ml,
        bbox=census.bbox,
        centroid=census.centroid_mm,
        components=census.components,
        largest_share=census.largest_share,
        touches_border=census.touches_border,
        class_hash=census.class_hash,
    )


def ingested_annotations(facts: MaskFacts, protocol: Collection[int] | None) -> tuple[AnnotationValues, ...]:
    """The 14 rows of a mask as it came in: what has voxels is original, the rest follows from the protocol."""
    voxels = {value: c.voxels for value, c in facts.census.items()} | dict(facts.reserved)
    rows = []
    for class_id, (status, evidence) in statuses(voxels, protocol).items():
        if status is Status.ANNOTATED:
            rows.append(measured(class_id, facts.census[class_id], Origin.ORIGINAL))
        else:
            rows.append(AnnotationValues(class_id=class_id, status=status, evidence=evidence))
    return tuple(rows)


def conflict_values(conflicts: Sequence[Conflict], voxel_ml: float) -> tuple[ConflictValues, ...]:
    """The ledger of a merge as rows, with millilitres."""
    return tuple(
        ConflictValues(c.kept, c.offered, c.voxels, c.voxels * voxel_ml, c.displaced) for c in conflicts
    )


@dataclass(frozen=True)
class Drawn:
    """Who drew a class in a new version: `prediction_id` for a pseudo label, `author` for a correction."""

    origin: Origin
    prediction_id: int | None = None
    author: str | None = None


def rederived(
    before: Mapping[int, AnnotationValues],
    facts: MaskFacts,
    drawn: Mapping[int, Drawn],
    undrawn: Mapping[int, tuple[Status, Evidence]] | None = None,
) -> tuple[AnnotationValues, ...]:
    """The 14 rows of a version that was made from another one.

    Args:
        before: The parent's rows.
        facts: What the new mask holds.
        drawn: Classes with a new owner; all others keep theirs, and are only measured again where another
            class cut into them.
        undrawn: What to say of classes that have no voxels now. Not named: a class that had some is missing,
            the others stay what they were.
    """
    without_side = unsided(facts.reserved)
    rows = []
    for class_id in CLASS_IDS:
        row, census = before[class_id], facts.census.get(class_id)
        if census is None:
            rows.append(_without_voxels(row, (undrawn or {}).get(class_id), class_id in without_side))
        elif class_id in drawn:
            owner = drawn[class_id]
            rows.append(
                measured(
                    class_id, census, owner.origin, prediction_id=owner.prediction_id, author=owner.author
                )
            )
        elif row.class_hash == census.class_hash:
            rows.append(row)
        else:
            assert row.origin is not None, f"class {class_id} has voxels that nobody drew"
            again = measured(class_id, census, row.origin, prediction_id=row.prediction_id, author=row.author)
            rows.append(replace(again, drawn_version_id=row.drawn_version_id))
    return tuple(rows)


def _without_voxels(
    before: AnnotationValues, said: tuple[Status, Evidence] | None, without_side: bool
) -> AnnotationValues:
    if said is None:
        if before.status is not Status.ANNOTATED and not (
            before.evidence is Evidence.UNRESOLVED_SIDE and not without_side
        ):
            return before
        said = (Status.MISSING, Evidence.UNRESOLVED_SIDE if without_side else Evidence.DEFAULT)
    return AnnotationValues(class_id=before.class_id, status=said[0], evidence=said[1])


def nothing_annotated() -> tuple[AnnotationValues, ...]:
    """The 14 rows of an image without a mask."""
    return tuple(
        AnnotationValues(class_id=class_id, status=Status.MISSING, evidence=Evidence.DEFAULT)
        for class_id in CLASS_IDS
    )
