"""A folder for the files of one child process, outside every workspace."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.children import ChildFailedError


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder where the system keeps such; it stays only where the child failed, whose log lies in it."""
    folder = Path(tempfile.mkdtemp(prefix="maskledger-"))
    try:
        yield folder
    except ChildFailedError:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
