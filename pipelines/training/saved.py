"""Files of torch: written whole or not at all, and read with one line for whatever is wrong with them."""

import os
from pathlib import Path
from typing import IO, Any

import torch

from curation.errors import first_line


class UnreadableError(Exception):
    """A file is absent, cut, damaged or something else; the message is torch's reason, in one line."""


def save_whole(file: Path, state: dict[str, Any]) -> None:
    """Save beside, flush, rename: a kill leaves the file of before or the new one, never half of one."""
    beside = file.with_name(f".{file.name}.part")
    with beside.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(file)


def read_saved(file: Path | IO[bytes], device: torch.device | str = "cpu") -> Any:
    """Read what torch saved: tensors and plain values, never code.

    Raises:
        UnreadableError: It cannot be read. Who calls knows what to do about it.
    """
    try:
        return torch.load(file, map_location=device, weights_only=True)
    except torch.OutOfMemoryError:
        raise  # the file is as good as before
    except Exception as error:
        # A damaged zip or pickle makes torch raise nearly anything: EOFError, IndexError, UnpicklingError.
        raise UnreadableError(first_line(error)) from error
