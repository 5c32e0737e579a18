"""The curves of a training as the catalog keeps them, a mapping per epoch, taken apart into lines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def curve_series(curves: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """Epochs and values of every figure that a training booked, in the order in which they first come.

    Args:
        curves: One mapping per epoch: `epoch`, figures, and `stage` where a training has several. Of a training
            that goes on, `step` in place of `epoch`.

    Returns:
        ``STAGE FIGURE`` (or ``FIGURE``) to its epochs and values. Left out is what is no finite number, such as a
        score of an epoch without validation, or scores per class.
    """
    series: dict[str, tuple[list[float], list[float]]] = {}
    for point in curves:
        stage = f"{point['stage']} " if "stage" in point else ""
        for key, value in point.items():
            if key not in {"epoch", "step"} and isinstance(value, int | float) and math.isfinite(value):
                epochs, values = series.setdefault(f"{stage}{key}", ([], []))
                epochs.append(point["epoch"] if "epoch" in point else point["step"])
                values.append(value)
    return series
