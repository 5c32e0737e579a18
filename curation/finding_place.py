"""Where a finding's sentence tells the reader to look: checks name a voxel of the file in words."""

import re

_VOXEL = re.compile(r"\bvoxel \((\d+), (\d+), (\d+)\)")


def voxel_of(message: str) -> tuple[int, int, int] | None:
    """The first voxel (x, y, z), on the file's own axes, that a finding names; None if it names none."""
    found = _VOXEL.search(message)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
