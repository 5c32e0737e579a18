"""Train a teacher or a student on a frozen dataset and register what comes out as a model."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.errors import CurationError, UsageError
from curation.labels import ORGAN_IDS
from curation.status import Origin
from curation.volumes import encode_mask
from db import queries, writes
from db.case_files import CaseFile
from db.models import ModelKind
from db.writes import MemberValues
from pipelines.case_masks import member_mask, missing_classes
from pipelines.children import run_child
from pipelines.freeze import frozen_members
from pipelines.learnable import Known, check_student
from pipelines.profiles import Profile
from pipelines.runs import Booking, Workbench, run
from pipelines.trace import Trace
from pipelines.trainable import UNDRAWN_ORGAN, check_allowances, check_images, check_taints, undrawn_organs
from pipelines.whole_files import write_whole

TASKS = {ModelKind.TEACHER: "teacher_train", ModelKind.STUDENT: "student_train"}
MIN_TEACHER_CASES = 2


@dataclass(frozen=True)
class TrainRequest:
    """What to train: a kind of model, on a frozen dataset, by a profile, under a name."""

    kind: ModelKind
    dataset: str
    profile: Profile
    name: str
    seed: int = 0
    device: str = "auto"
    # GPUs that train a teacher together; None: all, at most one per sample of a batch.
    gpus: int | None = None
    # What is refused by default, see pipelines.trainable.ALLOWANCES.
    allow: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Trained:
    """A registered model; `refused` names the members that the training had to leave out."""

    name: str
    folder: Path
    metrics: dict[str, Any]
    refused: tuple[str, ...] = ()
    already: bool = False


def train(bench: Workbench, request: TrainRequest) -> Trained:
    """Train one model; killed and called again with the same request, it goes on where it stopped.

    Raises:
        UsageError: Unknown dataset, or a model of this name that was trained on something else.
        CurationError: A member without image or too few members, found before any training.
        ChildFailedError: The training itself failed.
    """
    version, members = frozen_members(bench, request.dataset)
    check_allowances(request.allow)
    check_taints(bench, version, request.allow)
    if version.purged:
        bench.progress.say(
            f"note: {version.purged} of {version.members} members were purged and are left out"
        )
    origins = tuple(Origin(origin) for origin in version.origins)
    _check_members(bench, request, members, origins)
    student = request.profile.student
    if request.kind is ModelKind.STUDENT and student is not None:
        for note in check_student(version.address, student, members, origins):
            bench.progress.say(note)
    profile = request.profile.model_dump(mode="json")
    spec: dict[str, Any] = {
        "kind": str(request.kind),
        "dataset": version.address,
        "manifest_hash": version.manifest_hash,
        "profile": profile,
        "seed": request.seed,
    }
    key = f"{request.kind} {request.name} {_digest(spec)}"
    with bench.catalog.reading() as session:
        known = queries.model(session, request.name)
    if known is not None:
        if known.metrics.get("spec") == _digest(spec):
            folder = bench.root / (known.weights_path or "")
            return Trained(request.name, folder, known.metrics, already=True)
        raise UsageError(
            f"model '{request.name}' exists already and was trained on something else; choose another --name"
        )
    work_dir = bench.root / "runs" / f"{request.name}-{_digest(spec)[:12]}"
    parameters = {k: spec[k] for k in ("dataset", "manifest_hash", "seed")} | {
        "model": request.name,
        "profile": request.profile.name,
    }
    with run(bench, f"{request.kind} train", parameters, key=key) as booking:
        done = _follow(bench, booking, _job(bench, request, members, origins, work_dir), work_dir)
        weights = Path(done["weights"])
        metrics = dict(done.get("metrics", {})) | {"spec": _digest(spec)}
        with bench.catalog.writing() as session:
            writes.add_model(
                session,
                name=request.name,
                kind=request.kind,
                dataset_version_id=version.id,
                profile=profile,
                origins=[str(origin) for origin in origins],
                code_version=bench.program_version,
                weights_path=str(weights.resolve().relative_to(bench.root.resolve())),
                weights_hash=done.get("weights_hash"),
                metrics=metrics,
                curves=list(done.get("curves", [])),
                run_id=booking.outcome.run_id,
            )
        booking.outcome.count("trained")
        return Trained(request.name, weights, metrics, tuple(booking.outcome.refused))


def _job(
    bench: Workbench,
    request: TrainRequest,
    members: list[tuple[CaseFile, MemberValues]],
    origins: tuple[Origin, ...],
    work_dir: Path,
) -> dict[str, Any]:
    """The job file of a training; writes the masks that it names."""
    masks = _write_masks(bench, members, origins, work_dir / "masks")
    known = [Known.of(case, member.split, origins) for case, member in members]
    return {
        "task": TASKS[request.kind],
        "work_dir": str(work_dir),
        "profile": request.profile.model_dump(mode="json"),
        "device": request.device,
        "seed": request.seed,
        "processes": request.gpus,
        # Baseline and student see the same images: what one has prepared, the other finds.
        "cache_dir": str(bench.root / "runs" / "prepared"),
        "cases": [
            {
                "case": case.address,
                "image": str(case.image),
                "mask": str(masks[case.case_id]),
                "split": str(member.split),
                "missing": sorted(of_case.missing),
                "pseudo": sorted(of_case.pseudo),
                "out": None,
            }
            for (case, member), of_case in zip(members, known, strict=True)
        ],
    }


def _digest(spec: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def _check_members(
    bench: Workbench,
    request: TrainRequest,
    members: list[tuple[CaseFile, MemberValues]],
    origins: tuple[Origin, ...],
) -> None:
    """Say what would fail hours from now."""
    if request.kind is ModelKind.TEACHER:
        if len(members) < MIN_TEACHER_CASES:
            raise CurationError(
                f"{request.dataset} has {len(members)} case; nnU-Net needs one to train and one to "
                "validate: freeze at least 2"
            )
        organs = set(ORGAN_IDS)
        missing = [case for case, _ in members if missing_classes(case, origins) & organs]
        pseudo = [case for case, _ in members if organs & _drawn_by(case, Origin.PSEUDO)]
        _refuse(request, missing, "miss organs, which it would learn as background")
        _refuse(request, pseudo, "have pseudo organs, which are a teacher's own output")
        undrawn = undrawn_organs(members, origins)
        if undrawn and UNDRAWN_ORGAN not in request.allow:
            raise CurationError(
                f"{request.dataset}: no member to train on has {', '.join(undrawn)} drawn, which a teacher would learn "
                f"as background; freeze more cases, or train with --allow {UNDRAWN_ORGAN}"
            )
    check_images(bench, [case for case, _ in members], request.dataset, request.allow)


def _drawn_by(case: CaseFile, origin: Origin) -> set[int]:
    return {class_id for class_id, row in case.annotations.items() if row.origin is origin}


def _refuse(request: TrainRequest, cases: list[CaseFile], what: str) -> None:
    if cases:
        example = cases[0].address
        raise CurationError(
            f"{request.dataset}: {len(cases)} members {what} (e.g. {example}); freeze 'strong' cases"
        )


def _write_masks(
    bench: Workbench,
    members: Iterable[tuple[CaseFile, MemberValues]],
    origins: tuple[Origin, ...],
    folder: Path,
) -> dict[int, Path]:
    """Lay out the masks as the training is to see them, by case id. Written anew if a kill left one half."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for case, _ in members:
        mask = member_mask(bench.store, case, origins)
        path = folder / f"{case.address.replace('/', '__')}.nii.gz"
        data = encode_mask(mask.runs, mask.geometry)
        if not path.is_file() or path.read_bytes() != data:
            write_whole(path, data)
        written[case.case_id] = path
    return written


def _follow(bench: Workbench, booking: Booking, job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Relay a training's events to the screen and the catalog; returns its ``done`` event."""
    done: dict[str, Any] = {}
    stage, trace = "", Trace()
    for event in run_child(job, work_dir):
        if event["event"] == "progress":
            if event["stage"] != stage:
                if stage:
                    bench.progress.finish()
                stage = event["stage"]
                bench.progress.start(f"{job['task'].partition('_')[0]}: {stage}", event.get("of"))
            bench.progress.step(event["step"], _progress_text(event))
            trace.add(event)
            booking.progress(event | {"curve": trace.points})
        elif event["event"] == "problem":
            subject = event.get("case") or job["task"]
            booking.refuse(subject, f"{subject}: {event['reason']}; {event['remedy']}")
        elif event["event"] == "done":
            done = event
    if stage:
        bench.progress.finish()
    return done


def _progress_text(event: dict[str, Any]) -> str:
    loss = event.get("loss")
    return event.get("message", "") + (f" loss {loss:.3f}" if loss is not None else "")
