"""Make the README's pictures: ``python tests/e2e/screenshots.py WORKSPACE`` writes docs/img/*.png.

For a workspace without real patients, such as the demo's.
"""

import argparse
import tempfile
from pathlib import Path
from urllib.parse import quote

from browsing import BROWSER_ARGUMENTS, CHECKOUT, CHROMIUM, chromium, served
from playwright.sync_api import Browser, Page, sync_playwright

from app.workspace import open_workspace
from db import queries

WIDTH, HEIGHT = 1280, 800


def shown_case(root: Path) -> str:
    """The case to show: one that was complemented if there is one."""
    with open_workspace(root) as ws, ws.catalog.reading() as session:
        for query in ("pseudo any organ and has tumor", "pseudo any organ", "has any organ", "all"):
            if found := queries.cases(session, query, limit=1):
                return found[0].address
    raise SystemExit(f"{root}: holds no case to show; run `make demo` first")


def pictures(root: Path) -> dict[str, str]:
    """File name to the page's path."""
    case = quote(shown_case(root), safe="")
    return {
        "overview": "/",
        "query": f"/query?q={quote('pseudo any organ')}",
        "case": f"/case?case={case}",
        "scores": "/runs",
        "runs": "/runs?tab=Runs",
        "models": "/runs?tab=Models",
        "datasets": "/datasets",
    }


def settle(page: Page) -> None:
    """Wait until the server has sent everything and the charts stand."""
    page.wait_for_selector("[data-testid=stMainBlockContainer] h1")
    page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")
    # The volume viewer says when its canvases stand.
    page.wait_for_function("() => [...document.querySelectorAll('.mlv')].every((v) => v.dataset.shown)")
    page.wait_for_timeout(1500)


def take(browser: Browser, address: str, pages: dict[str, str], out: Path, scheme: str) -> None:
    """Take every page from top to bottom, in the light or the dark theme."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": WIDTH, "height": HEIGHT})
    page = context.new_page()
    for name, path in pages.items():
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        page.goto(address + path)
        settle(page)
        # Streamlit scrolls an inner box, which a full-page picture would cut off.
        tall = page.evaluate(
            "() => document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight"
        )
        page.set_viewport_size({"width": WIDTH, "height": max(HEIGHT, min(tall + 20, 2400))})
        page.wait_for_timeout(700)
        file = out / (f"{name}.png" if scheme == "light" else f"{name}-{scheme}.png")
        page.screenshot(path=file)
        print(file)
    context.close()


def main() -> None:
    """Serve the workspace, visit every page, write the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--out", type=Path, default=CHECKOUT / "docs" / "img")
    options = parser.parse_args()
    program = chromium()
    if program is None:
        raise SystemExit(f"{CHROMIUM} is not there; install Debian's package chromium")
    options.out.mkdir(parents=True, exist_ok=True)
    pages = pictures(options.workspace)
    with (
        tempfile.TemporaryDirectory() as log,
        served(options.workspace, Path(log) / "log") as address,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=program, args=list(BROWSER_ARGUMENTS))
        take(browser, address, pages, options.out, "light")
        take(browser, address, {name: pages[name] for name in ("overview", "case")}, options.out, "dark")
        browser.close()


if __name__ == "__main__":
    main()
