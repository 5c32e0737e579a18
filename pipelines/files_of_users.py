"""Files that a user names: where they are, as the catalog keeps it, and whether they can be read without waiting."""

import hashlib
import os
import stat
from pathlib import Path

from blake3 import blake3

from curation.errors import CurationError
from curation.one_line import one_line


def kept_path(path: Path) -> str:
    """A path as the catalog keeps it: absolute, links resolved.

    Raises:
        CurationError: It is not UTF-8, which is all that both databases take.
    """
    text = os.path.realpath(path)
    if not _is_utf8(text):
        raise CurationError(
            f"{one_line(text)}: this path is not UTF-8; rename its files and folders that are not"
        )
    return text


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def case_name_problem(name: str) -> str | None:
    """Why a text cannot name a case; None if it can."""
    if "@" in name or "/" in name:
        return "case names may not contain '/' or '@'"
    if name in {"", ".", ".."}:
        return f"'{name}' is no case name"
    if one_line(name) != name:
        return f"'{one_line(name)}' is no case name: it holds a line break, another control character or no UTF-8"
    return None


def require_file(path: Path) -> None:
    """Refuse what is neither a file nor a link to one: reading a pipe or a terminal would wait for ever.

    Raises:
        CurationError: It is something else.
        OSError: It is not there.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise CurationError(f"{path}: {what}, not a file; take it out of the folder")


def file_bytes(path: Path) -> bytes:
    """The bytes of a file; errors as `require_file` has them."""
    require_file(path)
    return path.read_bytes()


def content_hash(path: Path) -> str:
    """BLAKE3 of a file's bytes, read piece by piece.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        # typeshed wants a hash with hashlib's own argument names; the pieces are given by position.
        return hashlib.file_digest(stream, blake3).hexdigest()  # type: ignore[arg-type]
