"""Freezing 100,000 cases, and exporting 1,000 by links.

Run ``python -m benchmarks.datasets [CASES [EXPORTED]]``. The catalog (SQLite) is made for it, in a temporary folder,
with the rows that an ingest and a complement would leave; the masks and images of the exported cases are small, because
links do not look into them.
"""

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert, update

from curation.labels import CLASS_IDS
from curation.rle import RunLengths
from curation.status import Evidence, Origin, Status
from curation.volumes import Geometry, encode_and_hash, encode_image
from db.catalog import Catalog
from db.models import Annotation, Case, MaskVersion, Source, VersionKind
from db.schema import migrate
from db.soundness import packed_states
from db.store import Store
from pipelines.dataset_diff import diff_datasets
from pipelines.export import export
from pipelines.exports.request import ExportRequest, Format
from pipelines.freeze import FreezeRequest, freeze
from pipelines.runs import Workbench

CASES, EXPORTED = 100_000, 1_000
SOURCES = ("AMOS", "KiTS", "LiTS", "TotalSegmentator")
EXPORTED_SOURCE = "FLARE23"  # of the cases that have files
GRID = Geometry((8, 8, 8), np.diag([1.0, 1.0, 2.5, 1.0]))
BATCH = 5_000


def fill(catalog: Catalog, store: Store, images: Path, cases: int, with_files: int) -> None:
    """Write the rows of `cases` cases in one version each; the first `with_files` of them get files, too."""
    draw = random.Random(23)
    with catalog.writing() as session:
        session.execute(
            insert(Source.__table__),
            [
                {"id": i, "name": name, "licence": "CC BY 4.0", "image_root": str(images)}
                for i, name in enumerate((EXPORTED_SOURCE, *SOURCES))
            ],
        )
        for begin in range(1, cases + 1, BATCH):
            numbers = range(begin, min(begin + BATCH, cases + 1))
            session.execute(insert(Case.__table__), [case_row(n, n <= with_files) for n in numbers])
            versions = [version_row(n, store, images, n <= with_files) for n in numbers]
            session.execute(insert(MaskVersion.__table__), versions)
            session.execute(insert(Annotation.__table__), [r for n in numbers for r in class_rows(n, draw)])
        session.execute(update(MaskVersion.__table__).values(states=packed_states(MaskVersion.id)))
        session.connection().exec_driver_sql(
            'UPDATE "case" SET newest_version_id = id,'
            ' states = (SELECT v.states FROM mask_version AS v WHERE v.id = "case".id)'
        )


def case_row(number: int, with_files: bool) -> dict[str, Any]:
    """One case; every tenth belongs to the patient of the one before."""
    return {
        "id": number, "source_id": 0 if with_files else 1 + number % len(SOURCES), "name": f"case_{number:06d}",
        "patient": f"P{number - (number % 10 == 0):06d}", "image_path": f"case_{number:06d}_0000.nii.gz",
    }  # fmt: skip


def version_row(number: int, store: Store, images: Path, with_files: bool) -> dict[str, Any]:
    """Version 1 of a case, with its mask and image where asked for."""
    file_hash, voxel_hash = f"{number:064x}", f"{number:064x}"
    if with_files:
        array = np.zeros(GRID.shape, np.uint8)
        array[1:7, 1:7, 1 + number % 6] = CLASS_IDS[number % 14]
        data, voxel_hash = encode_and_hash(RunLengths.from_array(array), GRID)
        file_hash = store.put(data)
        image = encode_image(np.zeros(GRID.shape, np.int16), GRID)
        (images / f"case_{number:06d}_0000.nii.gz").write_bytes(image)
    row = {
        "id": number, "case_id": number, "number": 1, "kind": VersionKind.INGESTED, "author": "bench",
        "incoming_hash": file_hash, "file_hash": file_hash, "voxel_hash": voxel_hash, "orientation": "RAS",
        "affine": GRID.affine.ravel().tolist(),
    }  # fmt: skip
    for axis in range(3):
        row |= {f"shape_{'xyz'[axis]}": 8, f"spacing_{'xyz'[axis]}": float(GRID.affine[axis, axis])}
    return row


def class_rows(number: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    """14 classes: one case in ten is complete, the others have some of them."""
    share = 1.0 if draw.random() < 0.1 else draw.random()
    for class_id in CLASS_IDS:
        drawn = class_id == 1 or draw.random() < share
        yield {
            "version_id": number, "class_id": class_id,
            "status": Status.ANNOTATED if drawn else Status.MISSING,
            "origin": Origin.ORIGINAL if drawn else None,
            "evidence": Evidence.VOXELS if drawn else Evidence.DEFAULT,
            "voxels": 36 if drawn else 0, "volume_ml": 0.09 if drawn else 0.0,
            "class_hash": f"{number * 14 + class_id:064x}" if drawn else None,
            "drawn_version_id": number if drawn else None,
        }  # fmt: skip


def main(arguments: list[str]) -> None:
    """Make the catalog, freeze it in three ways, compare two of them, export those with files in every format."""
    cases, exported = (*map(int, arguments), *(CASES, EXPORTED)[len(arguments) :])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        url = f"sqlite:///{folder / 'catalog.db'}"
        migrate(url)
        catalog = Catalog.open(url)
        try:
            bench = Workbench(
                catalog=catalog, store=Store(folder / "store"), root=folder, author="bench",
                program_version="bench", jobs=1,
            )  # fmt: skip
            begin = time.perf_counter()
            fill(catalog, bench.store, folder / "images", cases, exported)
            print(f"catalog of {cases:,} cases made in {time.perf_counter() - begin:.1f} s\n")
            measure_freezes(bench, cases)
            measure_diff(bench)
            measure_exports(bench, folder)
        finally:
            catalog.close()


def measure_freezes(bench: Workbench, cases: int) -> None:
    """Print the seconds of three freezes, each with member rows and manifest hash."""
    for title, request in (
        ("5 folds", FreezeRequest("folds", "", folds=5)),
        ("20 % validation", FreezeRequest("share", "all", val_share=0.2)),
        ("strong, by licence", FreezeRequest("strong", "strong", val_share=0.2, licences=("CC BY*",))),
    ):
        begin, of_cpu = time.perf_counter(), time.process_time()
        frozen = freeze(bench, request)
        wall, cpu = time.perf_counter() - begin, time.process_time() - of_cpu
        print(f"freeze of {cases:,}, {title}: {frozen.members:,} members  {wall:6.2f} s ({cpu:.2f} s of CPU)")


def measure_diff(bench: Workbench) -> None:
    """Print the seconds of a comparison of the first two."""
    begin, of_cpu = time.perf_counter(), time.process_time()
    found = diff_datasets(bench, "folds", "share")
    wall, cpu = time.perf_counter() - begin, time.process_time() - of_cpu
    print(f"diff of both: {len(found.moved):,} moved  {wall:6.2f} s ({cpu:.2f} s of CPU)")


def measure_exports(bench: Workbench, folder: Path) -> None:
    """Print the seconds of an export in every format."""
    freeze(bench, FreezeRequest("exported", f'source = "{EXPORTED_SOURCE}"', folds=5))
    for kind in Format:
        begin, of_cpu = time.perf_counter(), time.process_time()
        done = export(bench, ExportRequest("exported", folder / f"out_{kind}", kind))
        wall, cpu = time.perf_counter() - begin, time.process_time() - of_cpu
        print(
            f"export as {kind}: {done.cases:,} cases, {done.linked:,} links  {wall:6.2f} s ({cpu:.2f} s of CPU)"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
