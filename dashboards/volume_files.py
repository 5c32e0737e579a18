"""The volumes that the viewer's browser fetches: NIfTI made of a case's image and masks, read once for all.

Image and masks of a case go out on one grid, in the file's own orientation: the mask's header stands before the
image's voxels, too. A preview has every second voxel along each axis, the image's as gray levels of a window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from curation.errors import CurationError
from curation.geometry import Geometry
from curation.images import look_at_image
from curation.rle import RunLengths
from curation.volumes import decode_geometry, decode_image, decode_mask, encode_mask, nifti_header
from dashboards.slices import Window
from db.queries.volumes import CaseImage
from db.store import Store

# Voxels below which a preview would save no time.
SMALL = 4_000_000
_CHUNK_BYTES = 1 << 22


class ImageGoneError(CurationError):
    """An image that is not where it was, or no longer the one that was taken in; says what to do."""


@dataclass(frozen=True, eq=False)
class VolumeFile:
    """One NIfTI file for the browser: its pieces, their total in bytes, and whether they are gzipped."""

    pieces: Sequence[bytes | memoryview]
    packed: bool

    @property
    def size(self) -> int:
        """Bytes of all pieces."""
        return sum(memoryview(piece).nbytes for piece in self.pieces)

    def chunks(self) -> Iterator[memoryview]:
        """The bytes in portions that neither block the server nor fill its memory."""
        for piece in self.pieces:
            view = memoryview(piece).cast("B")
            for at in range(0, len(view), _CHUNK_BYTES):
                yield view[at : at + _CHUNK_BYTES]


def halved(geometry: Geometry) -> Geometry:
    """The grid of every second voxel along each axis, the first one among them."""
    x, y, z = ((n + 1) // 2 for n in geometry.shape)
    return Geometry((x, y, z), geometry.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))


def image_file(image: CaseImage, grid: Geometry | None = None) -> VolumeFile:
    """The whole image, unpacked: int16, or float32 where it is not whole numbers.

    Args:
        image: Which one.
        grid: The mask's grid, which the image is laid on; None: its own.

    Raises:
        CurationError: The image is gone, exchanged, cannot be read, or lies on another grid.
    """
    geometry, voxels = read_image(image)
    data = voxels.ravel(order="K").view(np.uint8).data
    return VolumeFile([nifti_header(_one_grid(grid, geometry), voxels.dtype), data], packed=False)


def image_preview(image: CaseImage, window: Window, grid: Geometry | None = None) -> VolumeFile:
    """Every second voxel of the image as 255 gray levels over a window; its header makes HU of them again.

    Raises:
        CurationError: See `image_file`.
    """
    geometry, voxels = read_image(image)
    data = _preview(*_identity(image), voxels, window)
    low, high = window.limits_hu
    header = nifti_header(halved(_one_grid(grid, geometry)), np.dtype(np.uint8), ((high - low) / 255, low))
    return VolumeFile([header, data], packed=False)


def mask_file(store: Store, file_hash: str) -> VolumeFile:
    """A stored mask as it is.

    Raises:
        CurationError: It is not in the store, or cannot be read.
    """
    return VolumeFile([store.get(file_hash)], packed=True)


def mask_preview(store: Store, file_hash: str) -> VolumeFile:
    """Every second voxel of a stored mask.

    Raises:
        CurationError: It is not in the store, or cannot be read.
    """
    return VolumeFile([_mask_preview(store, file_hash)], packed=True)


def runs_file(runs: RunLengths, geometry: Geometry, *, half: bool) -> VolumeFile:
    """Run lengths of values up to 255 as a volume, whole or every second voxel."""
    if half:
        return VolumeFile([encode_mask(runs.every_second(), halved(geometry))], packed=True)
    return VolumeFile([encode_mask(runs, geometry)], packed=True)


def read_mask(store: Store, file_hash: str) -> tuple[Geometry, RunLengths]:
    """A stored mask: its grid and runs.

    Raises:
        CurationError: It is not in the store, or cannot be read.
    """
    return _mask(store, file_hash)


def mask_grid(store: Store, file_hash: str) -> Geometry:
    """The grid of a stored mask, by its header alone.

    Raises:
        CurationError: See `read_mask`.
    """
    return decode_geometry(store.get(file_hash), str(store.path(file_hash)))


def read_image(image: CaseImage) -> tuple[Geometry, NDArray[np.int16 | np.float32]]:
    """The image of a case, (X, Y, Z) on the file's own axes; nobody writes to it.

    Raises:
        ImageGoneError: It is not there, or another one than the catalog knows lies there.
        CurationError: It cannot be read.
    """
    path, modified_ns, size = _identity(image)
    if image.seen and (image.seen.modified_ns, image.seen.file_bytes) != (modified_ns, size):
        _require_same_voxels(path, modified_ns, size, image)
    return _image(path, modified_ns, size)


def image_grid(image: CaseImage) -> Geometry:
    """The grid of a case's image, by its header alone.

    Raises:
        ImageGoneError: It is not there.
        CurationError: It cannot be read.
    """
    return _grid(*_identity(image))


def require_one_grid(mask: Geometry, image: Geometry) -> None:
    """Refuse an image that cannot be laid under a mask.

    Raises:
        CurationError: They lie on different grids; says how they differ, and what to do.
    """
    if difference := mask.difference(image):
        raise CurationError(
            f"The image no longer lies on the mask's grid ({difference}); ingest the case again."
        )


def image_name(image: CaseImage) -> str:
    """What the image's voxels are called in an address: their hash, or that the file was never read."""
    return image.seen.voxel_hash if image.seen else "unread"


def _one_grid(grid: Geometry | None, own: Geometry) -> Geometry:
    if grid is None:
        return own
    require_one_grid(grid, own)
    return grid


def _identity(image: CaseImage) -> tuple[Path, int, int]:
    try:
        state = image.path.stat()
    except OSError as error:
        source = image.address.partition("/")[0]
        raise ImageGoneError(
            f"{image.path}: the image is not there ({error.strerror}); bring it back, or if its folder moved: "
            f"`maskledger source move {source} NEW_ROOT`"
        ) from error
    return image.path, state.st_mtime_ns, state.st_size


def _require_same_voxels(path: Path, modified_ns: int, size: int, image: CaseImage) -> None:
    """A file that was touched or packed anew may hold the same voxels; it is read to know."""
    assert image.seen is not None
    try:
        found = _voxel_hash(path, modified_ns, size)
    except OSError as error:
        raise CurationError(f"{path}: the image cannot be read ({error.strerror}); check the file") from error
    if found != image.seen.voxel_hash:
        source = image.address.partition("/")[0]
        raise ImageGoneError(
            f"{path}: another image lies there than the catalog has read; bring the old one back, or take the new "
            f"one in: `maskledger ingest --source {source} --images DIR`"
        )


# Resources, not data: cached data are copied for every reader, and a CT has 150 MB. Nobody writes to these.
@st.cache_resource(max_entries=2, show_spinner=False)
def _image(path: Path, modified_ns: int, size: int) -> tuple[Geometry, NDArray[np.int16 | np.float32]]:  # noqa: ARG001 - of the cache's key
    try:
        with path.open("rb") as stream:
            geometry, voxels = decode_image(stream, str(path))
    except OSError as error:
        raise CurationError(f"{path}: the image cannot be read ({error.strerror}); check the file") from error
    voxels.flags.writeable = False
    return geometry, voxels


@st.cache_resource(max_entries=256, show_spinner=False)
def _grid(path: Path, modified_ns: int, size: int) -> Geometry:  # noqa: ARG001 - of the cache's key
    try:
        with path.open("rb") as stream:
            return decode_geometry(stream, str(path))
    except OSError as error:
        raise CurationError(f"{path}: the image cannot be read ({error.strerror}); check the file") from error


@st.cache_resource(max_entries=64, show_spinner=False)
def _voxel_hash(path: Path, modified_ns: int, size: int) -> str:  # noqa: ARG001 - of the cache's key
    with path.open("rb") as stream:
        return look_at_image(stream, str(path)).voxel_hash


@st.cache_resource(max_entries=16, show_spinner=False)
def _preview(path: Path, modified_ns: int, size: int, _voxels: NDArray[Any], window: Window) -> bytes:  # noqa: ARG001
    low, high = window.limits_hu
    shown = _voxels[::2, ::2, ::2].astype(np.float32, order="F")
    np.subtract(shown, low, out=shown)
    np.multiply(shown, 255 / (high - low), out=shown)
    np.clip(np.rint(shown, out=shown), 0, 255, out=shown)
    return shown.astype(np.uint8, order="F").tobytes(order="F")


@st.cache_resource(max_entries=8, show_spinner=False, hash_funcs={Store: lambda store: str(store.root)})
def _mask(store: Store, file_hash: str) -> tuple[Geometry, RunLengths]:
    return decode_mask(store.get(file_hash), str(store.path(file_hash)))


@st.cache_resource(max_entries=32, show_spinner=False, hash_funcs={Store: lambda store: str(store.root)})
def _mask_preview(store: Store, file_hash: str) -> bytes:
    geometry, runs = _mask(store, file_hash)
    return encode_mask(runs.every_second(), halved(geometry))
