"""A CT series in DICOM: what each slice says of itself, whether the slices make one volume, and that volume in HU."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from curation.errors import MaskFileError, kind_and_first_line
from curation.geometry import Geometry

# SOP classes, https://dicom.nema.org/medical/dicom/current/output/html/part04.html#sect_B.5
_CT = "1.2.840.10008.5.1.4.1.1.2"
_MULTI_FRAME_CT = frozenset({"1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"})
_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
# Rescale Type of CT, https://dicom.nema.org/medical/dicom/current/output/html/part03.html#sect_C.11.1.1.2: "US" is
# "unspecified" and stands in many CT files that are HU; the values themselves are looked at later.
_MAY_BE_HU = frozenset({"", "HU", "US", "HU_MOD"})
# Shares of the distance of slices: how far one may lie from its even place (some scanners round to 0.1 mm), and
# below which two lie in one place.
_ASIDE, _TOGETHER = 0.1, 0.05
# Cosine of 0.6°, as of two axes of a NIfTI grid in `curation.nifti`: more is a tilted gantry.
_TILTED = 0.01
# Of a pixel's size, or of 1 for a direction cosine.
_SAME = 1e-3
_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription",
    "NumberOfFrames", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "RescaleSlope", "RescaleIntercept", "RescaleType",
)  # fmt: skip
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Plane:
    """Where the pixels of a slice lie in the patient, in LPS+ millimetres.

    `position` is the centre of the first pixel; columns count along `along_row`, rows along `along_column` (unit
    vectors); `pixel_mm` is the size of a pixel in these two directions.
    """

    position: tuple[float, ...]
    along_row: tuple[float, ...]
    along_column: tuple[float, ...]
    pixel_mm: tuple[float, ...]

    @property
    def directions(self) -> tuple[float, ...]:
        """As ImageOrientationPatient has them."""
        return self.along_row + self.along_column


@dataclass(frozen=True)
class CtSlice:
    """What one DICOM file of a CT says of itself, its pixels apart.

    Attributes:
        filename: How errors name it.
        series, description: SeriesInstanceUID, and number and description of the series for people.
        instance: SOPInstanceUID; two files with one are copies.
        frames: 1, or of a file of several; 0 for an enhanced CT, which is a volume of its own kind.
        rows, columns: Of pixels.
        plane: Its place, or the names of the elements that do not say it.
        slope, intercept: What makes HU of the stored values.
        unit: Rescale Type.
    """

    filename: str
    series: str
    description: str
    instance: str
    frames: int
    rows: int
    columns: int
    plane: Plane | tuple[str, ...]
    slope: float
    intercept: float
    unit: str


@dataclass(frozen=True, eq=False)
class CtVolume:
    """Slices in their order along the patient, and the grid of the volume that they make.

    The grid's axes are column, row, slice, so that an array on it is (columns, rows, slices).
    """

    slices: tuple[CtSlice, ...]
    geometry: Geometry


def read_slice_head(stream: BinaryIO, filename: str) -> CtSlice | None:
    """Read what comes before the pixels.

    Returns:
        None for a file that is not DICOM, or DICOM of another kind: a segmentation, a directory, an MR.

    Raises:
        MaskFileError: It is called a DICOM file and cannot be read as one: a slice would be lost unnoticed.
    """
    import pydicom  # half a second, so not when the command line starts
    from pydicom.errors import InvalidDicomError

    try:
        head = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(_TAGS))
        kind = str(head.get("SOPClassUID", ""))
        return _ct_slice(head, filename) if kind == _CT or kind in _MULTI_FRAME_CT else None
    except InvalidDicomError:
        if not filename.lower().endswith(_DICOM_SUFFIXES):
            return None
        raise MaskFileError(f"{filename}: not DICOM, though it is called so; fetch it again") from None
    except Exception as error:
        # pydicom raises whatever a damaged element makes its parsers raise.
        found = kind_and_first_line(error)
        raise MaskFileError(f"{filename}: a damaged DICOM file ({found}); fetch it again") from error


def _ct_slice(head: Any, filename: str) -> CtSlice:
    number, name = head.get("SeriesNumber"), str(head.get("SeriesDescription", "") or "").strip()
    return CtSlice(
        filename=filename,
        series=str(head.get("SeriesInstanceUID", "")),
        description=" ".join(filter(None, (str(number) if number is not None else "", name))),
        instance=str(head.get("SOPInstanceUID", "")),
        frames=0 if str(head.SOPClassUID) in _MULTI_FRAME_CT else int(head.get("NumberOfFrames") or 1),
        rows=int(head.get("Rows") or 0),
        columns=int(head.get("Columns") or 0),
        plane=_plane(head),
        slope=_number(head.get("RescaleSlope"), 1.0),
        intercept=_number(head.get("RescaleIntercept"), 0.0),
        unit=str(head.get("RescaleType", "") or "").strip().upper(),
    )


def _plane(head: Any) -> Plane | tuple[str, ...]:
    wanted = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    found = {name: _numbers(head.get(name), count) for name, count in wanted.items()}
    position, orientation, spacing = found.values()
    if position is None or orientation is None or spacing is None:
        return tuple(name for name, numbers in found.items() if numbers is None)
    # Pixel Spacing gives the distance between rows first, which is a pixel's size along a column.
    return Plane(position, orientation[:3], orientation[3:], spacing[::-1])


def _number(value: Any, default: float) -> float:
    return default if value in (None, "") else float(value)


def _numbers(values: Any, count: int) -> tuple[float, ...] | None:
    if values in (None, "") or len(values) != count:
        return None
    numbers = tuple(float(v) for v in values)
    return numbers if all(math.isfinite(n) for n in numbers) else None


def order_slices(slices: Sequence[CtSlice], where: str) -> CtVolume:
    """Put the slices of one series in order and find their grid.

    Args:
        slices: One or more, of one series, in any order.
        where: How errors name the series.

    Raises:
        MaskFileError: They do not make one even volume in HU; says what was found, where, and what to do.
    """
    planes = [_checked_plane(one) for one in slices]
    first, plane = slices[0], planes[0]
    if len(slices) == 1:
        raise MaskFileError(f"{where}: one slice only, {first.filename}; give the folder of the whole series")
    for one, other in zip(slices, planes, strict=True):
        _check_alike(first, plane, one, other)
    along_row, along_column = np.array(plane.along_row), np.array(plane.along_column)
    normal = np.cross(along_row, along_column)
    positions = np.array([one.position for one in planes], np.float64)
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    ordered = tuple(slices[k] for k in order.tolist())
    positions, heights = positions[order], heights[order]
    _check_gaps(ordered, heights, where)
    step = (positions[-1] - positions[0]) / (len(ordered) - 1)
    sideways = step - (step @ normal) * normal
    if np.linalg.norm(sideways) > _TILTED * np.linalg.norm(step):
        raise MaskFileError(
            f"{where}: each slice lies {np.linalg.norm(sideways):.3g} mm aside of the one before (a tilted "
            "gantry); straighten it with dcm2niix, which writes a .nii.gz"
        )
    lps = np.column_stack([along_row * plane.pixel_mm[0], along_column * plane.pixel_mm[1], step])
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ lps
    affine[:3, 3] = _LPS_TO_RAS @ positions[0]
    return CtVolume(ordered, Geometry((first.columns, first.rows, len(ordered)), affine))


def _checked_plane(one: CtSlice) -> Plane:
    """The place of a slice; refuses what is no plain slice in HU with one."""

    def refuse(found: str, remedy: str) -> MaskFileError:
        return MaskFileError(f"{one.filename}: {found}; {remedy}")

    if one.frames != 1:
        raise refuse("a multi-frame (enhanced) CT, not a slice", "convert it to .nii.gz with dcm2niix")
    plane = one.plane
    if not isinstance(plane, Plane):
        raise refuse(f"has no {', '.join(plane)}, so no place in the patient", "export the series again")
    row, column = np.array(plane.along_row), np.array(plane.along_column)
    off = (abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1), abs(row @ column))
    if max(off) > _TILTED or min(plane.pixel_mm) <= 0 or min(one.rows, one.columns) < 1:
        raise refuse(
            f"ImageOrientationPatient {_listed(plane.directions)}, pixels of {_listed(plane.pixel_mm)} mm, "
            f"{one.columns} × {one.rows} of them: not a grid",
            "export the series again",
        )
    if one.unit not in _MAY_BE_HU:
        raise refuse(f"its values are {one.unit} (RescaleType), not HU", "give the series of the CT itself")
    return plane


def _check_alike(first: CtSlice, plane: Plane, one: CtSlice, other: Plane) -> None:
    """Refuse a slice (`one`, lying at `other`) of another size or direction than the first has."""
    apart = "these are two stacks in one series: put each into a folder of its own"
    if (first.rows, first.columns) != (one.rows, one.columns):
        raise MaskFileError(
            f"{one.filename}: {one.columns} × {one.rows} pixels, {first.filename} has "
            f"{first.columns} × {first.rows}; {apart}"
        )
    mine, theirs = np.array(plane.pixel_mm), np.array(other.pixel_mm)
    if (np.abs(mine - theirs) > _SAME * mine).any():
        raise MaskFileError(
            f"{one.filename}: pixels of {_listed(other.pixel_mm)} mm, {first.filename} has "
            f"{_listed(plane.pixel_mm)} mm; {apart}"
        )
    if (np.abs(np.array(plane.directions) - np.array(other.directions)) > _SAME).any():
        raise MaskFileError(
            f"{one.filename}: orientation {_listed(other.directions)}, {first.filename} has "
            f"{_listed(plane.directions)}: one of them may be a localizer; {apart}"
        )


def _check_gaps(ordered: Sequence[CtSlice], heights: NDArray[np.float64], where: str) -> None:
    """Refuse slices that lie twice in one place, or not evenly one after the other.

    Args:
        ordered: At least two.
        heights: Their places along the normal, in mm, rising.
        where: How errors name the series.
    """
    gaps = np.diff(heights)
    # Of the gaps that are any: in a series of several time points most are none.
    usual = float(np.median(gaps[gaps > _SAME])) if (gaps > _SAME).any() else 0.0
    twice = np.flatnonzero(gaps <= max(_SAME, _TOGETHER * usual))
    if len(twice):
        one, other = ordered[twice[0]], ordered[twice[0] + 1]
        copies = [i for i, n in Counter(s.instance for s in ordered).items() if n > 1]
        if copies and one.instance == other.instance:
            raise MaskFileError(
                f"{where}: {one.filename} and {other.filename} are copies of one slice; delete one of them"
            )
        raise MaskFileError(
            f"{where}: {len(twice)} slices lie where another lies ({one.filename} and {other.filename}): several "
            "time points or phases; put the slices of one into a folder of its own"
        )
    even = heights[0] + (heights[-1] - heights[0]) / len(gaps) * np.arange(len(heights))
    if np.abs(heights - even).max() <= _ASIDE * usual:
        return
    steps = np.rint(gaps / usual)  # two where one slice is missing
    wide = np.flatnonzero(steps > 1)
    if 0 < len(wide) < len(gaps) / 2 and (np.abs(gaps / usual - steps) <= 2 * _ASIDE).all():
        one, other = ordered[wide[0]], ordered[wide[0] + 1]
        missing = int((steps - 1).sum())
        raise MaskFileError(
            f"{where}: {missing} of {len(ordered) + missing} slices {'is' if missing == 1 else 'are'} missing, "
            f"the first between {one.filename} and {other.filename} ({gaps[wide[0]]:.4g} mm apart instead of "
            f"{usual:.4g}); fetch the series again"
        )
    raise MaskFileError(
        f"{where}: slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart; a volume needs one distance: "
        "give an even reconstruction, or resample it with dcm2niix"
    )


def _listed(numbers: Iterable[float]) -> str:
    return "(" + ", ".join(f"{n:.6g}" for n in numbers) + ")"


def volume_hu(volume: CtVolume, files: Iterator[bytes]) -> NDArray[np.int16 | np.float32]:
    """Unpack the slices and make HU of them.

    Args:
        volume: As ordered.
        files: The bytes of its files, in its order; one is held at a time.

    Returns:
        (columns, rows, slices), first axis fastest in memory; int16 where that holds every value, else float32.

    Raises:
        MaskFileError: Pixels that are compressed in a way that nothing installed unpacks, or damaged ones.
    """
    whole = all(one.slope.is_integer() and one.intercept.is_integer() for one in volume.slices)
    array: NDArray[Any] = np.empty(volume.geometry.shape, np.int16 if whole else np.float32, order="F")
    limits = np.iinfo(np.int16)
    for k, (one, data) in enumerate(zip(volume.slices, files, strict=True)):
        values = _stored_values(data, one).astype(np.float64) * one.slope + one.intercept
        if array.dtype == np.int16 and (values.min() < limits.min or values.max() > limits.max):
            array = array.astype(np.float32, order="F")
        array[:, :, k] = values.T
    return array


def _stored_values(data: bytes, one: CtSlice) -> NDArray[Any]:
    """The pixels as they are stored, (rows, columns)."""
    import pydicom

    dataset = pydicom.dcmread(BytesIO(data))
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    try:
        pixels: NDArray[Any] = dataset.pixel_array
    except Exception as error:
        # As for the header: what a damaged file makes pydicom and the decoders raise is nowhere listed.
        lines = str(error).split("\n") if str(error) else [type(error).__name__]
        if (
            isinstance(error, RuntimeError | NotImplementedError)
            and syntax is not None
            and syntax.is_compressed
        ):
            # pydicom says in one line that no decoder did it, and below what each of them lacks or refuses.
            each = "; ".join(line.strip() for line in lines[1:]).replace(";", ",") or lines[0]
            raise MaskFileError(
                f"{one.filename}: compressed as {syntax.name}, which no installed decoder unpacks ({each}); "
                "`pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg`, or unpack the series with "
                "`gdcmconv --raw`"
            ) from error
        raise MaskFileError(
            f"{one.filename}: its pixels cannot be read ({lines[0]}); fetch it again"
        ) from error
    if pixels.shape != (one.rows, one.columns):
        raise MaskFileError(
            f"{one.filename}: pixels of shape {pixels.shape} instead of {(one.rows, one.columns)}; "
            "give grey slices, one a file"
        )
    return pixels
