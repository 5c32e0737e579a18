"""Files that appear whole or not at all."""

import os
from pathlib import Path


def write_whole(file: Path, data: bytes, beside: Path | None = None) -> None:
    """Write beside, flush to disk and rename, so that a killed process leaves no half file under `file`.

    Args:
        file: Its folder is made if it is not there.
        data: The content.
        beside: What it is called until it is whole, in the same folder; default ``.NAME.part``, for one writer at a
            time.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = beside or file.with_name(f".{file.name}.part")
    with beside.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(file)
