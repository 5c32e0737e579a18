"""The store: immutable mask files under the SHA-256 of their bytes."""

import errno
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from curation.errors import CurationError

SUFFIX = ".nii.gz"  # so that viewers open the files as they are
TEMPORARY = ".*.part"
ASIDE = "damaged"  # folder of what `set_aside` took out of its place
_LOCK = ".lock"
# Files that are brought to the disk at once: a file system commits what waits together, in about the time of one.
_TOGETHER = 16
_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNWRITABLE = _FULL | {errno.EROFS, errno.EACCES}
_HEXADECIMAL = frozenset("0123456789abcdef")


class StoredFileError(CurationError):
    """A file that the catalog refers to is absent from the store or no longer what it was."""


class StoreUnwritableError(CurationError):
    """The store takes no more files: no case can go on until that is put right."""


@dataclass(frozen=True)
class Store:
    """Files named by their content, below `root`. Nothing is ever overwritten; safe for many writers.

    Layout: ``ab/abcd….nii.gz``, two letters of the hash per folder, so that no folder grows too large.

    Who deletes holds ``.lock`` alone, who finds its bytes there already holds it with others: so a file that
    nobody needed is not deleted in the moment in which somebody comes to need it.
    """

    root: Path

    def put(self, data: bytes) -> str:
        """Keep bytes, if they are not there yet.

        They appear under their name at once and whole, and survive a power cut from then on. What is there
        already counts as written now, which keeps it from being deleted as old and unneeded.

        Returns:
            SHA-256 of the bytes, 64 hexadecimal digits: the name to get them back by.

        Raises:
            StoreUnwritableError: The disk is full, or the folder may not be written to.
        """
        return self.put_all([data])[0]

    def put_all(self, files: Sequence[bytes]) -> list[str]:
        """Keep the bytes of several files as `put` does, brought to the disk together.

        Returns:
            The name of each, in the order given.

        Raises:
            StoreUnwritableError: See `put`; some of them may be there.
        """
        names = [hashlib.sha256(data).hexdigest() for data in files]
        try:
            new = {
                path: data
                for path, data in zip(map(self.path, names), files, strict=True)
                if not (path.exists() and self._claim(path, len(data)))
            }
            folders = sorted({path.parent for path in new})
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            if len(new) == 1:
                _write_all([*new.items()])
                _sync_folders(folders)
            elif new:
                # A share for each thread: to hand over the files one by one would cost as much as to write them.
                shares = min(len(new), _TOGETHER)
                with ThreadPoolExecutor(shares) as threads:
                    list(threads.map(_write_all, ([*new.items()][i::shares] for i in range(shares))))
                    list(threads.map(_sync_folders, (folders[i::shares] for i in range(shares))))
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                raise
            remedy = "free space there" if error.errno in _FULL else "allow this user to write there"
            raise StoreUnwritableError(
                f"{self.root}: the store cannot be written ({error.strerror}); {remedy}, or set another "
                "store in maskledger.toml or MASKLEDGER_STORE, and start the same command again"
            ) from error
        return names

    def get(self, name: str) -> bytes:
        """The bytes kept under a hash.

        Raises:
            StoredFileError: They are not there or cannot be read. Whether they are intact is for `intact` to
                say: hashing on every read would cost more than decoding.
        """
        path = self.path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise StoredFileError(f"{path}: not in the store; restore it from a backup") from error
        except OSError as error:
            raise StoredFileError(
                f"{path}: cannot be read ({error.strerror}); restore it from a backup"
            ) from error

    def intact(self, name: str) -> bytes:
        """The bytes kept under a hash, compared with it.

        Raises:
            StoredFileError: They are not there, cannot be read, or are no longer what they were; one
                sentence with the path, what is wrong and what to do.
        """
        data = self.get(name)
        found = hashlib.sha256(data).hexdigest()
        if found != name:
            raise StoredFileError(
                f"{self.path(name)}: damaged ({len(data)} bytes with SHA-256 {found[:12]}…); "
                "restore it from a backup"
            )
        return data

    def path(self, name: str) -> Path:
        """Where the bytes of a hash are or would be."""
        if not is_hash(name):
            raise ValueError(f"'{name}' is no SHA-256: 64 lower-case hexadecimal digits")
        return self.root / name[:2] / f"{name}{SUFFIX}"

    def __contains__(self, name: str) -> bool:
        return self.path(name).is_file()

    def hashes(self) -> Iterator[str]:
        """The hashes of all files that are there, in sorted order."""
        for folder in self._folders():
            for path in sorted(folder.glob(f"{folder.name}*{SUFFIX}")):
                if is_hash(name := path.name.removesuffix(SUFFIX)):
                    yield name

    def temporaries(self) -> Iterator[Path]:
        """Files that a writer has not finished, or was killed over."""
        for folder in self._folders():
            yield from sorted(folder.glob(TEMPORARY))

    def delete(self, name: str, *, older_than_s: float | None = None) -> int:
        """Remove a file, and what was set aside under its hash.

        Args:
            name: Its hash.
            older_than_s: Only if nobody wrote or put it within this time; None: however young it is.

        Returns:
            Bytes freed; 0 if it is not there or too young.
        """
        with self._locked(fcntl.LOCK_EX):
            path = self.path(name)
            if older_than_s is not None and not is_older(path, older_than_s):
                return 0
            return sum(_unlink(file) for file in (path, *self._set_aside(name)))

    def delete_temporary(self, path: Path, *, older_than_s: float) -> bool:
        """Remove one of `temporaries`, unless it is younger; its writer may be at it."""
        with self._locked(fcntl.LOCK_EX):
            old = is_older(path, older_than_s)
            if old:
                path.unlink(missing_ok=True)
            return old

    def set_aside(self, name: str) -> Path | None:
        """Take a damaged file out of its place, so that the right bytes can be put there.

        Returns:
            Where it is now, below ``damaged/``; None if it was not there.
        """
        path = self.path(name)
        with self._locked(fcntl.LOCK_EX):
            taken = len(self._set_aside(name))
            aside = self.root / ASIDE / f"{name}.{taken + 1}{SUFFIX}"
            aside.parent.mkdir(exist_ok=True)
            try:
                path.rename(aside)
            except FileNotFoundError:
                return None
        return aside

    def _set_aside(self, name: str) -> list[Path]:
        return sorted((self.root / ASIDE).glob(f"{name}.*{SUFFIX}"))

    def _folders(self) -> list[Path]:
        return sorted(self.root.glob("[0-9a-f][0-9a-f]"))

    def _claim(self, path: Path, size: int) -> bool:
        """Count a file that is there as written now; False if it must be written again."""
        with self._locked(fcntl.LOCK_SH):
            try:
                # A file of another size is damaged: who has the right bytes in hand puts it right.
                if path.stat().st_size != size:
                    return False
                os.utime(path)
            except (FileNotFoundError, PermissionError):
                return False  # just deleted; or a colleague's, whose time only a copy of ours can change
            return True

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        # Over NFS an exclusive lock wants a file that is open for writing; colleagues need only read it.
        mode = os.O_RDWR if how == fcntl.LOCK_EX else os.O_RDONLY
        descriptor = os.open(self.root / _LOCK, mode | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)  # which ends the lock, too


def is_hash(text: str) -> bool:
    """Whether a text can name a stored file: 64 lower-case hexadecimal digits."""
    return len(text) == 64 and set(text) <= _HEXADECIMAL


def is_older(path: Path, seconds: float) -> bool:
    """Whether a file is there and was last written, or put, this long ago."""
    try:
        return time.time() - path.stat().st_mtime >= seconds
    except FileNotFoundError:
        return False


def _write_all(files: Sequence[tuple[Path, bytes]]) -> None:
    for path, data in files:
        _write(path, data)


def _write(path: Path, data: bytes) -> None:
    """Let a file appear whole or not at all; it stays once its folder is synchronised, too."""
    # In the same folder, because a rename is atomic only within one file system.
    descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(descriptor, 0o444)  # mkstemp's 0600 would hide it from colleagues
            os.fsync(descriptor)
        # Two writers of the same bytes may both get here: the second replaces equal by equal.
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _unlink(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def _sync_folders(folders: Sequence[Path]) -> None:
    """Make renames survive a power cut."""
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
