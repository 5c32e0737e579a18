"""The worklist of a review over 100,000 cases: time and memory.

Run ``python -m benchmarks.review [CASES]``. The catalog (SQLite) is made for it in a temporary folder: cases
with some nine pseudo classes each, a prediction, findings and decisions.
"""

import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert, update

from curation.labels import CLASS_IDS
from curation.status import Evidence, Origin, Severity, Status
from curation.volumes import Geometry
from db.catalog import Catalog
from db.models import (
    Annotation,
    Case,
    Decision,
    FindingRow,
    MaskVersion,
    Model,
    ModelKind,
    Prediction,
    PredictionClass,
    Source,
    Verdict,
    VersionKind,
)
from db.schema import migrate
from db.soundness import packed_states
from db.store import Store
from pipelines.runs import Workbench
from pipelines.worklist import worklist

CASES = 100_000
GRID = Geometry((8, 8, 8), np.diag([1.0, 1.0, 2.5, 1.0]))
BATCH = 5_000


def fill(url: str, cases: int) -> None:
    """Make a catalog of `cases` cases in one version each, most of their classes a model's."""
    migrate(url)
    draw = random.Random(23)
    with Catalog.open(url).writing() as session:
        session.execute(insert(Source.__table__), [{"id": 1, "name": "S"}])
        session.execute(insert(Model.__table__), [{"id": 1, "name": "M", "kind": ModelKind.EXTERNAL}])
        for begin in range(1, cases + 1, BATCH):
            numbers = range(begin, min(begin + BATCH, cases + 1))
            names = [{"id": n, "source_id": 1, "name": f"c{n:06d}", "patient": f"P{n}"} for n in numbers]
            session.execute(insert(Case.__table__), names)
            predictions = [
                {"id": n, "case_id": n, "model_id": 1, "file_hash": f"{n:064x}", "voxel_hash": f"{n:064x}"}
                for n in numbers
            ]
            session.execute(insert(MaskVersion.__table__), [_version(n) for n in numbers])
            session.execute(insert(Prediction.__table__), predictions)
            classes = [row for n in numbers for row in _classes(n, draw)]
            session.execute(insert(Annotation.__table__), classes)
            session.execute(insert(PredictionClass.__table__), [_predicted(row, draw) for row in classes])
            chosen = [row for row in classes if draw.random() < 0.05]
            session.execute(insert(FindingRow.__table__), [_finding(row) for row in chosen])
            accepted = [row for row in classes if row["prediction_id"] and draw.random() < 0.05]
            session.execute(insert(Decision.__table__), [_decision(row) for row in accepted])
        session.execute(update(MaskVersion.__table__).values(states=packed_states(MaskVersion.id)))
        session.connection().exec_driver_sql(
            'UPDATE "case" SET newest_version_id = id,'
            ' states = (SELECT v.states FROM mask_version AS v WHERE v.id = "case".id)'
        )


def _version(number: int) -> dict[str, Any]:
    row = {
        "id": number, "case_id": number, "number": 1, "kind": VersionKind.INGESTED, "author": "bench",
        "file_hash": f"{number:064x}", "voxel_hash": f"{number:064x}", "orientation": "RAS",
        "affine": GRID.affine.ravel().tolist(),
    }  # fmt: skip
    for axis in range(3):
        row |= {f"shape_{'xyz'[axis]}": 8, f"spacing_{'xyz'[axis]}": float(GRID.affine[axis, axis])}
    return row


def _classes(number: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    for class_id in CLASS_IDS:
        pseudo = draw.random() < 0.65
        yield {
            "version_id": number, "class_id": class_id, "status": Status.ANNOTATED,
            "origin": Origin.PSEUDO if pseudo else Origin.ORIGINAL, "evidence": Evidence.VOXELS,
            "prediction_id": number if pseudo else None, "voxels": 36, "volume_ml": 0.09,
            "class_hash": f"{number * 14 + class_id:064x}", "drawn_version_id": number,
        }  # fmt: skip


def _predicted(row: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    return {
        "prediction_id": row["version_id"], "class_id": row["class_id"], "voxels": 36, "volume_ml": 0.09,
        "confidence": 1 - 0.5 * draw.random() ** 3, "tta_disagreement": 0.3 * draw.random() ** 2,
        "agreement": None if row["prediction_id"] else 1 - draw.random() ** 4,
    }  # fmt: skip


def _finding(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "version_id": row["version_id"], "class_id": row["class_id"], "check": "organ_in_pieces",
        "severity": Severity.WARNING, "value": 0.5, "limit": 0.9, "message": "In 2 pieces.",
    }  # fmt: skip


def _decision(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "case_id": row["version_id"], "class_id": row["class_id"], "class_hash": row["class_hash"],
        "verdict": Verdict.ACCEPTED, "reason": "", "person": "bench", "model_id": 1,
    }  # fmt: skip


def main(arguments: list[str]) -> None:
    """Make the catalog, ask for the list three times."""
    cases = int(arguments[0]) if arguments else CASES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'catalog.db'}"
        # In a process of its own, so that the peak of this one is the list's.
        making = multiprocessing.get_context("spawn").Process(target=fill, args=(url, cases))
        making.start()
        making.join()
        catalog = Catalog.open(url)
        bench = Workbench(
            catalog=catalog,
            store=Store(folder / "store"),
            root=folder,
            author="bench",
            program_version="bench",
        )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        spent = []
        for _ in range(3):
            begin = time.process_time()
            found = worklist(bench, "")
            spent.append(time.process_time() - begin)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(
            f"review list over {cases} cases, {found.total} candidates: {min(spent):.1f} s of CPU (best of 3), "
            f"{grown / 1024:.0f} MB above the process before"
        )
        catalog.close()


if __name__ == "__main__":
    main(sys.argv[1:])
