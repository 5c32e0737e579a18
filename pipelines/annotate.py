"""From a mask to the rows that book it: census, reserved voxels and findings of one version."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from curation.census import ClassCensus, take_census
from curation.labels import CLASS_IDS, is_reserved
from curation.quality import check_mask
from curation.rle import RunLengths
from curation.status import Evidence, Finding, Origin, Status, statuses
from curation.volumes import Geometry
from db.writes import AnnotationValues


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
        tuple(check_mask(census, runs, geometry)),
    )


def measured(
    class_id: int,
    census: ClassCensus,
    origin: Origin,
    *,
    evidence: Evidence = Evidence.VOXELS,
    prediction_id: int | None = None,
    author: str | None = None,
) -> AnnotationValues:
    """The row of an annotated class."""
    return AnnotationValues(
        class_id=class_id,
        status=Status.ANNOTATED,
        origin=origin,
        evidence=evidence,
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


def nothing_annotated() -> tuple[AnnotationValues, ...]:
    """The 14 rows of an image without a mask."""
    return tuple(
        AnnotationValues(class_id=class_id, status=Status.MISSING, evidence=Evidence.DEFAULT)
        for class_id in CLASS_IDS
    )
