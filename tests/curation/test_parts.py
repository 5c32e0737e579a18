"""One file per class: laid over one another as numpy would, bound into the same bytes every time."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from curation.errors import CurationError
from curation.merge import Conflict
from curation.parts import (
    bind,
    check_names,
    combine,
    fitting,
    is_bound,
    joined,
    overlap_conflicts,
    read_parts,
    reordered,
)
from curation.rle import RunLengths

AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])


def part(array: np.ndarray, affine: np.ndarray = AFFINE) -> bytes:
    return gzip.compress(nib.Nifti1Image(array.astype(np.uint8), affine).to_bytes())


def runs_of(array: np.ndarray) -> RunLengths:
    flat = array.astype(np.uint8).ravel(order="F")
    start = np.flatnonzero(flat).astype(np.int64)
    return RunLengths.from_flat(array.shape, start, start + 1, flat[start])


def unfolded(runs: RunLengths) -> np.ndarray:
    return np.concatenate([slab.ravel() for slab in runs.slabs()]).reshape(runs.shape, order="F")


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 4), *[st.integers(1, 5)] * 3)))
def test_files_laid_over_one_another_are_what_numpy_makes_voxel_by_voxel(stack):
    numbers = [7 * n + 1 for n in range(len(stack))]
    wanted = np.zeros(stack.shape[1:], np.int64)
    claimed: dict[tuple[int, int], int] = {}
    for voxel in np.ndindex(wanted.shape):
        here = [number for number, mask in zip(numbers, stack, strict=True) if mask[voxel]]
        for other in here[1:]:
            claimed[here[0], other] = claimed.get((here[0], other), 0) + 1
        wanted[voxel] = here[0] if here else 0

    runs, overlaps = combine([(n, runs_of(mask)) for n, mask in zip(numbers, stack, strict=True)])

    assert np.array_equal(unfolded(runs), wanted)
    assert overlaps == claimed


def test_the_same_files_are_bound_into_the_same_bytes_and_read_as_one_mask():
    liver, vein = np.zeros((4, 3, 2)), np.zeros((4, 3, 2))
    liver[:3, 0, 0], vein[2:, 0, 0] = 1, 255
    files = [(5, "liver.nii.gz", part(liver)), (63, "vein.nii.gz", part(vein))]
    data = bind(files)
    assert data == bind(files)
    assert is_bound(data)
    assert not is_bound(part(liver))

    mask = read_parts(data, "s1")

    assert unfolded(mask.runs)[:, 0, 0].tolist() == [5, 5, 5, 63]
    assert mask.overlaps == {(5, 63): 1}
    assert mask.names == {"liver.nii.gz": 5, "vein.nii.gz": 63}
    assert mask.geometry.spacing_mm == (2.0, 2.0, 2.5)


def test_the_file_that_was_bound_first_has_the_voxel_and_files_can_be_bound_anew_in_another_order():
    liver, vein = np.zeros((4, 3, 2)), np.zeros((4, 3, 2))
    liver[:3, 0, 0], vein[2:, 0, 0] = 1, 1
    data = bind([(5, "liver.nii.gz", part(liver)), (63, "vein.nii.gz", part(vein))])
    assert reordered(data, {5: "liver.nii.gz", 63: "vein.nii.gz"}, "s1") is data

    turned = reordered(data, {63: "vein.nii.gz", 5: "liver.nii.gz"}, "s1")

    assert turned == bind([(63, "vein.nii.gz", part(vein)), (5, "liver.nii.gz", part(liver))])
    mask = read_parts(turned, "s1")
    assert unfolded(mask.runs)[:, 0, 0].tolist() == [5, 5, 63, 63]
    assert mask.overlaps == {(63, 5): 1}
    with pytest.raises(CurationError, match="damaged in the store"):
        reordered(data.replace(part(vein), bytes(len(part(vein)))), {}, "s1")


def test_several_files_of_one_number_are_one_structure_and_do_not_contest_each_other():
    one, two, organ = (np.zeros((6, 3, 2)) for _ in range(3))
    one[:3, 0, 0], two[2:4, 0, 0], organ[1:, 0, 0] = 1, 1, 1
    lesions = [(1, "lesion_1.nii.gz", part(one)), (1, "lesion_2.nii.gz", part(two))]

    mask = read_parts(bind([*lesions, (2, "organ.nii.gz", part(organ))]), "s1")

    assert unfolded(mask.runs)[:, 0, 0].tolist() == [1, 1, 1, 1, 2, 2]
    # Voxels 1 to 3 of the organ are lesion 1 or 2; voxel 2, which both lesions have, counts once.
    assert mask.overlaps == {(1, 2): 3}


def test_a_name_in_full_goes_before_patterns_of_which_several_may_fit():
    parts = {1: "lesion_*.nii.gz", 2: "lesion_9.nii.gz", 3: "*_8.nii.gz"}
    assert fitting("lesion_1.nii.gz", parts) == [1]
    assert fitting("lesion_9.nii.gz", parts) == [2]
    assert fitting("lesion_8.nii.gz", parts) == [1, 3]
    assert fitting("lesion_1xnii.gz", parts) == []


def test_overlaps_of_files_of_one_class_or_with_background_are_no_conflict():
    overlaps = {(1, 2): 5, (1, 3): 7, (2, 3): 2, (4, 1): 9, (1, 4): 3}
    # 1 and 2 are both the pancreas (4), 3 the tumor (14), 4 a cyst that is background.
    found = overlap_conflicts(overlaps, {1: 4, 2: 4, 3: 14, 4: 0})
    assert found == (Conflict(0, 4, 9), Conflict(4, 14, 9))
    assert joined(found, (Conflict(4, 14, 1), Conflict(4, 14, 2, True))) == (
        Conflict(0, 4, 9),
        Conflict(4, 14, 10),
        Conflict(4, 14, 2, True),
    )


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (part(np.ones((4, 3, 3))), r"s1: a\.nii\.gz and b\.nii\.gz do not lie on one grid: shape"),
        (part(np.ones((4, 3, 2)), np.diag([2.0, 2.0, 3.0, 1.0])), "do not lie on one grid: spacing"),
        (
            part(np.full((4, 3, 2), 2)),
            r"s1/b\.nii\.gz: holds the values 2, but a file of one class has 0 and 1",
        ),
        (b"version https://git-lfs", r"s1/b\.nii\.gz"),
    ],
    # A gzip header carries the time: named by their bytes, two test processes would disagree.
    ids=["shape", "spacing", "values", "no file of the format"],
)
def test_files_that_do_not_belong_together_are_refused_by_name(other, said):
    data = bind([(1, "a.nii.gz", part(np.ones((4, 3, 2)))), (2, "b.nii.gz", other)])
    with pytest.raises(CurationError, match=said):
        read_parts(data, "s1")


def test_a_mapping_that_numbers_the_files_otherwise_is_refused():
    mask = read_parts(bind([(1, "a.nii.gz", part(np.ones((4, 3, 2))))]), "s1")
    check_names(mask, {1: "a.nii.gz", 2: "b.nii.gz"}, "s1")
    with pytest.raises(CurationError, match="came in as number 1, and the mapping has b"):
        check_names(mask, {1: "b.nii.gz"}, "s1")
