"""The student's training data: brought to a network's input once and cached, drawn in a seeded order."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from monai.transforms import Compose
from numpy.typing import NDArray
from torch.utils.data import Dataset

from curation.errors import CurationError, GridError
from curation.labels import CLASS_IDS
from curation.volumes import decode_geometry, decode_image, decode_mask
from pipelines.profiles import StudentStage
from pipelines.training.jobs import JobCase
from pipelines.training.prepared_files import PreparedFiles, put_whole
from pipelines.training.student_transforms import IMAGE, LABEL, MISSING
from pipelines.training.student_volumes import Box, Placement, foreground_box

# Raise it when preparing changes, so that nothing prepared the old way is taken for new.
CACHE_VERSION = 1
# numpy parses an array's header as Python, and CPython before 3.11.8 loses count of the depth, with a SystemError,
# when two threads parse at once (its issue 106905). `prepare` runs on several.
_HEADER_READ = Lock()


@dataclass(frozen=True)
class Prepared:
    """A member at the network's input: two files of the cache, and the class ids nobody looked for or a model drew."""

    case: str
    image_file: Path
    labels_file: Path
    missing: tuple[int, ...] = ()
    pseudo: tuple[int, ...] = ()

    def load(self) -> dict[str, torch.Tensor]:
        """Image float32 and label uint8, each (1, X, Y, Z); missing classes bool (classes,), background first."""
        image = torch.from_numpy(np.load(self.image_file).astype(np.float32))
        return {IMAGE: image, LABEL: self.labels(), MISSING: self.missing_mask()}

    def labels(self) -> torch.Tensor:
        """Label values uint8, (1, X, Y, Z)."""
        with np.load(self.labels_file) as labels:
            return torch.from_numpy(labels["labels"])

    def missing_mask(self) -> torch.Tensor:
        """Which classes nobody looked for: (classes,) bool, background first."""
        mask = torch.zeros(len(CLASS_IDS) + 1, dtype=torch.bool)
        mask[list(self.missing)] = True
        return mask


class Cache:
    """Prepared arrays on disk under the hash of what they were made from, shared by the students of a workspace.

    Labels depend on mask and settings, images on image, crop and settings: a second student, trained on the
    same images with other masks, finds the images of the coarse stage already there.
    """

    def __init__(self, folder: Path) -> None:
        self._files = PreparedFiles(folder)

    def prepare(self, member: JobCase, stage: StudentStage, margin_mm: float | None) -> Prepared:
        """Bring one member to the input of one stage, or find that this was done before.

        Args:
            margin_mm: Around the labels' bounding box (fine stage); None takes the whole image (coarse).

        Raises:
            CurationError: Unreadable files, grids that differ, a mask with nothing drawn.
        """
        if member.mask is None:
            raise CurationError(f"{member.case}: has no mask to train on; leave it out of the dataset")
        recipe = [CACHE_VERSION, stage.size, stage.pad, margin_mm]
        labels_file = self._files.file("labels", "npz", [self._files.content(member.mask), recipe])
        self._files.mark(member.case, labels_file)
        if not labels_file.is_file():
            self._prepare_labels(member.case, member.mask, stage, margin_mm, labels_file)
        with _HEADER_READ, np.load(labels_file) as labels:
            box = Box(tuple(labels["box"][0].tolist()), tuple(labels["box"][1].tolist()))
        of_image = [*recipe, stage.window_hu, box.start, box.stop]
        image_file = self._files.file("image", "npy", [self._files.content(member.image), of_image])
        self._files.mark(member.case, image_file)
        if not image_file.is_file():
            self._prepare_image(member.case, member.image, member.mask, stage, box, image_file)
        return Prepared(member.case, image_file, labels_file, member.missing, member.pseudo)

    def _prepare_labels(
        self, case: str, mask: Path, stage: StudentStage, margin_mm: float | None, file: Path
    ) -> None:
        geometry, runs = decode_mask(mask.read_bytes(), str(mask))
        labels = np.ascontiguousarray(geometry.to_ras(runs.to_array()))
        box = foreground_box(labels)
        if box is None:
            raise CurationError(f"{case}: nothing is drawn in {mask.name}; leave the case out of the dataset")
        if margin_mm is None:
            box = Box.whole(labels.shape)
        else:
            box = box.grown(margin_mm, geometry.spacing_ras_mm, geometry.shape_ras)
        placed = Placement.plan(box.shape, stage.size, pad=stage.pad)
        at_input = placed.labels(torch.from_numpy(np.ascontiguousarray(labels[box.slices])))
        buffer = BytesIO()
        np.savez(buffer, labels=at_input.numpy(), box=np.array([box.start, box.stop]))
        put_whole(file, buffer.getvalue())

    def _prepare_image(
        self, case: str, image_source: Path, mask: Path, stage: StudentStage, box: Box, file: Path
    ) -> None:
        geometry, image = decode_image(image_source.read_bytes(), str(image_source))
        if difference := decode_geometry(mask.read_bytes(), str(mask)).difference(geometry):
            raise GridError(f"{case}: mask and image differ: {difference}; ingest the case anew")
        placed = Placement.plan(box.shape, stage.size, pad=stage.pad)
        crop = np.ascontiguousarray(geometry.to_ras(image)[box.slices])
        at_input = placed.image(torch.from_numpy(crop), stage.window_hu)
        buffer = BytesIO()
        # Half precision: z-scores of a clipped image lie within ±10, three digits are more than CT has.
        np.save(buffer, at_input.numpy().astype(np.float16))
        put_whole(file, buffer.getvalue())


def prepare_all(
    cache: Cache,
    members: Sequence[JobCase],
    stage: StudentStage,
    margin_mm: float | None,
    on_problem: Callable[[JobCase, CurationError], None],
) -> Iterator[Prepared | None]:
    """Prepare members, in their order, on several threads: inflating and resizing leave the interpreter free.

    A member that cannot be prepared is told to `on_problem` and yields None.
    """

    def one(member: JobCase) -> Prepared | CurationError:
        try:
            return cache.prepare(member, stage, margin_mm)
        except CurationError as error:
            return error

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for member, result in zip(members, pool.map(one, members), strict=True):
            if isinstance(result, CurationError):
                on_problem(member, result)
                yield None
            else:
                yield result


class TrainingStream(Dataset[dict[str, torch.Tensor]]):
    """Samples of a whole training, by position: epoch after epoch, each in its own order.

    What comes at a position follows from seed and position alone, random transforms included. So a training
    that was killed goes on with the very samples it would have seen, however many loader processes there are.
    """

    def __init__(self, members: Sequence[Prepared], transform: Compose, *, seed: int, positions: int) -> None:
        self.members = members
        self.transform = transform
        self.seed = seed
        self.positions = positions

    def __len__(self) -> int:
        return self.positions

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        epoch, index = divmod(position, len(self.members))
        member = self.members[int(_order(len(self.members), self.seed, epoch)[index])]
        self.transform.set_random_state(seed=derive_seed(self.seed, "transform", position))
        sample: dict[str, torch.Tensor] = self.transform(member.load())
        return sample


@lru_cache(maxsize=4)
def _order(members: int, seed: int, epoch: int) -> NDArray[np.intp]:
    return np.random.default_rng([seed, epoch]).permutation(members)


def derive_seed(*parts: object) -> int:
    """A 32-bit seed from anything that prints the same again."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")
