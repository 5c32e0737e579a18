"""The complement rule, by hand and against a voxel-by-voxel rule in numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from curation.errors import GridError
from curation.merge import Conflict, complement
from curation.rle import RunLengths

SHAPES = array_shapes(min_dims=3, max_dims=3, max_side=6)
KEPT = st.sampled_from([0, 0, 1, 2, 14, 200, 255])
OFFERED = st.sampled_from([0, 0, 1, 3, 4, 13, 14])
FILL = st.sets(st.sampled_from([1, 3, 4, 13]))
PAIRS = SHAPES.flatmap(
    lambda shape: st.tuples(arrays(np.uint8, shape, elements=KEPT), arrays(np.uint8, shape, elements=OFFERED))
)


def row(*values: int) -> RunLengths:
    return RunLengths.from_array(np.array(values, np.uint8).reshape(-1, 1, 1))


def test_the_rule_by_hand():
    merged = complement(
        row(0, 0, 1, 1, 14, 200, 255, 0, 0),
        row(3, 4, 3, 1, 3, 3, 4, 1, 0),
        fill=[3],
    )
    # 3 is taken on background only; 4 and 1 are not asked for.
    assert merged.runs.same_as(row(3, 0, 1, 1, 14, 200, 255, 0, 0))
    assert merged.filled == {3: 1}
    assert merged.conflicts == (Conflict(1, 3, 1), Conflict(14, 3, 1), Conflict(200, 3, 1))


@given(PAIRS, FILL)
def test_the_rule_agrees_with_numpy_voxel_by_voxel(pair, fill):
    kept, offered = pair
    wanted = np.isin(offered, list(fill))
    expected = np.where((kept == 0) & wanted, offered, kept)
    merged = complement(RunLengths.from_array(kept), RunLengths.from_array(offered), fill)

    assert merged.runs.value.dtype == np.uint8
    assert merged.runs.same_as(RunLengths.from_array(expected))
    assert merged.filled == {
        value: n for value in sorted(fill) if (n := int(((kept == 0) & (offered == value)).sum()))
    }
    ledger = {}
    for a in np.unique(kept[kept != 0]).tolist():
        for b in sorted(fill):
            if a != b and (n := int(((kept == a) & (offered == b)).sum())):
                ledger[a, b] = n
    assert {(c.kept, c.offered): c.voxels for c in merged.conflicts} == ledger


@given(PAIRS, FILL)
def test_nothing_drawn_is_ever_changed_and_a_second_time_nothing_happens(pair, fill):
    kept, offered = (RunLengths.from_array(array) for array in pair)
    once = complement(kept, offered, fill)
    drawn = pair[0] != 0
    assert np.array_equal(once.runs.to_array()[drawn], pair[0][drawn])
    twice = complement(once.runs, offered, fill)
    assert twice.runs.same_as(once.runs)
    assert twice.filled == {}
    assert twice.conflicts == once.conflicts


def test_filling_nothing_or_from_nothing_changes_nothing():
    kept, offered = row(1, 0, 0), row(3, 3, 0)
    assert complement(kept, offered, ()).runs.same_as(kept)
    assert complement(kept, RunLengths.empty((3, 1, 1)), [3]).runs.same_as(kept)
    assert complement(RunLengths.empty((3, 1, 1)), offered, [3]).runs.same_as(offered)


def test_masks_on_different_grids_are_not_merged():
    with pytest.raises(GridError, match=r"shapes \(3, 1, 1\) and \(2, 1, 1\)"):
        complement(row(1, 0, 0), row(1, 0), [1])
