"""A finished prediction: the mask and, beside it, its figures, so that a run that was stopped does nothing twice."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.training.jobs import JobCase, Reporter, TrainingError
from pipelines.training.memory import MemoryWatch
from pipelines.whole_files import write_whole


@dataclass(frozen=True)
class PredictedMask:
    """What a model made of one case: the NIfTI file's bytes, mean probability per class id, a note or None."""

    mask: bytes
    confidence: Mapping[int, float]
    note: str | None = None


def predict_once(
    case: JobCase,
    model: Mapping[str, Any],
    device: torch.device,
    reporter: Reporter,
    predict: Callable[[], PredictedMask],
) -> str | None:
    """Predict one case, or report again what an earlier run of the same model left whole.

    Args:
        case: Its `out` is where the mask goes; the figures go beside it, as ``OUT.json``.
        model: What makes a prediction this model's: weights and settings, as JSON values.
        device: Whose memory is watched.
        reporter: Gets the `case` event.
        predict: The work.

    Returns:
        The prediction's note.

    Raises:
        TrainingError: The job names no output file.
    """
    if case.out is None:
        raise TrainingError(f"{case.case}: the job says no output file; give `out`")
    status = case.image.stat()
    identity = {**model, "image": [str(case.image), status.st_size, status.st_mtime_ns]}
    file = case.out.with_name(case.out.name + ".json")
    figures = _read(file, identity) if case.out.is_file() else None
    if figures is None:
        with MemoryWatch(device) as watch:
            predicted = predict()
        figures = {
            "identity": identity,
            "seconds": watch.seconds,
            "peak_memory_mb": watch.peak_mb,
            "memory_area_mb_s": watch.area_mb_s,
            "note": predicted.note,
            "classes": {
                str(class_id): {"confidence": round(p, 4), "tta_disagreement": None}
                for class_id, p in predicted.confidence.items()
            },
        }
        # A mask is whole once its figures lie beside it.
        file.unlink(missing_ok=True)
        write_whole(case.out, predicted.mask)
        write_whole(file, json.dumps(figures).encode())
    classes = {int(class_id): values for class_id, values in figures["classes"].items()}
    reporter.case(case.case, case.out, figures["seconds"], figures["peak_memory_mb"], classes)
    note: str | None = figures["note"]
    return note


def _read(file: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was noted of a finished prediction; None if there is none, or of another model, setting or image."""
    try:
        figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return figures if figures.get("identity") == identity else None
