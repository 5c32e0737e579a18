"""The whole job on a phantom cohort: make CTs, ingest, teacher, complement, two students, scores."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from curation.errors import CurationError
from curation.mappings import load_builtin
from curation.status import Origin
from db import writes
from db.models import ModelKind, Role
from pipelines.compare import Comparison, compare
from pipelines.complement import complement
from pipelines.evaluate import evaluate
from pipelines.freeze import FreezeRequest, freeze
from pipelines.ingest import IngestRequest, ingest
from pipelines.phantom_cohort import write_cohort
from pipelines.predict import predict
from pipelines.profiles import load_profile
from pipelines.runs import Outcome, Workbench
from pipelines.train import Trained, TrainRequest, train

SOURCE = "Phantom"
BASELINE, TEACHER, STUDENT = "baseline", "teacher", "student"
Result = TypeVar("Result")


@dataclass(frozen=True)
class DemoSize:
    """How large a demo is: cases, how many of them are strong at least, and the profile that trains on them."""

    train: int
    test: int
    strong: int
    profile: str


SIZES = {"quick": DemoSize(48, 8, 12, "quick"), "full": DemoSize(96, 16, 20, "full")}


@dataclass(frozen=True)
class DemoResult:
    """The scores of the three models on unseen cases, and what each step took, in seconds."""

    comparison: Comparison
    seconds: dict[str, float]


def run_demo(bench: Workbench, cohort: Path, size: DemoSize, seed: int = 0) -> DemoResult:
    """Run every stage of the main job, each through the same call as its command.

    Stopped and started again, it goes on: every stage skips what is done.

    Args:
        bench: An open workspace.
        cohort: Folder for the phantom CTs and masks; full truth of the training cases stays there, apart.
        size: How much.
        seed: Of the cohort, the splits and the trainings.

    Raises:
        CurationError: A stage refused a case that it should not refuse.
    """
    seconds: dict[str, float] = {}

    def step(name: str, call: Callable[[], Result]) -> Result:
        bench.progress.say(f"── {name}")
        begin = time.monotonic()
        result = call()
        seconds[name] = time.monotonic() - begin
        if isinstance(result, Outcome | Trained) and result.refused:
            raise CurationError(
                f"the demo's step '{name}' refused {len(result.refused)} cases: {result.refused[0]}"
            )
        return result

    step("make phantom CTs", partial(_make_cohort, bench, cohort, size, seed))
    with bench.catalog.writing() as session:
        writes.ensure_source(session, SOURCE, licence="CC0-1.0", image_root=str(cohort.resolve()))
    mapping = load_builtin("flare23")
    for folder, role in (("Tr", Role.TRAIN), ("Ts", Role.TEST)):
        labels, images = cohort / f"labels{folder}", cohort / f"images{folder}"
        request = IngestRequest(source=SOURCE, mapping=mapping, labels=labels, images=images, role=role)
        step(f"ingest {role} cases", partial(ingest, bench, request))

    profile = load_profile(size.profile)
    strong = freeze(bench, FreezeRequest("strong", "strong", val_share=0.2, seed=seed))
    teacher = TrainRequest(ModelKind.TEACHER, strong.address, profile, TEACHER, seed)
    step("train the teacher (nnU-Net)", partial(train, bench, teacher))
    incomplete = "missing any organ and role = train"
    step("predict the incomplete cases", partial(predict, bench, TEACHER, incomplete))
    step("complement", partial(complement, bench, incomplete, TEACHER))

    members = "role = train"
    for model, name, origins in (
        (BASELINE, "raw", (Origin.ORIGINAL, Origin.CORRECTED)),
        (STUDENT, "complemented", tuple(Origin)),
    ):
        frozen = freeze(bench, FreezeRequest(name, members, origins=origins, val_share=0.1, seed=seed))
        student = TrainRequest(ModelKind.STUDENT, frozen.address, profile, model, seed)
        step(f"train the {model} (coarse to fine)", partial(train, bench, student))
    for model in (BASELINE, TEACHER, STUDENT):
        step(f"evaluate the {model}", partial(evaluate, bench, model, "role = test"))
    return DemoResult(compare(bench, (BASELINE, TEACHER, STUDENT)), seconds)


def _make_cohort(bench: Workbench, cohort: Path, size: DemoSize, seed: int) -> None:
    bench.progress.start("phantom CTs", size.train + size.test)
    write_cohort(
        cohort,
        train=size.train,
        test=size.test,
        strong=size.strong,
        seed=seed,
        progress=lambda done, _: bench.progress.step(done),
    )
    bench.progress.finish()
