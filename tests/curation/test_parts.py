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
from curation.parts import bind, check_names, combine, is_bound, joined, overlap_conflicts, read_parts
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

    runs, overlaps = combine({n: runs_of(mask) for n, mask in zip(numbers, stack, strict=True)})

    assert np.array_equal(unfolded(runs), wanted)
    assert overlaps == claimed


def test_the_same_files_are_bound_into_the_same_bytes_and_read_as_one_mask():
    liver, vein = np.zeros((4, 3, 2)), np.zeros((4, 3, 2))
    liver[:3, 0, 0], vein[2:, 0, 0] = 1, 255
    files = {5: ("liver.nii.gz", part(liver)), 63: ("vein.nii.gz", part(vein))}
    data = bind(files)
    assert data == bind(dict(reversed(files.items())))
    assert is_bound(data)
    assert not is_bound(part(liver))

    mask = read_parts(data, "s1")

    assert unfolded(mask.runs)[:, 0, 0].tolist() == [5, 5, 5, 63]
    assert mask.overlaps == {(5, 63): 1}
    assert mask.names == {5: "liver.nii.gz", 63: "vein.nii.gz"}
    assert mask.geometry.spacing_mm == (2.0, 2.0, 2.5)


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
)
def test_files_that_do_not_belong_together_are_refused_by_name(other, said):
    data = bind({1: ("a.nii.gz", part(np.ones((4, 3, 2)))), 2: ("b.nii.gz", other)})
    with pytest.raises(CurationError, match=said):
        read_parts(data, "s1")


def test_a_mapping_that_numbers_the_files_otherwise_is_refused():
    mask = read_parts(bind({1: ("a.nii.gz", part(np.ones((4, 3, 2))))}), "s1")
    check_names(mask, {1: "a.nii.gz", 2: "b.nii.gz"}, "s1")
    with pytest.raises(CurationError, match="came in as number 1, and the mapping has b"):
        check_names(mask, {1: "b.nii.gz"}, "s1")
