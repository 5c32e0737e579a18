"""What an image tells without being looked at: its names, its range, whether it can be HU, and each class's mean."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from curation.body import TumorOutside
from curation.errors import GridError, MaskFileError
from curation.geometry import Geometry
from curation.labels import TUMOR_ID
from curation.nifti import Header, NiftiReader
from curation.rle import RunLengths, distinct
from curation.status import Finding

_BINS = 1 << 16  # of one unit each, as many as int16 has values
_LOWEST = -(1 << 15)
# Air is -1000 HU by definition; scanners add noise and pad with one value far below (-2000, -2048, -3024).
_BELOW_AIR_HU = -1150
_MUCH = 0.05
# Fat is about -100 and bone above 300 HU: a body spans more than this.
_BODY_SPAN_HU = 100
# Compact bone stays below; enamel, metal and contrast agent in a syringe are above, and are never much.
_DENSEST_HU = 2000
# Fat is at -150 to -50, air far below: no part of a trunk is without both, and an MR's air lies around 0.
_FAT_HU, _LITTLE = -30, 0.005


@dataclass(frozen=True)
class Intensity:
    """Mean and standard deviation (of the voxels, not of a sample of them) over one class."""

    mean: float
    std: float


@dataclass(frozen=True, eq=False)
class ImageLook:
    """One image, read once.

    Attributes:
        geometry: Its grid.
        voxel_hash: BLAKE3 of voxels, shape and affine: the same for equal values in another data type or gzip.
        histogram_hash: BLAKE3 of RAS shape and histogram: the same in every orientation of one volume.
        low, high: Smallest and largest voxel, as scaled by the file.
        note: Why the values cannot be Hounsfield units; empty where they can.
        intensities: Value of the mask to mean and deviation over its voxels, in the image's own unit.
        findings: What the image says against the mask; nothing where the values are not HU.
    """

    geometry: Geometry
    voxel_hash: str
    histogram_hash: str
    low: float
    high: float
    note: str
    intensities: Mapping[int, Intensity]
    findings: tuple[Finding, ...]

    @property
    def is_hu(self) -> bool:
        """Whether the values can be Hounsfield units."""
        return not self.note


def look_at_image(data: bytes | BinaryIO, filename: str, runs: RunLengths | None = None) -> ImageLook:
    """Read an image once, piece by piece; neither it nor the mask is ever unfolded as a whole.

    Args:
        data: A .nii or .nii.gz file's bytes, or a binary stream at its beginning.
        filename: How errors name the file.
        runs: A mask on the image's grid, whose values are measured and whose tumor is looked for outside the body.

    Raises:
        MaskFileError: Not a readable three-dimensional volume of numbers, or NaN or infinite voxels.
        GridError: The mask has another shape.
    """
    reader = NiftiReader(data, filename)
    geometry = reader.header.geometry
    if runs is not None and runs.shape != geometry.shape:
        raise GridError(
            f"{filename}: has shape {geometry.shape}, its mask {runs.shape}; give the image of the mask"
        )
    digest, counts = blake3(), np.zeros(_BINS, np.int64)
    low, high = np.inf, -np.inf
    if runs is None:
        runs = RunLengths.empty(geometry.shape)
    sums = _ClassSums(runs)
    outside = TumorOutside(runs, geometry) if TUMOR_ID in runs.value else None
    at = 0
    for voxels in _scaled(reader, filename):
        digest.update(voxels.view(np.uint8).data)
        low, high = min(low, float(voxels.min())), max(high, float(voxels.max()))
        counts += np.bincount(_bins(voxels), minlength=_BINS)
        sums.feed(at, voxels)
        if outside is not None:
            outside.feed(at, voxels)
        at += len(voxels)
    # As a mask's: through float32, because a file keeps no more.
    affine = geometry.affine.astype(np.float32).astype(np.float64)
    digest.update(np.array(geometry.shape, "<i8").tobytes())
    digest.update(np.rint(affine * 1e4).astype("<i8").tobytes())
    histogram = blake3(np.array(geometry.shape_ras, "<i8").tobytes())
    histogram.update(counts.astype("<i8").tobytes())
    note = why_not_hu(low, high, counts)
    return ImageLook(
        geometry,
        digest.hexdigest(),
        histogram.hexdigest(),
        low,
        high,
        note,
        sums.intensities(),
        tuple(outside.findings()) if outside is not None and not note else (),
    )


def why_not_predictable(shape: Sequence[int], not_hu: str) -> str:
    """Why no network of ours should see an image, with what to do about it; empty where one may.

    Args:
        shape: Voxels along three axes.
        not_hu: What `why_not_hu` says of the values.
    """
    if flat := why_no_volume(shape):
        return f"{flat}; give the whole scan"
    if not_hu:
        return f"not in HU: {not_hu}; give the CT in Hounsfield units, as its scanner wrote it"
    return ""


def why_no_volume(shape: Sequence[int]) -> str:
    """Why three-dimensional networks can do nothing with an image of this shape; empty where they can."""
    if min(shape) >= 2:
        return ""
    return (
        f"{' × '.join(map(str, shape))} voxels: one slice is not a volume, and the networks know organs by "
        "what lies above and below"
    )


def why_not_hu(low: float, high: float, counts: NDArray[np.int64]) -> str:
    """Why voxels cannot be Hounsfield units, in words; empty where they can.

    Args:
        low: Smallest voxel.
        high: Largest voxel.
        counts: Voxels by value, rounded, from -32768 on.
    """
    if low == high:
        return f"every voxel is {low:g}"
    if low >= 0 and high <= 1:
        return f"values from {low:g} to {high:g}: scaled to 0 to 1"
    if low >= 0 and high <= 255:
        return f"values from {low:g} to {high:g}: grey levels of a window, not HU"
    if low >= 0:
        return f"no value below 0 (up to {high:g}): air is -1000 HU, so perhaps 1024 was added"
    if high - low < _BODY_SPAN_HU:
        return f"values from {low:g} to {high:g}: normalised, a body spans more than {_BODY_SPAN_HU} HU"
    dense = counts[_DENSEST_HU - _LOWEST :].sum() / counts.sum()
    if dense > _MUCH:
        return f"{dense:.0%} of the voxels lie above {_DENSEST_HU}, denser than bone: another unit, perhaps of an MR"
    if counts[: _FAT_HU - _LOWEST].sum() < _LITTLE * counts.sum():
        return (
            f"values from {low:g} to {high:g}, hardly any below {_FAT_HU}: neither fat nor air, perhaps an MR"
        )
    # The lowest value may be padding; a scanner's air is noisy.
    far_below = counts[: _BELOW_AIR_HU - _LOWEST].copy()
    far_below[max(int(np.rint(low)) - _LOWEST, 0) :][:1] = 0
    if far_below.sum() > _MUCH * counts.sum():
        where = int(np.argmax(far_below)) + _LOWEST
        return f"air lies near {where} instead of -1000 HU: perhaps 1024 was taken off twice"
    return ""


def _scaled(reader: NiftiReader, filename: str) -> Iterator[NDArray[np.float32]]:
    """The voxels in file order, as numbers of the file's unit; the same for every data type that holds them."""
    header: Header = reader.header
    for chunk in reader.chunks():
        if header.slope is not None and header.inter is not None:
            voxels = (chunk * np.float64(header.slope) + header.inter).astype(np.float32)
        else:
            voxels = chunk.astype(np.float32)
        if header.dtype.kind == "f" or header.slope is not None:
            if not np.isfinite(voxels).all():
                raise MaskFileError(f"{filename}: voxels are NaN or infinite; give them a value (air: -1024)")
            voxels += np.float32(0)  # -0.0 is 0.0
        yield voxels


def _bins(voxels: NDArray[np.float32]) -> NDArray[np.int64]:
    return (np.rint(voxels).clip(_LOWEST, -_LOWEST - 1) - _LOWEST).astype(np.int64)


class _ClassSums:
    """Sums of voxels and of their squares over the runs of a mask, while the image passes by in file order."""

    def __init__(self, runs: RunLengths) -> None:
        self._start, self._stop = runs.flat_start, runs.flat_stop
        self._values, self._of_run = distinct(runs.value)
        self._voxels: NDArray[Any] = np.bincount(
            self._of_run, weights=runs.lengths, minlength=len(self._values)
        )
        self._sum = np.zeros(len(self._values))
        self._squares = np.zeros(len(self._values))

    def feed(self, at: int, voxels: NDArray[np.float32]) -> None:
        """Take the image's next piece, (N,) in file order, whose first voxel is voxel `at` of the file."""
        first = int(np.searchsorted(self._stop, at, side="right"))
        last = int(np.searchsorted(self._start, at + len(voxels)))
        if first >= last:
            return
        edges = np.empty(2 * (last - first), np.int64)
        edges[0::2] = (self._start[first:last] - at).clip(min=0)
        edges[1::2] = (self._stop[first:last] - at).clip(max=len(voxels))
        begin = int(edges[0])
        # One more voxel, because reduceat takes no edge at the end; between the runs its sums are not used.
        part = np.append(voxels[begin : edges[-1]], np.float32(0)).astype(np.float64)
        edges -= begin
        of_run = self._of_run[first:last]
        for total, terms in ((self._sum, part), (self._squares, part * part)):
            total += np.bincount(of_run, weights=np.add.reduceat(terms, edges)[0::2], minlength=len(total))

    def intensities(self) -> dict[int, Intensity]:
        """Label value to mean and deviation, once the whole image has passed."""
        mean = self._sum / self._voxels
        variance = (self._squares / self._voxels - mean**2).clip(min=0)
        return {
            int(value): Intensity(float(m), float(s))
            for value, m, s in zip(self._values.tolist(), mean, np.sqrt(variance), strict=True)
        }
