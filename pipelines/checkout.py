"""Checkout: a version's stored mask as a file of the user's, whole or not at all."""

from pathlib import Path

from curation.errors import CurationError, UsageError
from db import case_files
from pipelines.runs import Workbench
from pipelines.whole_files import write_whole


def checkout(bench: Workbench, address: str, file: Path, *, replace: bool = False) -> str:
    """Write the stored bytes of one version to `file`.

    Returns:
        The full address of what was written, ``SOURCE/NAME@N``.

    Raises:
        UsageError: Unknown case or version, a name that is not .nii.gz, or the file exists.
        CurationError: The version has no mask (an image alone was ingested).
    """
    if not file.name.endswith(".nii.gz"):
        raise UsageError(f"{file}: masks are written as .nii.gz; choose a name that ends so")
    if file.exists() and not replace:
        raise UsageError(f"{file}: exists already; choose another name or use --force")
    if not file.parent.is_dir():
        raise UsageError(f"{file.parent}: no such folder; make it first")
    with bench.catalog.reading() as session:
        case = case_files.case_file(session, address)
    if case.file_hash is None:
        raise CurationError(f"{case.address}@{case.number}: has an image but no mask; complement it first")
    write_whole(file, bench.store.get(case.file_hash))
    return f"{case.address}@{case.number}"
