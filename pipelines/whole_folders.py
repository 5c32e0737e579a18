"""Folders that appear whole or not at all, and leave nothing behind for long where their maker was killed."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curation.errors import CurationError, UsageError

# Between the name to be and what mkdtemp adds, in the name of a folder that is still being filled.
_UNFINISHED = ".unfinished-"
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder that appears whole at the end of the block, or not at all.

    It is filled under a hidden name beside its own. A killed process leaves that one; the next call for the same
    parent removes it, which it tells from one still being filled by the lock that its maker holds.

    Raises:
        UsageError: Something stands at the path already, or its parent is absent.
        CurationError: The parent cannot be written to, or its disk is full.
    """
    if os.path.lexists(folder):
        raise _exists(folder)
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise UsageError(f"{folder.parent}: no such folder; make it first")
    _clear(parent)
    try:
        building, lock = _make(parent, f".{folder.name}{_UNFINISHED}")
    except OSError as error:
        raise CurationError(
            f"{folder.parent}: cannot be written to ({error.strerror}); choose another place"
        ) from error
    try:
        yield building
        building.chmod(0o755)
        # rename replaces an empty folder without a word.
        if os.path.lexists(folder):
            raise _exists(folder)
        os.rename(building, folder)  # noqa: PTH104 - says that it is the one atomic step
    except BaseException as error:
        shutil.rmtree(building, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise CurationError(
                f"{folder.parent}: {error.strerror}; free some space there or choose another place, and start "
                "the same command again"
            ) from error
        raise
    finally:
        os.close(lock)


def _exists(folder: Path) -> UsageError:
    return UsageError(f"{folder}: exists already; give a new folder")


def _make(parent: Path, prefix: str) -> tuple[Path, int]:
    """A hidden folder and the descriptor that holds its lock, which the system lets go when a process dies."""
    while True:
        building = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            lock = os.open(building, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process took it for left behind, in the moment before the lock
        # A file system without locks: what is left there after a kill stays.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if building.exists():
            return building, lock
        os.close(lock)  # the same, a moment later


def _clear(parent: Path) -> None:
    """Remove what killed processes left."""
    for left in parent.glob(f".*{_UNFINISHED}*"):
        if left.is_symlink() or not left.is_dir():
            continue
        try:
            lock = os.open(left, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except OSError:
            pass  # still being filled, or a file system without locks
        finally:
            os.close(lock)
