"""Garbage: files of the workspace that no version, prediction, dataset, model or unfinished run needs."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from db import queries, stored_files
from db.store import is_older
from pipelines.runs import Outcome, Workbench, run

# A run books what it has stored within seconds; a case takes minutes at most.
MIN_AGE_S = 3600.0
# What a training leaves in its folder that its finished model does not need; all of it can be made again.
# Weights, checkpoints, profiles, job files, logs and curves stay.
_OF_A_FINISHED_TRAINING = (
    (Path("nnunet/preprocessed"), "nnU-Net's preprocessed cases of a finished training"),
    (Path("nnunet/raw"), "nnU-Net's copy of the labels of a finished training"),
    (Path("masks"), "masks as a finished training saw them"),
)


@dataclass(frozen=True)
class Garbage:
    """A file or folder that nothing needs, its size in bytes, and why it is there; `stored` is its hash."""

    path: Path
    bytes: int
    reason: str
    stored: str | None = None


def find_garbage(bench: Workbench, *, min_age_s: float = MIN_AGE_S) -> list[Garbage]:
    """List what nothing needs and nobody touched for a while. Changes nothing.

    Only what surely nobody misses: an unfinished training's folder, caches that the next training would
    use, and whatever lies outside store and ``runs/`` are not ours to judge.

    Args:
        bench: The workspace.
        min_age_s: What is younger may belong to a run that has not booked it yet.
    """
    found = [*_stored(bench, min_age_s), *_of_runs(bench, min_age_s)]
    return sorted(found, key=lambda garbage: garbage.path)


def collect(bench: Workbench, garbage: Sequence[Garbage], *, min_age_s: float = MIN_AGE_S) -> Outcome:
    """Delete what `find_garbage` found, as far as still nobody needs it.

    Returns:
        Counts: `deleted`, `bytes freed`, and `kept` for what came to be needed in between.
    """
    parameters = {"files": len(garbage), "bytes": sum(g.bytes for g in garbage), "min_age_s": min_age_s}
    with run(bench, "gc", parameters, total=len(garbage)) as booking:
        with bench.catalog.reading() as session:
            needed = stored_files.needed_hashes(session)
        bench.progress.start("delete", len(garbage))
        for number, item in enumerate(garbage, 1):
            if item.stored not in needed and _delete(bench, item, min_age_s):
                booking.outcome.count("deleted")
                booking.outcome.count("bytes freed", item.bytes)
            else:
                booking.outcome.count("kept")
            bench.progress.step(number, item.path.name)
        bench.progress.finish()
        return booking.outcome


def _stored(bench: Workbench, min_age_s: float) -> Iterator[Garbage]:
    # In this order: what is booked while we look is needed.
    there = list(bench.store.hashes())
    with bench.catalog.reading() as session:
        needed = stored_files.needed_hashes(session)
    for name in there:
        path = bench.store.path(name)
        if name not in needed and is_older(path, min_age_s):
            yield Garbage(path, path.stat().st_size, "stored, but no row needs it", name)
    for path in bench.store.temporaries():
        if is_older(path, min_age_s):
            yield Garbage(path, path.stat().st_size, "left half-written by a writer that was killed")


def _of_runs(bench: Workbench, min_age_s: float) -> Iterator[Garbage]:
    runs = bench.root / "runs"
    with bench.catalog.reading() as session:
        finished = sorted(_finished_trainings(session, bench.root))
    for work_dir in finished:
        for part, reason in _OF_A_FINISHED_TRAINING:
            folder = work_dir / part
            if folder.is_dir() and _quiet_for(folder, min_age_s):
                yield Garbage(folder, _size(folder), reason)
    for figures in sorted(runs.glob("predict-*/out/*.json")):
        # They are read beside the mask alone, which goes as soon as its prediction is booked.
        if not figures.with_suffix("").exists() and is_older(figures, min_age_s):
            yield Garbage(figures, figures.stat().st_size, "figures of a prediction that is booked")
    parts = (path for path in sorted(runs.rglob(".*.part")) if path.is_file() and is_older(path, min_age_s))
    for path in parts:
        if not any(path.is_relative_to(d / part) for d in finished for part, _ in _OF_A_FINISHED_TRAINING):
            yield Garbage(path, path.stat().st_size, "left half-written by a run that was killed")


def _finished_trainings(session: Session, root: Path) -> Iterator[Path]:
    """Work folders of trainings whose model is registered, with its weights where they should be."""
    runs = root / "runs"
    for model in queries.models(session):
        weights = root / model.weights_path if model.weights_path else None
        if weights and weights.is_dir() and weights.parent.parent == runs:
            yield weights.parent


def _delete(bench: Workbench, item: Garbage, min_age_s: float) -> bool:
    """Delete one item, unless somebody touched it meanwhile."""
    if item.stored is not None:
        return bench.store.delete(item.stored, older_than_s=min_age_s) > 0
    if item.path.is_relative_to(bench.store.root):
        return bench.store.delete_temporary(item.path, older_than_s=min_age_s)
    if item.path.is_dir():
        if not _quiet_for(item.path, min_age_s):
            return False
        shutil.rmtree(item.path)
        return True
    if not is_older(item.path, min_age_s):
        return False
    item.path.unlink()
    return True


def _quiet_for(folder: Path, seconds: float) -> bool:
    """Whether nothing in a folder was written within this time."""
    latest = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    return time.time() - latest >= seconds


def _size(folder: Path) -> int:
    """Bytes that deleting a folder frees: not those of files that the trainings' cache holds under a second name."""
    stats = (path.lstat() for path in folder.rglob("*") if path.is_file())
    return sum(stat.st_size for stat in stats if stat.st_nlink == 1)
