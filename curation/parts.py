"""One file per class: the files of a case bound together as they came, and read as one mask."""

import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from curation.errors import CurationError, GridError, LabelValueError, MaskFileError
from curation.labels import BACKGROUND
from curation.merge import Conflict
from curation.rle import RunLengths, overlay
from curation.volumes import Geometry, decode_mask

_MARK = b"maskledger: one file per class"
_MEMBER = re.compile(r"([0-9]{1,18})/([^/\\]+)")
# A zip member's earliest time: the same files are the same bytes, whenever they are bound.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
# Off and on, as programs for masks (1) and for pictures (255) write them.
_ON = {1, 255}


@dataclass(frozen=True)
class Parts:
    """A case's files read as one mask.

    Attributes:
        geometry: The one grid that they all lie on.
        runs: The number of the file that has each voxel; of two files that claim one, the one that was bound first.
        overlaps: Numbers of the file that has a voxel and of one that claims it, too, to how many voxels.
        names: File name to number; several files may share one.
    """

    geometry: Geometry
    runs: RunLengths
    overlaps: Mapping[tuple[int, int], int]
    names: Mapping[str, int]


def bind(files: Iterable[tuple[int, str, bytes]]) -> bytes:
    """Files, as number, name and bytes, as one archive: the same files in the same order always give the same bytes.

    Their order is their priority, so that whoever reads the archive lays them over one another in the same way.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = _MARK
        for number, name, data in files:
            member = zipfile.ZipInfo(f"{number}/{name}", _NO_TIME)
            # Else it says on which system it was made.
            member.create_system = 0
            archive.writestr(member, data)
    return packed.getvalue()


def is_bound(data: bytes) -> bool:
    """True for what `bind` made."""
    return data.startswith(b"PK") and data.endswith(_MARK)


def reordered(data: bytes, parts: Mapping[int, str], filename: str) -> bytes:
    """What `bind` made with its files in another order of priority; the very same bytes where they are in it.

    Args:
        data: The archive.
        parts: Numbers in order of priority. A number that is not among them comes last.
        filename: What errors call it.

    Raises:
        MaskFileError: The archive is damaged.
    """
    rank = {number: at for at, number in enumerate(parts)}
    files = _members(data, filename)
    wanted = sorted(files, key=lambda file: (rank.get(file[0], len(rank)), file[0], file[1]))
    return data if wanted == files else bind(wanted)


def fitting(name: str, parts: Mapping[int, str]) -> list[int]:
    """The numbers whose file a name is: a name in full goes before patterns, of which several may fit."""
    exact = [number for number, wanted in parts.items() if wanted == name]
    return exact or [number for number, wanted in parts.items() if "*" in wanted and _pattern(wanted)(name)]


def read_parts(data: bytes, filename: str) -> Parts:
    """Read what `bind` made as one mask.

    Raises:
        CurationError: A file cannot be read, is not a mask of one class, or lies on another grid than the first.
    """
    read = [
        (number, name, *_one_class(part, f"{filename}/{name}"))
        for number, name, part in _members(data, filename)
    ]
    if not read:
        raise MaskFileError(f"{filename}: holds no file of one class")
    (_, first, geometry, _), *others = read
    for _, name, other, _ in others:
        if difference := geometry.difference(other):
            raise GridError(
                f"{filename}: {first} and {name} do not lie on one grid: {difference}; "
                "resample one to the other's grid"
            )
    runs, overlaps = combine([(number, part) for number, _, _, part in read])
    return Parts(geometry, runs, overlaps, {name: number for number, name, _, _ in read})


def combine(
    parts: Sequence[tuple[int, RunLengths]],
) -> tuple[RunLengths, dict[tuple[int, int], int]]:
    """Lay masks of one class each over one another; where two claim a voxel, the earlier one has it.

    Args:
        parts: Number and mask, of one shape; at least one. Whatever is not 0 belongs to the class. Masks of one
            number are parts of one structure and do not contest each other.

    Returns:
        The mask of numbers, and (number that has it, number that claims it, too) to voxels.

    Raises:
        GridError: The shapes differ.
    """
    (number, first), *others = parts
    runs = _numbered(first, number)
    overlaps: Counter[tuple[int, int]] = Counter()
    for number, part in others:
        joint = overlay(runs, _numbered(part, number))
        has, claims = joint.a.astype(np.int64), joint.b.astype(np.int64)
        twice = (has != BACKGROUND) & (claims != BACKGROUND) & (has != number)
        for holder, voxels in zip(
            has[twice].tolist(), (joint.stop - joint.start)[twice].tolist(), strict=True
        ):
            overlaps[holder, number] += voxels
        runs = joint.runs(np.where(has != BACKGROUND, has, claims))
    return runs, dict(overlaps)


def overlap_conflicts(
    overlaps: Mapping[tuple[int, int], int], values: Mapping[int, int]
) -> tuple[Conflict, ...]:
    """The overlaps of files as the conflicts of the stored values that the files stand for."""
    voxels: Counter[tuple[int, int]] = Counter()
    for (holder, claimer), count in overlaps.items():
        kept, offered = values.get(holder, BACKGROUND), values.get(claimer, BACKGROUND)
        if kept != offered and offered != BACKGROUND:
            voxels[kept, offered] += count
    return tuple(Conflict(kept, offered, count) for (kept, offered), count in sorted(voxels.items()))


def joined(*ledgers: Sequence[Conflict]) -> tuple[Conflict, ...]:
    """Several ledgers of one version as one: a version has one row for two values."""
    voxels: Counter[tuple[int, int, bool]] = Counter()
    for ledger in ledgers:
        for c in ledger:
            voxels[c.kept, c.offered, c.displaced] += c.voxels
    return tuple(Conflict(kept, offered, n, moved) for (kept, offered, moved), n in voxels.items())


def check_names(parts: Parts, wanted: Mapping[int, str], filename: str) -> None:
    """Refuse files that a mapping numbers otherwise than the one they came in by.

    Raises:
        CurationError: Which file, and both numbers.
    """
    for name, number in parts.names.items():
        if number not in fitting(name, wanted):
            raise CurationError(
                f"{filename}: {name} came in as number {number}, and the mapping has "
                f"{wanted.get(number, 'no file')} there; keep the numbers in [parts]"
            )


@cache
def _pattern(wanted: str) -> Callable[[str], object]:
    return re.compile(".*".join(map(re.escape, wanted.split("*")))).fullmatch


def _members(data: bytes, filename: str) -> list[tuple[int, str, bytes]]:
    """Number, name and bytes of the files in an archive, in its order."""
    files = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                known = _MEMBER.fullmatch(member)
                if known is None:
                    raise MaskFileError(f"{filename}: holds '{member}', which is no file of one class")
                files.append((int(known[1]), known[2], archive.read(member)))
    except zipfile.BadZipFile as error:
        raise MaskFileError(
            f"{filename}: {error}; `maskledger verify` tells what is damaged in the store"
        ) from error
    return files


def _numbered(part: RunLengths, number: int) -> RunLengths:
    return part.remap(dict.fromkeys(part.voxels(), number))


def _one_class(data: bytes, filename: str) -> tuple[Geometry, RunLengths]:
    geometry, runs = decode_mask(data, filename)
    values = set(runs.voxels())
    if len(values) > 1 or not values <= _ON:
        shown = ", ".join(str(value) for value in sorted(values)[:8])
        raise LabelValueError(
            f"{filename}: holds the values {shown}, but a file of one class has 0 and 1, or 0 and 255; "
            "use a mapping without [parts] if it is a mask of several classes"
        )
    return geometry, runs
