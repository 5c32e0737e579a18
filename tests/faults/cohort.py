"""A cohort of tiny cases whose handling takes a command about two seconds, and workspaces at every stage of it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from processes import run
from volume_files import SHAPE, boxes, write_image, write_volume

from db.catalog import Catalog
from db.store import Store
from pipelines.runs import Workbench

SOURCE, MODEL, DATASET = "S", "M", "all"


@dataclass(frozen=True)
class Cohort:
    """Folders of masks (a part of the organs drawn), of images, and of a model's masks (all organs)."""

    root: Path
    cases: int

    @property
    def labels(self) -> Path:
        """NAME.nii.gz per case."""
        return self.root / "labels"

    @property
    def images(self) -> Path:
        """NAME_0000.nii.gz per case."""
        return self.root / "images"

    @property
    def predicted(self) -> Path:
        """NAME.nii.gz per case, by a model."""
        return self.root / "predicted"

    @classmethod
    def write(cls, root: Path, cases: int, prefix: str = "C") -> "Cohort":
        """Write the files; no two masks are equal, so that every case has files of its own in the store."""
        cohort = cls(root, cases)
        image = write_image(root / "image.nii.gz")
        cohort.images.mkdir()
        for number in range(cases):
            name = f"{prefix}{number:03}"
            mask = boxes({1 + number % 14: 1 + number % 9, 1 + (number + 5) % 14: 2})
            bits = np.array([number >> bit & 1 for bit in range(SHAPE[0])], np.uint8)
            mask[:, 0, 0] = bits  # liver: the number in binary
            write_volume(cohort.labels / f"{name}.nii.gz", mask)
            organs = boxes({value: 1 + (number + value) % 8 for value in range(1, 14)})
            organs[:, 9, 7] = bits * 13
            write_volume(cohort.predicted / f"{name}.nii.gz", organs)
            shutil.copy(image, cohort.images / f"{name}_0000.nii.gz")
        return cohort


# What leads from one state of a workspace to the next.
STEPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "init": ("", ("init",)),
    "ingest": ("init", ("ingest", "--source", SOURCE, "--labels", "{labels}", "--images", "{images}")),
    "import": ("ingest", ("predictions", "import", "{predicted}", "--model", MODEL)),
    "complement": ("import", ("complement", "", "--model", MODEL)),
    # Without the pseudo labels, so that an export has masks to write instead of links alone.
    "freeze": ("complement", ("dataset", "freeze", DATASET, "", "--folds", "5", "--origins", "original")),
    "export": ("freeze", ("dataset", "export", DATASET, "{out}")),
    "retract": ("freeze", ("retract", "model", MODEL, "--reason", "trained on the wrong cases")),
}


def words_of(step: str, cohort: Cohort, workspace: Path) -> list[str]:
    """The command line of a step."""
    places = {
        "labels": cohort.labels, "images": cohort.images, "predicted": cohort.predicted, "out": out_of(workspace),
    }  # fmt: skip
    return [word.format(**places) for word in STEPS[step][1]]


def out_of(workspace: Path) -> Path:
    """Where an export of this workspace goes: beside it, of the same name wherever the workspace is."""
    return workspace.parent / "Dataset501_All"


class Workspaces:
    """Workspaces after each step, made when first asked for and copied for every use."""

    def __init__(self, root: Path, cohort: Cohort) -> None:
        self.root = root
        self.cohort = cohort

    def after(self, step: str) -> Path:
        """The one workspace that stands after a step; not to be changed."""
        workspace = self.root / step / "w"
        if not workspace.exists():
            before = STEPS[step][0]
            workspace.parent.mkdir()
            if before:
                self.copy(before, workspace)
            run(workspace, *words_of(step, self.cohort, workspace))
        return workspace

    def copy(self, step: str, workspace: Path) -> Path:
        """A workspace of one's own in the state after a step."""
        return Path(shutil.copytree(self.after(step), workspace))


def open_bench(workspace: Path, url: str | None = None) -> Workbench:
    """Catalog and store of a workspace, to look at them without a process."""
    return Workbench(
        catalog=Catalog.open(url or f"sqlite:///{workspace / 'catalog.db'}"),
        store=Store(workspace / "store"),
        root=workspace,
        author="Ada Tester",
        program_version="0-test",
        jobs=1,
    )
