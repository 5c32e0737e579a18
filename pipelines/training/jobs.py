"""What a training process is asked to do (its job file) and what it tells (one JSON object per line)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curation.errors import CurationError, UsageError
from pipelines.profiles import Profile

TaskName = Literal["teacher_train", "student_train", "student_export", "predict"]


class TrainingError(CurationError):
    """A training or prediction cannot go on; the message says what was found and what to do."""


class JobCase(BaseModel):
    """One case of a job.

    `missing` are the class ids that nobody looked for in `mask`, `pseudo` those that a model drew there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    case: str
    image: Path
    mask: Path | None = None
    split: Literal["train", "val"] | None = None
    missing: tuple[int, ...] = ()
    pseudo: tuple[int, ...] = ()
    out: Path | None = None


class ExportOrder(BaseModel):
    """Which file a student is exported to, and what the catalog says of it (fields of `ExportedFacts`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path
    facts: dict[str, Any]


class Job(BaseModel):
    """A job file. Started again with the same one, a task goes on where it stopped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: TaskName
    work_dir: Path
    profile: Profile
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    cases: tuple[JobCase, ...] = ()
    model_dir: Path | None = Field(default=None, description="folder of the model, or an exported file")
    export: ExportOrder | None = None
    cache_dir: Path | None = Field(
        default=None, description="what is prepared of cases, shared by trainings; default in work_dir"
    )
    processes: int | None = Field(
        default=None, ge=1, description="that train a teacher together; default one per GPU, on a CPU one"
    )

    def split(self, name: Literal["train", "val"]) -> list[JobCase]:
        """The cases of one split, in the job's order."""
        return [case for case in self.cases if case.split == name]


class Reporter:
    """Writes a task's events to the stream that the starting process reads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.problems = 0

    def progress(self, stage: str, step: int, of: int, message: str = "", **figures: float) -> None:
        """Say that `step` of `of` steps of a stage are done; `figures` such as loss=0.4 go along."""
        where = {"stage": stage, "step": step, "of": of, "message": message}
        self._write({"event": "progress", **where, **figures})

    def case(self, case: str, file: Path, figures: Mapping[str, Any]) -> None:
        """Say that a case's prediction lies in `file`.

        Args:
            case: Its address.
            file: The mask.
            figures: ``seconds``, ``peak_memory_mb``, ``memory_area_mb_s``, ``image_hash``, ``probability`` (a file
                or None), and ``classes``: confidence and the like per class id, as text.
        """
        rounded = {
            "seconds": round(figures["seconds"], 3),
            "peak_memory_mb": round(figures["peak_memory_mb"], 1),
            "memory_area_mb_s": round(figures["memory_area_mb_s"], 1),
        }
        others = {name: figures[name] for name in ("image_hash", "probability")}
        classes = dict(sorted(figures["classes"].items(), key=lambda item: int(item[0])))
        self._write(
            {"event": "case", "case": case, "file": str(file), **rounded, **others, "classes": classes}
        )

    def problem(self, case: str | None, reason: str, remedy: str) -> None:
        """Say that a case (or, with None, the whole task) failed."""
        self.problems += 1
        self._write({"event": "problem", "case": case, "reason": reason, "remedy": remedy})

    def done(self, **result: Any) -> None:
        """Say that the task is finished: weights and weights_hash, metrics, curves of a training."""
        self._write({"event": "done", **result})

    def relay(self, line: str) -> None:
        """Pass on an event that another process of the same task wrote."""
        self._stream.write(line)
        self._stream.flush()

    def _write(self, event: dict[str, Any]) -> None:
        # A NaN is no JSON: a loss that is not a number arrives as null.
        self.relay(json.dumps(_finite(event)) + "\n")


def read_job(file: Path) -> Job:
    """Read a job file.

    Raises:
        UsageError: Not readable, or a field that is unknown, absent or of the wrong kind.
    """
    try:
        return Job.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error}); give a job file") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{file}: {key}: {first['msg']}; see pipelines/training/jobs.py") from error


def _finite(value: Any) -> Any:
    if isinstance(value, float) and value - value != 0:  # NaN and infinities
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
