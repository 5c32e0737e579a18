"""Export: a frozen dataset as a folder that another program trains on or reads, whole or not at all."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from db import writes
from pipelines.exports import labels, manifest, monai, nnunet
from pipelines.exports.content import PROVENANCE, Content, content_of, write_json
from pipelines.exports.request import ExportRequest, Format
from pipelines.runs import Workbench
from pipelines.whole_folders import new_folder

WRITERS: dict[Format, Callable[[Workbench, Content, Path], int]] = {
    Format.NNUNET: nnunet.write,
    Format.MONAI: monai.write,
    Format.MANIFEST: manifest.write,
    Format.LABELS: labels.write,
}


@dataclass(frozen=True)
class Exported:
    """What was written: how many cases, how many files are links, and what whoever uses them should know."""

    address: str
    folder: Path
    cases: int
    linked: int
    notes: tuple[str, ...]


def export(bench: Workbench, request: ExportRequest) -> Exported:
    """Write a frozen dataset into a new folder, in one of the formats.

    Images and masks whose bytes need no change are links where the file system can link. Purged members are
    left out. The same version exported twice is byte-identical. Where copies went is booked as an event.

    Raises:
        UsageError: The folder exists, or the dataset is unknown.
        CurationError: A policy refuses a member; an image or a stored mask is not there.
    """
    content = content_of(bench, request)
    version = content.version
    with new_folder(request.folder) as building:
        linked = WRITERS[request.format](bench, content, building)
        write_json(building / PROVENANCE, content.provenance())
        # Before the folder appears: no copy without an entry in the log that says where it went.
        with bench.catalog.writing() as session:
            writes.add_event(
                session, author=bench.author, action="dataset export", subject=version.address,
                parameters={
                    "folder": str(request.folder.absolute()), "format": str(request.format),
                    "missing": str(request.missing), "unresolved": str(request.unresolved),
                    "cases": len(content.members),
                },
                program_version=bench.program_version,
            )  # fmt: skip
    return Exported(version.address, request.folder, len(content.members), linked, content.notes())
