"""Odd files by what docs/files.md calls them, made by nibabel and gzip, then bent byte by byte."""

import bz2
import gzip
from collections.abc import Callable

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Extension

SHAPE = (6, 5, 4)
AFFINE = np.array([[-0.8, 0, 0, 100], [0, 0.8, 0, -50], [0, 0, 2.5, 30], [0, 0, 0, 1.0]])  # LAS
Header = nibabel.Nifti1Header


def mask() -> np.ndarray:
    """12 voxels of 1 and one of 14."""
    array = np.zeros(SHAPE, np.uint8)
    array[1:4, 1:3, 1:3] = 1
    array[4, 4, 3] = 14
    return array


def nifti(array: np.ndarray, bend: Callable[[Header], None] | None = None, *, kind: type = nibabel.Nifti1Image,
          affine: np.ndarray = AFFINE, order: str = "<") -> bytes:  # fmt: skip
    """A file with sform and qform; `bend` changes its header and not its voxels."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(array.dtype)
    image = kind(array, affine, header)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    data = image.to_bytes()
    if bend is None:
        return data
    size = 348 if kind is nibabel.Nifti1Image else 540
    bent = kind.header_class(data[:size], endianness=order, check=False)
    bend(bent)
    return bytes(bent.binaryblock) + data[size:]


def fields(**values: object) -> Callable[[Header], None]:
    """Change fields of a header; pixdim1 is the second number of pixdim."""

    def bend(header: Header) -> None:
        for name, value in values.items():
            if name.startswith("pixdim"):
                header["pixdim"][int(name[6:])] = value
            else:
                header[name] = value

    return bend


def both_forms(affine: np.ndarray) -> Callable[[Header], None]:
    def bend(header: Header) -> None:
        header.set_sform(affine, 1)
        header.set_qform(affine, 1, strip_shears=True)

    return bend


def changed(row: int, column: int, number: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[row, column] = number
    return affine


def other_qform(affine: np.ndarray) -> Callable[[Header], None]:
    return lambda header: header.set_qform(affine, 1)


def scaled(slope: float, inter: float = 0.0) -> Callable[[Header], None]:
    return fields(scl_slope=slope, scl_inter=inter)


def dims(*lengths: int) -> Callable[[Header], None]:
    return fields(dim=np.array([len(lengths), *lengths, *[1] * (7 - len(lengths))]))


def with_extension() -> bytes:
    image = nibabel.Nifti1Image(mask(), AFFINE)
    image.header.extensions.append(Nifti1Extension("comment", b"drawn by hand" * 9))
    return image.to_bytes()


def dicom(uid: str) -> bytes:
    """The first bytes of a DICOM file that says what it is, as far as they are looked at."""
    return bytes(128) + b"DICM" + bytes(34) + uid.encode() + bytes(400)


_ROWS = {"srow_x": 0.0, "srow_y": 0.0, "srow_z": 0.0}
_PLAIN = nifti(mask())
_PACKED = gzip.compress(nifti(np.random.default_rng(1).integers(0, 9, (30, 30, 30), np.uint8)))
_BROKEN_CRC = _PACKED[:-8] + bytes([_PACKED[-8] ^ 1]) + _PACKED[-7:]
_TENTHS = np.where(mask() == 14, 139999, np.where(mask() == 1, 9990, 0)).astype(np.uint32)
_RGB = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
_NOISE = np.random.default_rng(2).integers(0, 3000, (32, 32, 32), np.int16)
_SEG, _CT = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.2"

# Read as mask().
READ = {
    "`.nii` and `.nii.gz`": gzip.compress(_PLAIN),
    "`.nii.gz` that is not packed, `.nii` that is": _PLAIN,
    "several gzip members in a row": gzip.compress(_PLAIN[:400]) + gzip.compress(_PLAIN[400:]),
    "zeros after the voxels, or after the gzip stream": gzip.compress(_PLAIN + bytes(16)) + bytes(512),
    "NIfTI-2": nifti(mask(), kind=nibabel.Nifti2Image),
    "big-endian": nifti(mask().astype(np.int16), order=">"),
    "integers of 8 to 64 bits, signed or not": nifti(mask().astype(np.uint64)),
    "float32 and float64 that hold integers": nifti(mask().astype(np.float64)),
    "labels scaled by scl_slope and scl_inter": nifti(_TENTHS, scaled(0.0001)),
    "scl_slope of 0, or not finite": nifti(mask(), scaled(0.0, 9.0)),
    "extensions between header and voxels": with_extension(),
    "a fourth axis of length 1": nifti(mask()[..., None, None]),
    "only a qform": nifti(mask(), fields(sform_code=0)),
    "only an sform": nifti(mask(), fields(qform_code=0)),
    "no unit of length, or one that NIfTI does not have": nifti(mask(), fields(xyzt_units=7)),
}
# Read as mask(), and the note in docs/files.md is made.
NOTED = {
    "sform and qform in different places": nifti(mask(), other_qform(changed(0, 3, 107))),
    "sform and qform along different axes": nifti(mask(), other_qform(np.diag([-1, 1, 1, 1]) @ AFFINE)),
    "pixdim against the sform": nifti(mask(), fields(qform_code=0, pixdim1=1.0, pixdim2=1.0, pixdim3=1.0)),
    "an sform that was never filled in": nifti(mask(), fields(**_ROWS)),
    "a qform that is no rotation": nifti(mask(), fields(quatern_b=5.0)),
    "a qform with a voxel size of 0": nifti(mask(), fields(pixdim3=0.0)),
    "lengths in metres": nifti(mask(), fields(xyzt_units=1), affine=np.diag([0.0008, 0.0008, 0.0025, 1])),
    "lengths in micrometres": nifti(mask(), fields(xyzt_units=3), affine=np.diag([800.0, 800.0, 2500.0, 1])),
}
# Refused with the words in docs/files.md.
REFUSED = {
    "empty": b"",
    "header without voxels": _PLAIN[:352],
    "fewer voxels than the header says": _PLAIN[:-7],
    "more voxels than the header says": _PLAIN + b"\1",
    "voxels that the file cannot hold": gzip.compress(nifti(mask(), dims(32767, 32767, 32767)), 0),
    "more zeros after the voxels than padding needs": gzip.compress(_PLAIN + bytes(10**6)),
    "gzip cut off": _PACKED[: len(_PACKED) // 2],
    "gzip with a wrong checksum": _BROKEN_CRC,
    "something else after the gzip stream": _PACKED + b"junk",
    "git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "a web page or message": b"404: Not Found\n",
    "half of a NIfTI pair (`.hdr`)": nifti(mask(), fields(magic=b"ni1")),
    "the other half (`.img`)": mask().tobytes() * 5,
    "Analyze 7.5": nifti(mask(), fields(magic=b"")),
    "DICOM": dicom(_CT),
    "DICOM-SEG": dicom(_SEG),
    "RTSTRUCT": dicom("1.2.840.10008.5.1.4.1.1.481.3"),
    "NRRD": b"NRRD0004\ntype: uchar\n",
    "MetaImage (`.mha`, `.mhd`)": b"ObjectType = Image\nNDims = 3\n",
    "FreeSurfer (`.mgz`)": gzip.compress(np.array([1, *SHAPE, 1, 0], ">i4").tobytes() + bytes(400)),
    "numpy (`.npy`)": b"\x93NUMPY\x01\x00" + bytes(120),
    "zip, bzip2, xz, zstd, 7z": bz2.compress(_PLAIN),
    "PNG, JPEG, TIFF": b"\x89PNG\r\n\x1a\n" + bytes(400),
    "any other file": bytes(range(256)) * 4,
    "four axes": nifti(np.zeros((3, 3, 3, 2), np.uint8)),
    "one slice without a third axis": nifti(np.zeros((3, 3), np.uint8)),
    "an axis of no voxels": nifti(mask(), dims(-6, 5, 4)),
    "more axes than there are": nifti(mask(), fields(dim=np.array([200, 6, 5, 4, 1, 1, 1, 1]))),
    "complex numbers": nifti(np.zeros(SHAPE, np.complex64)),
    "colors": nifti(_RGB),
    "single bits, or floats of 128 bits": nifti(mask(), fields(datatype=1)),
    "a data type that does not exist": nifti(mask(), fields(datatype=102)),
    "voxels inside the header, or nowhere": nifti(mask(), fields(vox_offset=np.nan)),
    "a scale that is infinite": nifti(mask(), scaled(1.0, np.inf)),
    "no orientation": nifti(mask(), fields(sform_code=0, qform_code=0)),
    "sheared": nifti(mask(), both_forms(changed(1, 2, 0.9))),
    "an axis that goes nowhere": nifti(mask(), fields(srow_y=0.0)),
    "NaN in the affine": nifti(mask(), fields(srow_x=np.nan)),
    "a negative voxel size": nifti(mask(), fields(pixdim1=-0.8)),
    "voxels too large or too small for a body": nifti(mask(), fields(xyzt_units=1)),
    "labels that are not integers": nifti(mask() * np.float32(0.5)),
    "an image instead of a mask": nifti(_NOISE),
}  # fmt: skip
NAMES = {"the other half (`.img`)": "m.img"}
