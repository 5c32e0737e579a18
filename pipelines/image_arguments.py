"""Image files that words on a command line name: which they are, and each looked at before any network."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.errors import CurationError, UsageError
from curation.formats import format_of_name
from curation.images import ImageLook, look_at_image
from curation.query import QueryError, parse
from curation.volumes import encode_image
from pipelines.dicom_folder import read_series
from pipelines.files_of_users import require_file
from pipelines.folders import GENERIC_IMAGE_STEMS, list_volumes, mask_names, volume_stem

# What a query is not: how people's image files end.
_ENDINGS = (".nii", ".nii.gz", ".dcm")


def is_image_argument(text: str) -> bool:
    """Whether a word on the command line names an image or, with --out, could: a file, a folder or an ending."""
    return text.lower().endswith(_ENDINGS) or (os.sep in text and " " not in text) or _is_there(text)


def is_meant_as_image(text: str) -> bool:
    """Whether a word where a query is wanted names an image; `strong` is a query, also beside a folder of this name."""
    if text.lower().endswith(_ENDINGS):
        return True
    if not text or not _is_there(text):
        return False
    try:
        parse(text)
    except QueryError:
        return True
    return False


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # longer than a name may be, as queries are
        return False


@dataclass(frozen=True)
class NamedImage:
    """One image to look at: a NIfTI file, or a folder of DICOM of which `series` is meant.

    `name` is its mask's, without .nii.gz. `copy` is where a series is written for the network.
    """

    name: str
    image: Path
    is_dicom: bool
    series: str | None = None
    copy: Path | None = None


@dataclass(frozen=True)
class LookedAt:
    """A named image, looked at; or why it is refused."""

    job: NamedImage
    look: ImageLook | None = None
    refused: str = ""

    @property
    def file(self) -> Path:
        """The NIfTI file that the network sees."""
        return self.job.copy or self.job.image.absolute()


def named_images(arguments: Sequence[Path], series: str | None) -> tuple[list[NamedImage], list[str]]:
    """What arguments name: one entry per image; of two that would have one mask the second is refused.

    Args:
        arguments: NIfTI files, folders of them, or folders of one DICOM series each.
        series: SeriesInstanceUID to take where a DICOM folder holds several.

    Returns:
        The images, not yet looked at, and a line per refusal.
    """
    refused: list[str] = []
    files: list[Path] = []
    folders: list[Path] = []
    for argument in arguments:
        try:
            _sort(argument, files, folders)
        except CurationError as error:
            refused.append(str(error))
    # All of them together show whether _0000 is a channel or a number.
    names = mask_names(files)
    named = [
        *((path.absolute().parent.name if stem.lower() in GENERIC_IMAGE_STEMS else stem, path, False)
          for path, stem in names.items()),
        *((Path(os.path.abspath(folder)).name, folder, True) for folder in folders),  # noqa: PTH100 - takes `..` out
    ]  # fmt: skip
    found: dict[str, NamedImage] = {}
    for name, path, is_dicom in named:
        if name not in found:
            found[name] = NamedImage(name, path, is_dicom, series)
        elif os.path.realpath(found[name].image) != os.path.realpath(path):
            refused.append(
                f"{path}: its mask would be {name}.nii.gz, as that of {found[name].image}; predict it into "
                "another --out"
            )
    return list(found.values()), refused


def _sort(argument: Path, files: list[Path], folders: list[Path]) -> None:
    """Put what one argument stands for to the NIfTI files or to the folders of DICOM.

    Raises:
        UsageError: It is not there, or neither.
    """
    if not argument.exists():
        raise UsageError(
            f"{argument}: no such file or folder; give a NIfTI file or the folder of a DICOM series"
        )
    if argument.is_dir():
        try:
            files += list_volumes(argument, "images")
        except UsageError:
            # Whether it is DICOM its files' content says: slices need not be called .dcm.
            folders.append(argument)
    elif volume_stem(argument) is not None:
        files.append(argument)
    elif argument.name.lower().endswith(".dcm"):
        raise UsageError(f"{argument}: one slice; give the folder of its series")
    else:
        foreign = format_of_name(argument.name)
        what, remedy = (
            (foreign[1].what, foreign[1].remedy) if foreign else ("not NIfTI", "convert it to .nii.gz")
        )
        raise UsageError(f"{argument}: {what}; {remedy}")


def look_at(job: NamedImage) -> LookedAt:
    """Read one image as a whole, before any network: its hash, and whether it can be HU. Touches no database."""
    try:
        if job.copy is not None:
            geometry, hu = read_series(job.image, job.series)
            data = encode_image(hu, geometry, packed=False)
            look = look_at_image(data, str(job.image))
        else:
            require_file(job.image)
            with job.image.open("rb") as stream:
                return LookedAt(job, look_at_image(stream, str(job.image)))
    except CurationError as error:
        return LookedAt(job, refused=str(error))
    except OSError as error:
        return LookedAt(job, refused=f"{error.filename or job.image}: {error.strerror}; check the file")
    try:
        job.copy.write_bytes(data)
    except OSError as error:
        job.copy.unlink(missing_ok=True)
        return LookedAt(
            job,
            refused=f"{job.image}: no room for a copy of the series in {job.copy.parent} ({error.strerror}); "
            "free some space there or set TMPDIR to another folder",
        )
    return LookedAt(job, look)
