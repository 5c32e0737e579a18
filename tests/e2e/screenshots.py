"""Make the pictures of the documentation: ``python tests/e2e/screenshots.py WORKSPACE`` writes docs/img/*.png.

For a workspace without real patients, such as the demo's: the pictures show its cases, its paths and who worked in it.
"""

import argparse
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from browsing import BROWSER_ARGUMENTS, CHECKOUT, CHROMIUM, chromium, served
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from app.workspace import open_workspace
from db import queries

WIDTH, HEIGHT, TALLEST = 1280, 800, 2400
# A repository keeps every version of a picture for ever.
LARGEST_BYTES = 150_000
COLORS = (256, 128, 64, 32)


@dataclass(frozen=True)
class Shot:
    """One picture: its name, the page's path with what `shown` gives in braces, whether it is taken dark, too."""

    name: str
    path: str
    dark: bool = False


# A new page is a line here.
SHOTS = (
    Shot("overview", "/", dark=True),
    Shot("query", "/query?q=pseudo%20any%20organ"),
    Shot("case", "/case?case={case}", dark=True),
    Shot("worklist", "/worklist"),
    Shot("runs", "/runs"),
    Shot("run", "/runs?run={run}"),
    Shot("models", "/models"),
    Shot("model", "/models?tab=Model&model={model}", dark=True),
    Shot("scores", "/models?tab=Scores"),
    Shot("two-models", "/models?tab=Two%20models", dark=True),
    Shot("datasets", "/datasets?dataset={dataset}"),
    Shot("dataset-diff", "/datasets?dataset={dataset}&tab=Diff"),
    Shot("sources", "/sources", dark=True),
    Shot("known-datasets", "/sources?tab=Known%20datasets&mapping=kits23"),
)


def shown(root: Path) -> dict[str, str]:
    """What of a workspace is worth a picture: a case that was complemented, the newest model, and so on."""
    with open_workspace(root) as ws, ws.catalog.reading() as session:
        asked = ("pseudo any organ and has tumor", "pseudo any organ", "has any organ", "all")
        cases = (queries.cases(session, query, limit=1) for query in asked)
        case = next((found[0].address for found in cases if found), None)
        if case is None:
            raise SystemExit(f"{root}: holds no case to show; run `make demo` first")
        runs, models = queries.runs(session), queries.models(session)
        scored = queries.scored_models(session)
        trained = [m.name for m in models if m.curves and m.name in scored] or list(scored) or [""]
        of_training = [run.id for run in runs if run.stage.endswith("train")] or [runs[0].id]
        frozen = max(queries.datasets(session), key=lambda version: version.created_at, default=None)
    found = {
        "case": case, "model": trained[-1], "run": of_training[0], "dataset": frozen.address if frozen else "",
    }  # fmt: skip
    return {name: quote(str(value), safe="") for name, value in found.items()}


def settle(page: Page) -> None:
    """Wait until the server has sent everything and the charts stand."""
    page.wait_for_selector("[data-testid=stMainBlockContainer] h1")
    page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")
    # The volume viewer says when its canvases stand.
    page.wait_for_function("() => [...document.querySelectorAll('.mlv')].every((v) => v.dataset.shown)")
    page.wait_for_timeout(1500)


def take(
    browser: Browser, address: str, shots: list[Shot], known: dict[str, str], out: Path, scheme: str
) -> None:
    """Take pages from top to bottom, in the light or the dark theme."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": WIDTH, "height": HEIGHT})
    page = context.new_page()
    for shot in shots:
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        page.goto(address + shot.path.format(**known))
        settle(page)
        # Streamlit scrolls an inner box, which a full-page picture would cut off.
        tall = page.evaluate(
            "() => document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight"
        )
        page.set_viewport_size({"width": WIDTH, "height": max(HEIGHT, min(tall + 20, TALLEST))})
        page.wait_for_timeout(700)
        file = out / (f"{shot.name}.png" if scheme == "light" else f"{shot.name}-{scheme}.png")
        file.write_bytes(small(page.screenshot()))
        print(f"{file}  {file.stat().st_size / 1000:.0f} kB")
    context.close()


def small(png: bytes) -> bytes:
    """The same picture with a palette, of as many colors as fit into LARGEST_BYTES, or of the fewest.

    By an octree, which keeps rare colors: the median cut gives the classes' small squares those of others.
    """
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colors in COLORS:
        stream = io.BytesIO()
        reduced = picture.quantize(colors, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        reduced.save(stream, "PNG", optimize=True)
        if stream.tell() <= LARGEST_BYTES:
            break
    return stream.getvalue()


def main() -> None:
    """Serve the workspace, visit every page, write the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--out", type=Path, default=CHECKOUT / "docs" / "img")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="these pictures alone")
    options = parser.parse_args()
    program = chromium()
    if program is None:
        raise SystemExit(f"{CHROMIUM} is not there; install Debian's package chromium")
    options.out.mkdir(parents=True, exist_ok=True)
    known = shown(options.workspace)
    shots = [shot for shot in SHOTS if not options.only or shot.name in options.only]
    with (
        tempfile.TemporaryDirectory() as log,
        served(options.workspace, Path(log) / "log") as address,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=program, args=list(BROWSER_ARGUMENTS))
        take(browser, address, shots, known, options.out, "light")
        take(browser, address, [shot for shot in shots if shot.dark], known, options.out, "dark")
        browser.close()


if __name__ == "__main__":
    main()
