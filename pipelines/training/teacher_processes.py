"""One teacher trained by several processes, each on a GPU of its own: nnU-Net's DDP, with errors that arrive.

nnU-Net spreads a batch over the processes, so there are never more of them than a batch has samples. On a CPU the same
path runs with gloo where a job asks for it, which is how it is tested; it is no faster there.
"""

import socket
from queue import Empty
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException, get_context, spawn

from curation.errors import CurationError
from pipelines.training.jobs import Job, Reporter, TrainingError
from pipelines.training.precision import Precision
from pipelines.training.teacher_folders import CONFIGURATION, NnunetFolders

_POLL_S = 0.2


def process_count(job: Job, plans: dict[str, Any], precision: Precision) -> int:
    """How many processes are to train: as many as the job says, else one per GPU, else one.

    Raises:
        TrainingError: More than there are GPUs, or than a batch has samples.
    """
    batch_size = int(plans["configurations"][CONFIGURATION]["batch_size"])
    gpus = torch.cuda.device_count() if precision.device.type == "cuda" else None
    if job.processes is None:
        return max(1, min(gpus or 1, batch_size))
    if gpus is not None and job.processes > gpus:
        raise TrainingError(f"{job.processes} GPUs were asked for and {gpus} are here; lower --gpus")
    if job.processes > batch_size:
        raise TrainingError(
            f"a batch of {batch_size} cannot be spread over {job.processes} processes; "
            "lower --gpus or raise batch_size in the profile"
        )
    return job.processes


def train_together(job: Job, plans: dict[str, Any], processes: int, reporter: Reporter) -> None:
    """Run the training in `processes` processes until its final checkpoint lies in nnU-Net's folder.

    Raises:
        TrainingError: What one of them raised, or that one was ended from outside.
    """
    context = get_context("spawn")
    events, failures = context.Queue(), context.Queue()
    # No daemons: those may not start nnU-Net's processes for augmentation. They end with this process all the same:
    # torch asks the system to interrupt them.
    ranks = spawn(
        _one_of_them, (processes, _free_port(), job, plans, events, failures), nprocs=processes, join=False
    )
    try:
        while not ranks.join(timeout=_POLL_S):
            _relay(events, reporter)
    except (ProcessExitedException, ProcessRaisedException) as error:
        _relay(events, reporter)
        try:
            said = failures.get(timeout=1)
        except Empty:
            said = _in_words(error, processes)
        raise TrainingError(said) from error
    _relay(events, reporter)


def _in_words(error: ProcessExitedException | ProcessRaisedException, processes: int) -> str:
    """What is known of a process that could not tell by itself why it failed."""
    lines = str(error).strip().splitlines()
    if isinstance(error, ProcessRaisedException):
        return f"one of {processes} training processes failed ({lines[-1]}); the traceback is in log.txt"
    return (
        f"one of {processes} training processes ended ({lines[0]}); most often memory was short: lower batch_size "
        "in the profile, or --gpus"
    )


def _one_of_them(
    rank: int, processes: int, port: int, job: Job, plans: dict[str, Any], events: Any, failures: Any
) -> None:
    """Train as one of several. Only the first reports and saves."""
    NnunetFolders(job.work_dir / "nnunet").enter()
    from pipelines.training.teacher import build_trainer, train_to_the_end

    precision = Precision.of_job(job.device)
    cuda = precision.device.type == "cuda"
    if cuda:
        torch.cuda.set_device(rank)
    dist.init_process_group(
        "nccl" if cuda else "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=processes
    )
    try:
        reporter = Reporter(_Lines(events if rank == 0 else None))  # type: ignore[arg-type] # writes are all it does
        train_to_the_end(job, build_trainer(job, plans, precision, reporter))
    except CurationError as error:
        failures.put(str(error))
        raise
    # Not after an error: it would wait for the others, who wait for this one.
    dist.destroy_process_group()


class _Lines:
    """A stream whose lines go through a queue, or nowhere."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def write(self, line: str) -> None:
        if self._queue is not None:
            self._queue.put(line)

    def flush(self) -> None:
        pass


def _relay(events: Any, reporter: Reporter) -> None:
    while True:
        try:
            reporter.relay(events.get(timeout=0.01))
        except Empty:
            return


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
