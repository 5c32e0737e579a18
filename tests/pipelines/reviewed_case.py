"""A case for the tests of review and correction: S/A with an original liver, and a pseudo spleen and tumor of M."""

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from volume_files import SHAPE, write_volume

from curation.mappings import load_builtin
from db import case_files, queries, standing
from db.case_files import CaseFile
from db.queries import EventRow, VersionDetail
from pipelines.complement import complement
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.runs import Workbench

FLARE = load_builtin("flare23")
LIVER, RIGHT_KIDNEY, SPLEEN, PANCREAS, GALLBLADDER, LEFT_KIDNEY, TUMOR = 1, 2, 3, 4, 9, 13, 14


def drawn_liver() -> NDArray[np.uint8]:
    """A liver of 4×4×4 = 64 voxels."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[7:11, 1:5, 1:5] = LIVER
    return mask


def predicted() -> NDArray[np.uint8]:
    """The same liver, a spleen of 3×3×3 = 27 voxels and a tumor of 2×2×2 = 8."""
    mask = drawn_liver()
    mask[2:5, 1:4, 1:4] = SPLEEN
    mask[3:5, 6:8, 5:7] = TUMOR
    return mask


def make_case(bench: Workbench, folder: Path, name: str = "A") -> None:
    """S/NAME: version 1 with the liver, version 2 with the model's spleen and tumor."""
    write_volume(folder / name / "l" / f"{name}.nii.gz", drawn_liver())
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=folder / name / "l"))
    offer(bench, folder, predicted(), name=name)
    complement(bench, f'case = "S/{name}"', "M")


def offer(bench: Workbench, folder: Path, mask: NDArray[np.uint8], model: str = "M", name: str = "A") -> None:
    """A model's prediction for S/NAME."""
    write_volume(folder / name / f"p-{model}" / f"{name}.nii.gz", mask)
    import_predictions(bench, folder / name / f"p-{model}", model, FLARE)


def newest(bench: Workbench, address: str = "S/A") -> CaseFile:
    with bench.catalog.reading() as session:
        return case_files.case_file(session, address)


def detail(bench: Workbench, address: str = "S/A") -> VersionDetail:
    with bench.catalog.reading() as session:
        return queries.version_detail(session, queries.resolve(session, address).version_id)


def voxels(bench: Workbench, address: str = "S/A") -> NDArray[np.uint8]:
    return np.asarray(nib.load(bench.store.path(newest(bench, address).file_hash)).dataobj)


def accepted(bench: Workbench, address: str = "S/A") -> frozenset[int]:
    version_id = newest(bench, address).version_id
    with bench.catalog.reading() as session:
        return standing.accepted_classes(session, [version_id]).get(version_id, frozenset())


def events(bench: Workbench, action: str) -> list[EventRow]:
    with bench.catalog.reading() as session:
        return [event for event in queries.events(session) if event.action == action]
