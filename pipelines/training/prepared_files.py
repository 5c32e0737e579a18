"""What the trainings of a workspace have prepared of cases: whole files under the hash of what they were made from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from blake3 import blake3

from curation.errors import CurationError
from pipelines.case_copies import OF_CASES, address_key
from pipelines.files_of_users import content_hash
from pipelines.whole_files import write_whole


@dataclass(frozen=True)
class PreparedFiles:
    """A folder of prepared files. Students and teachers share one, in the layout that a purge knows."""

    folder: Path

    def content(self, file: Path) -> str:
        """The hash of a file's bytes, remembered while its size and time stay the same.

        Raises:
            CurationError: The file is not there.
        """
        try:
            found = file.stat()
        except FileNotFoundError as error:
            raise CurationError(f"{file}: is not there any more; restore it or leave the case out") from error
        known = self.file("hash", "txt", [str(file), found.st_size, found.st_mtime_ns])
        if not known.is_file():
            put_whole(known, content_hash(file).encode())
        return known.read_text(encoding="ascii")

    def file(self, kind: str, ending: str, made_from: Sequence[object]) -> Path:
        """Where a file of this kind lies that was made from these JSON values."""
        key = blake3(json.dumps([kind, made_from], sort_keys=True).encode()).hexdigest()[:40]
        return self.folder / key[:2] / f"{key}.{kind}.{ending}"

    def mark(self, case: str, *files: Path) -> None:
        """Remember, before they are written, whose data will lie in files: a purge of the case deletes them."""
        for file in files:
            mark = self.folder / OF_CASES / address_key(case) / file.name
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()


def put_whole(file: Path, data: bytes) -> None:
    """Write a file whole or not at all, whoever else writes the same one at the same moment."""
    write_whole(file, data, own_name_beside(file))


def own_name_beside(file: Path) -> Path:
    """What a file is called until it is whole: no two writers have the same, and a purge and `gc` know it."""
    return file.with_name(f".{file.name}.{uuid4().hex}.part")
