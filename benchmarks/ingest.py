"""Ingest of many tiny masks, bare catalog rows, and a folder with little to take, on SQLite and PostgreSQL.

Run ``python -m benchmarks.ingest``. 4,000 masks of 16×16×16 voxels with the 14 classes in the combinations that
FLARE23's sources annotate are ingested as a command and by the function, on all cores; of the function's commits the
farthest apart are told, from the first batch on. Rows are made through `db.writes.add_cases` in one transaction: bare
cases, and cases with a version and its 14 annotations. Medians of three, each on a new catalog.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
from sqlalchemy import create_engine, event, text

from benchmarks.million import postgresql
from curation.labels import CLASS_IDS, ORGAN_IDS
from curation.mappings import load_builtin
from curation.rle import RunLengths
from curation.status import Evidence, Origin, Status
from curation.volumes import Geometry, encode_mask
from db import writes
from db.catalog import Catalog
from db.engine import database_url
from db.models import VersionKind
from db.schema import migrate
from db.store import Store
from db.writes import AnnotationValues, NewCase, NewVersion
from pipelines.ingest import IngestRequest, ingest
from pipelines.runs import Workbench, cores

MASKS, BARE_CASES, WHOLE_CASES, ENTRIES = 4000, 100_000, 10_000, 100_000
REPEATS = 3
MASKS_S, CASES_S, BATCH_S, LITTLE_S = 400.0, 50_000.0, 1.0, 1.0  # what issue 4 asks for
FIVE = (1, 2, 3, 4, 13)
# What FLARE23's sources annotate: the tumor alone, four or five organs, without adrenals, all of them.
DRAWN = (
    (14,), FIVE[:4], FIVE, (*FIVE, 14), (*FIVE, 9, 11, 12, 14), tuple(set(ORGAN_IDS) - {7, 8}), ORGAN_IDS,
)  # fmt: skip
GEOMETRY = Geometry((16, 16, 16), np.diag([0.8, 0.8, 2.5, 1.0]))


def draw_tiny_masks(folder: Path) -> None:
    """Masks that differ in what they draw and by how much."""
    folder.mkdir()
    for number in range(MASKS):
        mask = np.zeros(GEOMETRY.shape, np.uint8)
        for class_id in DRAWN[number % len(DRAWN)]:
            mask[class_id, 1 : 6 + number % 10, 1 : 5 + number // 10 % 10] = class_id
        mask[0, 0, : number // 100 % 16] = 14
        (folder / f"T{number:04}.nii.gz").write_bytes(encode_mask(RunLengths.from_array(mask), GEOMETRY))


def draw_little(folder: Path) -> None:
    """Three masks among pictures, tables and slices, all in one folder."""
    draw = np.zeros(GEOMETRY.shape, np.uint8)
    folder.mkdir()
    for number in range(3):
        draw[number + 1, 2, 3] = 1
        (folder / f"M{number}.nii.gz").write_bytes(encode_mask(RunLengths.from_array(draw), GEOMETRY))
    for number in range(ENTRIES - 3):
        (folder / f"slice_{number:06}.{('png', 'json', 'txt', 'dcm')[number % 4]}").touch()


# A new, empty, migrated catalog in a folder: its URL.
NewCatalog = Callable[[Path], str]


def new_sqlite(folder: Path) -> str:
    url = f"sqlite:///{folder / 'catalog.db'}"
    migrate(url)
    return url


def new_on(server: str) -> NewCatalog:
    """Makes databases on a server of PostgreSQL, one per catalog."""

    def make(folder: Path) -> str:
        engine = create_engine(database_url(server), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{folder.name}"'))
        engine.dispose()
        url = str(database_url(server).set(database=folder.name).render_as_string(hide_password=False))
        migrate(url)
        return url

    return make


@contextmanager
def new_catalog(make: NewCatalog) -> Iterator[tuple[Path, Catalog]]:
    with tempfile.TemporaryDirectory() as name:
        catalog = Catalog.open(make(Path(name)))
        try:
            yield Path(name), catalog
        finally:
            catalog.close()


def by_function(make: NewCatalog, masks: Path) -> tuple[float, float]:
    """Seconds of one ingest inside the process, and the longest from the commit of one batch to that of the next."""
    with new_catalog(make) as (folder, catalog):
        commits: list[float] = []
        event.listen(catalog.engine, "commit", lambda _: commits.append(time.perf_counter()))
        bench = Workbench(
            catalog=catalog, store=Store(folder / "store"), root=folder, author="bench", program_version="0"
        )
        start = time.perf_counter()
        outcome = ingest(bench, IngestRequest(source="T", mapping=load_builtin("flare23"), labels=masks))
        wall = time.perf_counter() - start
        assert outcome.counts == {"new": MASKS}, outcome
        # The first two book the source and the start of the run; then the workers start.
        return wall, max(later - sooner for sooner, later in pairwise(commits[2:]))


def by_command(make: NewCatalog, folder_of_masks: Path, expected: int) -> tuple[float, str]:
    """Seconds of one ingest as a command, its start included, and what it said on stderr."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = os.environ | {"MASKLEDGER_AUTHOR": "bench", "MASKLEDGER_DATABASE_URL": make(folder)}
        line = [sys.executable, "-m", "app.cli", "-w", str(folder)]
        subprocess.run([*line, "init"], check=True, capture_output=True, env=environment)
        line += ["ingest", "--source", "T", "--labels", str(folder_of_masks)]
        start = time.perf_counter()
        done = subprocess.run(line, check=True, capture_output=True, env=environment, text=True)
        wall = time.perf_counter() - start
        assert f"{expected} new" in done.stdout, done.stdout
        return wall, done.stderr


def whole_case(number: int, source: str) -> NewCase:
    """A case with version 1, of which five classes are drawn."""
    digest = f"{number:064x}"
    rows = [
        AnnotationValues(
            class_id=c, status=Status.ANNOTATED, evidence=Evidence.VOXELS, origin=Origin.ORIGINAL, voxels=75,
            volume_ml=0.12, bbox=(c, 1, 1, c + 1, 6, 5), centroid=(c * 0.8, 2.4, 6.25), components=1,
            largest_share=1.0, class_hash=digest,
        )
        if c in FIVE
        else AnnotationValues(class_id=c, status=Status.MISSING, evidence=Evidence.DEFAULT)
        for c in CLASS_IDS
    ]  # fmt: skip
    first = NewVersion(
        kind=VersionKind.INGESTED, author="bench", geometry=GEOMETRY, annotations=rows, incoming_hash=digest,
        file_hash=digest, voxel_hash=digest, incoming_path=f"/data/{source}/case_{number:06}.nii.gz",
    )  # fmt: skip
    return NewCase(name=f"case_{number:06}", first=first)


def rows_alone(make: NewCatalog, cases: list[NewCase]) -> float:
    """Seconds until the rows of cases are committed."""
    with new_catalog(make) as (_, catalog):
        with catalog.writing() as session:
            source_id = writes.ensure_source(session, "T")
        start = time.perf_counter()
        with catalog.writing() as session:
            there = writes.add_cases(session, source_id, cases)
        wall = time.perf_counter() - start
        assert not there
        return wall


def measure(title: str, make: NewCatalog, folder: Path) -> None:
    """Print the figures of one kind of database."""
    print(f"\n{title:52}{'a second':>10}{'asked for':>12}{'wall s':>9}")

    def line(what: str, amount: int, wall: float, asked: float | None) -> None:
        target = f"{asked:,.0f}" if asked else ""
        print(f"{what:52}{amount / wall:10,.0f}{target:>12}{wall:9.2f}", flush=True)

    runs = [by_function(make, folder / "tiny") for _ in range(REPEATS)]
    line(f"{MASKS} tiny masks, {cores()} cores", MASKS, statistics.median(wall for wall, _ in runs), MASKS_S)
    walls = [by_command(make, folder / "tiny", MASKS)[0] for _ in range(REPEATS)]
    line("the same as a command", MASKS, statistics.median(walls), MASKS_S)
    bare = [NewCase(name=f"case_{number:06}") for number in range(BARE_CASES)]
    whole = [whole_case(number, "T") for number in range(WHOLE_CASES)]
    for what, cases, asked in (
        ("rows of cases alone", bare, CASES_S),
        ("cases, each with a version and 14 annotations", whole, None),
    ):
        line(what, len(cases), statistics.median(rows_alone(make, cases) for _ in range(REPEATS)), asked)
    walls, told = zip(*(by_command(make, folder / "little", 3) for _ in range(REPEATS)), strict=True)
    line(f"3 masks among {ENTRIES:,} entries, as a command", 3, statistics.median(walls), None)
    print(f"longest batch of these masks: {max(batch for _, batch in runs):.2f} s (asked for: {BATCH_S:g})")
    print(
        f"the 3 masks: {statistics.median(walls):.2f} s ({LITTLE_S:g}), {told[0].count(chr(10))} lines on stderr"
    )


def main() -> None:
    """Measure on both databases."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_tiny_masks(folder / "tiny")
        draw_little(folder / "little")
        measure("SQLite", new_sqlite, folder)
        with postgresql(folder) as server:
            measure("PostgreSQL", new_on(server), folder)


if __name__ == "__main__":
    main()
