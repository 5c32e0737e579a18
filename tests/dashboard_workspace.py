"""A small workspace that has something of everything a page can show; shared by page and browser tests."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from app.workspace import Workspace, create_workspace, open_workspace
from curation.mappings import load_builtin
from curation.status import Origin
from db import writes
from db.models import ModelKind, Role
from pipelines.complement import complement
from pipelines.evaluate import evaluate
from pipelines.freeze import FreezeRequest, freeze
from pipelines.ingest import IngestRequest, ingest
from pipelines.phantom_cohort import write_cohort
from pipelines.predictions import import_predictions
from pipelines.runs import Workbench
from pipelines.runs import run as booked_run

SOURCE = "Phantom"
TEACHER, BASELINE = "truth-teacher", "shaky-baseline"
# A name that would be markup if any page forgot to escape it.
HOSTILE_NAME = "<script>alert(1)<_script>"


@dataclass(frozen=True)
class Built:
    """Where the workspace is, and where the images that its cases show lie."""

    root: Path
    cohort: Path


def build(folder: Path) -> Built:
    """Ingest 8 phantom cases for training and 2 for testing, complement them from their truth, score two models.

    Four cases are odd: one has an image and no mask, one a tumor and no prediction, one a name that looks like
    markup and no image, and the image of PHANTOM_0005 is gone.
    """
    cohort = folder / "cohort"
    write_cohort(cohort, train=8, test=2, strong=2)
    _odd_cases(cohort)
    _shaky_predictions(cohort)
    root, _ = create_workspace(folder / "workspace")
    with open_workspace(root) as ws:
        _fill(ws, cohort)
    (cohort / "imagesTr" / "PHANTOM_0005_0000.nii.gz").unlink()
    return Built(root, cohort)


def _odd_cases(cohort: Path) -> None:
    images, labels = cohort / "imagesTr", cohort / "labelsTr"
    shutil.copy(images / "PHANTOM_0000_0000.nii.gz", images / "PHANTOM_IMAGE_ONLY_0000.nii.gz")
    shutil.copy(images / "PHANTOM_0001_0000.nii.gz", images / "PHANTOM_TUMOR_0000.nii.gz")
    shutil.copy(labels / "PHANTOM_0001.nii.gz", labels / "PHANTOM_TUMOR.nii.gz")
    shutil.copy(labels / "PHANTOM_0003.nii.gz", labels / f"{HOSTILE_NAME}.nii.gz")
    (labels / "PHANTOM_TEXT.nii.gz").write_text("not a volume")


def _shaky_predictions(cohort: Path) -> None:
    """A second model: the truth pushed two voxels to one side, and without the right adrenal gland."""
    for truth in sorted((cohort / "labelsTs").glob("*.nii.gz")):
        volume = nib.load(truth)
        voxels = np.roll(np.asarray(volume.dataobj), 2, axis=0)
        voxels[voxels == 7] = 0
        out = cohort / "shaky" / truth.name
        out.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(voxels.astype(np.uint8), volume.affine), out)


def _fill(ws: Workspace, cohort: Path) -> None:
    bench, mapping = ws.bench(jobs=1), load_builtin("flare23")
    with ws.catalog.writing() as session:
        writes.ensure_source(session, SOURCE, licence="CC0-1.0", image_root=str(cohort.resolve()))
    for end, role in (("Tr", Role.TRAIN), ("Ts", Role.TEST)):
        ingest(
            bench,
            IngestRequest(
                source=SOURCE, mapping=mapping, role=role,
                labels=cohort / f"labels{end}", images=cohort / f"images{end}",
            ),
        )  # fmt: skip
    freeze(bench, FreezeRequest("strong", "strong", val_share=0.5, message="what the teacher learns from"))
    import_predictions(bench, cohort / "truthTr", TEACHER, mapping, SOURCE)
    import_predictions(bench, cohort / "labelsTs", TEACHER, mapping, SOURCE)
    import_predictions(bench, cohort / "shaky", BASELINE, mapping, SOURCE)
    complement(bench, "missing any organ and role = train", TEACHER)
    for model in (TEACHER, BASELINE):
        evaluate(bench, model, "role = test")
    freeze(bench, FreezeRequest("all", "role = train", origins=tuple(Origin), folds=4))
    _trainings(bench)


def _trainings(bench: Workbench) -> None:
    """What a training leaves behind, without training: a model with curves, a failed run, a running one."""
    curves = [
        {
            "epoch": epoch,
            "train_loss": 1.2 * 0.9**epoch,
            "val_loss": 1.3 * 0.92**epoch,
            "val_dice": 1 - 0.9**epoch,
        }
        for epoch in range(1, 31)
    ]
    with bench.catalog.writing() as session:
        writes.add_model(
            session, "student-with-curves", ModelKind.STUDENT,
            profile={"name": "quick"}, origins=["original", "pseudo"],
            metrics={"val_dice": 0.87, "seconds": 412.0}, curves=curves,
        )  # fmt: skip
    with contextlib.suppress(RuntimeError), booked_run(bench, "train", {"dataset": "strong@1"}, total=30):
        raise RuntimeError("the device has 2.0 GB and the profile wants 6.5 GB; use --profile quick")
    with bench.catalog.writing() as session:
        run_id = writes.start_run(
            session, stage="train", key="student all@1", parameters={"dataset": "all@1"}, author=bench.author,
            program_version=bench.program_version, total=None,
        )  # fmt: skip
        writes.update_progress(
            session, run_id,
            {"event": "progress", "stage": "fine", "step": 120, "of": 400, "message": "epoch 12", "loss": 0.412},
        )  # fmt: skip
