"""The book of a folder of predicted masks: one line per mask, written before the mask is put into its place."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

BOOK = "predictions.jsonl"


def read_book(file: Path) -> dict[str, dict[str, Any]]:
    """The newest line of each mask by its file's name; a line that a killed process left half is passed over."""
    found: dict[str, dict[str, Any]] = {}
    if not file.is_file():
        return found
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, TypeError, KeyError):
            line = json.loads(text)
            found[line["mask"]] = line
    return found


def add_line(file: Path, line: dict[str, Any]) -> None:
    """Add one line, on disk when this returns; after half a line it begins a new one."""
    with file.open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
