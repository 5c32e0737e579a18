"""Volumes in formats other than NIfTI: how to know them by content or name, and what to turn them into NIfTI with."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """A format that is not read, and what its user can do.

    `may_be_else`: among masks or images there are often files of this format that are neither, or that are
    there beside them on purpose, so that they are worth a note and no more.
    """

    what: str
    remedy: str
    may_be_else: bool = False


_ITK = "convert it to .nii.gz with 3D Slicer or SimpleITK"
_UNPACK = "unpack it"
_PICTURE = Format("a picture", "save the whole volume as .nii.gz")

GIT_LFS = Format("a git-LFS pointer, not the file itself", "run `git lfs pull`")
NRRD = Format("an NRRD file", _ITK)
META_IMAGE = Format("a MetaImage file", _ITK)
DICOM = Format("a DICOM file", "convert the series to .nii.gz with dcm2niix", may_be_else=True)
DICOM_SEG = Format("a DICOM segmentation", "convert it to .nii.gz with segimage2itkimage of dcmqi")
RTSTRUCT = Format(
    "contours in DICOM (RTSTRUCT)",
    "draw them into a .nii.gz on their image's grid, with dcmrtstruct2nii or 3D Slicer",
)
FREESURFER = Format("a FreeSurfer volume", "convert it with `nib-convert NAME.mgz NAME.nii.gz`")
PAIR = Format("half of a .hdr/.img pair", "join the two with `nib-convert NAME.hdr NAME.nii.gz`")
ANALYZE = Format("an Analyze header, which has no orientation", "convert it to .nii.gz from its original")
MINC = Format("a MINC file", "convert it with `nib-convert NAME.mnc NAME.nii.gz`")
NUMPY = Format(
    "a numpy array, which has no orientation",
    "save it as .nii.gz with the affine of its image",
    may_be_else=True,
)
PACKED = Format("an archive or packed by another program than gzip", _UNPACK)

_BY_CONTENT = (
    (b"version https://git-lfs", GIT_LFS),
    (b"NRRD", NRRD),
    (b"ObjectType", META_IMAGE),
    (b"NDims", META_IMAGE),
    (b"\x93NUMPY", NUMPY),
    (b"PK\x03\x04", PACKED),
    (b"BZh", PACKED),
    (b"\xfd7zXZ", PACKED),
    (b"7z\xbc\xaf\x27\x1c", PACKED),
    (b"\x28\xb5\x2f\xfd", PACKED),  # Zstandard
    (b"\x89PNG", _PICTURE),
    (b"\xff\xd8\xff", _PICTURE),  # JPEG
    (b"II*\x00", _PICTURE),  # TIFF, in either byte order
    (b"MM\x00*", _PICTURE),
    # The version of an MGH file, 1, with the first byte of its width: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat
    (b"\x00\x00\x00\x01\x00\x00", FREESURFER),
)
# What a DICOM file is stands in its first bytes as a UID: https://dicom.nema.org/medical/dicom/current/output/html/part04.html
_DICOM_KINDS = (
    (b"1.2.840.10008.5.1.4.1.1.66.4", DICOM_SEG),
    (b"1.2.840.10008.5.1.4.1.1.66.7", DICOM_SEG),  # as a label map
    (b"1.2.840.10008.5.1.4.1.1.481.3", RTSTRUCT),
)
_BY_SUFFIX = {
    ".nrrd": NRRD,
    ".nhdr": NRRD,
    ".mha": META_IMAGE,
    ".mhd": META_IMAGE,
    ".dcm": DICOM,
    ".ima": DICOM,
    ".mgz": FREESURFER,
    ".mgh": FREESURFER,
    ".mnc": MINC,
    ".hdr": PAIR,
    ".hdr.gz": PAIR,
    ".img": PAIR,
    ".img.gz": PAIR,
    ".npy": NUMPY,
    ".npz": NUMPY,
    ".nii.bz2": PACKED,
    ".nii.xz": PACKED,
    ".nii.zst": PACKED,
    ".nii.zip": PACKED,
}
_LAST_WORDS = frozenset(suffix.rpartition(".")[2] for suffix in _BY_SUFFIX)


def format_of_content(head: bytes) -> Format | None:
    """The foreign format whose files begin like this (some 500 bytes, inflated); None if none is known."""
    if head[128:132] == b"DICM":
        return next((kind for uid, kind in _DICOM_KINDS if uid in head), DICOM)
    return next((kind for mark, kind in _BY_CONTENT if head.startswith(mark)), None)


def format_of_name(name: str) -> tuple[str, Format] | None:
    """A file name without the suffix of a foreign volume, and its format; None for any other name."""
    words = name.split(".")
    if words[-1].lower() not in _LAST_WORDS:
        return None  # as most files in a folder of a hundred thousand
    for many in (2, 1):
        suffix = "." + ".".join(words[-many:])
        if len(suffix) < len(name) and (kind := _BY_SUFFIX.get(suffix.lower())):
            return name[: -len(suffix)], kind
    return None


@dataclass(frozen=True)
class ForeignFiles:
    """Files of one format in one folder. `line` names them, what they are, and what can be done."""

    first: Path
    kind: Format
    line: str


def foreign_files(folder: Path, names: Iterable[str]) -> list[ForeignFiles]:
    """Which of a folder's files are volumes in a format that is not read, by name: one entry per format.

    One entry, because a DICOM series has a file per slice, and because a pair has two.
    """
    groups: dict[Format, dict[str, str]] = defaultdict(dict)
    for name in names:
        if found := format_of_name(name):
            files = groups[found[1]]
            files[found[0]] = min(name, files.get(found[0], name))
    entries = []
    for kind, files in groups.items():
        first = min(files.values())
        where = (
            f"{folder / first}: " if len(files) == 1 else f"{folder}: {len(files)} files like {first}, each "
        )
        entries.append(ForeignFiles(folder / first, kind, f"{where}{kind.what}; {kind.remedy}"))
    return sorted(entries, key=lambda entry: entry.first)
