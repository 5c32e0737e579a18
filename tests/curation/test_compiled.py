"""Compiled kernels and numpy say the same, and the kernels are loaded when they pay."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation import compiled, kernels
from curation.rle import RunBuilder, RunLengths

# Stretches long enough to leave whole pages (1 KiB) of one value, and short enough to break words.
STRETCHES = st.lists(
    st.tuples(st.sampled_from([0, 0, 1, 2, 14, 255]), st.one_of(st.integers(1, 20), st.integers(1, 3000))),
    max_size=12,
)
TYPES = st.sampled_from([np.uint8, np.uint16, np.uint32, np.uint64])


def built(flat, width: int, chunk: int, module) -> RunLengths:
    """The runs of flat voxels that arrive in chunks, found by the kernels or by numpy (None)."""
    builder = RunBuilder((width, len(flat) // width, 1), kernels=module)
    for at in range(0, len(flat), chunk):
        builder.feed(flat[at : at + chunk])
    return builder.finish()


@given(STRETCHES, TYPES, st.integers(1, 50), st.integers(5, 20_000))
def test_kernels_numpy_and_a_plain_walk_find_the_same_runs(stretches, dtype, width, chunk):
    flat = np.concatenate([np.zeros(0, dtype), *(np.full(n, value, dtype) for value, n in stretches)])
    flat = np.pad(flat, (0, -len(flat) % width))
    fast, plain = built(flat, width, chunk, kernels), built(flat, width, chunk, None)
    assert fast.same_as(plain)
    assert [c.dtype for c in fast.columns()] == [c.dtype for c in plain.columns()]
    walked, before = [], None
    for at, value in enumerate(flat.tolist()):
        here = (value, at // width)
        if value and here == before:
            walked[-1][2] += 1
        elif value:
            walked.append([*here, 1])
        before = here
    assert (
        list(map(list, zip(fast.value.tolist(), fast.row.tolist(), fast.lengths.tolist(), strict=True)))
        == walked
    )


def test_values_wider_than_a_lane_are_told_apart_by_every_bit():
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        bits = 8 * np.dtype(dtype).itemsize
        flat = np.array([1 << bit for bit in range(bits)] * 3, dtype)
        assert built(flat, len(flat), len(flat), kernels).same_as(built(flat, len(flat), len(flat), None))


def test_kernels_are_loaded_once_a_process_has_read_enough(monkeypatch):
    monkeypatch.setattr(compiled, "_kernels", None)
    monkeypatch.setattr(compiled, "_read", 0)
    assert compiled.kernels() is None
    compiled.book(4 << 30)
    assert compiled.kernels() is kernels


def test_without_numba_numpy_does_it_all(monkeypatch):
    monkeypatch.setattr(compiled, "_kernels", None)
    monkeypatch.setattr(compiled, "_missing", False)
    monkeypatch.setattr(compiled, "_read", 4 << 30)
    monkeypatch.setitem(sys.modules, "curation.kernels", None)
    monkeypatch.delattr("curation.kernels")
    assert compiled.kernels() is None
    assert len(built(np.ones(8, np.uint8), 4, 8, compiled.kernels())) == 2


def test_a_damaged_folder_of_compiled_code_leaves_it_to_numpy(tmp_path):
    def loaded() -> str:
        code = "from curation import compiled; print(compiled.load() is not None)"
        ran = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout.strip()

    assert loaded() == "True"
    indexes = list(tmp_path.rglob("*.nbi"))
    assert indexes
    for index in indexes:
        os.truncate(index, 40)
    assert loaded() == "False"


@pytest.mark.parametrize("chunk", [7, 8, 1024, 5000])
def test_a_dense_mask_gives_the_same_runs_whatever_the_chunks(chunk):
    flat = np.random.default_rng(4).integers(0, 3, 10_000).astype(np.uint8)
    assert built(flat, 100, chunk, kernels).same_as(built(flat, 100, 10_000, None))
