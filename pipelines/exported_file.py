"""A student in one file: its facts, read without torch and without a catalog.

The file is what torch.save writes, a zip, with the facts as JSON in a member beside torch's own: any unzip shows them.
`pipelines.training.exported` writes and reads the weights.
"""

import zipfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from curation.errors import MaskFileError, UsageError
from pipelines.profiles import Profile

# torch refuses members that lie outside its folder.
FACTS_MEMBER = "archive/maskledger.json"
FORMAT = "maskledger student"
FORMAT_VERSION = 1
SUFFIX = ".pt"


class ModelFileError(MaskFileError):
    """A file is no exported student, or a damaged one."""


class ExportedFacts(BaseModel):
    """What an exported student says of itself.

    Attributes:
        name: Of the model in the catalog that it comes from.
        profile: The settings it was trained with: both stages, margin, how it predicts.
        margin_mm: What goes around the foreground that the coarse network finds.
        classes: Label value to class name, of what it draws.
        dataset, manifest_hash: The frozen dataset that it learned from.
        code_version: Of the program that trained it.
        weights_hash: As in the catalog: SHA-256 of the files that the training wrote.
        checksum: SHA-256 of the weights in this file; see `pipelines.training.exported`.
        doubts: What is known against it: sentences on retracted data that it learned from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str
    format_version: int
    name: str
    profile: Profile
    margin_mm: float
    classes: dict[int, str]
    dataset: str | None
    manifest_hash: str | None
    code_version: str | None
    weights_hash: str
    checksum: str
    doubts: tuple[str, ...] = ()


def read_facts(file: Path) -> ExportedFacts:
    """Read the facts of an exported student; the weights are not looked at.

    Raises:
        UsageError: There is no such file.
        ModelFileError: It is something else, cut off, or written by a later program.
    """
    if not file.is_file():
        raise UsageError(f"{file}: no such file; give a file that `maskledger models export` wrote")
    try:
        with zipfile.ZipFile(file) as archive:
            text = archive.read(FACTS_MEMBER)
    except KeyError as error:
        raise ModelFileError(
            f"{file}: not a student that `maskledger models export` wrote; export one from its workspace"
        ) from error
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise ModelFileError(
            f"{file}: not an exported student, or a damaged one ({error}); copy or export it again"
        ) from error
    try:
        facts = ExportedFacts.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ModelFileError(
            f"{file}: {key}: {first['msg']}; read it with the program that wrote it, or export it again"
        ) from error
    if (facts.format, facts.format_version) != (FORMAT, FORMAT_VERSION):
        raise ModelFileError(
            f"{file}: format '{facts.format}' {facts.format_version}, this program reads '{FORMAT}' "
            f"{FORMAT_VERSION}; read it with the program that wrote it"
        )
    return facts
