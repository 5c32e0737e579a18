"""The compiled way between a CT's grid and a network's input gives what the torch way gives."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipelines.training import student_volumes
from pipelines.training.student_volumes import Placement

WINDOW = (-325.0, 325.0)
# Longer and shorter than the input, padded and not, beside a crop of odd numbers.
PLACEMENTS = [
    Placement.plan((70, 33, 41), (24, 24, 24), pad=False),
    Placement.plan((70, 13, 41), (24, 24, 48), pad=True),
    Placement.plan((24, 24, 24), (24, 24, 24), pad=True),
]


@pytest.fixture
def both_ways(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Runs the same work compiled and, as on a machine without numba, with torch."""

    def run(work: Callable) -> tuple:
        monkeypatch.setattr(student_volumes, "_KERNELS_PAY_FROM", 0)
        assert student_volumes._kernels(1) is not None
        compiled = work()
        monkeypatch.setattr(student_volumes, "_KERNELS_PAY_FROM", 1 << 40)
        return compiled, work()

    return run


@pytest.mark.parametrize("placed", PLACEMENTS)
@pytest.mark.parametrize("turn", [np.s_[:, :, :], np.s_[::-1, ::-1, :]], ids=["RAS", "LPS"])
@pytest.mark.parametrize("voxel", [np.int16, np.float32])
def test_an_image_is_resized_the_same_compiled(placed, turn, voxel, both_ways):
    hu = np.random.default_rng(3).integers(-1000, 1000, placed.crop).astype(voxel, order="F")[turn]
    compiled, plain = both_ways(lambda: placed.image(hu, WINDOW))
    assert compiled.shape == plain.shape == (1, *placed.size)
    torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("placed", PLACEMENTS)
def test_classes_are_decided_the_same_compiled(placed, both_ways):
    # Smooth on the whole, with stretches where one class is far ahead and stretches where it is not.
    coarse = torch.from_numpy(np.random.default_rng(4).normal(0, 15, (1, 15, 4, 4, 4)).astype(np.float32))
    logits = torch.nn.functional.interpolate(coarse, size=placed.size, mode="trilinear")[0]

    def decide() -> tuple[np.ndarray, np.ndarray]:
        volume = np.zeros(tuple(n + 2 for n in placed.crop), np.uint8, order="F")
        winners = volume[1:-1, 1:-1, 1:-1]
        return winners, placed.decide(logits, winners)

    (labels, probability), (plain_labels, plain_probability) = both_ways(decide)
    assert len(np.unique(plain_labels)) == 15
    # Ties to float32's rounding may fall either way.
    assert np.count_nonzero(labels != plain_labels) <= 1e-5 * labels.size
    # One step of a float16 below 1.
    difference = np.abs(probability.astype(np.float32) - plain_probability.astype(np.float32))
    assert difference.max() <= 2.0**-11
    assert np.count_nonzero(probability == 1) > 0.05 * probability.size
    assert probability.min() < 0.3


@pytest.mark.parametrize("placed", PLACEMENTS)
def test_exact_probabilities_are_the_softmax_in_single_precision_whatever_the_size(placed, both_ways):
    """Three classes, of which the first has 0.59999: half precision would take it across the step at 0.6."""
    logits = torch.zeros((3, *placed.size))
    logits[0] = np.log(2 * 0.59999 / 0.40001)

    def decide() -> np.ndarray:
        return placed.decide(logits, np.ones(placed.crop, np.uint8), exact=True)

    for probability in both_ways(decide):
        assert probability.dtype == np.float32
        np.testing.assert_allclose(probability, 0.59999, rtol=0, atol=1e-6)
    assert float(np.float16(0.59999)) > 0.6


def test_a_cpu_without_numba_decides_with_torch(monkeypatch):
    placed = PLACEMENTS[0]
    monkeypatch.setattr(student_volumes, "_loaded", lambda: None)
    monkeypatch.setattr(student_volumes, "_KERNELS_PAY_FROM", 0)
    logits = torch.zeros((2, *placed.size))
    logits[1, :12] = logits[0, 12:] = 1.0  # class 1 in the lower half along x: 35 of 70 voxels
    winners = np.zeros(placed.crop, np.uint8)
    placed.decide(logits, winners)
    assert np.array_equal(winners.sum(axis=0), np.full((33, 41), 35))
