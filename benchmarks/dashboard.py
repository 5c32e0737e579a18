"""The dashboard on catalogs of 100,000 and 1,000,000 cases: each page's time on the server, and 20 people at once.

Run ``python -m benchmarks.dashboard [CASES ...]``, or ``… --keep FOLDER`` to make the catalogs once. A catalog is that
of `benchmarks.million` with a past added: cases that were complemented have a version before it, and every twentieth
case has a warning. Pages are run as the server runs them, without a browser, each three times after one to warm up,
in a session of its own; sorted and filtered pages too. Then the real server is started and real websocket clients
speak Streamlit's protocol with it: each opens pages one after the other, with a pause for reading.
"""

import argparse
import asyncio
import contextlib
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlencode

from app.workspace import create_workspace
from benchmarks.million import draw_states, fill_sqlite
from curation.class_states import BITS
from curation.labels import CLASS_IDS
from db.engine import open_engine

CHECKOUT = Path(__file__).resolve().parents[1]
HOME = CHECKOUT / "dashboards" / "home.py"
REPEATS, SESSIONS, VIEWS, PAUSE_S = 3, 20, 4, 8.0
LOWEST = sum(1 << BITS * (c - 1) for c in CLASS_IDS)
# The bits of a class that a model drew: 4, of which the lower two are not set.
PSEUDO = f"((states >> 2) & (~(states >> 1)) & (~states) & {LOWEST})"
# Before its complement a case had the same states with 0 (missing) for 4 (pseudo). Ids below zero come first.
PAST = (
    "UPDATE mask_version SET number = 2, kind = 'complemented', parent_id = -id, created_at = '2026-02-01 00:00:00'"
    f" WHERE {PSEUDO} <> 0",
    f"""INSERT INTO mask_version (id, case_id, number, kind, author, message, created_at, shape_x, shape_y, shape_z,
        spacing_x, spacing_y, spacing_z, orientation, affine, states)
    SELECT -id, case_id, 1, 'ingested', author, message, '2026-01-01 00:00:00', shape_x, shape_y, shape_z, spacing_x,
        spacing_y, spacing_z, orientation, affine, states - 4 * {PSEUDO} FROM mask_version WHERE number = 2""",
    'INSERT INTO finding (version_id, class_id, "check", severity, value, "limit", message, state)'
    " SELECT id, 1, 'organ_in_pieces', 'warning', 0.5, 0.95, 'bench', 'open' FROM mask_version"
    " WHERE id > 0 AND id % 20 = 0",
)
# Page, parameters of its address, and the target in seconds at 100,000 and at 1,000,000 cases; None: none is set.
PAGES: tuple[tuple[str, dict[str, str], tuple[float | None, float | None]], ...] = (
    ("overview", {}, (1.0, 3.0)),
    ("query", {}, (0.5, 0.5)),
    ("query", {"q": "missing pancreas and has tumor"}, (0.5, 0.5)),
    ("query", {"q": "volume(liver) < 800"}, (0.5, 0.5)),
    ("query", {"q": "flagged"}, (0.5, 0.5)),
    ("query", {"q": "slices < 100"}, (0.5, 0.5)),
    ("query", {"q": "missing pancreas", "page": "1000"}, (0.5, 0.5)),
    ("query", {"sort": "labels", "desc": "true"}, (0.5, 0.5)),
    ("query", {"sort": "last change", "desc": "true"}, (0.5, 0.5)),
    ("query", {"sort": "patient"}, (0.5, 0.5)),
    ("query", {"sort": "slices"}, (0.5, 0.5)),
    ("query", {"sort": "version", "page": "1000"}, (0.5, 0.5)),
    ("query", {"q": "stale"}, (None, None)),
    ("query", {"at": "2026-01-15"}, (None, None)),
    ("case", {"case": "Source03/{case}"}, (0.5, 0.5)),
)
# The catalogs' cases have no files. Of this alone a page may complain; it begins the sentence and has no Markdown sign.
NO_FILES = "No image is known for Source03/"


def make(root: Path, cases: int) -> None:
    """Make a workspace with a catalog of so many cases, unless it is there."""
    if (root / "made").exists():
        return
    create_workspace(root)
    engine = open_engine(f"sqlite:///{root / 'catalog.db'}")
    start = time.perf_counter()
    fill_sqlite(engine, *draw_states(cases))
    raw = engine.raw_connection()
    raw.driver_connection.execute("PRAGMA foreign_keys = OFF")
    for statement in PAST:
        raw.driver_connection.execute(statement)
    raw.driver_connection.commit()
    raw.invalidate()
    engine.dispose()
    (root / "made").touch()
    print(f"{cases:,} cases made in {time.perf_counter() - start:.0f} s", flush=True)


def some_case(root: Path) -> str:
    """The name of a case of the third source that has no past."""
    engine = open_engine(f"sqlite:///{root / 'catalog.db'}")
    with engine.connect() as connection:
        name = connection.exec_driver_sql(
            'SELECT c.name FROM "case" AS c JOIN mask_version AS v ON v.id = c.newest_version_id'
            " WHERE c.source_id = 3 AND v.number = 1 LIMIT 1 OFFSET 1000"
        ).scalar_one()
    engine.dispose()
    return str(name)


@contextlib.contextmanager
def scripts_timed() -> Iterator[list[tuple[float, float]]]:
    """Wall and processor seconds of every page script run within, without what the test frame does around it."""
    from streamlit.runtime.scriptrunner.script_runner import ScriptRunner

    took: list[tuple[float, float]] = []
    run = ScriptRunner._run_script

    def timed(self: ScriptRunner, rerun: object) -> None:
        wall, processor = time.perf_counter(), time.thread_time()
        try:
            run(self, rerun)  # type: ignore[arg-type]
        finally:
            took.append((time.perf_counter() - wall, time.thread_time() - processor))

    ScriptRunner._run_script = timed  # type: ignore[method-assign]
    try:
        yield took
    finally:
        ScriptRunner._run_script = run  # type: ignore[method-assign]


def time_pages(root: Path, cases: int) -> None:
    """Run every page in this process, as the server would, and print its medians."""
    from streamlit.testing.v1 import AppTest

    os.environ["MASKLEDGER_WORKSPACE"] = str(root)
    case = some_case(root)
    print(f"\n{cases:,} cases, medians of {REPEATS}")
    print(f"{'page':60}{'wall, s':>9}{'CPU, s':>8}{'first, s':>10}{'target, s':>11}")
    for page, parameters, targets in PAGES:
        with scripts_timed() as took:
            for _ in range(1 + REPEATS):
                # A session of its own: what one keeps from a page to the next is not counted.
                app = AppTest.from_file(str(HOME), default_timeout=600)
                app.switch_page(f"views/{page}.py")
                for name, value in parameters.items():
                    app.query_params[name] = value.format(case=case)
                app.run()
                assert not app.exception, app.exception
                wrong = [error.value for error in app.error if not error.value.startswith(NO_FILES)]
                assert not wrong, wrong
                # A page that ended early has not got that far: the last of a case's are its tabs.
                assert page != "case" or app.tabs, "the case was not shown"
        target = targets[cases > 100_000]
        said = "" if target is None else f"{target:.1f}"
        shown = page + ("?" + unquote(urlencode(parameters)) if parameters and page != "case" else "")
        wall, processor = (statistics.median(values) for values in zip(*took[1:], strict=True))
        print(f"{shown:60}{wall:9.2f}{processor:8.2f}{took[0][0]:10.2f}{said:>11}", flush=True)


@contextlib.contextmanager
def served(root: Path) -> Iterator[int]:
    """The real server of a workspace in a process of its own; gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "app.cli", "--workspace", str(root), "dashboard", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=CHECKOUT)
        try:
            for _ in range(300):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health").close()
                    break
                time.sleep(0.2)
            yield port
        finally:
            child.terminate()
            child.wait(30)


async def visitor(port: int, number: int, case: str, pause_s: float) -> tuple[list[float], list[str]]:
    """One person: opens pages over one websocket; gives each page's seconds and whatever went wrong."""
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from websockets.asyncio.client import connect

    draw = random.Random(number)
    took: list[float] = []
    wrong: list[str] = []
    async with connect(
        f"ws://127.0.0.1:{port}/_stcore/stream", subprotocols=["streamlit"], max_size=None, open_timeout=30
    ) as line:  # type: ignore[list-item]
        for _ in range(VIEWS):
            await asyncio.sleep(draw.uniform(0, 2 * pause_s))
            page, parameters, _ = draw.choice([p for p in PAGES if p[2][0] is not None])
            ask = BackMsg()
            ask.rerun_script.query_string = urlencode(
                {name: value.format(case=case) for name, value in parameters.items()}
            )
            ask.rerun_script.page_name = "" if page == "overview" else page
            start = time.perf_counter()
            await line.send(ask.SerializeToString())
            while True:
                told = ForwardMsg.FromString(await asyncio.wait_for(line.recv(decode=False), 120))
                kind = told.WhichOneof("type")
                if kind == "delta" and told.delta.WhichOneof("type") == "new_element":
                    element = told.delta.new_element
                    if element.WhichOneof("type") == "exception":
                        wrong.append(f"{page}: {element.exception.message}")
                    is_error = (
                        element.WhichOneof("type") == "alert" and element.alert.format == element.alert.ERROR
                    )
                    if is_error and not element.alert.body.startswith(NO_FILES):
                        wrong.append(f"{page}: {element.alert.body}")
                if kind == "script_finished":
                    break
            took.append(time.perf_counter() - start)
    return took, wrong


def time_visitors(root: Path, cases: int) -> None:
    """Let people browse at once, and print how long they waited."""
    case = some_case(root)

    async def all_of_them(port: int) -> list[tuple[list[float], list[str]]]:
        await visitor(port, SESSIONS, case, 0)  # the first one after the start is no measure
        return await asyncio.gather(*(visitor(port, number, case, PAUSE_S) for number in range(SESSIONS)))

    with served(root) as port:
        start = time.perf_counter()
        answers = asyncio.run(all_of_them(port))
        wall = time.perf_counter() - start
    took = sorted(seconds for of_one, _ in answers for seconds in of_one)
    wrong = [problem for _, problems in answers for problem in problems]
    p95 = took[int(0.95 * len(took))]
    print(
        f"\n{cases:,} cases, {SESSIONS} sessions, {len(took)} pages in {wall:.0f} s, pauses of {PAUSE_S:.0f} s:"
        f" median {statistics.median(took):.2f} s, p95 {p95:.2f} s, longest {took[-1]:.2f} s, {len(wrong)} errors",
        flush=True,
    )
    if wrong:
        raise SystemExit("\n".join(wrong[:5]))


def main() -> None:
    """Make the catalogs, time the pages, let people in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--keep", type=Path, help="make the catalogs here, and use those that are there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for cases in options.cases:
            root = (options.keep or Path(folder)).resolve() / str(cases)
            make(root, cases)
            time_pages(root, cases)
            time_visitors(root, cases)


if __name__ == "__main__":
    main()
