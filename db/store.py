"""The store: immutable mask files under the SHA-256 of their bytes."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from curation.errors import CurationError

SUFFIX = ".nii.gz"  # so that viewers open the files as they are


class StoredFileError(CurationError):
    """A file that the catalog refers to is absent from the store or no longer what it was."""


@dataclass(frozen=True)
class Store:
    """Files named by their content, below `root`. Nothing is ever overwritten; safe for many writers.

    Layout: ``ab/abcd….nii.gz``, two letters of the hash per folder, so that no folder grows too large.
    """

    root: Path

    def put(self, data: bytes) -> str:
        """Keep bytes, if they are not there yet.

        They appear under their name at once and whole, and survive a power cut from then on.

        Returns:
            SHA-256 of the bytes, 64 hexadecimal digits: the name to get them back by.
        """
        name = hashlib.sha256(data).hexdigest()
        path = self.path(name)
        if path.exists():
            return name
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, because a rename is atomic only within one file system.
        descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o444)  # mkstemp's 0600 would hide it from colleagues
            # Two writers of the same bytes may both get here: the second replaces equal by equal.
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return name

    def get(self, name: str) -> bytes:
        """The bytes kept under a hash.

        Raises:
            StoredFileError: They are not there. Whether they are intact is for `damage` to say: hashing
                on every read would cost more than decoding.
        """
        path = self.path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise StoredFileError(f"{path}: not in the store; restore it from a backup") from error

    def path(self, name: str) -> Path:
        """Where the bytes of a hash are or would be."""
        if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise ValueError(f"'{name}' is no SHA-256: 64 lower-case hexadecimal digits")
        return self.root / name[:2] / f"{name}{SUFFIX}"

    def __contains__(self, name: str) -> bool:
        return self.path(name).is_file()

    def hashes(self) -> Iterator[str]:
        """The hashes of all files that are there, in sorted order."""
        for folder in sorted(self.root.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.glob(f"{folder.name}*{SUFFIX}")):
                yield path.name.removesuffix(SUFFIX)

    def damage(self, name: str) -> str | None:
        """Read a file and compare it with its name.

        Returns:
            None if it is intact; else one sentence with the path, what is wrong and what to do.
        """
        path = self.path(name)
        try:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except FileNotFoundError:
            return f"{path}: not in the store; restore it from a backup"
        except OSError as error:
            return f"{path}: cannot be read ({error.strerror}); restore it from a backup"
        if found != name:
            size = path.stat().st_size
            return f"{path}: damaged ({size} bytes with SHA-256 {found[:12]}…); restore it from a backup"
        return None


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
