"""Predict: apply a trained model to the queried cases that it has not predicted yet."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from curation.errors import UsageError
from curation.images import why_not_predictable
from curation.labels import CLASS_IDS, ORGAN_IDS
from curation.mappings import LabelMapping
from db import case_files, image_state, offers, queries
from db.case_files import CaseFile
from db.models import ModelKind
from pipelines.children import run_child
from pipelines.predictions import ClassConfidence, PredictionFile, book_prediction, read_prediction
from pipelines.profiles import Profile
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


def predict(bench: Workbench, model: str, query: str, *, device: str = "auto") -> Outcome:
    """Predict the queried cases that have an image and no prediction of this model yet.

    Raises:
        UsageError: The model cannot predict or the query cannot be read.
    """
    found = trained_model(bench, model)
    with bench.catalog.reading() as session:
        # The run keeps what was asked, whatever @NAME stands for later.
        query = queries.spelled_out(session, query)
        cases = case_files.queried(session, query)
    with run(bench, "predict", {"model": model, "query": query}, key=model, total=len(cases)) as booking:
        predict_cases(bench, booking, found, cases, device)
        return booking.outcome


def predict_cases(
    bench: Workbench, booking: Booking, model: TrainedModel, cases: list[CaseFile], device: str
) -> None:
    """Predict what is left of `cases` within a run; each prediction is booked as it comes."""
    with bench.catalog.reading() as session:
        offered = offers.newest_predictions(session, model.id)
        not_hu = image_state.not_hu(session)
    todo: dict[str, CaseFile] = {}
    for case in cases:
        if case.case_id in offered:
            booking.outcome.count("predicted before")
        elif case.image is None:
            booking.note(
                case.address, f"{case.address}: has no image, so nothing to predict; ingest it with --images"
            )
        elif not case.image.is_file():
            booking.refuse(
                case.address,
                f"{case.image}: the image of {case.address} is not there; "
                "after a disk moved: `maskledger source move NAME NEW_ROOT`",
            )
        elif reason := why_not_predictable(case.geometry.shape, not_hu.get(case.case_id, "")):
            booking.refuse(case.address, f"{case.image}: {reason}")
        else:
            todo[case.address] = case
    if not todo:
        return
    work_dir = bench.root / "runs" / f"predict-{model.name}"
    out_dir = work_dir / "out"
    out_dir.mkdir(parents=True, exist_ok=True)
    job = {
        "task": "predict",
        "work_dir": str(work_dir),
        "model_dir": str(model.folder),
        "profile": model.profile.model_dump(mode="json"),
        "device": device,
        "seed": 0,
        "cases": [
            {
                "case": address,
                "image": str(case.image),
                "mask": None,
                "split": None,
                "missing": [],
                "out": str(out_dir / f"{address.replace('/', '__')}.nii.gz"),
            }
            for address, case in todo.items()
        ],
    }
    bench.progress.start(f"predict with {model.name}", len(todo))
    done = 0
    for event in run_child(job, work_dir):
        if event["event"] == "case":
            _book(bench, booking, model, todo[event["case"]], event)
            done += 1
            bench.progress.step(done, event["case"])
        elif event["event"] == "problem":
            subject = event.get("case") or model.name
            booking.refuse(subject, f"{subject}: {event['reason']}; {event['remedy']}")
    booking.flush()
    bench.progress.finish()


def _book(
    bench: Workbench, booking: Booking, model: TrainedModel, case: CaseFile, event: dict[str, Any]
) -> None:
    classes = event.get("classes", {})
    file = PredictionFile(
        Path(event["file"]),
        case,
        predictable_values(model.kind),
        bench.store,
        confidence={
            int(c): ClassConfidence(v.get("confidence"), v.get("tta_disagreement"))
            for c, v in classes.items()
        },
        seconds=event.get("seconds"),
        peak_memory_mb=event.get("peak_memory_mb"),
        path_lasts=False,
    )
    read = read_prediction(file)
    if read.refused:
        booking.refuse(case.address, read.refused)
        return
    booking.outcome.count("predicted")
    settings = {"predict": model.profile.predict.model_dump(mode="json")}
    run_id = booking.outcome.run_id
    booking.add(partial(book_prediction, read, model.id, settings, run_id))
    # The store holds the mask now; the child's copy has done its work once the row is committed.
    booking.add_after(partial(Path(event["file"]).unlink, missing_ok=True))


def predictable_values(kind: ModelKind) -> LabelMapping:
    """The label values that a model of ours can write: a teacher knows organs only, a student the tumor too."""
    classes = ORGAN_IDS if kind is ModelKind.TEACHER else CLASS_IDS
    return LabelMapping(name=f"maskledger-{kind}", values={c: c for c in classes}, protocol=None)
