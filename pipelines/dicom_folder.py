"""A folder of DICOM files as one CT: which series lie in it, the one that is meant, and its volume."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.dicom import CtSlice, order_slices, read_slice_head, volume_hu
from curation.errors import MaskFileError
from curation.geometry import Geometry
from pipelines.files_of_users import file_bytes, require_file

# As many series as an error lists; a whole study has seldom more.
_LISTED = 8


def read_series(folder: Path, uid: str | None = None) -> tuple[Geometry, NDArray[np.int16 | np.float32]]:
    """Read the one CT series of a folder; the folders below it are not looked into.

    Args:
        folder: Its files may be called anything; what is not a CT slice is passed over.
        uid: SeriesInstanceUID of the series that is meant, where there are several.

    Returns:
        The grid, in RAS+ mm, and HU of shape (columns, rows, slices).

    Raises:
        MaskFileError: No CT slice, no such series, several of them and none chosen, or slices that make no volume.
    """
    slices = _chosen(_series(folder), folder, uid)
    volume = order_slices(slices, str(folder))
    return volume.geometry, volume_hu(volume, (file_bytes(Path(one.filename)) for one in volume.slices))


def _series(folder: Path) -> dict[str, list[CtSlice]]:
    """The CT slices of a folder by SeriesInstanceUID."""
    found: dict[str, list[CtSlice]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_dir():
            continue
        require_file(path)
        with path.open("rb") as stream:
            head = read_slice_head(stream, str(path))
        if head is not None:
            found[head.series].append(head)
    return found


def _chosen(series: dict[str, list[CtSlice]], folder: Path, uid: str | None) -> Sequence[CtSlice]:
    if not series:
        raise MaskFileError(
            f"{folder}: holds neither DICOM slices of a CT nor a .nii.gz or .nii file; give a folder of one CT series"
        )
    if uid is not None:
        if uid not in series:
            raise MaskFileError(f"{folder}: has no series {uid}; it has {_listed(series)}")
        return series[uid]
    if len(series) > 1:
        raise MaskFileError(
            f"{folder}: holds {len(series)} series: {_listed(series)}; choose one with --series UID"
        )
    return next(iter(series.values()))


def _listed(series: dict[str, list[Any]]) -> str:
    largest_first = sorted(series.items(), key=lambda item: -len(item[1]))
    texts = [
        f"{uid} ({', '.join(filter(None, (slices[0].description, f'{len(slices)} files')))})"
        for uid, slices in largest_first[:_LISTED]
    ]
    left = len(series) - _LISTED
    return ", ".join(texts) + (f" and {left} more" if left > 0 else "")
