"""From a CT volume to a network's input and back: crop, pad, resize, normalize; all volumes are in RAS."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from curation.labels import IGNORE

Triple = tuple[int, int, int]

# What one slab of class scores may take while it is brought to the original grid.
_SLAB_BYTES = 96 << 20
# Loading numba takes half a second, about what the compiled loops save on this many voxels.
_KERNELS_PAY_FROM = 3_000_000


@dataclass(frozen=True)
class Box:
    """A part of a RAS volume, in voxels, half open."""

    start: Triple
    stop: Triple

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> "Box":
        """The box of everything."""
        return cls((0, 0, 0), (shape[0], shape[1], shape[2]))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """To index an array (X, Y, Z)."""
        x, y, z = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return x, y, z

    @property
    def shape(self) -> Triple:
        """Voxels along x, y, z."""
        x, y, z = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return x, y, z

    def grown(self, margin_mm: float, spacing_mm: tuple[float, float, float], shape: Triple) -> "Box":
        """The box with a margin, in whole voxels rounded up, cut at the volume's border."""
        extra = [int(np.ceil(margin_mm / s)) for s in spacing_mm]
        x0, y0, z0 = (max(0, a - e) for a, e in zip(self.start, extra, strict=True))
        x1, y1, z1 = (min(n, b + e) for b, e, n in zip(self.stop, extra, shape, strict=True))
        return Box((x0, y0, z0), (x1, y1, z1))


def foreground_box(labels: NDArray[np.uint8]) -> Box | None:
    """The smallest box around every drawn voxel of a label map (X, Y, Z); None where nothing is drawn.

    Unresolved structures (200–239) are foreground, ignored voxels (255) are not.
    """
    drawn = (labels != 0) & (labels != IGNORE)
    start, stop = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        found = np.flatnonzero(drawn.any(axis=others))
        if len(found) == 0:
            return None
        start.append(int(found[0]))
        stop.append(int(found[-1]) + 1)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


@dataclass(frozen=True)
class Placement:
    """How a crop of shape `crop` lies in a network's input of `size`: first padded to `padded`, then resized.

    The crop starts at voxel `before` of the padded volume.
    """

    crop: Triple
    padded: Triple
    before: Triple
    size: Triple

    @classmethod
    def plan(cls, crop: Triple, size: Triple, *, pad: bool) -> "Placement":
        """With `pad`, axes shorter than the input are padded evenly on both sides (the paper's fine stage).

        Without `pad` the crop fills the input: short axes are enlarged.
        """
        x, y, z = (max(n, s) if pad else n for n, s in zip(crop, size, strict=True))
        a, b, c = ((p - n) // 2 for p, n in zip((x, y, z), crop, strict=True))
        return cls(crop, (x, y, z), (a, b, c), size)

    def _pad(self, volume: Tensor, value: float) -> Tensor:
        if self.padded == self.crop:
            return volume
        ends: list[int] = []
        for axis in (2, 1, 0):  # torch wants the last axis first
            before = self.before[axis]
            ends += [before, self.padded[axis] - self.crop[axis] - before]
        return F.pad(volume, ends, value=value)

    def image(self, crop_hu: Tensor | NDArray[Any], window_hu: tuple[float, float]) -> Tensor:
        """Bring a crop in HU, (X, Y, Z), to the input: (1, *size), float32, clipped, z-scored over the input.

        Padding is air. Resizing comes before clipping, as in the published code. The crop may be any view of a
        volume, in its own number type: only the voxels that an output lies between are read.
        """
        low, high = window_hu
        at_input = self._resized_image(crop_hu, low).clamp(low, high)
        mean, spread = at_input.mean(), at_input.std()
        return at_input.sub_(mean).div_(spread + 1e-5)

    def _resized_image(self, crop_hu: Tensor | NDArray[Any], padding: float) -> Tensor:
        """The crop padded and resized, (1, *size) float32."""
        if isinstance(crop_hu, np.ndarray):
            kernels = _kernels(crop_hu.size)
            if kernels is not None:
                return self._resized_by(kernels, crop_hu, padding)[None]
            crop_hu = torch.from_numpy(np.ascontiguousarray(crop_hu))
        padded = self._pad(crop_hu.to(torch.float32)[None, None], padding)
        if self.padded != self.size:
            padded = F.interpolate(padded, size=self.size, mode="trilinear", align_corners=False)
        return padded[0]

    def _resized_by(self, kernels: ModuleType, crop_hu: NDArray[Any], padding: float) -> Tensor:
        backwards = [stride < 0 for stride in crop_hu.strides]
        volume = crop_hu[tuple(slice(None, None, -1 if back else 1) for back in backwards)]
        if volume.dtype not in (np.int16, np.float32):
            volume = volume.astype(np.float32)
        axes = []
        for axis, back in enumerate(backwards):
            below, above, share = _linear(self.padded[axis], self.size[axis], 0, self.size[axis])
            before = self.before[axis]
            axes.append(
                kernels.axis_inside(below - before, above - before, share, self.crop[axis], flipped=back)
            )
        out = np.empty(self.size, np.float32, order="F")
        _in_parts(self.size[2], lambda first, last: kernels.resize(volume, *axes, padding, first, last, out))
        return torch.from_numpy(out).contiguous()

    def labels(self, crop: Tensor) -> Tensor:
        """Bring a crop of labels, (X, Y, Z) uint8, to the input by nearest neighbour: (1, *size) uint8."""
        padded = self._pad(crop[None, None], 0)
        if self.padded != self.size:
            padded = F.interpolate(padded, size=self.size, mode="nearest-exact")
        return padded[0]

    def box_back(self, found: Box) -> Box:
        """Bring a box at the input to the crop's grid, rounded outwards and cut at the crop's border."""
        start, stop = [], []
        for axis in range(3):
            scale = self.padded[axis] / self.size[axis]
            first = int(np.floor(found.start[axis] * scale)) - self.before[axis]
            last = int(np.ceil(found.stop[axis] * scale)) - self.before[axis]
            start.append(min(max(0, first), self.crop[axis] - 1))
            stop.append(max(min(last, self.crop[axis]), start[axis] + 1))
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def back(self, logits: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Bring class scores (classes, *size) back to the crop's grid, a few axial slices at a time.

        Yields:
            The slices of the crop along z, and their scores, (slices, classes, X, Y). All of them at once
            would take gigabytes: 15 classes of 400×350×280 voxels in float32 are 2.4 GB.
        """
        classes = logits.shape[0]
        x, y, z = self.crop
        step = max(1, _SLAB_BYTES // (4 * classes * self.padded[0] * self.padded[1]))
        below, above, share = (
            torch.from_numpy(column).to(logits.device)
            for column in _linear(self.size[2], self.padded[2], self.before[2], z)
        )
        columns = slice(self.before[0], self.before[0] + x), slice(self.before[1], self.before[1] + y)
        by_slice = logits.permute(3, 0, 1, 2).contiguous()
        for first in range(0, z, step):
            part = slice(first, min(first + step, z))
            weight = share[part, None, None, None].to(by_slice.dtype)
            slab = torch.lerp(by_slice[below[part]], by_slice[above[part]], weight)
            if self.padded[:2] != self.size[:2]:
                slab = F.interpolate(slab, size=self.padded[:2], mode="bilinear", align_corners=False)
            yield part, slab[:, :, columns[0], columns[1]]

    def decide(
        self, logits: Tensor, winners: NDArray[np.uint8], *, exact: bool = False
    ) -> NDArray[np.floating[Any]]:
        """Choose a class for every voxel of the crop: the highest of the class scores brought back to its grid.

        Args:
            logits: Class scores, (classes, *size), two classes or more.
            winners: Takes the class of every voxel, (X, Y, Z); any view of a volume.
            exact: Probabilities in single precision, at several times the time.

        Returns:
            The class's probability (its share in the softmax), (X, Y, Z), first axis fastest.
        """
        # Half precision is enough for a mean, and the probabilities live until components are known.
        probability = np.empty(self.crop, np.float32 if exact else np.float16, order="F")
        kernels = _kernels(probability.size) if logits.device.type == "cpu" and not exact else None
        if kernels is None:
            for part, slab in self.back(logits):
                best, winner = torch.softmax(slab.float(), 1).max(1)
                winners[:, :, part] = winner.permute(1, 2, 0).to(torch.uint8).cpu().numpy()
                probability[:, :, part] = best.permute(1, 2, 0).cpu().numpy()
            return probability
        axes = [
            kernels.axis(*_linear(self.size[axis], self.padded[axis], self.before[axis], self.crop[axis]))
            for axis in range(3)
        ]
        scores, bits = logits.numpy(), probability.view(np.uint16)
        _in_parts(self.crop[2], lambda first, last: kernels.decide(scores, *axes, first, last, winners, bits))
        return probability


def _linear(
    size: int, padded: int, before: int, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Neighbours and weight for linear resizing of one axis, pixel centres as in `align_corners=False`.

    From `size` voxels to `padded` ones, of which `length` from `before` on are wanted.
    """
    at = np.arange(before, before + length, dtype=np.float64)
    at = ((at + 0.5) * size / padded - 0.5).clip(0, size - 1)
    below = np.floor(at).astype(np.int64)
    return below, (below + 1).clip(max=size - 1), (at - below).astype(np.float32)


def _in_parts(slices: int, work: Callable[[int, int], None]) -> None:
    """Do work on ranges of slices (half open), as many at a time as torch has threads."""
    threads = torch.get_num_threads()
    edges = np.linspace(0, slices, 2 * threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))


def _kernels(voxels: int) -> ModuleType | None:
    """The compiled loops; None where they do not pay or numba cannot be used, see `curation.compiled.load`."""
    return _loaded() if voxels >= _KERNELS_PAY_FROM else None


@cache
def _loaded() -> ModuleType | None:
    try:
        from pipelines.training import student_kernels
    except Exception:
        return None
    return student_kernels
