"""NIfTI files as bytes: inflated piece by piece, and the header's facts, or what is wrong with them.

The rules of the header are nibabel's; the voxels never pass through it.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
from isal import igzip_lib
from numpy.typing import NDArray

from curation.errors import MaskFileError
from curation.formats import ANALYZE, PAIR, Format, format_of_content, format_of_name
from curation.geometry import Geometry
from curation.rle import CHUNK_BYTES

_GZIP_MAGIC = b"\x1f\x8b"
_READ_BYTES = 1 << 16
_HEADER_BYTES = (348, 540)  # NIfTI-1, NIfTI-2
# Cosine of the angle between two axes above which a grid counts as sheared (0.01 is 0.6 degrees).
_MAX_SHEAR = 0.01
# Shift of a corner, in voxels, above which sform and qform count as two different grids.
_MAX_FORM_SHIFT = 0.1
# Extensions of a header are text; nobody writes 256 MB of it.
_MAX_OFFSET = 2**28
# Zeros after the voxels fill a block of a disk or tape. More of them are voxels that the header does not count.
_MAX_PADDING = 2**16
# Bytes that one byte of gzip can stand for: "Maximum Compression Factor" in https://zlib.net/zlib_tech.html
_MAX_INFLATION = 1032
_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIFTI_UNITS_METER, _MM, _MICRON
# Voxels that no scanner of bodies makes: a header that says so has its unit of length or its spacing wrong.
_VOXEL_MM = (0.01, 100.0)
_COLORS = {128: "colors (RGB)", 2304: "colors (RGBA)"}  # NIFTI_TYPE_RGB24 and _RGBA32
_COPY_IT = "for a mask by copying its image's header"


@dataclass(frozen=True, eq=False)
class Header:
    """What decoding needs of a NIfTI header. `slope` and `inter` are None where the voxels are not scaled."""

    geometry: Geometry
    dtype: np.dtype[Any]
    data_offset: int
    slope: float | None
    inter: float | None

    @property
    def voxels(self) -> int:
        """Voxels that the header promises."""
        x, y, z = self.geometry.shape
        return x * y * z


class NiftiReader:
    """One NIfTI file (.nii or .nii.gz, told apart by content) read once from front to back.

    Args:
        data: The file's bytes, or a binary stream at its beginning.
        filename: How errors name the file.

    Raises:
        MaskFileError: Not a single-file NIfTI volume with three axes of plain numbers and an affine.
    """

    def __init__(self, data: bytes | BinaryIO, filename: str) -> None:
        self._filename = filename
        stream = io.BytesIO(data) if isinstance(data, bytes | bytearray | memoryview) else data
        self._pieces = _pieces(stream, filename)
        self._ahead = b""
        self._fill(544)
        self.header = parse_header(self._ahead, filename)
        self._check_size(stream)

    def _check_size(self, stream: BinaryIO) -> None:
        """Refuse at once what promises more voxels than the file can hold, however it is packed."""
        if not stream.seekable():
            return
        at = stream.tell()
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        packed = stream.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        stream.seek(at)
        room = (size * _MAX_INFLATION if packed else size) - self.header.data_offset
        there = max(room, 0) // self.header.dtype.itemsize
        if there < self.header.voxels:
            if packed:
                raise MaskFileError(
                    f"{self._filename}: {size} bytes cannot hold the {self.header.voxels} voxels that the "
                    "header promises; fetch or write it again"
                )
            raise self._cut_off(there)

    def _cut_off(self, there: int) -> MaskFileError:
        return MaskFileError(
            f"{self._filename}: the file ends after {there} of {self.header.voxels} voxels; fetch or write it again"
        )

    def _fill(self, size: int) -> None:
        """Have at least `size` bytes ahead, if the file has them."""
        parts, length = [self._ahead], len(self._ahead)
        while length < size and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            length += len(piece)
        self._ahead = b"".join(parts)

    def chunks(self) -> Iterator[NDArray[Any]]:
        """The voxels as they stand in the file, unscaled, flat, in pieces that fit the cache.

        Raises:
            MaskFileError: The file is damaged, or holds fewer voxels than its header promises, or more.
        """
        header, itemsize = self.header, self.header.dtype.itemsize
        skip, carry = header.data_offset, self._ahead
        while len(carry) < skip and (piece := next(self._pieces, None)) is not None:
            skip, carry = skip - len(carry), piece
        carry = carry[skip:]
        left = header.voxels * itemsize
        while left:
            if len(carry) >= itemsize:
                whole = min(len(carry) // itemsize * itemsize, left)
                yield np.frombuffer(carry, header.dtype, count=whole // itemsize)
                left -= whole
                carry = carry[whole:]
            if left:
                piece = next(self._pieces, None)
                if piece is None:
                    raise self._cut_off(header.voxels - -(-left // itemsize))
                carry = carry + piece if carry else piece
        # The rest is read too, because the checksum stands at the very end.
        padding = 0
        for rest in chain([carry], self._pieces):
            padding += len(rest)
            if padding > _MAX_PADDING or rest.strip(b"\0"):
                raise MaskFileError(
                    f"{self._filename}: the file goes on after the {header.voxels} voxels of its header; "
                    "write it again with the program that made it"
                )


def _pieces(stream: BinaryIO, filename: str) -> Iterator[bytes]:
    """The file's bytes, inflated where it is gzip, in pieces of at most `CHUNK_BYTES`."""
    head = stream.read(_READ_BYTES)
    if not head.startswith(_GZIP_MAGIC):
        yield head
        while piece := stream.read(CHUNK_BYTES):
            yield piece
        return
    while head:
        inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        while not inflater.eof:
            if inflater.needs_input and not head and not (head := stream.read(_READ_BYTES)):
                # isal falls silent at the end of its input; only `eof` says that the member was whole.
                raise MaskFileError(f"{filename}: the gzip stream is cut off; fetch or write the file again")
            try:
                piece = inflater.decompress(head, max_length=CHUNK_BYTES)
            except igzip_lib.IsalError as error:  # type: ignore[misc]  # isal's stub names an instance
                raise MaskFileError(
                    f"{filename}: the gzip stream is damaged ({error}); fetch or write the file again"
                ) from error
            head = b""
            if piece:
                yield piece
        head = (inflater.unused_data or stream.read(_READ_BYTES)).lstrip(b"\0")
        while not head and (more := stream.read(_READ_BYTES)):
            head = more.lstrip(b"\0")
        if head and not head.startswith(_GZIP_MAGIC[: len(head)]):
            raise MaskFileError(
                f"{filename}: what follows the gzip stream is not gzip; fetch or write the file again"
            )


def parse_header(head: bytes, filename: str) -> Header:
    """Read the first 544 bytes of an (inflated) file.

    The affine is the sform where its code is set, else the qform, as nibabel takes it. A file with neither is
    refused: nothing in it says which side is left. A sheared grid is refused too: its qform cannot say the
    same, so programs would disagree about where the mask lies.

    Raises:
        MaskFileError: What is wrong, and what to do about it.
    """

    def refuse(found: str, remedy: str) -> MaskFileError:
        return MaskFileError(f"{filename}: {found}; {remedy}")

    from nibabel.nifti1 import Nifti1Header  # 0.13 s, so not when the command line starts
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    order = next((o for o in "<>" if int.from_bytes(head[:4], _ORDER[o]) in _HEADER_BYTES), None)
    size = int.from_bytes(head[:4], _ORDER[order]) if order else 0
    if order is None or len(head) < size:
        raise refuse(*_foreign(head, filename))
    magic = head[344:348] if size == 348 else head[4:8]
    if magic[:3] not in (b"n+1", b"n+2"):
        half = PAIR if magic[:3] in (b"ni1", b"ni2") else ANALYZE
        raise refuse(half.what, half.remedy)
    fields = (Nifti1Header if size == 348 else Nifti2Header)(head[:size], endianness=order, check=False)

    axes = int(fields["dim"][0])
    if not 1 <= axes <= 7:
        raise refuse(f"a header of {axes} axes, where NIfTI has 1 to 7", "write the file again")
    dims = [int(n) for n in fields["dim"][1 : 1 + axes]]
    if min(dims) < 1:
        raise refuse(f"shape {tuple(dims)}, with an axis of no voxels", "write the file again")
    while len(dims) > 3 and dims[-1] == 1:
        dims.pop()
    if len(dims) != 3:
        raise refuse(f"shape {tuple(dims)} instead of three axes", "save one 3D volume per file")
    try:
        dtype = fields.get_data_dtype()
        slope, inter = fields.get_slope_inter()
    except KeyError as error:
        number = fields["datatype"].item()
        raise refuse(f"data type {number}, which NIfTI does not have", "write the file again") from error
    except HeaderDataError as error:
        raise refuse(f"a header that cannot be read ({error})", "write the file again") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        number = fields["datatype"].item()
        kind = "complex numbers" if dtype.kind == "c" else _COLORS.get(number, f"NIfTI data type {number}")
        raise refuse(f"voxels are {kind}", "save a label map or image of plain integers or floats")
    begin = float(fields["vox_offset"]) or size + 4
    if not size <= begin < _MAX_OFFSET:
        raise refuse(f"voxels are said to begin at byte {begin:g}", "write the file again")
    geometry = _geometry(fields, (dims[0], dims[1], dims[2]), refuse)
    scaled = slope is not None and (slope, inter) != (1.0, 0.0)
    return Header(geometry, dtype, int(begin), slope if scaled else None, inter if scaled else None)


_ORDER: dict[str, Any] = {"<": "little", ">": "big"}


def _foreign(head: bytes, filename: str) -> tuple[str, str]:
    """What a file that is not NIfTI seems to be, and what to do about it."""
    if not head:
        return "the file is empty", "fetch or write it again"
    if kind := format_of_content(head) or _named(filename):
        return kind.what, kind.remedy
    text = head[:64].decode("ascii", errors="replace").strip()
    if text and text.isascii() and all(c.isprintable() or c.isspace() for c in text):
        line = text.splitlines()[0][:30]
        return f"text, not NIfTI (it begins with {line!r})", "fetch or write the file again"
    return "not a NIfTI file", "convert it to NIfTI (.nii.gz)"


def _named(filename: str) -> Format | None:
    """The format that the file's name promises, where its content tells nothing: the voxels of a pair."""
    found = format_of_name(filename)
    return found[1] if found else None


def _geometry(
    fields: Any, shape: tuple[int, int, int], refuse: Callable[[str, str], MaskFileError]
) -> Geometry:
    """The affine of a nibabel header by nibabel's order of preference, checked."""
    from nibabel.spatialimages import HeaderDataError

    if (fields["pixdim"][1:4] < 0).any():
        raise refuse(
            "a negative voxel size, from which programs draw different conclusions about left and right",
            "write the file again, and look that its sides are right",
        )
    if fields["pixdim"][0] not in (-1, 1):
        fields["pixdim"][0] = 1  # The NIfTI-1 text: anything but -1 or 1 is to be read as 1.
    notes = []
    with np.errstate(all="ignore"):  # What overflows is refused below.
        sform, qform = fields.get_sform(coded=True)[0], None
        try:
            qform = fields.get_qform(coded=True)[0]
        except (HeaderDataError, ValueError) as error:
            if sform is None:
                raise refuse(
                    f"an orientation that cannot be read ({error})", "write the file again"
                ) from error
            notes.append(f"the qform cannot be read ({error}): the sform is taken")
        if sform is not None and not sform[:3, :3].any() and qform is not None:
            # Announced but never filled in. SimpleITK takes the qform then too, nibabel the zeros.
            notes.append("the sform is all zeros: the qform is taken")
            sform = None
        affine = sform if sform is not None else qform
        if affine is None:
            raise refuse(
                "neither sform nor qform is set, so nothing says which side is left",
                f"set the orientation, {_COPY_IT}",
            )
        affine = np.array(affine, np.float64)
        spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if not (np.isfinite(affine).all() and np.isfinite(spacing).all()):
        raise refuse("an affine that is not finite", f"set the orientation anew, {_COPY_IT}")
    if spacing.min() <= 0:
        raise refuse("an affine with an axis of no length", f"set the orientation anew, {_COPY_IT}")
    directions = affine[:3, :3] / spacing
    cosines = np.abs(directions.T @ directions - np.eye(3))
    if cosines.max() > _MAX_SHEAR:
        degrees = np.degrees(np.arcsin(min(1.0, cosines.max())))
        raise refuse(f"a grid sheared by {degrees:.1f} degrees", "resample image and mask to right angles")
    if sform is not None:
        with np.errstate(all="ignore"):
            notes += _against_sform(fields, Geometry(shape, affine), qform)
    mm = _MM_PER_UNIT.get(int(fields["xyzt_units"]) & 7, 1.0)
    if mm != 1.0:
        affine[:3] *= mm
        notes.append(f"lengths are given in units of {mm:g} mm and were converted")
    if spacing.min() * mm < _VOXEL_MM[0] or spacing.max() * mm > _VOXEL_MM[1]:
        raise refuse(
            f"voxels of {_sizes(spacing * mm)} mm",
            "correct the spacing, or the unit of length (xyzt_units), in the header",
        )
    return Geometry(shape, affine, "; ".join(notes) or None)


def _against_sform(fields: Any, grid: Geometry, qform: NDArray[np.float64] | None) -> list[str]:
    """What else the header says of the grid that its sform gives, where another program may follow that."""
    spacing = np.array(grid.spacing_mm)
    if qform is None:
        pixdim = np.array(fields["pixdim"][1:4], np.float64)
        if (np.abs(pixdim - spacing) * grid.shape <= _MAX_FORM_SHIFT * spacing).all():
            return []
        # SimpleITK 2.5 takes the directions from the sform and the spacing from pixdim.
        return [
            f"pixdim says voxels of {_sizes(pixdim)} mm, the sform {_sizes(spacing)} mm: "
            "the sform is taken (SimpleITK may not)"
        ]
    theirs = Geometry(grid.shape, qform)
    if not np.isfinite(theirs.directions).all():
        return ["the qform has an axis of no length: the sform is taken (SimpleITK may not)"]
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * [*grid.shape, 1]
    shift_mm = np.linalg.norm(((grid.affine - qform) @ corners.T)[:3], axis=0).max()
    if shift_mm <= _MAX_FORM_SHIFT * spacing.min():
        return []
    turned = (
        ""
        if theirs.axis_codes == grid.axis_codes
        else f" (axes {grid.axis_codes} against {theirs.axis_codes})"
    )
    return [
        f"sform and qform differ by up to {shift_mm:.3g} mm{turned}: the sform is taken (SimpleITK may not)"
    ]


def _sizes(lengths: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{n:.5g}" for n in lengths.tolist()) + ")"
