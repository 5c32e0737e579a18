"""Backup: a second workspace that has all the first one had at a moment, made while others go on working."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from curation.errors import CurationError, UsageError
from db import queries, stored_files, writes
from db.catalog import Catalog
from db.copying import copy_catalog
from db.store import Store, is_hash
from pipelines.runs import Workbench
from pipelines.whole_files import write_whole

# What the folder's settings file says; relative, so that the folder may be moved.
STORE, CATALOG = "store", "catalog.db"


@dataclass(frozen=True)
class Backup:
    """What a backup holds: rows of the catalog, stored files (`copied` of them now), folders of models.

    `refused` are the files that could not be copied, because they are damaged or lost here.
    """

    folder: Path
    rows: int
    files: int
    copied: int
    bytes: int
    models: int
    refused: tuple[str, ...] = ()


def back_up(bench: Workbench, folder: Path, *, config: str, default_config: str) -> Backup:
    """Bring a backup up to date, or make it.

    One state of the catalog is copied first and the files that it needs after it: files are never changed and
    are there before their rows, so whatever is written meanwhile, no row of the backup lacks its file. The
    backup's catalog takes its place last; until then the one before is complete.

    Args:
        bench: The workspace to back up.
        folder: A new or empty folder, or an earlier backup, of which only what is new is copied.
        config: Name of a workspace's settings file, below `folder`.
        default_config: Its text, where it is not there yet.

    Raises:
        UsageError: The folder holds something else.
    """
    folder = folder.resolve()
    _check(bench, folder, config)
    with bench.catalog.writing() as session:
        writes.add_event(
            session, author=bench.author, action="backup", subject=str(folder),
            program_version=bench.program_version,
        )  # fmt: skip
    if not (folder / config).exists():
        write_whole(folder / config, default_config.encode())
    beside = folder / f".{CATALOG}.part"
    _remove_database(beside)
    url = f"sqlite:///{beside}"
    bench.progress.start("back up catalog", None)
    rows = copy_catalog(bench.catalog, url)
    bench.progress.finish()
    copied = Catalog.open(url)
    try:
        with copied.reading() as session:
            needed = sorted(stored_files.needed_hashes(session))
            models = sorted({model.weights_path for model in queries.models(session) if model.weights_path})
    finally:
        copied.close()
    files, size, refused = _copy_files(bench, Store(folder / STORE), needed)
    folders = sum(_copy_folder(bench.root / path, folder / path) for path in models)
    _remove_database(folder / CATALOG, but_the_file=True)
    beside.replace(folder / CATALOG)
    return Backup(folder, sum(rows.values()), len(needed), files, size, folders, tuple(refused))


def _check(bench: Workbench, folder: Path, config: str) -> None:
    """Refuse a folder that would mix with something else."""
    inside = folder.is_relative_to(bench.root.resolve()) or folder.is_relative_to(bench.store.root.resolve())
    if inside:
        raise UsageError(f"{folder}: lies in the workspace itself; give a folder on another disk")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / config).exists():
        raise UsageError(f"{folder}: holds something that is no backup; give a new or empty folder")


def _copy_files(bench: Workbench, to: Store, needed: list[str]) -> tuple[int, int, list[str]]:
    """Copy the files that are not there yet, each compared with its hash; returns number, bytes, refused."""
    files, size = 0, 0
    refused: list[str] = []
    bench.progress.start("back up files", len(needed))
    for number, name in enumerate(needed, 1):
        if not is_hash(name):
            refused.append(f"'{name}' in the catalog is no file's hash; run `maskledger verify`")
        elif name not in to:
            try:
                data = bench.store.intact(name)
            except CurationError as error:
                refused.append(str(error))
            else:
                to.put(data)
                files += 1
                size += len(data)
        bench.progress.step(number)
    bench.progress.finish()
    return files, size, refused


def _copy_folder(source: Path, to: Path) -> int:
    """Copy a model's folder, whole or not at all; returns 1 if it is there now."""
    if not source.is_dir():
        return 0  # its weights are lost here, too
    if not to.is_dir():
        beside = to.with_name(f".{to.name}.part")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(source, beside)
        beside.replace(to)
    return 1


def _remove_database(file: Path, *, but_the_file: bool = False) -> None:
    """Remove a SQLite file and what belongs to it: an old log beside a new file would spoil it."""
    for suffix in ("-wal", "-shm") if but_the_file else ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
