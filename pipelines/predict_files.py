"""Predict image files that are in no catalog: each mask beside the others in one folder, on its image's own grid.

A folder of predictions has a book, `predictions.jsonl`: one line per mask with its model, its image's hash and what
the mask amounts to, so that the same command started again does what is left and draws over nothing else.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from curation.census import take_census
from curation.errors import UsageError
from curation.images import why_not_predictable
from curation.labels import BY_ID
from curation.one_line import one_line
from curation.volumes import decode_mask
from db.models import ModelKind
from pipelines.children import run_child
from pipelines.exported_file import SUFFIX, ModelFileError, read_facts
from pipelines.image_arguments import LookedAt, NamedImage, is_image_argument, look_at, named_images
from pipelines.predict import SETTINGS_THAT_COUNT, TrainedModel, Wanted
from pipelines.prediction_book import BOOK, add_line, read_book
from pipelines.profiles import Profile
from pipelines.runs import Workers, map_cases
from pipelines.scratch import scratch_folder
from pipelines.whole_files import write_whole

# One child predicts as many images; then the copies of DICOM series are deleted and the next are made.
_BATCH = 64
_COPIES_BYTES = 2 << 30


@dataclass(frozen=True)
class FileModel:
    """A model that predicts files: a registered one's folder, or a file that `models export` wrote."""

    name: str
    kind: ModelKind
    path: Path
    profile: Profile
    weights_hash: str
    doubts: tuple[str, ...] = ()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What makes a mask this model's: another name, place or export of the same weights is the same model."""
        settings = self.profile.predict.model_dump(mode="json", include=SETTINGS_THAT_COUNT[self.kind])
        return {"kind": str(self.kind), "weights_hash": self.weights_hash, "predict": settings}


@dataclass(frozen=True)
class FilesRequest:
    """What to predict, and where to.

    Attributes:
        images: NIfTI files, folders of them, or folders of one DICOM series each.
        out: Folder of the masks; made where it is not there.
        series: SeriesInstanceUID to take where a DICOM folder holds several.
        any_values: Predict, too, what does not look like Hounsfield units.
        device: auto, cpu or cuda.
    """

    images: Sequence[Path]
    out: Path
    series: str | None = None
    any_values: bool = False
    device: str = "auto"


@dataclass
class FilesOutcome:
    """What was done: counts by kind, (image, mask) of what is there now, and one line per refusal and note."""

    counts: dict[str, int] = field(default_factory=dict)
    masks: list[tuple[Path, Path]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)

    def count(self, kind: str) -> None:
        """Add one to a count."""
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def refuse(self, line: str) -> None:
        """Keep a refusal as one line."""
        self.refused.append(one_line(line))

    def note(self, line: str) -> None:
        """Keep a note as one line."""
        self.noted.append(one_line(line))


def is_model_file(model: str) -> bool:
    """Whether a word on the command line is an exported model's path rather than a registered model's name."""
    return model.endswith(SUFFIX) or (os.sep in model and Path(model).is_file())


def exported_model(file: Path) -> FileModel:
    """A model from its exported file; errors as `read_facts` has them."""
    facts = read_facts(file)
    return FileModel(
        facts.name, ModelKind.STUDENT, file.absolute(), facts.profile, facts.weights_hash, facts.doubts
    )


def registered_model(model: TrainedModel) -> FileModel:
    """A model of the catalog.

    Raises:
        ModelFileError: Its folder does not say what it holds.
    """
    file = model.folder / "model.json"
    try:
        weights_hash = str(json.loads(file.read_text(encoding="utf-8"))["weights_hash"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelFileError(
            f"{file}: not the description of a model ({error}); restore the folder or train it again"
        ) from error
    return FileModel(model.name, model.kind, model.folder.absolute(), model.profile, weights_hash)


def with_settings(model: FileModel, wanted: Wanted) -> FileModel:
    """The model, predicting as it is asked to.

    Raises:
        UsageError: A map of probabilities is asked for, or what the model cannot do.
    """
    if wanted.probabilities:
        raise UsageError(
            "--probabilities keeps maps for `complement`, which files know nothing of; leave it out"
        )
    return replace(model, profile=model.profile.model_copy(update={"predict": wanted.of(model)}))


def predict_files(model: FileModel, request: FilesRequest, workers: Workers) -> FilesOutcome:
    """Predict what is not yet there. A bad image is refused, and the others go on.

    Raises:
        UsageError: See `check_request`.
        ChildFailedError: The model cannot be loaded, or the process was ended from outside.
    """
    check_request(request)
    outcome = FilesOutcome()
    found, refused = named_images(request.images, request.series)
    for line in refused:
        outcome.refuse(line)
    request.out.mkdir(parents=True, exist_ok=True)
    known = read_book(request.out / BOOK)
    progress = workers.progress
    progress.start(f"predict with {model.name}", len(found))
    done = 0

    def step(image: Path) -> None:
        nonlocal done
        done += 1
        progress.step(done, image.name)

    waiting = iter(found)
    while True:
        # Apart, because a scratch folder stays where the child failed: its log is wanted then, a patient's scan is not.
        with (
            scratch_folder() as scratch,
            TemporaryDirectory(prefix="maskledger-", ignore_cleanup_errors=True) as copies,
        ):
            batch = _next_batch(waiting, len(found) - done, Path(copies), workers)
            if not batch:
                break
            todo: dict[str, LookedAt] = {}
            for looked in batch:
                if _is_to_predict(looked, model, request, known, outcome):
                    todo[looked.job.name] = looked
                else:
                    step(looked.job.image)
            for name in _predict_batch(model, request, todo, scratch, outcome):
                step(todo[name].job.image)
    progress.finish()
    return outcome


def check_request(request: FilesRequest) -> None:
    """See before a model is loaded that the arguments are files.

    Raises:
        UsageError: `out` is no folder, or an image is meant that could only be a query.
    """
    for image in request.images:
        if not is_image_argument(str(image)):
            raise UsageError(
                f"'{image}' is no image; with --out give NIfTI files or folders, without it one query in quotes"
            )
    if request.out.exists() and not request.out.is_dir():
        raise UsageError(f"{request.out}: is a file; give a folder for the masks")


def _next_batch(waiting: Iterator[NamedImage], left: int, copies: Path, workers: Workers) -> list[LookedAt]:
    """Look at the next images, until they are many or the copies of series are large."""
    batch: list[LookedAt] = []
    copied = 0

    def jobs() -> Iterator[NamedImage]:
        for number, one in zip(range(_BATCH), waiting, strict=False):
            yield replace(one, copy=copies / f"{number}.nii") if one.is_dicom else one
            if copied > _COPIES_BYTES:
                return

    for looked in map_cases(workers, look_at, jobs(), min(left, _BATCH)):
        if looked.job.copy is not None and looked.job.copy.is_file():
            copied += looked.job.copy.stat().st_size
        batch.append(looked)
    return batch


def _is_to_predict(
    looked: LookedAt,
    model: FileModel,
    request: FilesRequest,
    known: dict[str, dict[str, Any]],
    outcome: FilesOutcome,
) -> bool:
    """Whether an image is fit and its mask not there yet; else it is booked why not."""
    image, look = looked.job.image, looked.look
    if look is None:
        outcome.refuse(looked.refused)
        return False
    whatever_values = why_not_predictable(look.geometry.shape, "")
    reason = whatever_values if request.any_values else why_not_predictable(look.geometry.shape, look.note)
    if reason:
        outcome.refuse(f"{image}: {reason}{'' if whatever_values else ', or add --any-values'}")
        return False
    mask = request.out / f"{looked.job.name}.nii.gz"
    if not mask.exists():
        if look.note:
            outcome.note(f"{image}: not in HU ({look.note}), predicted because of --any-values")
        return True
    line = known.get(mask.name)
    if line is not None and line.get("model_identity") == model.identity:
        if line.get("image_hash") == look.voxel_hash:
            outcome.count("predicted before")
            outcome.masks.append((image, mask))
            if hashlib.sha256(mask.read_bytes()).hexdigest() != line.get("mask_hash"):
                outcome.note(f"{mask}: was changed since it was predicted, and left as it is")
            return False
        what = f"was predicted on another image, {line.get('image')}"
    else:
        what = f"is another model's, {line.get('model')}" if line else "is no mask that `predict` wrote"
    outcome.refuse(f"{image}: {mask} is there and {what}; give another --out, or take it away")
    return False


def _predict_batch(
    model: FileModel, request: FilesRequest, todo: dict[str, LookedAt], scratch: Path, outcome: FilesOutcome
) -> Iterator[str]:
    """Predict in a child process; yields the name of each image that is done with."""
    if not todo:
        return
    masks = scratch / "masks"
    masks.mkdir()
    job = {
        "task": "predict",
        "work_dir": str(scratch),
        "model_dir": str(model.path),
        "profile": model.profile.model_dump(mode="json"),
        "device": request.device,
        "seed": 0,
        "cases": [
            {"case": name, "image": str(looked.file), "out": str(masks / f"{name}.nii.gz")}
            for name, looked in todo.items()
        ],
    }
    for event in run_child(job, scratch):
        if event["event"] == "case":
            _keep(model, request, todo[event["case"]], event, outcome)
            yield event["case"]
        elif event["event"] == "problem" and event.get("case"):
            looked = todo[event["case"]]
            reason = event["reason"].replace(str(looked.file), str(looked.job.image))
            if str(looked.job.image) not in reason:
                reason = f"{looked.job.image}: {reason}"
            outcome.refuse(f"{reason}; {event['remedy']}")
            yield event["case"]
        elif event["event"] == "progress" and (note := _note_of(event, todo)):
            outcome.note(note)


def _note_of(event: dict[str, Any], todo: dict[str, LookedAt]) -> str:
    """What the network remarked on a case, e.g. that it found no organ: it comes as ``CASE: NOTE``."""
    name, colon, note = event.get("message", "").partition(": ")
    return f"{todo[name].job.image}: {note}" if colon and name in todo else ""


def _keep(
    model: FileModel, request: FilesRequest, looked: LookedAt, event: dict[str, Any], outcome: FilesOutcome
) -> None:
    """Book a mask, then put it into its place: one that is there is in the book, whatever is killed when."""
    assert looked.look is not None, "only what was looked at is predicted"
    predicted = Path(event["file"])
    data = predicted.read_bytes()
    mask = request.out / f"{looked.job.name}.nii.gz"
    geometry, runs = decode_mask(data, str(mask))
    confidence = event.get("classes", {})
    line = {
        "mask": mask.name,
        "mask_hash": hashlib.sha256(data).hexdigest(),
        "image": str(looked.job.image.absolute()),
        "image_hash": looked.look.voxel_hash,
        "model": model.name,
        "model_identity": model.identity,
        "seconds": event.get("seconds"),
        "peak_memory_mb": event.get("peak_memory_mb"),
        "classes": {
            BY_ID[c].name: {
                "value": c,
                "voxels": row.voxels,
                "volume_ml": round(row.volume_ml, 3),
                "confidence": confidence.get(str(c), {}).get("confidence"),
            }
            for c, row in take_census(runs, geometry, with_components=False).items()
        },
    }
    add_line(request.out / BOOK, line)
    write_whole(mask, data)
    outcome.count("predicted")
    outcome.masks.append((looked.job.image, mask))
    # A batch may be hundreds of volumes.
    with suppress(OSError):
        predicted.unlink()
        if looked.job.copy is not None:
            looked.job.copy.unlink()
