"""Complement of one 512×512×300 case, whole: read two masks, merge, count, hash, encode, write, fsync, book.

Run ``python -m benchmarks.complement``. Ours is the real stage on a catalog and a store; the others read, merge,
count and write the same masks, without hashes, findings, fsync or a catalog. All results are checked equal.
"""

import itertools
import os
import tempfile
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK

from benchmarks.census import SPACING_MM, draw_mask, measure
from curation.mappings import load_builtin
from curation.volumes import decode_mask, encode_mask
from db import case_files
from db.catalog import Catalog
from db.schema import migrate
from db.store import Store
from pipelines.complement import complement
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.runs import Workbench

WEAK_SHARE = 4  # the weak mask has the lowest quarter of the values
# One per repeat of `measure`, one for its memory: a case that is complemented has nothing left to fill.
CASES = 7
_numbers = itertools.count()


def _bench(root: Path) -> Workbench:
    return _opened(root, os.getpid())


@cache
def _opened(root: Path, _process: int) -> Workbench:
    """A workbench of this very process: a database connection does not survive a fork."""
    return Workbench(
        catalog=Catalog.open(f"sqlite:///{root / 'catalog.db'}"),
        store=Store(root / "store"),
        root=root,
        author="benchmark",
        program_version="benchmark",
        jobs=1,
    )


def prepare(root: Path, full: Path, weak: Path) -> None:
    """Make a workspace in which every case lacks what model M predicts."""
    migrate(f"sqlite:///{root / 'catalog.db'}")
    for number in range(CASES):
        for folder, mask in (("labels", weak), ("predicted", full)):
            place = root / folder / f"C{number}.nii.gz"
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(mask)
    bench, mapping = _bench(root), load_builtin("flare23")
    ingest(bench, IngestRequest(source="S", mapping=mapping, labels=root / "labels"))
    import_predictions(bench, root / "predicted", "M", mapping)


def complement_ours(root: Path) -> dict[int, int]:
    bench = _bench(root)
    # In a fork, whose counter starts where the parent's stood, the last case is taken.
    number = next(_numbers) if os.getpid() == _PARENT else CASES - 1
    outcome = complement(bench, f'case = "S/C{number}"', "M", largest_only=False)
    assert outcome.counts == {"complemented": 1}, outcome
    with bench.catalog.reading() as session:
        case = case_files.case_file(session, f"S/C{number}")
    return {c: row.voxels for c, row in case.annotations.items() if row.voxels}


_PARENT = os.getpid()


def complement_numpy(full: Path, weak: Path) -> dict[int, int]:
    image = nibabel.load(weak)
    kept, offered = image.get_fdata(), nibabel.load(full).get_fdata()
    conflicts = {}
    for value in sorted(set(np.unique(offered)) - set(np.unique(kept))):
        conflicts[value] = int(((offered == value) & (kept != 0)).sum())
        kept[(offered == value) & (kept == 0)] = value
    nibabel.save(nibabel.Nifti1Image(kept.astype(np.uint8), image.affine), weak.with_name("merged.nii.gz"))
    values, counts = np.unique(kept, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True) if v}


def complement_simpleitk(full: Path, weak: Path) -> dict[int, int]:
    kept, offered = SimpleITK.ReadImage(str(weak)), SimpleITK.ReadImage(str(full))
    fresh = SimpleITK.Mask(offered, SimpleITK.Equal(kept, 0))
    has = set(np.unique(SimpleITK.GetArrayViewFromImage(kept)).tolist())
    merged = SimpleITK.Add(kept, SimpleITK.ChangeLabel(fresh, {v: 0 for v in range(1, 256) if v in has}))
    SimpleITK.WriteImage(merged, str(weak.with_name("merged.nii.gz")), useCompression=True)
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(merged)
    return {value: shape.GetNumberOfPixels(value) for value in shape.GetLabels()}


def main() -> None:
    """Measure on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        full, weak = root / "full.nii.gz", root / "weak.nii.gz"
        nibabel.save(nibabel.Nifti1Image(draw_mask(), np.diag([*SPACING_MM, 1.0])), full)
        geometry, runs = decode_mask(full.read_bytes(), full.name)
        lowest = sorted(runs.voxels())[: len(runs.voxels()) // WEAK_SHARE]
        weak.write_bytes(encode_mask(runs.select(lowest), geometry))
        prepare(root, full, weak)
        measure(
            "complement of one case",
            {
                "maskledger (hashes, findings, store, catalog)": lambda: complement_ours(root),
                "numpy + nibabel": lambda: complement_numpy(full, weak),
                "SimpleITK": lambda: complement_simpleitk(full, weak),
            },
        )


if __name__ == "__main__":
    main()
