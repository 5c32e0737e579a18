"""Volumes that an adult's organ can have: published means, and wide limits around them."""

from collections.abc import Mapping
from dataclasses import dataclass

from curation.census import ClassCensus
from curation.geometry import Geometry
from curation.labels import BY_ID
from curation.rle import RunLengths
from curation.status import Finding, Severity


@dataclass(frozen=True)
class VolumeRange:
    """What a study measured in adults, and the limits in ml outside of which we ask somebody to look."""

    low_ml: float
    high_ml: float
    normal: str
    source: str


_GERAGHTY = "Geraghty et al., Abdom Imaging 2004;29:482"
_WANG = "Wang et al., Chin Med Sci J 2012;27:220"
# The means are the papers', measured in adults on CT (the gallbladder's on ultrasound, fasting). The limits are
# ours and far outside of what they saw, because patients of these datasets are ill: a third of a liver after
# resection, an atrophic kidney, a spleen of 2 l, a hydropic gallbladder pass. Not judged are hollow organs,
# whose volume is what they hold, vessels, whose length is the scan's, and tumors.
RANGES: Mapping[int, VolumeRange] = {
    1: VolumeRange(400, 5000, "women 1411, men 1710 ml on average", _GERAGHTY),
    2: VolumeRange(25, 700, "women 157, men 193 ml on average", _GERAGHTY),
    13: VolumeRange(25, 700, "women 157, men 193 ml on average", _GERAGHTY),
    3: VolumeRange(20, 2500, "women 180, men 238 ml on average", _GERAGHTY),
    4: VolumeRange(10, 250, "72 ± 26 ml", "Saisho et al., Clin Anat 2007;20:933"),
    7: VolumeRange(0.5, 20, "4.3 ± 0.9 ml", _WANG),
    8: VolumeRange(0.5, 20, "4.2 ± 0.7 ml", _WANG),
    9: VolumeRange(1, 250, "17 to 19 ml on average", "Palasciano et al., Am J Gastroenterol 1992;87:493"),
}
# An adult's trunk is wider than this: a narrower volume is a crop, and says nothing of what it cut off.
_WHOLE_TRUNK_MM = 200.0


def implausible_volume(
    census: Mapping[int, ClassCensus],
    runs: RunLengths,  # noqa: ARG001 — every check takes the same three
    geometry: Geometry,
) -> list[Finding]:
    """Organs smaller or larger than an adult's can be.

    Too small is said only of an organ that lies wholly in a volume that holds a whole trunk. A volume in files
    whose spacing is wrong is off by the same factor in all organs; the message says what was found.
    """
    width, depth = (
        n * mm for n, mm in list(zip(geometry.shape_ras, geometry.spacing_ras_mm, strict=True))[:2]
    )
    whole_trunk = min(width, depth) >= _WHOLE_TRUNK_MM
    findings = []
    for class_id, organ in census.items():
        expected = RANGES.get(class_id)
        if expected is None:
            continue
        if organ.volume_ml > expected.high_ml:
            limit, than, advice = expected.high_ml, "at most", "whether another structure was drawn with it"
        elif organ.volume_ml < expected.low_ml and whole_trunk and not organ.touches_border:
            limit, than, advice = (
                expected.low_ml,
                "at least",
                "whether a part was left out or labels were swapped",
            )
        else:
            continue
        x, y, z = _middle(organ)
        findings.append(
            Finding(
                "implausible_volume",
                Severity.WARNING,
                class_id,
                organ.volume_ml,
                limit,
                f"{BY_ID[class_id].title} has {organ.volume_ml:.4g} ml, where {than} {limit:g} ml is expected of an "
                f"adult ({expected.normal}; {expected.source}); look around voxel ({x}, {y}, {z}) {advice}, and at "
                "the file's spacing.",
            )
        )
    return findings


def _middle(organ: ClassCensus) -> tuple[int, int, int]:
    x0, y0, z0, x1, y1, z1 = organ.bbox
    return (x0 + x1 - 1) // 2, (y0 + y1 - 1) // 2, (z0 + z1 - 1) // 2
