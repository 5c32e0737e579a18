"""A protocol held against the voxels: what is drawn although nobody is said to have looked for it."""

from collections.abc import Collection, Mapping

from curation.labels import BY_ID, UNRESOLVED_BY_VALUE
from curation.status import Finding, Severity

# The check's name. What it says rests on what came in, so a later version of the mask cannot say it anew.
OUTSIDE_PROTOCOL = "outside_protocol"


def outside_protocol(
    voxels: Mapping[int, int], protocol: Collection[int] | None, voxel_ml: float
) -> tuple[Finding, ...]:
    """Classes that a source draws and its protocol does not name: one of the two is wrong, and the voxels count.

    A warning, not an info: a protocol that is wrong here may be wrong where it makes a class absent, and an image
    without a class that is there teaches a network that it is not.

    Args:
        voxels: Stored voxel value to voxels, of what the source drew.
        protocol: Class ids that the annotators looked for; None if nobody stated them, which contradicts nothing.
        voxel_ml: Volume of a voxel, in millilitres.

    Returns:
        A finding for each such class. One of a pair without a side, of which neither side is named, is of its
        right side.
    """
    if protocol is None:
        return ()
    looked_for = frozenset(protocol)
    found = []
    for value, count in sorted(voxels.items()):
        if value in BY_ID and value not in looked_for:
            found.append(_finding(value, BY_ID[value].title, count * voxel_ml))
        elif value in UNRESOLVED_BY_VALUE and looked_for.isdisjoint(UNRESOLVED_BY_VALUE[value].sides):
            pair = UNRESOLVED_BY_VALUE[value]
            found.append(_finding(pair.sides[0], f"{pair.name.title()} without a side", count * voxel_ml))
    return tuple(found)


def _finding(class_id: int, title: str, drawn_ml: float) -> Finding:
    return Finding(
        OUTSIDE_PROTOCOL,
        Severity.WARNING,
        class_id,
        drawn_ml,
        0.0,
        f"{title} is drawn, {drawn_ml:.2f} ml, but the protocol does not name it, so that 0 ml are expected; the "
        "voxels count. If it was looked for, name it in the protocol (`maskledger source rederive`, or the column "
        "'classes' of --cases); if not, see whether the mapping reads its value wrongly.",
    )
