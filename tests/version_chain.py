"""Chains of mask versions for tests, each link made by hand from a mask and its drawers."""

from collections.abc import Mapping

from curation.rle import RunLengths
from curation.volumes import encode_and_hash
from db import case_files, writes
from db.case_files import CaseFile
from db.models import VersionKind
from db.writes import NewVersion
from pipelines.annotate import Drawn, examine, rederived
from pipelines.runs import Workbench


def add_version(
    bench: Workbench,
    address: str,
    kind: VersionKind,
    mask,
    drawn: Mapping[int, Drawn] | None = None,
    *,
    message: str = "",
) -> int:
    """Add a version with this mask to a case's newest; classes in `drawn` have a new owner. Returns its number."""
    with bench.catalog.reading() as session:
        parent = case_files.case_file(session, address)
    runs = RunLengths.from_array(mask)
    facts = examine(runs, parent.geometry)
    data, voxel_hash = encode_and_hash(runs, parent.geometry)
    return _write(
        bench,
        parent,
        NewVersion(
            kind=kind,
            author=bench.author,
            message=message,
            geometry=parent.geometry,
            file_hash=bench.store.put(data),
            voxel_hash=voxel_hash,
            annotations=rederived(parent.annotations, facts, drawn or {}),
            reserved=dict(facts.reserved),
        ),
    )


def restore(bench: Workbench, address: str, number: int) -> int:
    """Add a version that brings an earlier one back. Returns its number."""
    with bench.catalog.reading() as session:
        parent = case_files.case_file(session, address)
        wanted = case_files.case_file(session, f"{address}@{number}")
    return _write(
        bench,
        parent,
        NewVersion(
            kind=VersionKind.REVERTED,
            author=bench.author,
            message=f"back to version {number}",
            geometry=wanted.geometry,
            file_hash=wanted.file_hash,
            voxel_hash=wanted.voxel_hash,
            annotations=tuple(wanted.annotations.values()),
            restores_id=wanted.version_id,
        ),
    )


def _write(bench: Workbench, parent: CaseFile, new: NewVersion) -> int:
    with bench.catalog.writing() as session:
        return writes.add_version(session, parent.case_id, parent.version_id, new).number
