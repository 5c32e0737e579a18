"""The folders below a folder and their files' names, through links too, without going in circles."""

import os
from collections.abc import Iterator
from pathlib import Path

# A folder's device and number: what it is, whatever it is called.
_Identity = tuple[int, int]


def walk(root: Path, unreadable: list[OSError] | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Give a folder and all below it, each with the names of its files, unsorted.

    Links to folders are followed, for on clusters datasets are often links; but none that leads back to a folder
    which it lies in, be that below the root or above. Where a folder is met a second time under another name, links
    in it are not followed any more: so however links are tied together, every link is followed at most once.

    Args:
        root: Where to begin.
        unreadable: Takes the errors of folders that cannot be read; they are left out.
    """
    yield from _walk(root, frozenset(), set(), unreadable if unreadable is not None else [])


def _walk(
    folder: Path, above: frozenset[_Identity], seen: set[_Identity], unreadable: list[OSError]
) -> Iterator[tuple[Path, list[str]]]:
    try:
        status = folder.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return
        again = identity in seen
        names, folders = _entries(folder, follow=not again)
    except OSError as error:
        unreadable.append(error)
        return
    seen.add(identity)
    yield folder, names
    for name in folders:
        yield from _walk(folder / name, above | {identity}, seen, unreadable)


def _entries(folder: Path, *, follow: bool) -> tuple[list[str], list[str]]:
    """The names of a folder's files, and of its folders in sorted order. What an entry is the listing itself says."""
    names: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_folder(entry):
                names.append(entry.name)
            elif not entry.is_symlink() or (follow and not _leads_up(entry)):
                folders.append(entry.name)
    return names, sorted(folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself: whoever reads it says so


def _leads_up(link: os.DirEntry[str]) -> bool:
    """Whether a link leads to a folder that it lies in itself."""
    return Path(os.path.realpath(os.path.dirname(link.path))).is_relative_to(os.path.realpath(link.path))  # noqa: PTH120
