"""Plain masks: ``NAME.nii.gz`` with 0 background, 1 to 14 the classes, 15 ignore where there is any."""

from pathlib import Path

from pipelines.exports.content import Content
from pipelines.exports.files import place_masks
from pipelines.runs import Workbench


def write(bench: Workbench, content: Content, folder: Path) -> int:
    """Fill a folder; returns how many files are links."""
    return place_masks(bench, content, folder)
