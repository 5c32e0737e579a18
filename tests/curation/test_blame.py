"""Blame: small chains by hand, random chains against asking every voxel of every version."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from curation.blame import ChainVersion, blame
from curation.rle import RunLengths

LIVER, SPLEEN = 1, 3


def version(number, voxels, redrawn=(), restores=None):
    """A version of a mask that is one row of voxels."""
    array = np.array(voxels, np.uint8).reshape(-1, 1, 1)
    return ChainVersion(number, RunLengths.from_array(array), frozenset(redrawn), restores)


def versions(*chain):
    return blame(chain).versions().to_array().ravel().tolist()


def test_a_voxel_belongs_to_the_version_in_which_it_took_its_value():
    chain = version(1, [1, 1, 0, 3]), version(2, [1, 1, 1, 0]), version(3, [1, 3, 1, 0])
    assert versions(*chain) == [1, 3, 2, 0]
    assert blame(chain).voxels == {(LIVER, 1): 1, (LIVER, 2): 1, (SPLEEN, 3): 1}


def test_a_voxel_that_went_and_came_back_belongs_to_the_version_that_brought_it_back():
    assert versions(version(1, [1]), version(2, [0]), version(3, [1])) == [3]


def test_a_class_redrawn_by_a_new_hand_belongs_to_it_altogether():
    first = version(1, [1, 1, 3])
    assert versions(first, version(2, [1, 0, 3], redrawn=[LIVER])) == [2, 0, 1]


def test_a_restored_version_has_the_blame_of_what_it_brings_back():
    chain = version(1, [1, 1]), version(2, [1, 3]), version(3, [1, 3]), version(4, [1, 1], restores=1)
    assert versions(*chain) == [1, 1]
    assert versions(*chain, version(5, [1, 3], restores=2)) == [1, 2]


def test_what_a_restoring_version_adds_is_its_own():
    assert versions(version(1, [1, 0]), version(2, [0, 0]), version(3, [1, 3], restores=1)) == [1, 3]


def test_a_mask_on_another_grid_begins_anew():
    assert versions(version(1, [1, 1]), version(2, [1, 1, 1])) == [2, 2, 2]


def test_an_image_without_mask_and_an_emptied_mask_have_no_blame():
    assert blame([ChainVersion(1, RunLengths.empty((2, 2, 2)))]).voxels == {}
    assert versions(version(1, [1]), version(2, [0])) == [0]
    assert versions(version(1, [0]), version(2, [1])) == [2]


def test_numbers_of_ones_own_tell_classes_of_one_version_apart():
    found = blame([version(1, [1, 3, 0])])
    assert found.numbered({(LIVER, 1): 7, (SPLEEN, 1): 9}).to_array().ravel().tolist() == [7, 9, 0]


def test_version_numbers_may_pass_what_a_byte_holds():
    assert versions(version(255, [1, 0]), version(300, [1, 255])) == [255, 300]


def test_a_version_cannot_restore_a_later_one_and_a_chain_is_not_empty():
    with pytest.raises(ValueError, match="version 1 restores version 2, which is not before it"):
        blame([version(1, [1], restores=2)])
    with pytest.raises(ValueError, match="at least one"):
        blame([])


VALUES = st.sampled_from([0, 0, 1, 3, 14, 200, 255])


@st.composite
def chains(draw):
    """Up to six versions: drawn anew, or the one before with a few voxels changed, or an earlier one restored."""
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=4))
    masks, chain = [], []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        restores = draw(st.none() | st.integers(1, number - 1)) if number > 1 else None
        drawn = draw(arrays(np.uint8, shape, elements=VALUES))
        changed = draw(arrays(np.bool_, shape))
        base = masks[(restores or number - 1) - 1] if masks else drawn
        exactly = restores is not None and draw(st.booleans())
        masks.append(base if exactly else np.where(changed, drawn, base))
        redrawn = draw(st.frozensets(st.sampled_from([1, 3, 14])))
        chain.append((number, masks[-1], redrawn, restores))
    return chain


def blamed_voxel(chain, number, place):
    """By the words of the rule, for one voxel: 0 where nothing is drawn."""
    _, mask, redrawn, restores = chain[number - 1]
    value = mask[place]
    base = restores if restores is not None else number - 1
    if value == 0:
        return 0
    if base == 0 or int(value) in redrawn or chain[base - 1][1][place] != value:
        return number
    return blamed_voxel(chain, base, place)


@given(chains())
def test_blame_is_what_asking_every_voxel_gives(chain):
    found = blame(ChainVersion(n, RunLengths.from_array(m), r, back) for n, m, r, back in chain)
    mask = chain[-1][1]
    expected = np.zeros(mask.shape, np.uint8)
    counts = {}
    for place in np.ndindex(mask.shape):
        expected[place] = blamed_voxel(chain, len(chain), place)
        if mask[place]:
            key = int(mask[place]), int(expected[place])
            counts[key] = counts.get(key, 0) + 1
    assert np.array_equal(found.versions().to_array(), expected)
    assert found.voxels == counts
