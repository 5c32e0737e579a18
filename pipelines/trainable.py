"""What would stop a training hours from now, or spoil it, found before it starts: taints, images, undrawn organs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.errors import CurationError, UsageError
from curation.images import look_at_image, why_no_volume
from curation.labels import ORGAN_IDS, value_name
from curation.status import Origin
from curation.volumes import Geometry
from db.case_files import CaseFile
from db.datasets import DatasetVersionRow
from db.image_state import SeenImage, seen_images
from db.models import Split
from db.writes import MemberValues
from pipelines.runs import Workbench, map_cases

TAINTED, NOT_HU, UNDRAWN_ORGAN = "tainted", "not-hu", "undrawn-organ"
# What a person may allow although it is refused by default.
ALLOWANCES = (TAINTED, NOT_HU, UNDRAWN_ORGAN)


def check_allowances(allow: Collection[str]) -> None:
    """Refuse a word that allows nothing.

    Raises:
        UsageError: An unknown one.
    """
    if unknown := sorted(set(allow) - set(ALLOWANCES)):
        raise UsageError(f"--allow {unknown[0]}: nothing is called so; give {', '.join(ALLOWANCES)}")


def check_taints(bench: Workbench, version: DatasetVersionRow, allow: Collection[str]) -> None:
    """Refuse a dataset that descends from something retracted, or say so where it is allowed.

    Raises:
        CurationError: It is tainted, and nobody allowed it.
    """
    for taint in version.taints:
        if TAINTED not in allow:
            raise CurationError(
                f"{version.address} is tainted: {taint.sentence}; freeze it anew, or train with --allow {TAINTED}"
            )
        bench.progress.say(f"note: {version.address} is tainted: {taint.sentence}")


def check_images(bench: Workbench, cases: Sequence[CaseFile], dataset: str, allow: Collection[str]) -> None:
    """Make sure that every member has its image, as the catalog knows it, with values that a CT has.

    An image that was read at ingest and whose file has the same size and time since is not read again; any other is,
    on the workbench's workers.

    Raises:
        CurationError: Names the first member that cannot be trained on, and says how many more there are.
    """
    for case in cases:
        if case.image is None:
            raise CurationError(
                f"{case.address}: has no image, and {dataset} is to be trained on; "
                "ingest it with --images, or freeze without it"
            )
        if not case.image.is_file():
            raise CurationError(
                f"{case.image}: the image of {case.address} is not there; "
                "after a disk moved: `maskledger source move NAME NEW_ROOT`"
            )
        if flat := why_no_volume(case.geometry.shape):
            raise CurationError(f"{case.address}: {flat}; freeze without it")
    with bench.catalog.reading() as session:
        seen = seen_images(session, [case.case_id for case in cases])
    problems, not_hu, to_read = [], [], []
    for case in cases:
        known = seen.get(case.case_id)
        assert case.image is not None, "checked above"
        found = case.image.stat()
        if known is not None and (known.file_bytes, known.modified_ns) == (found.st_size, found.st_mtime_ns):
            if known.note:
                not_hu.append((case.address, known.note))
        else:
            to_read.append(_Job(case.address, case.image, case.geometry, known))
    if to_read:
        bench.progress.start("images that are not as they were read", len(to_read))
        for done, (address, problem, note) in enumerate(map_cases(bench, _read, to_read, len(to_read)), 1):
            bench.progress.step(done, address)
            if problem:
                problems.append(problem)
            elif note:
                not_hu.append((address, note))
        bench.progress.finish()
    if problems:
        raise CurationError(problems[0] + _and_more(len(problems) - 1))
    if not_hu and NOT_HU not in allow:
        address, note = not_hu[0]
        raise CurationError(
            f"{address}: the image is not in HU ({note}); freeze without it, or train with --allow {NOT_HU}"
            + _and_more(len(not_hu) - 1)
        )


def undrawn_organs(
    members: Sequence[tuple[CaseFile, MemberValues]], origins: Collection[Origin]
) -> list[str]:
    """The organs that no member to train on has drawn by one of these origins, by name."""
    drawn = {
        class_id
        for case, member in members
        if member.split is Split.TRAIN
        for class_id in case.annotated
        if case.annotations[class_id].origin in origins
    }
    return [value_name(organ) for organ in ORGAN_IDS if organ not in drawn]


@dataclass(frozen=True)
class _Job:
    address: str
    image: Path
    geometry: Geometry
    known: SeenImage | None


def _read(job: _Job) -> tuple[str, str, str]:
    """Read one image whole; returns its case, what is wrong with it and why it cannot be HU, or empty texts."""
    try:
        with job.image.open("rb") as stream:
            look = look_at_image(stream, str(job.image))
    except OSError as error:
        return (
            job.address,
            f"{job.address}: {job.image}: {error.strerror}; repair it or freeze without it",
            "",
        )
    except CurationError as error:
        return job.address, f"{job.address}: {error}", ""
    if difference := look.geometry.difference(job.geometry):
        return (
            job.address,
            f"{job.address}: {job.image} is not on its mask's grid: {difference}; ingest it anew",
            "",
        )
    # A copy or a touch gives a file another time; another content is another matter.
    if job.known is not None and look.voxel_hash != job.known.voxel_hash:
        return (
            job.address,
            f"{job.address}: {job.image} has changed since it was ingested; bring the file back, or ingest the "
            "source anew and freeze again",
            "",
        )
    return job.address, "", look.note


def _and_more(others: int) -> str:
    return f" (and {others} more members)" if others else ""
