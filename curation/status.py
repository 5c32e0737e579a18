"""What can be known of one class in one mask: its status, its origin, the evidence, and how they follow from voxels."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from curation.labels import CLASS_IDS, UNRESOLVED


class Status(StrEnum):
    """The four answers to "is this class in this mask?"."""

    ANNOTATED = "annotated"
    ABSENT = "absent"
    MISSING = "missing"
    OUT_OF_FIELD = "out_of_field"


class Origin(StrEnum):
    """Who drew an annotated class."""

    ORIGINAL = "original"
    PSEUDO = "pseudo"
    CORRECTED = "corrected"


class Evidence(StrEnum):
    """What a status rests on."""

    VOXELS = "voxels"
    PROTOCOL = "protocol"
    REVIEWER = "reviewer"
    DEFAULT = "default"
    UNRESOLVED_SIDE = "unresolved side"


class Severity(StrEnum):
    """How much a finding matters; `flagged` in a query means warning or above."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What one quality check noticed. `value` and `limit` share the unit that `message` names."""

    check: str
    severity: Severity
    class_id: int | None
    value: float
    limit: float
    message: str


def unsided(values: Iterable[int]) -> frozenset[int]:
    """Ids of the sides of which nobody can say anything, because their pair is among a mask's values."""
    drawn = set(values)
    return frozenset(side for pair in UNRESOLVED if pair.value in drawn for side in pair.sides)


def statuses(
    voxels: Mapping[int, int], protocol: Collection[int] | None
) -> dict[int, tuple[Status, Evidence]]:
    """Derive status and evidence of all 14 classes of a freshly ingested mask.

    Args:
        voxels: Stored voxel value to voxel count; values without voxels may be left out.
        protocol: Class ids that the annotators looked for; None if nobody stated them.

    Returns:
        Class id to (status, evidence), for every class of the label table. A side whose pair is
        drawn but unresolved is missing: nobody has said which of the two it is.
    """
    looked_for = frozenset(protocol or ())
    without_side = unsided(value for value, n in voxels.items() if n)

    def of(class_id: int) -> tuple[Status, Evidence]:
        if voxels.get(class_id, 0) > 0:
            return Status.ANNOTATED, Evidence.VOXELS
        if class_id in without_side:
            return Status.MISSING, Evidence.UNRESOLVED_SIDE
        if class_id in looked_for:
            return Status.ABSENT, Evidence.PROTOCOL
        return Status.MISSING, Evidence.DEFAULT

    return {class_id: of(class_id) for class_id in CLASS_IDS}
