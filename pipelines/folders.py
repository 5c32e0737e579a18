"""From folders to cases: which file is the mask and which the image of which case."""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curation.errors import UsageError
from curation.formats import ForeignFiles, foreign_files, format_of_name
from curation.parts import fitting
from pipelines.runs import Booking
from pipelines.walk import walk

SUFFIXES = (".nii.gz", ".nii")
CHANNEL_SUFFIX = "_0000"  # nnU-Net's name for the first (here: only) channel of an image
# Names that datasets give to every case's file, so that only the folder can name the case.
GENERIC_MASK_STEMS = frozenset({"segmentation", "aggregated_seg", "seg", "label", "labels", "mask"})
GENERIC_IMAGE_STEMS = frozenset({"imaging", "image", "ct", "volume"})

# Where TotalSegmentator, PanTS and AbdomenAtlas keep a case's files, one per class.
PARTS_FOLDER = "segmentations"


@dataclass
class CaseFiles:
    """The files of one case; more than one mask or image is for the caller to refuse.

    `passed_over`: names of the volumes in a folder with one file per class that the mapping does not name.
    """

    name: str
    masks: list[Path] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def volume_stem(path: Path) -> str | None:
    """The file's name without .nii or .nii.gz; None for any other file."""
    return _stem(path.name)


def _stem(name: str) -> str | None:
    lower = name.lower()
    for suffix in SUFFIXES:
        if lower.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return None


def list_volumes(folder: Path, what: str) -> list[Path]:
    """All NIfTI files under a folder, sorted; or the one file, where a file is given.

    Raises:
        UsageError: The folder is absent or holds no NIfTI file.
    """
    if folder.is_file():
        if volume_stem(folder) is None:
            for foreign in foreign_files(folder.parent, [folder.name]):
                raise UsageError(foreign.line)
            raise UsageError(f"{folder}: not a .nii.gz or .nii file; give {what} as NIfTI")
        return [folder]
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give the folder that holds the {what}")
    found = [
        parent / name
        for parent, names in walk(folder)
        for name in names
        if not name.startswith(".") and _stem(name) is not None
    ]
    if not found:
        for foreign in list_foreign(folder):
            raise UsageError(f"{folder}: holds no .nii.gz or .nii file; {foreign.line}")
        raise UsageError(f"{folder}: holds no .nii.gz or .nii file; give the folder that holds the {what}")
    return sorted(found)


def list_foreign(folder: Path) -> list[ForeignFiles]:
    """Volumes under a folder that are not NIfTI, but for those that stand there as NIfTI too."""
    return _left_out(folder)[0]


def _left_out(folder: Path) -> tuple[list[ForeignFiles], list[OSError]]:
    """The same, and why folders below could not be read."""
    unreadable: list[OSError] = []
    found: list[ForeignFiles] = []
    for parent, names in walk(folder, unreadable):
        foreign = {
            name: known[0]
            for name in names
            if not name.startswith(".") and (known := format_of_name(name)) is not None
        }
        if foreign:
            stems = {_stem(name) for name in names}
            found += foreign_files(parent, [name for name, stem in foreign.items() if stem not in stems])
    return sorted(found, key=lambda entry: entry.first), unreadable


def book_left_out(booking: Booking, *folders: Path | None) -> None:
    """Book what stands in these folders and is not taken, so that nobody believes it was.

    That is: volumes that are not NIfTI, and folders that cannot be read.
    """
    for folder in dict.fromkeys(folders):
        if folder is None or not folder.is_dir():
            continue
        left_out, unreadable = _left_out(folder)
        for foreign in left_out:
            book = booking.note if foreign.kind.may_be_else else booking.refuse
            book(str(foreign.first), foreign.line)
        for error in unreadable:
            line = f"{error.filename}: {error.strerror}; what lies in this folder was not taken"
            booking.refuse(str(error.filename), line)


def find_cases(
    labels: Path | None,
    images: Path | None,
    mask_pattern: str | None = None,
    image_pattern: str | None = None,
) -> list[CaseFiles]:
    """Pair masks and images by case name.

    ``NAME.nii.gz`` and ``NAME_0000.nii.gz`` are mask and image of NAME; where every file has the same
    name (``NAME/segmentation.nii.gz``) the folder names the case; one mask file given with one image
    file is a pair whatever they are called.

    Args:
        labels: Folder of masks, or one mask file; may be the images' folder too.
        images: Folder of images, or one image file.
        mask_pattern: How the source names its masks, e.g. ``{case}_seg.nii.gz``; where no file fits
            (somebody has sorted them anew) the usual names are tried.
        image_pattern: The same for images.

    Returns:
        One entry per case name, sorted by name.
    """
    cases: dict[str, CaseFiles] = defaultdict(lambda: CaseFiles(""))
    if labels and images and labels.is_file() and images.is_file():
        name = _without_channel(volume_stem(images) or images.name)
        return [CaseFiles(name, [labels], [images])]
    mixed = labels is not None and images is not None and os.path.realpath(labels) == os.path.realpath(images)
    if labels:
        files = list_volumes(labels, "masks")
        for path, name in _masks(files, labels, mask_pattern, mixed):
            cases[name].masks.append(path)
        if not cases:
            wanted = mask_pattern or "NAME.nii.gz"
            raise UsageError(f"{labels}: holds images but no mask named {wanted}; give the masks' folder")
    if images:
        for path, name in _images(list_volumes(images, "images"), images, image_pattern, mixed):
            cases[name].images.append(path)
    for name, case in cases.items():
        case.name = name
    return [cases[name] for name in sorted(cases)]


def find_part_cases(
    labels: Path, images: Path | None, parts: Mapping[int, str], image_pattern: str | None = None
) -> list[CaseFiles]:
    """Pair folders that hold one file per class with images; none where no folder holds a file of these names.

    The folder names the case; of one called ``segmentations``, the folder above it does. `parts` are names of files
    or patterns of names, as in `curation.mappings.LabelMapping`.
    """
    if not labels.is_dir():
        return []
    found: dict[Path, list[str]] = {}
    named = False
    for folder, there in walk(labels):
        seen = [name for name in there if not name.startswith(".")]
        ours = {name for name in seen if fitting(name, parts)}
        if ours or folder.name == PARTS_FOLDER:
            named = named or bool(ours)
            found[folder] = sorted(name for name in seen if name not in ours and volume_stem(Path(name)))
    if not named:
        return []
    cases: dict[str, CaseFiles] = {}
    for folder in sorted(found):
        here = Path(os.path.abspath(folder))  # noqa: PTH100 - a `..` in it names no case; links keep their names
        name = here.parent.name if here.name == PARTS_FOLDER else here.name
        case = cases.setdefault(name, CaseFiles(name))
        case.masks.append(folder)
        case.passed_over += found[folder]
    if images:
        volumes = [path for path in list_volumes(images, "images") if path.parent not in found]
        for path, name in _images(volumes, images, image_pattern, mixed=False):
            cases.setdefault(name, CaseFiles(name)).images.append(path)
    return [cases[name] for name in sorted(cases)]


def mask_names(files: list[Path]) -> dict[Path, str]:
    """File stems of masks, without nnU-Net's channel suffix where every file carries it.

    On one of many (PHANTOM_0000 before PHANTOM_0001) it is a number of the name.
    """
    stems = {path: volume_stem(path) or "" for path in files}
    channels = all(stem.endswith(CHANNEL_SUFFIX) for stem in stems.values())
    return {path: _without_channel(stem) if channels else stem for path, stem in stems.items()}


def _without_channel(stem: str) -> str:
    return stem.removesuffix(CHANNEL_SUFFIX)


def _by_pattern(files: list[Path], root: Path, pattern: str) -> list[tuple[Path, str]]:
    """The files that fit the source's own pattern, with the case name that stands for ``{case}``."""
    head, _, tail = pattern.partition("{case}")
    found: list[tuple[Path, str]] = []
    for path in files:
        text = path.relative_to(root).as_posix() if "/" in pattern and path != root else path.name
        if text.startswith(head) and text.endswith(tail) and len(text) > len(head) + len(tail):
            found.append((path, text[len(head) : len(text) - len(tail)]))
    return found


def _named_by_folder(files: list[Path], root: Path, generic: frozenset[str]) -> set[str]:
    """Stems that say nothing of the case: the usual ones, and all of them where every folder repeats them."""
    stems = Counter(volume_stem(path) or "" for path in files)
    folders = {path.parent for path in files}
    if folders == {root}:
        return set()
    repeated = len(folders) > 1 and all(n == len(folders) for n in stems.values())
    return {stem for stem in stems if repeated or stem.lower() in generic}


def _masks(files: list[Path], root: Path, pattern: str | None, mixed: bool) -> list[tuple[Path, str]]:
    if pattern and (fitting := _by_pattern(files, root, pattern)):
        return fitting
    by_folder = _named_by_folder(files, root, GENERIC_MASK_STEMS)
    stems = {volume_stem(path) for path in files}
    names = mask_names(files)
    found: list[tuple[Path, str]] = []
    for path in files:
        stem = volume_stem(path) or ""
        if mixed and path.parent != root and stem.lower() in GENERIC_IMAGE_STEMS:
            continue
        if stem in by_folder:
            found.append((path, path.parent.name))
        elif _is_image_beside(stem, stems, mixed):
            continue
        else:
            found.append((path, names[path]))
    return found


def _is_image_beside(stem: str, stems: Collection[str | None], mixed: bool) -> bool:
    """True for X_0000 where masks lie too: an image, unless X_0000_0000 shows that X_0000 is a case's name."""
    is_channel = stem.endswith(CHANNEL_SUFFIX) and stem + CHANNEL_SUFFIX not in stems
    return is_channel and (mixed or _without_channel(stem) in stems)


def _images(files: list[Path], root: Path, pattern: str | None, mixed: bool) -> list[tuple[Path, str]]:
    if pattern and (fitting := _by_pattern(files, root, pattern)):
        return fitting
    by_folder = _named_by_folder(files, root, GENERIC_IMAGE_STEMS)
    stems = {volume_stem(path) for path in files}
    found: list[tuple[Path, str]] = []
    for path in files:
        stem = volume_stem(path) or ""
        if mixed and path.parent != root and stem.lower() in GENERIC_MASK_STEMS:
            continue
        if stem in by_folder:
            found.append((path, path.parent.name))
        elif not mixed or _is_image_beside(stem, stems, mixed):
            found.append((path, _without_channel(stem)))
    return found
