"""Predict: apply a trained model to the queried cases that it has not predicted yet, as they are now and as asked."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from curation.errors import UsageError
from curation.images import why_not_predictable
from curation.labels import CLASS_IDS, ORGAN_IDS
from curation.mappings import LabelMapping
from db import case_files, offers, queries
from db.case_files import CaseFile
from db.image_state import seen_images
from db.models import ModelKind
from db.offers import OfferedPrediction
from pipelines.children import run_child
from pipelines.files_of_users import content_hash
from pipelines.predictions import ClassConfidence, PredictionFile, book_prediction, read_prediction
from pipelines.profiles import PredictProfile, Profile
from pipelines.runs import Booking, Outcome, Workbench, run


@dataclass(frozen=True)
class TrainedModel:
    """A registered model whose weights are here."""

    id: int
    name: str
    kind: ModelKind
    folder: Path
    profile: Profile


def trained_model(bench: Workbench, name: str) -> TrainedModel:
    """Find a model that can predict.

    Raises:
        UsageError: No such model, it was retracted, only its predictions were imported, or its weights are gone.
    """
    with bench.catalog.reading() as session:
        row = queries.known_model(session, name)
        offers.require_trusted(session, row.id)
    if row.kind is ModelKind.EXTERNAL or row.weights_path is None or row.profile is None:
        raise UsageError(f"model '{name}' was not trained here; import its predictions instead")
    folder = bench.root / row.weights_path
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: the weights of '{name}' are not there; restore the folder or train again"
        )
    return TrainedModel(row.id, row.name, row.kind, folder, Profile.model_validate(row.profile))


class Predicting(Protocol):
    """What a registered model and an exported one have in common."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def kind(self) -> ModelKind:
        """Teacher or student."""

    @property
    def profile(self) -> Profile:
        """What it was trained with."""


@dataclass(frozen=True)
class Wanted:
    """How cases are to be predicted; None leaves it to the model's profile.

    Attributes:
        tta: Average over mirrored inputs; the teacher's alone.
        largest_only: Keep the largest piece of each organ, or all pieces.
        probabilities: Keep a map of probabilities.
    """

    tta: bool | None = None
    largest_only: bool | None = None
    probabilities: bool | None = None

    def of(self, model: Predicting) -> PredictProfile:
        """The settings for one model.

        Raises:
            UsageError: The model is a student and mirrored passes are asked for.
        """
        if self.tta and model.kind is not ModelKind.TEACHER:
            raise UsageError(
                f"--tta: '{model.name}' is a {model.kind}, and only a teacher predicts mirrored inputs; leave it out"
            )
        asked = {"tta": self.tta, "keep_largest": self.largest_only, "probabilities": self.probabilities}
        given = {name: value for name, value in asked.items() if value is not None}
        return model.profile.predict.model_copy(update=given)


PROFILES_OWN = Wanted()


def predict(
    bench: Workbench, model: str, query: str, *, device: str = "auto", wanted: Wanted = PROFILES_OWN
) -> Outcome:
    """Predict the queried cases that have an image and no such prediction yet.

    What counts is the newest prediction of this model: a case is predicted anew if its image has changed since,
    if it was predicted with other settings, or without the map of probabilities that is asked for. A
    prediction that says nothing of its image (of an earlier release) is taken as made on the present one.

    Raises:
        UsageError: The model cannot predict or the query cannot be read.
    """
    found = trained_model(bench, model)
    settings = wanted.of(found)
    with bench.catalog.reading() as session:
        # The run keeps what was asked, whatever @NAME stands for later.
        query = queries.spelled_out(session, query)
        cases = case_files.queried(session, query)
    parameters = {"model": model, "query": query, "predict": settings.model_dump(mode="json")}
    with run(bench, "predict", parameters, key=model, total=len(cases)) as booking:
        predict_cases(bench, booking, found, cases, device, settings)
        return booking.outcome


def predict_cases(
    bench: Workbench,
    booking: Booking,
    model: TrainedModel,
    cases: list[CaseFile],
    device: str,
    settings: PredictProfile | None = None,
) -> None:
    """Predict what is left of `cases` within a run; each prediction is booked as it comes.

    Args:
        bench: What to work with.
        booking: The run.
        model: The model.
        cases: The cases; one without an image is noted.
        device: ``auto``, ``cpu`` or ``cuda``.
        settings: How; None: a prediction with any settings will do, and what is left is predicted as the model's
            profile says.
    """
    with bench.catalog.reading() as session:
        offered = offers.newest_predictions(session, model.id)
        seen = seen_images(session, [case.case_id for case in cases])
    todo: dict[str, _Todo] = {}
    bench.progress.start("look at images", len(cases))
    for number, case in enumerate(cases, 1):
        bench.progress.step(number, case.address)
        known = offered.get(case.case_id)
        anew = None if known is None else _why_anew(bench, model, known, case.image, settings)
        if known is not None and anew is None:
            booking.outcome.count("predicted before")
            continue
        if case.image is None:
            booking.note(
                case.address, f"{case.address}: has no image, so nothing to predict; ingest it with --images"
            )
            continue
        if not case.image.is_file():
            booking.refuse(
                case.address,
                f"{case.image}: the image of {case.address} is not there; "
                "after a disk moved: `maskledger source move NAME NEW_ROOT`",
            )
            continue
        looked = seen.get(case.case_id)
        if reason := why_not_predictable(case.geometry.shape, looked.note if looked else ""):
            booking.refuse(case.address, f"{case.image}: {reason}")
        else:
            status = case.image.stat()
            todo[case.address] = _Todo(case, anew, (status.st_size, status.st_mtime_ns))
    bench.progress.finish()
    if todo:
        _predict(bench, booking, model, todo, device, settings or model.profile.predict)


@dataclass(frozen=True)
class _Todo:
    """A case to predict. `anew`: why, where there is a prediction; `seen`: bytes and mtime (ns) of its image."""

    case: CaseFile
    anew: str | None
    seen: tuple[int, int]


def _why_anew(
    bench: Workbench,
    model: TrainedModel,
    known: OfferedPrediction,
    image: Path | None,
    settings: PredictProfile | None,
) -> str | None:
    """Why a case is predicted anew, in words; None where its prediction is as asked for, or cannot be better."""
    if image is None:
        return None
    if settings is not None:
        before = known.settings.get("predict", {})
        asked = settings.model_dump(mode="json", include=SETTINGS_THAT_COUNT[model.kind])
        if any(before.get(name, value) != value for name, value in asked.items()):
            return "other settings"
        has_map = known.probability_hash is not None and known.probability_hash in bench.store
        if settings.probabilities and not has_map:
            return "no map of probabilities"
    try:
        return "image changed" if _is_another_image(image, known) else None
    except OSError:
        return None  # what is there was made on the image that is not at hand


# What makes a prediction another one.
SETTINGS_THAT_COUNT = {
    ModelKind.TEACHER: {"tta", "tile_step", "keep_largest"},
    ModelKind.STUDENT: {"keep_largest"},
}


def _is_another_image(image: Path, known: OfferedPrediction) -> bool:
    """Whether an image holds other bytes than a prediction was made on.

    Bytes are hashed only where size or time of the file are not those that were booked.

    Raises:
        OSError: It cannot be read.
    """
    if known.image_hash is None:
        return False
    status = image.stat()
    if known.settings.get("image") == [status.st_size, status.st_mtime_ns]:
        return False
    return content_hash(image) != known.image_hash


def _predict(
    bench: Workbench,
    booking: Booking,
    model: TrainedModel,
    todo: dict[str, _Todo],
    device: str,
    settings: PredictProfile,
) -> None:
    """Let a child process predict, and book what it tells."""
    work_dir = bench.root / "runs" / f"predict-{model.name}"
    out_dir = work_dir / "out"
    out_dir.mkdir(parents=True, exist_ok=True)
    profile = model.profile.model_copy(update={"predict": settings})
    job = {
        "task": "predict",
        "work_dir": str(work_dir),
        "model_dir": str(model.folder),
        "profile": profile.model_dump(mode="json"),
        "device": device,
        "seed": 0,
        "cases": [
            {
                "case": address,
                "image": str(one.case.image),
                "mask": None,
                "split": None,
                "missing": [],
                "out": str(out_dir / f"{address.replace('/', '__')}.nii.gz"),
            }
            for address, one in todo.items()
        ],
    }
    bench.progress.start(f"predict with {model.name}", len(todo))
    done = 0
    for event in run_child(job, work_dir):
        if event["event"] == "case":
            _book(bench, booking, model, todo[event["case"]], event, settings)
            done += 1
            bench.progress.step(done, event["case"])
        elif event["event"] == "problem":
            subject = event.get("case") or model.name
            booking.refuse(subject, f"{subject}: {event['reason']}; {event['remedy']}")
    booking.flush()
    bench.progress.finish()


def _book(
    bench: Workbench,
    booking: Booking,
    model: TrainedModel,
    todo: _Todo,
    event: dict[str, Any],
    settings: PredictProfile,
) -> None:
    classes = event.get("classes", {})
    probability = Path(event["probability"]) if event.get("probability") else None
    file = PredictionFile(
        Path(event["file"]),
        todo.case,
        predictable_values(model.kind),
        bench.store,
        confidence={
            int(c): ClassConfidence(v.get("confidence"), v.get("tta_disagreement"))
            for c, v in classes.items()
        },
        seconds=event.get("seconds"),
        peak_memory_mb=event.get("peak_memory_mb"),
        memory_area_mb_s=event.get("memory_area_mb_s"),
        image_hash=event.get("image_hash"),
        probability=probability,
        path_lasts=False,
    )
    read = read_prediction(file)
    if read.refused:
        booking.refuse(todo.case.address, read.refused)
        return
    booking.outcome.count(f"predicted anew ({todo.anew})" if todo.anew else "predicted")
    booked = {"predict": settings.model_dump(mode="json"), "image": list(todo.seen)}
    run_id = booking.outcome.run_id
    booking.add(partial(book_prediction, read, model.id, booked, run_id))
    # The store holds mask and map now; the child's copies have done their work once the row is committed.
    for copy in filter(None, (probability, Path(event["file"]))):
        booking.add_after(partial(copy.unlink, missing_ok=True))


def predictable_values(kind: ModelKind) -> LabelMapping:
    """The label values that a model of ours can write: a teacher knows organs only, a student the tumor too."""
    classes = ORGAN_IDS if kind is ModelKind.TEACHER else CLASS_IDS
    return LabelMapping(name=f"maskledger-{kind}", values={c: c for c in classes}, protocol=None)
