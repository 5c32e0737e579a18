"""When compiled kernels are used: in a process that has read so much that loading numba pays.

Loading numba and its cached kernels takes 0.2 to 0.45 s, a small mask 1 ms: a command that reads a few masks is
faster without, a worker that reads hundreds is faster with. Both ways give the same runs.
"""

from types import ModuleType

# Compiled loops save about 0.1 s per gigabyte of voxels (`benchmarks/census.py`).
_PAYS_FROM_BYTES = 4 << 30

_read = 0
_kernels: ModuleType | None = None
_missing = False


def kernels() -> ModuleType | None:
    """`curation.kernels` if this process has read enough for it to pay, else None."""
    return load() if _kernels is None and _read >= _PAYS_FROM_BYTES else _kernels


def book(size: int) -> None:
    """Count voxel bytes that were searched for runs."""
    global _read
    _read += size


def load() -> ModuleType | None:
    """Load the kernels now, for a stage that knows how much is coming; None where numba cannot be used."""
    global _kernels, _missing
    if _kernels is None and not _missing:
        try:
            from curation import kernels as module
        except Exception:
            # numba is not there, finds no folder to keep compiled code in, a full disk there, or what a crash
            # left half written (any error of pickle): numpy does it all, so no reason is one to stop.
            _missing = True
        else:
            _kernels = module
    return _kernels
