"""Volumes from bytes and back: masks as run lengths, images as arrays, and the hash that names a mask."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from blake3 import blake3
from isal import isal_zlib
from numpy.typing import NDArray

from curation.errors import LabelValueError, MaskFileError
from curation.geometry import Geometry
from curation.nifti import NiftiReader
from curation.rle import RunBuilder, RunLengths

__all__ = [
    "Geometry",
    "decode_and_hash",
    "decode_geometry",
    "decode_image",
    "decode_mask",
    "encode_and_hash",
    "encode_image",
    "encode_mask",
    "nifti_header",
    "voxel_hash",
]

# How far from an integer a label may read, because scl_slope is a float32: 5.9999 is 6.
_ROUNDING = 0.01
# No mask comes near these; an image given as a mask passes them within its first slices.
_MAX_DISTINCT = 1000
_MAX_RUNS = 10_000_000
_MAX_LABEL = 2**31
# Level 1 is the fastest that still finds the long repeats of a mask; level 0 writes twice as much.
_GZIP_LEVEL = 1
_GZIP_WBITS = 31  # 15 bits of window, and a gzip header: isal writes neither time nor name into it.


def decode_geometry(data: bytes | BinaryIO, filename: str) -> Geometry:
    """Read only the header, from the first bytes of a .nii or .nii.gz.

    Raises:
        MaskFileError: See `curation.nifti.parse_header`.
    """
    return NiftiReader(data, filename).header.geometry


def decode_mask(data: bytes | BinaryIO, filename: str) -> tuple[Geometry, RunLengths]:
    """Read a mask as it came: its own label values, scaled by scl_slope and rounded to integers.

    The voxels are never unfolded: the file is inflated in pieces that fit the cache, and scaling, rounding
    and checks see the values of runs only.

    Args:
        data: A .nii or .nii.gz file's bytes, or a binary stream at its beginning.
        filename: How errors name the file.

    Returns:
        The grid and the runs; `value` is uint8 where the file is unscaled uint8, else an integer type.

    Raises:
        MaskFileError: Not a readable three-dimensional volume of numbers, or an image rather than a mask.
        LabelValueError: A label is not within 0.01 of an integer.
    """
    return _decode(NiftiReader(data, filename), filename)


def _decode(
    reader: NiftiReader, filename: str, digest: "_Digest | None" = None
) -> tuple[Geometry, RunLengths]:
    """Read a mask; `digest`, if given, sees the voxels as they stand in the file."""
    header = reader.header
    # Bit patterns are compared, in whatever byte order: equal bits are equal values, and NaN equals itself.
    bits = np.dtype(f"u{header.dtype.itemsize}")
    runs_so_far = 0

    def labels(raw: NDArray[Any]) -> NDArray[Any]:
        """The label values of the next runs, from the bits that the file has for them."""
        nonlocal runs_so_far
        runs_so_far += len(raw)
        values = raw.view(header.dtype)
        if header.slope is not None or header.dtype.kind == "f":
            values = _integers(values, header.slope, header.inter, filename)
        if runs_so_far > _MAX_RUNS or (
            len(values) > 4096 and values.itemsize > 1 and len(np.unique(values)) > _MAX_DISTINCT
        ):
            raise MaskFileError(
                f"{filename}: voxel values change like an image's, not a mask's; give the label map instead"
            )
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    builder = RunBuilder(header.geometry.shape, labels)
    for chunk in reader.chunks():
        if digest is not None:
            digest.update(chunk)
        builder.feed(chunk.view(bits))
    return header.geometry, builder.finish()


def _integers(
    raw: NDArray[Any], slope: float | None, inter: float | None, filename: str
) -> NDArray[np.int64]:
    values = raw.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if slope is not None and inter is not None:
            values = values * slope + inter
        rounded = np.rint(values)
        # Written so that NaN and infinity fail too.
        odd = values[~((np.abs(values - rounded) <= _ROUNDING) & (np.abs(values) < _MAX_LABEL))]
    if len(odd):
        shown = ", ".join(f"{v:.6g}" for v in np.unique(odd)[:5].tolist())
        raise LabelValueError(
            f"{filename}: label values {shown} are not integers; save labels as integers "
            "(nearest neighbour where the mask was resampled)"
        )
    return rounded.astype(np.int64)


def decode_image(data: bytes | BinaryIO, filename: str) -> tuple[Geometry, NDArray[np.float32 | np.int16]]:
    """Read an image, scaled (Hounsfield units where it is CT).

    Returns:
        The grid and the voxels, shape (X, Y, Z), first axis fastest in memory; int16 where the file holds
        unscaled integers that fit, else float32.

    Raises:
        MaskFileError: Not a readable three-dimensional volume of numbers, or NaN or infinite voxels.
    """
    reader = NiftiReader(data, filename)
    header = reader.header
    fits = header.slope is None and np.can_cast(header.dtype, np.int16)
    try:
        flat: NDArray[Any] = np.empty(header.voxels, np.int16 if fits else np.float32)
    except (MemoryError, ValueError) as error:
        raise MaskFileError(
            f"{filename}: the header says {header.voxels} voxels, more than fit into memory; write the file again"
        ) from error
    at = 0
    for chunk in reader.chunks():
        part = flat[at : at + len(chunk)]
        with np.errstate(over="ignore", invalid="ignore"):
            if header.slope is not None and header.inter is not None:
                part[:] = chunk * np.float64(header.slope) + header.inter
            else:
                part[:] = chunk
        if not fits and not np.isfinite(part).all():
            raise MaskFileError(f"{filename}: voxels are NaN or infinite; give them a value (air: -1024)")
        at += len(chunk)
    return header.geometry, flat.reshape(header.geometry.shape, order="F")


def encode_mask(runs: RunLengths, geometry: Geometry) -> bytes:
    """Write a stored mask as .nii.gz: uint8, sform and qform set, the same bytes for the same mask.

    The bytes depend on the version of isal; `voxel_hash` is what identifies a mask.

    Raises:
        LabelValueError: A value does not fit uint8.
    """
    return _gzip(nifti_header(geometry, np.dtype(np.uint8)), _stored_slabs(runs))


def encode_image(array: NDArray[Any], geometry: Geometry, *, packed: bool = True) -> bytes:
    """Write an image of shape (X, Y, Z) as .nii.gz, in its own number type; not `packed`: as .nii."""
    assert array.shape == geometry.shape
    slices = (array[:, :, z].ravel(order="F") for z in range(array.shape[2]))
    header = nifti_header(geometry, array.dtype.newbyteorder("<"))
    return _gzip(header, slices) if packed else b"".join([header, *(part.tobytes() for part in slices)])


def voxel_hash(runs: RunLengths, geometry: Geometry) -> str:
    """Name a mask by its content: blake3 over the uint8 voxels, the shape and the affine.

    Two files of the same mask have the same hash, whatever their gzip, data type or scaling.
    """
    digest = _Digest()
    for slab in _stored_slabs(runs):
        digest.update(slab)
    return digest.finish(geometry)


def encode_and_hash(runs: RunLengths, geometry: Geometry) -> tuple[bytes, str]:
    """`encode_mask` and `voxel_hash` while unfolding the mask once."""
    digest = _Digest()

    def seen() -> Iterator[NDArray[np.uint8]]:
        for slab in _stored_slabs(runs):
            digest.update(slab)
            yield slab

    data = _gzip(nifti_header(geometry, np.dtype(np.uint8)), seen())
    return data, digest.finish(geometry)


def decode_and_hash(data: bytes, filename: str) -> tuple[Geometry, RunLengths, str]:
    """`decode_mask` and `voxel_hash` of the same file.

    A stored mask holds on disk just what the hash is taken over, so it is read once and unfolded never.

    Raises:
        MaskFileError: See `decode_mask`.
        LabelValueError: See `decode_mask` and `voxel_hash`.
    """
    reader = NiftiReader(data, filename)
    if reader.header.dtype != np.uint8 or reader.header.slope is not None:
        geometry, runs = _decode(reader, filename)
        return geometry, runs, voxel_hash(runs, geometry)
    digest = _Digest()
    geometry, runs = _decode(reader, filename, digest)
    return geometry, runs, digest.finish(geometry)


class _Digest:
    """Voxels in file order (the C order of the (Z, Y, X) array), then the grid."""

    def __init__(self) -> None:
        self._hash = blake3()

    def update(self, slab: NDArray[np.uint8]) -> None:
        """Take the next voxels in file order."""
        self._hash.update(slab.data)

    def finish(self, geometry: Geometry) -> str:
        """The digest of all that came, as hexadecimal digits."""
        # Through float32 first: a file keeps no more, and a mask has one name before and after storing.
        kept = geometry.affine.astype(np.float32).astype(np.float64)
        self._hash.update(np.array(geometry.shape, "<i8").tobytes())
        self._hash.update(np.rint(kept * 1e4).astype("<i8").tobytes())
        return str(self._hash.hexdigest())


def _stored_slabs(runs: RunLengths) -> Iterator[NDArray[np.uint8]]:
    if len(runs) and (runs.value.min() < 0 or runs.value.max() > 255):
        odd = sorted(v for v in runs.voxels() if not 0 <= v <= 255)
        raise LabelValueError(f"label values {odd[:5]} do not fit a stored mask (0 to 255); map them first")
    if runs.value.dtype != np.uint8:
        runs = RunLengths(runs.shape, runs.value.astype(np.uint8), runs.row, runs.start, runs.stop)
    return runs.slabs()


def nifti_header(
    geometry: Geometry, dtype: np.dtype[Any], scaling: tuple[float, float] = (1.0, 0.0)
) -> bytes:
    """Header and empty extension of a single-file NIfTI-1, or -2 where the volume is too long for -1.

    Args:
        geometry: The grid; it becomes sform and qform.
        dtype: Of the voxels that follow in file order, first axis fastest.
        scaling: Slope and intercept that make numbers of the voxels.
    """
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    header = Nifti1Header(endianness="<") if max(geometry.shape) < 2**15 else Nifti2Header(endianness="<")
    header.set_data_shape(geometry.shape)
    header.set_data_dtype(dtype)
    header.set_xyzt_units("mm", "sec")
    header.set_sform(geometry.affine, code=1)
    header.set_qform(geometry.affine, code=1, strip_shears=True)
    header["scl_slope"], header["scl_inter"] = scaling
    block = header.binaryblock
    header.set_data_offset(len(block) + 4)
    return bytes(header.binaryblock) + bytes(4)


def _gzip(header: bytes, slabs: Iterator[NDArray[Any]]) -> bytes:
    deflater = isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WBITS)
    parts = [deflater.compress(header)]
    parts.extend(deflater.compress(slab) for slab in slabs)
    parts.append(deflater.flush())
    return b"".join(parts)
