"""The three-way merge and its policies, by hand and against voxel-by-voxel rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from curation.errors import GridError
from curation.merge import COMPLEMENT, CORRECTION, EVERY_VALUE, REVISION, Conflict, Merged, Policy, merge
from curation.rle import RunLengths
from curation.status import Origin

SHAPES = array_shapes(min_dims=3, max_dims=3, max_side=6)
KEPT = st.sampled_from([0, 0, 1, 2, 14, 200, 255])
OFFERED = st.sampled_from([0, 0, 1, 3, 4, 13, 14])
FILL = st.sets(st.sampled_from([1, 3, 4, 13]))
PAIRS = SHAPES.flatmap(
    lambda shape: st.tuples(arrays(np.uint8, shape, elements=KEPT), arrays(np.uint8, shape, elements=OFFERED))
)


def row(*values: int) -> RunLengths:
    return RunLengths.from_array(np.array(values, np.uint8).reshape(-1, 1, 1))


def complement(kept: RunLengths, offered: RunLengths, fill) -> Merged:
    """The paper's complement: a merge from nothing, of the classes to fill."""
    return merge(kept, offered, COMPLEMENT, take=fill)


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
    with pytest.raises(GridError, match=r"shapes"):
        merge(row(1, 0, 0), row(1, 0, 0), REVISION, base=row(1, 0))


LIVER, SPLEEN, PANCREAS, TUMOR = 1, 3, 4, 14


def test_what_only_one_side_changed_is_as_that_side_has_it():
    base = row(LIVER, LIVER, 0, LIVER, SPLEEN)
    ours = row(LIVER, 0, SPLEEN, LIVER, SPLEEN)
    theirs = row(0, LIVER, 0, TUMOR, SPLEEN)
    merged = merge(ours, theirs, REVISION, base=base)
    assert merged.runs.same_as(row(0, 0, SPLEEN, TUMOR, SPLEEN))
    assert merged.conflicts == ()
    assert merged.filled == {TUMOR: 1}


def test_a_newer_revision_replaces_original_and_pseudo_but_not_what_a_person_corrected():
    base = row(0, 0, 0, 0)
    ours = row(LIVER, SPLEEN, PANCREAS, PANCREAS)
    theirs = row(6, 6, 6, TUMOR)
    origins = {LIVER: Origin.ORIGINAL, SPLEEN: Origin.PSEUDO, PANCREAS: Origin.CORRECTED}
    merged = merge(ours, theirs, REVISION, base=base, origins=origins)
    # The tumor lies in the pancreas: containment, whoever drew that.
    assert merged.runs.same_as(row(6, 6, PANCREAS, TUMOR))
    assert merged.conflicts == (
        Conflict(4, 6, 1),
        Conflict(6, LIVER, 1, displaced=True),
        Conflict(6, SPLEEN, 1, displaced=True),
        Conflict(TUMOR, PANCREAS, 1, displaced=True),
    )


def test_what_a_person_erased_stays_erased_under_a_revision_and_is_booked():
    merged = merge(row(0), row(SPLEEN), REVISION, base=row(LIVER), origins={})
    assert merged.runs.same_as(row(0))
    assert merged.conflicts == (Conflict(0, SPLEEN, 1),)


def test_a_correction_wins_over_whatever_came_since_it_was_checked_out():
    base, theirs = row(0, LIVER, 0), row(LIVER, 0, 0)
    ours = row(SPLEEN, TUMOR, PANCREAS)
    origins = {SPLEEN: Origin.PSEUDO, TUMOR: Origin.CORRECTED, PANCREAS: Origin.PSEUDO}
    merged = merge(ours, theirs, CORRECTION, base=base, origins=origins)
    assert merged.runs.same_as(row(LIVER, 0, PANCREAS))
    assert merged.conflicts == (
        Conflict(0, TUMOR, 1, displaced=True),
        Conflict(LIVER, SPLEEN, 1, displaced=True),
    )


def test_an_accepted_class_is_neither_changed_nor_extended_and_the_offer_is_booked():
    base = row(LIVER, LIVER, 0, 0)
    theirs = row(0, TUMOR, LIVER, SPLEEN)
    merged = merge(base, theirs, REVISION, base=base, locked={LIVER})
    assert merged.runs.same_as(row(LIVER, LIVER, 0, SPLEEN))
    assert merged.conflicts == (Conflict(0, LIVER, 1), Conflict(LIVER, 0, 1), Conflict(LIVER, TUMOR, 1))


def test_unresolved_and_ignored_voxels_are_protected_from_complement_and_open_to_a_person():
    kept, theirs = row(200, 255), row(2, 2)
    assert complement(kept, theirs, [2]).runs.same_as(kept)
    assert merge(kept, theirs, CORRECTION, base=kept).runs.same_as(theirs)


def test_a_released_class_is_drawn_anew_and_what_is_not_drawn_again_is_booked():
    merged = merge(
        row(SPLEEN, SPLEEN, LIVER, 0), row(SPLEEN, 0, SPLEEN, SPLEEN), COMPLEMENT,
        take=[SPLEEN], release=[SPLEEN],
    )  # fmt: skip
    assert merged.runs.same_as(row(SPLEEN, 0, LIVER, SPLEEN))
    assert merged.filled == {SPLEEN: 2}
    assert merged.conflicts == (Conflict(0, SPLEEN, 1, displaced=True), Conflict(LIVER, SPLEEN, 1))


VALUES = st.sampled_from([0, 0, 1, 2, 3, 14, 200])
TRIPLES = SHAPES.flatmap(
    lambda shape: st.tuples(*(arrays(np.uint8, shape, elements=VALUES) for _ in range(3)))
)
ORIGINS = st.fixed_dictionaries({value: st.sampled_from(list(Origin)) for value in (1, 2, 3, 14)})
SOME = st.sets(st.sampled_from([1, 2, 3, 14]))


def by_voxel(b: int, o: int, t: int, policy: Policy, origins, release, locked) -> int:
    """The rules of a merge, said again for one voxel."""
    if o in release:
        o = b
    if t in (o, b):
        return o
    if o in locked or t in locked or o in policy.protected:
        return o
    if o == b:
        return t
    if o in policy.inside.get(t, ()):
        return t
    if t in policy.inside.get(o, ()):
        return o
    if o:
        return t if o in policy.theirs_over.get(origins.get(o, Origin.ORIGINAL), ()) else o
    return t if b in policy.theirs_over.get(Origin.CORRECTED, ()) else o


@given(TRIPLES, st.sampled_from([COMPLEMENT, CORRECTION, REVISION]), ORIGINS, SOME, SOME)
def test_a_merge_agrees_with_the_rules_voxel_by_voxel(triple, policy, origins, release, locked):
    base, ours, theirs = triple
    merged = merge(
        *(RunLengths.from_array(array) for array in (ours, theirs)), policy,
        base=RunLengths.from_array(base), origins=origins, release=release, locked=locked,
    )  # fmt: skip
    expected = np.vectorize(
        lambda b, o, t: by_voxel(b, o, t, policy, origins, release, locked), otypes=[np.uint8]
    )(base, ours, theirs)
    assert merged.runs.same_as(RunLengths.from_array(expected))
    lost = sum(c.voxels for c in merged.conflicts)
    both = ((theirs != base) & (theirs != expected)).sum() + ((ours != base) & (ours != expected)).sum()
    assert lost == both, "every change that is not in the result is in the ledger"


@given(TRIPLES, st.sampled_from([CORRECTION, REVISION]))
def test_merging_with_an_unchanged_side_gives_the_other_side(triple, policy):
    base, changed, _ = (RunLengths.from_array(array) for array in triple)
    assert merge(base, changed, policy, base=base).runs.same_as(changed)
    assert merge(changed, base, policy, base=base).runs.same_as(changed)
    assert merge(changed, changed, policy, base=base).conflicts == ()


def test_the_policies_name_every_value_that_a_mask_can_hold():
    assert set(range(1, 15)) | {200, 201, 255} <= EVERY_VALUE
