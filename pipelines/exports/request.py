"""What an export is asked for: format, folder, and the policies for what a mask does not know."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Format(StrEnum):
    """What the folder is for."""

    NNUNET = "nnunet"
    MONAI = "monai"
    MANIFEST = "manifest"
    LABELS = "labels"


class MissingPolicy(StrEnum):
    """What becomes of background where a class is still missing: nobody knows that it is background."""

    BACKGROUND = "background"
    IGNORE = "ignore"
    REFUSE = "refuse"


class UnresolvedPolicy(StrEnum):
    """What becomes of voxels that carry no class: unresolved pairs and what the source said to ignore."""

    IGNORE = "ignore"
    REFUSE = "refuse"


@dataclass(frozen=True)
class ExportRequest:
    """One export of a frozen dataset (``NAME@N``, or ``NAME`` for the newest) into a new folder.

    `copy` makes copies where links would do. The policies say what masks are written; a manifest writes none,
    and only heeds their refusals.
    """

    dataset: str
    folder: Path
    format: Format = Format.NNUNET
    missing: MissingPolicy = MissingPolicy.BACKGROUND
    unresolved: UnresolvedPolicy = UnresolvedPolicy.IGNORE
    copy: bool = False
