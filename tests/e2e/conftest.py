"""A browser, and a dashboard that it can visit: skipped, with the reason, where there is none."""

from collections.abc import Iterator

import pytest
from browsing import BROWSER_ARGUMENTS, CHROMIUM, chromium, served
from dashboard_workspace import Built, build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The small workspace; nobody changes it."""
    return build(tmp_path_factory.mktemp("dashboard"))


@pytest.fixture(scope="session")
def dashboard(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard of the small workspace."""
    with served(built.root, tmp_path_factory.mktemp("log") / "dashboard.log") as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = chromium()
    if program is None:
        pytest.skip(f"{CHROMIUM} is not there: install Debian's package chromium for the browser tests")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=list(BROWSER_ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    """A page on a laptop's screen; asking anything of another machine fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    outside: list[str] = []
    ours = ("http://127.0.0.1:", "data:", "blob:")
    opened.on(
        "request", lambda request: None if request.url.startswith(ours) else outside.append(request.url)
    )
    yield opened
    context.close()
    assert not outside, f"the page asked for {outside}"
