"""The training process: reads a job, keeps the event stream clean of what libraries print, runs the task."""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import TextIO

from curation.errors import CurationError, first_line, kind_and_first_line
from pipelines.training.jobs import Job, Reporter, read_job

# Where a trained model says what it is: {"kind": "teacher" or "student", and more as the kind likes}.
MODEL_FILE = "model.json"


def run(job_file: Path) -> int:
    """Run one job; returns the exit code: 0 done, 1 something failed (a problem event says what)."""
    try:
        job = read_job(job_file)
        job.work_dir.mkdir(parents=True, exist_ok=True)
    except (CurationError, OSError) as error:
        Reporter(sys.stdout).problem(None, str(error), "correct the job file")
        return 1
    reporter = Reporter(_keep_stdout_for_events(job.work_dir / "log.txt"))
    try:
        _dispatch(job, reporter)
    except CurationError as error:
        traceback.print_exc()
        reason, _, remedy = str(error).partition("; ")
        reporter.problem(None, reason, remedy)
    except MemoryError:
        traceback.print_exc()
        reporter.problem(None, "not enough memory", "lower batch or input size in the profile")
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's; this module does not import it
            traceback.print_exc()
            found = f"not enough memory on the GPU ({first_line(error)})"
            reporter.problem(None, found, "lower batch_size, size or channels of that network in the profile")
            return 1
        # Whatever a library throws must arrive as one line; the traceback stands in the log.
        traceback.print_exc()
        reason = kind_and_first_line(error)
        reporter.problem(None, reason, f"the traceback is in {job.work_dir / 'log.txt'}")
    return 1 if reporter.problems else 0


def _dispatch(job: Job, reporter: Reporter) -> None:
    # Imported here: nnU-Net reads its environment on import, and no task needs the others' libraries.
    if job.task == "teacher_train":
        from pipelines.training.teacher import train_teacher

        train_teacher(job, reporter)
    elif job.task == "student_train":
        from pipelines.training.student import train_student

        train_student(job, reporter)
    elif job.task == "student_export":
        from pipelines.training.exported import export_student

        export_student(job, reporter)
    elif _model_kind(job) == "teacher":
        from pipelines.training.predict_teacher import predict_with_teacher

        predict_with_teacher(job, reporter)
    else:
        from pipelines.training.student_predict import predict_with_student

        predict_with_student(job, reporter)


def _model_kind(job: Job) -> str:
    if job.model_dir is None:
        raise CurationError("the job names no model_dir; give the folder of a trained model")
    if job.model_dir.is_file():
        return "student"  # exported; a teacher is not
    file = job.model_dir / MODEL_FILE
    try:
        kind = json.loads(file.read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError) as error:
        raise CurationError(f"{file}: not the description of a model ({error}); train it again") from error
    if kind not in ("teacher", "student"):
        raise CurationError(f"{file}: unknown kind of model '{kind}'; expected teacher or student")
    return str(kind)


def _keep_stdout_for_events(log_file: Path) -> TextIO:
    """Send what anything prints, child processes and C code too, to `log_file`; returns the real stdout."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with log_file.open("ab", buffering=0) as log:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    return events
