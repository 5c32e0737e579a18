"""Where a finding's sentence sends the reader."""

import pytest

from curation.finding_place import voxel_of


@pytest.mark.parametrize(
    ("message", "voxel"),
    [
        ("look at the second, 1.20 ml around voxel (10, 220, 3).", (10, 220, 3)),
        ("look around voxel (1, 2, 3) and at voxel (4, 5, 6).", (1, 2, 3)),
        ("The liver lies left of the spleen.", None),
        ("79 × 56 × 62 voxels (1, 2, 3)", None),
    ],
)
def test_the_first_voxel_that_is_named_is_the_place(message, voxel):
    assert voxel_of(message) == voxel
