"""What trainings and predictions keep of a case under ``runs/``: masks, prepared arrays, its name in jobs and logs."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipelines.whole_files import write_whole

# What is appended to a case's key: our own masks and predictions, nnU-Net's raw, preprocessed and marker files.
_ENDINGS = (
    "", ".nii.gz", ".nii.gz.json", ".probability.nii.gz", ".npz", ".npy", ".pkl", ".b2nd", "_seg.npy",
    "_seg.b2nd", "_0000.nii.gz",
)  # fmt: skip
_TEXT_SUFFIXES = {".json", ".log", ".txt", ".jsonl"}
PREPARED = "prepared"
# One folder per case with an empty file for each prepared one; kept by pipelines.training.prepared_files.
OF_CASES = "cases"


def address_key(address: str) -> str:
    """How a case is called in file names: ``SOURCE__NAME``."""
    return address.replace("/", "__")


def nnunet_key(index: int, address: str) -> str:
    """How nnU-Net's folders call a case: its place in the job, and its name without odd signs."""
    return f"{index:05d}_" + re.sub(r"[^A-Za-z0-9.-]+", "_", address.rpartition("/")[2])


def find_copies(root: Path, addresses: Iterable[str]) -> list[Path]:
    """The files under a workspace's ``runs`` that hold a case's image, mask or prediction."""
    addresses = set(addresses)
    keys = {address_key(address) for address in addresses}
    found: set[Path] = set()
    for work_dir in sorted((root / "runs").glob("*/")):
        if work_dir.name != PREPARED:
            named = {
                key + ending for key in keys | set(_keys_of_jobs(work_dir, addresses)) for ending in _ENDINGS
            }
            # A process that was killed while it wrote a file leaves it as write_whole calls it until it is whole.
            named |= {f".{name}.part" for name in named}
            found.update(path for path in work_dir.rglob("*") if path.name in named and path.is_file())
    found.update(_prepared(root / "runs" / PREPARED, keys, _was_prepared(root, addresses)))
    return sorted(found)


def find_mentions(root: Path, scrub: Callable[[str], str]) -> list[Path]:
    """The job files, logs and figures under ``runs`` in which something stands that `scrub` takes out."""
    return [
        path
        for work_dir in sorted((root / "runs").glob("*/"))
        if work_dir.name != PREPARED  # named by hashes alone
        for path in sorted(work_dir.rglob("*"))
        if path.suffix in _TEXT_SUFFIXES and path.is_file() and _scrubbed(path, scrub) is not None
    ]


def delete_copies(paths: Iterable[Path]) -> int:
    """Delete files, and the marks of prepared ones; returns how many were there."""
    deleted = 0
    for path in paths:
        if path.is_file():
            path.unlink()
            deleted += 1
    return deleted


def scrub_mentions(root: Path, scrub: Callable[[str], str]) -> None:
    """Take names out of all job files, logs and figures under ``runs``."""
    for path in find_mentions(root, scrub):
        text = _scrubbed(path, scrub)
        if text is not None:
            write_whole(path, text.encode(errors="surrogateescape"))


def _scrubbed(path: Path, scrub: Callable[[str], str]) -> str | None:
    """The text of a file without what is to be taken out; None where nothing has to be."""
    text = path.read_bytes().decode(errors="surrogateescape")
    clean = scrub(text)
    return clean if clean != text else None


def _keys_of_jobs(work_dir: Path, addresses: set[str]) -> Iterator[str]:
    """How nnU-Net's folders call these cases, by every job that ran here."""
    for cases in _jobs(work_dir):
        for index, address in enumerate(cases):
            if address in addresses:
                yield nnunet_key(index, address)


def _jobs(work_dir: Path) -> Iterator[list[str]]:
    """The cases of every job that ran in a folder, in the job's order."""
    for file in sorted(work_dir.glob("*.job.json")):
        try:
            yield [case["case"] for case in json.loads(file.read_text(encoding="utf-8"))["cases"]]
        except (ValueError, KeyError, TypeError):
            continue  # half-written by a kill: no training came to start from it


def _was_prepared(root: Path, addresses: set[str]) -> bool:
    """Whether a student was ever trained on one of the cases."""
    work_dirs = {file.parent for file in (root / "runs").glob("*/student_train.job.json")}
    return any(addresses & set(cases) for work_dir in work_dirs for cases in _jobs(work_dir))


def _prepared(folder: Path, keys: set[str], was_prepared: bool) -> Iterator[Path]:
    """The cases' arrays in the students' cache, and the marks that say so."""
    marks = sorted((folder / OF_CASES).glob("*/*"))
    for mark in marks:
        if mark.parent.name in keys:
            yield mark
            where = folder / mark.name[:2]
            yield from (file for file in [where / mark.name] if file.is_file())
            yield from where.glob(f".{mark.name}.*")  # a killed training was writing it
    if was_prepared:
        # Prepared before marks were kept: whose an array is cannot be told, so it goes.
        marked = {mark.name for mark in marks}
        arrays = (path for ending in ("npy", "npz") for path in folder.glob(f"??/*.{ending}"))
        yield from (path for path in arrays if path.name not in marked)
