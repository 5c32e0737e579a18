"""Predicting case after case: while one is computed, the next is read and the one before is written.

Nothing is done twice: a prediction is whole once its figures lie beside its mask, so a run that was stopped goes on
where it was.
"""

import json
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from blake3 import blake3

from curation.errors import CurationError, kind_and_first_line
from pipelines.training.jobs import JobCase, Reporter, TrainingError
from pipelines.training.memory import MemoryWatch
from pipelines.whole_files import write_whole

_Figures = dict[str, Any]


@dataclass(frozen=True)
class PredictedMask:
    """What a model made of one case.

    Attributes:
        mask: The NIfTI file's bytes.
        confidence: Class id with voxels to the mean probability over them.
        disagreement: Class id with voxels to the share of them that mirrored passes dispute; empty without any.
        probability: The bytes of the map of probabilities (see `curation.probability`), where one is kept.
        note: What a person should know, or None.
    """

    mask: bytes
    confidence: Mapping[int, float]
    disagreement: Mapping[int, float] = field(default_factory=dict)
    probability: bytes | None = None
    note: str | None = None


class CasePredictor(Protocol):
    """A loaded model, and the three steps of a prediction; each hands on what the next one needs.

    `read` and `finish` run in threads of their own, beside `compute` of another case: they must not touch the
    network.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """What makes a prediction this model's: weights and settings, as JSON values."""

    @property
    def device(self) -> torch.device:
        """Whose memory is watched."""

    def read(self, image: Path, data: bytes) -> Any:
        """Read and prepare an image; `data` are its file's bytes."""

    def compute(self, prepared: Any) -> Any:
        """Run the networks."""

    def finish(self, computed: Any) -> PredictedMask:
        """Bring the result to the image's grid, and encode it."""


def predict_all(
    predictor: CasePredictor, cases: tuple[JobCase, ...], reporter: Reporter, *, remedy: str
) -> None:
    """Predict cases, or report again what an earlier run of the same model and settings left whole.

    Besides the case that is computed at most one is held that is read ahead, and one that is being written. A bad
    case is reported and the others go on.

    Args:
        predictor: The loaded model.
        cases: Their `out` is where the mask goes; beside it lie ``OUT.json`` with the figures and, if
            the predictor makes one, the map of probabilities.
        reporter: Gets a `case` or `problem` event and a `progress` event per case, in the cases' order.
        remedy: What to do where an error says nothing of it.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        ahead = reader.submit(_begin, predictor, cases[0]) if cases else None
        behind: Future[_Figures] | None = None
        for index in range(len(cases)):
            assert ahead is not None, "submitted a case ago"
            current = ahead
            current.exception()  # waits: no more than one case is read ahead
            ahead = reader.submit(_begin, predictor, cases[index + 1]) if index + 1 < len(cases) else None
            following: Future[_Figures]
            try:
                work = current.result()
                del current
                if work.figures is None:
                    work.compute(predictor)
            except Exception as error:
                # Whatever a library throws at one case: the others are not to wait for it.
                following = Future()
                following.set_exception(_without_frames(error))
            else:
                following = writer.submit(_end, predictor, work)
                del work
            if behind is not None:
                _tell(cases, index - 1, behind, reporter, remedy)
            behind = following
        if behind is not None:
            _tell(cases, len(cases) - 1, behind, reporter, remedy)


def probability_file(mask: Path) -> Path:
    """Where the map of a mask's probabilities lies."""
    return mask.with_name(mask.name.removesuffix(".nii.gz") + ".probability.nii.gz")


def _without_frames(error: Exception) -> Exception:
    """An error that keeps nothing alive: its frames hold the case's arrays, on a GPU that may just have run out."""
    if not isinstance(error, CurationError | OSError):
        traceback.print_exception(error)  # the log keeps what the one line leaves out
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


class _Work:
    """One case on its way. `figures`: those of an earlier run that left it whole.

    Seconds are the case's own work: the wall times of its three steps, without the waiting between them. Memory
    is that of the process while one of the three ran; on a CPU the arrays of its neighbours are in it. A GPU is watched
    only while it computes, because the other steps do not use it.
    """

    def __init__(self, case: JobCase, identity: Mapping[str, Any]) -> None:
        self.case = case
        self.identity = identity
        self.figures: _Figures | None = None
        self.image_hash = ""
        self.seconds = self.peak_mb = self.area_mb_s = 0.0
        self.held: Any = None

    def compute(self, predictor: CasePredictor) -> None:
        """Put what the networks make of the prepared case in its place."""
        with self.step(predictor.device, on_device=True):
            self.held = predictor.compute(self.held)

    @contextmanager
    def step(self, device: torch.device, *, on_device: bool = False) -> Iterator[None]:
        """Add a block's seconds and memory to the case's; `on_device`: it is the block that uses the device."""
        if device.type != "cpu" and not on_device:
            begin = time.monotonic()
            yield
            self.seconds += time.monotonic() - begin
            return
        with MemoryWatch(device) as watch:
            yield
        self.seconds += watch.seconds
        self.peak_mb = max(self.peak_mb, watch.peak_mb)
        self.area_mb_s += watch.area_mb_s


def _begin(predictor: CasePredictor, case: JobCase) -> _Work:
    """Read a case, unless it is finished."""
    if case.out is None:
        raise TrainingError(f"{case.case}: the job says no output file; give `out`")
    status = case.image.stat()
    of_image = [str(case.image), status.st_size, status.st_mtime_ns]
    work = _Work(case, {**predictor.identity, "image": of_image})
    if case.out.is_file():
        work.figures = _read_figures(_figures_file(case.out), work.identity)
    if work.figures is None:
        with work.step(predictor.device):
            data = case.image.read_bytes()
            work.image_hash = blake3(data).hexdigest()
            work.held = predictor.read(case.image, data)
    return work


def _end(predictor: CasePredictor, work: _Work) -> _Figures:
    """Write a computed case; returns its figures."""
    if work.figures is not None:
        return work.figures
    assert work.case.out is not None, "checked before it was read"
    out, map_file = work.case.out, probability_file(work.case.out)
    with work.step(predictor.device):
        computed, work.held = work.held, None
        predicted = predictor.finish(computed)
        del computed
        figures = _figures_file(out)
        # A mask is whole once its figures lie beside it.
        figures.unlink(missing_ok=True)
        write_whole(out, predicted.mask)
        if predicted.probability is not None:
            write_whole(map_file, predicted.probability)
        else:
            map_file.unlink(missing_ok=True)  # of an earlier run with another setting
    work.figures = {
        "identity": work.identity,
        "seconds": work.seconds,
        "peak_memory_mb": work.peak_mb,
        "memory_area_mb_s": work.area_mb_s,
        "image_hash": work.image_hash,
        "probability": str(map_file) if predicted.probability is not None else None,
        "note": predicted.note,
        "classes": {
            str(class_id): {
                "confidence": round(p, 4),
                "tta_disagreement": _rounded(predicted.disagreement.get(class_id)),
            }
            for class_id, p in predicted.confidence.items()
        },
    }
    write_whole(figures, json.dumps(work.figures).encode())
    return work.figures


def _tell(
    cases: tuple[JobCase, ...], index: int, outcome: Future[_Figures], reporter: Reporter, remedy: str
) -> None:
    """Wait for a case and report what came of it."""
    case = cases[index]
    said = case.case
    try:
        figures = outcome.result()
    except (CurationError, OSError) as error:
        reason, _, what_to_do = str(error).partition("; ")
        reporter.problem(case.case, reason, what_to_do or "repair the file or leave the case out")
    except torch.OutOfMemoryError:
        reporter.problem(case.case, f"{case.image}: no GPU memory left", "predict with device cpu")
    except MemoryError:
        reporter.problem(
            case.case, f"{case.image}: not enough memory", "predict where there is more, or leave it out"
        )
    except Exception as error:
        traceback.print_exception(error)
        found = kind_and_first_line(error)
        reporter.problem(case.case, f"{case.image}: {found}", remedy)
    else:
        assert case.out is not None, "checked before it was read"
        reporter.case(case.case, case.out, figures)
        if figures["note"] is not None:
            said = f"{case.case}: {figures['note']}"
    reporter.progress("predict", index + 1, len(cases), said)


def _figures_file(mask: Path) -> Path:
    return mask.with_name(mask.name + ".json")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _read_figures(file: Path, identity: Mapping[str, Any]) -> _Figures | None:
    """What was noted of a finished prediction; None if there is none, or of another model, setting or image."""
    try:
        figures: _Figures = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    # Written by an earlier release: it says nothing of the image.
    whole = figures.get("identity") == identity and "image_hash" in figures
    if whole and figures["probability"] is not None and not Path(figures["probability"]).is_file():
        return None
    return figures if whole else None
