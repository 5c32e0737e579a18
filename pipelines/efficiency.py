"""What predicting took, as Table 6 of the paper gives it: time, peak memory, area under the memory-time curve."""

from collections.abc import Sequence
from dataclasses import dataclass

from db.queries import EvaluationRow

# FLARE23 counts no time up to 15 s and no GPU memory up to 4 GB. Memory here is MB of 2**20 bytes.
TOLERANCE_S = 15.0
TOLERANCE_MB = 4096.0


@dataclass(frozen=True)
class Spent:
    """Mean and highest value of a figure over the cases in which it was measured; `above` tolerance in how many."""

    cases: int
    mean: float
    max: float
    above: int


@dataclass(frozen=True)
class Efficiency:
    """What a model's predictions took; None where nobody measured it, as for imported predictions.

    Memory is the GPU's where a GPU predicted, else the process's resident memory. The area is sampled every 0.1 s;
    FLARE23 names no tolerance for it.
    """

    seconds: Spent | None
    peak_memory_mb: Spent | None
    memory_area_mb_s: Spent | None


def efficiency(scores: Sequence[EvaluationRow]) -> Efficiency:
    """Sum up what a model's predictions of the scored cases took."""
    # One per case: the rows of a case's classes all say the same.
    rows = {row.case_id: row for row in scores}.values()
    return Efficiency(
        _spent([row.seconds for row in rows], TOLERANCE_S),
        _spent([row.peak_memory_mb for row in rows], TOLERANCE_MB),
        _spent([row.memory_area_mb_s for row in rows], None),
    )


def _spent(values: Sequence[float | None], tolerance: float | None) -> Spent | None:
    measured = [value for value in values if value is not None]
    if not measured:
        return None
    above = sum(value > tolerance for value in measured) if tolerance is not None else 0
    return Spent(len(measured), sum(measured) / len(measured), max(measured), above)
