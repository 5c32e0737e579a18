"""What a person does with the dashboard, in a real browser: from the overview by a query to a case's picture."""

import base64
import io
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pyarrow.parquet as pq
import pytest
from browsing import CHECKOUT, free_port, start, stop
from dashboard_workspace import HOSTILE_NAME
from PIL import Image

from curation.labels import BY_NAME
from dashboards.slices import rgb

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.long

PICTURE = ".st-key-slice .imagelayer image"


def settled(page) -> None:
    """Wait until the server has drawn everything, then make sure that it drew no error."""
    page.wait_for_selector("[data-testid=stMainBlockContainer] h1")
    page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")
    problems = page.locator("[data-testid=stException], [data-testid=stAlertContentError]")
    assert problems.count() == 0, problems.all_inner_texts()


def picture(page) -> np.ndarray:
    """The slice's pixels as the server sent them, (H, W, 3)."""
    _, data = address_of_picture(page).split("base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def address_of_picture(page) -> str:
    return page.locator(PICTURE).evaluate("e => e.href.baseVal")


def pixels_of(shown: np.ndarray, class_name: str) -> int:
    """How many pixels have exactly a class's color, as its outline has."""
    return int((shown == np.array(rgb(BY_NAME[class_name].color))).all(axis=2).sum())


def wait_for_another_picture(page, before: str) -> None:
    page.wait_for_function(
        # For a moment the old one stands beside the new one.
        """([place, before]) => {
            const shown = document.querySelectorAll(place);
            return shown.length === 1 && shown[0].href.baseVal !== before;
        }""",
        arg=[PICTURE, before],
    )


def test_from_the_overview_by_a_query_to_a_picture_with_the_masks_colors(page, dashboard):
    page.goto(dashboard)
    settled(page)
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot .bars .point').length > 20")
    assert "Labels per case" in page.inner_text("body")

    page.get_by_role("link", name="Query").click()
    page.get_by_label("Which cases?").fill("missing pancreas")
    page.get_by_label("Which cases?").press("Enter")
    page.wait_for_selector("text=2 cases")
    settled(page)
    assert re.search(r"\?q=missing(%20|\+)pancreas", page.url)
    page.get_by_role("link", name="Phantom/PHANTOM_TUMOR").click()
    page.wait_for_selector("h1:has-text('PHANTOM_TUMOR')")
    assert "case=Phantom" in page.url
    page.get_by_text("Slices", exact=True).click()
    page.wait_for_selector(PICTURE)
    settled(page)
    shown = picture(page)
    assert shown.std() > 20  # neither blank nor black
    assert pixels_of(shown, "tumor") > 10
    assert pixels_of(shown, "pancreas") == 0


def click_mark(page, chart: str, trace: int, mark: int) -> None:
    """Click a mark of a chart where it stands on the screen: `trace` and `mark` count from 0."""
    page.wait_for_selector(f".st-key-{chart} .js-plotly-plot .main-svg", state="attached")
    page.locator(f".st-key-{chart}").scroll_into_view_if_needed()
    # Charts are drawn again as they learn their width, and hear clicks only then.
    page.wait_for_timeout(2000)
    where = page.evaluate(
        """([chart, trace, mark]) => {
            const plot = document.querySelector(`.st-key-${chart} .js-plotly-plot`);
            const data = plot._fullData[trace];
            const x = plot._fullLayout.xaxis, y = plot._fullLayout.yaxis, box = plot.getBoundingClientRect();
            // Of a bar that stands on the axis its middle.
            const at = data.type === "bar" && data.orientation !== "h" ? data.y[mark] / 2 : data.y[mark];
            return [box.left + x._offset + x.d2p(data.x[mark]), box.top + y._offset + y.d2p(at)];
        }""",
        [chart, trace, mark],
    )
    page.mouse.move(where[0] - 2, where[1])
    page.wait_for_timeout(300)
    page.mouse.click(*where)


def test_a_click_on_the_pancreas_cell_lands_on_its_query_and_a_case_is_one_click_further(page, dashboard):
    page.goto(dashboard)
    settled(page)
    assert "Labels per case" in page.inner_text("body")
    click_mark(page, "sources", 1, 3)  # the fourth class of the label table, in the only source
    page.wait_for_url(re.compile(r"/query\?q=has"))
    page.wait_for_selector("text=11 cases")
    settled(page)
    # The box is filled a moment after the page is drawn.
    playwright.expect(page.get_by_label("Which cases?")).to_have_value('has pancreas and source = "Phantom"')
    page.get_by_role("link", name="Phantom/PHANTOM_0001").click()
    page.wait_for_selector("h1:has-text('PHANTOM_0001')")
    settled(page)


def test_a_bar_of_the_first_versions_opens_its_query_at_that_time(page, dashboard):
    page.goto(dashboard)
    settled(page)
    click_mark(
        page, "labels", 0, 1
    )  # the cases with one label as ingested: the mark for 0 labels stands before it
    page.wait_for_url(re.compile(r"/query\?q=labels"))
    page.wait_for_function(
        "() => document.querySelector('[aria-label=\"Which cases?\"]')?.value === 'labels = 1'"
    )
    page.wait_for_selector("text=4 cases")
    settled(page)
    assert re.search(r"at=as(%20|\+)ingested", page.url)


def test_the_charts_numbers_are_links_that_the_keyboard_reaches(page, dashboard):
    page.goto(dashboard)
    settled(page)
    tables = page.locator("summary", has_text="The same numbers as tables")
    tables.focus()
    page.keyboard.press("Enter")
    page.get_by_role("tab", name="Classes").click()
    link = page.get_by_label("Cases per class by status and origin").locator("a").first
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/query\?q=has(%20|\+)liver"))
    settled(page)


def test_a_case_ticked_before_the_page_listens_is_picked_all_the_same(page, dashboard):
    # As soon as the box is in the page, which is before any script of ours is told of it.
    page.add_init_script(
        """new MutationObserver(() => {
            const box = document.querySelector("input.ml-pick");
            if (box && !window.boxTicked) { window.boxTicked = true; box.click(); }
        }).observe(document, { childList: true, subtree: true });"""
    )
    page.goto(f"{dashboard}/query?q=pseudo%20any%20organ")
    page.wait_for_selector("text=1 picked")
    assert page.evaluate("window.boxTicked")
    assert "sel=" in page.url


def test_picked_cases_survive_a_refresh_and_other_pages_of_the_list(page, dashboard):
    page.goto(f"{dashboard}/query?q=pseudo%20any%20organ")
    settled(page)
    page.get_by_label("Pick Phantom/PHANTOM_0001").check()
    page.wait_for_selector("text=1 picked")
    page.get_by_label("Pick Phantom/PHANTOM_0003").check()
    page.wait_for_selector("text=2 picked")
    assert "sel=" in page.url
    page.reload()
    page.wait_for_selector("text=2 picked")
    assert page.get_by_label("Pick Phantom/PHANTOM_0001").is_checked()
    assert not page.get_by_label("Pick Phantom/PHANTOM_0002").is_checked()
    page.get_by_role("button", name="Ask for these").click()
    page.wait_for_selector("text=2 cases")
    settled(page)
    page.get_by_label("Pick Phantom/PHANTOM_0001").uncheck()
    page.wait_for_selector("text=1 picked")


def test_what_was_found_is_downloaded_as_parquet(page, dashboard, tmp_path):
    page.goto(f"{dashboard}/query?q=pseudo%20any%20organ")
    settled(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Parquet").click()
    waiting.value.save_as(tmp_path / "cases.parquet")
    table = pq.read_table(tmp_path / "cases.parquet")
    assert table["case"].to_pylist()[0] == "Phantom/PHANTOM_0000"
    assert set(table["role"].to_pylist()) == {"train"}


def test_a_query_is_built_without_knowing_the_language(page, dashboard):
    page.goto(f"{dashboard}/query")
    settled(page)
    page.locator("summary", has_text="Build a query").click()
    # By keyboard: a list that opens while the page is drawn anew is another one when the mouse gets there, and while
    # the boxes unfold, the first key or click may give the focus alone.
    what, choices = page.get_by_role("combobox", name=re.compile("What")), page.get_by_role("listbox")
    for _ in range(20):
        what.press("ArrowDown")
        page.wait_for_timeout(500)
        if choices.is_visible():
            break
    choices.wait_for()
    page.keyboard.type("missing")
    page.keyboard.press("Enter")
    page.wait_for_selector("code:has-text('missing liver')")
    page.get_by_role("button", name="Ask this").click()
    page.wait_for_url(re.compile(r"q=missing(%20|\+)liver"))
    settled(page)


def test_a_class_can_be_switched_off(page, dashboard):
    page.goto(f"{dashboard}/case?case=Phantom/PHANTOM_0001&view=Slices")
    page.wait_for_selector(PICTURE)
    settled(page)
    assert pixels_of(picture(page), "liver") > 50
    assert pixels_of(picture(page), "pancreas") > 20
    before = address_of_picture(page)
    page.locator("[class*='st-key-classes']").get_by_role("button", name="Liver", exact=True).click()
    wait_for_another_picture(page, before)
    assert pixels_of(picture(page), "liver") == 0
    assert pixels_of(picture(page), "pancreas") > 20
    settled(page)


def test_a_slice_tells_hu_and_class_under_the_mouse(page, dashboard):
    page.goto(f"{dashboard}/case?case=Phantom/PHANTOM_0001&view=Slices")
    page.wait_for_selector(PICTURE)
    settled(page)
    shown = picture(page)
    outline = (shown == np.array(rgb(BY_NAME["left_kidney"].color))).all(axis=2)
    row, column = np.argwhere(outline).mean(axis=0)
    where = page.locator(PICTURE).bounding_box()
    x = where["x"] + column / shown.shape[1] * where["width"]
    y = where["y"] + row / shown.shape[0] * where["height"]
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    page.wait_for_selector(".st-key-slice .hovertext")
    assert re.search(r"^-?\d+ HU · Left kidney$", page.text_content(".st-key-slice .hovertext").strip())


def test_another_version_is_another_picture(page, dashboard):
    page.goto(f"{dashboard}/case?case=Phantom/PHANTOM_0001&view=Slices")
    page.wait_for_selector(PICTURE)
    settled(page)
    before = address_of_picture(page)
    page.get_by_role("combobox", name=re.compile("Version")).click()
    page.get_by_role("option", name=re.compile("^1 · ingested")).click()
    wait_for_another_picture(page, before)
    settled(page)
    assert re.search(r"PHANTOM_0001(%40|@)1(&|$)", page.url)
    assert pixels_of(picture(page), "pancreas") == 0


def test_a_wrong_query_is_pointed_at_with_a_caret(page, dashboard):
    page.goto(f"{dashboard}/query?q=missing%20pancraes")
    page.wait_for_selector("text=did you mean 'pancreas'?")
    assert page.locator("[data-testid=stCode]").inner_text().rstrip() == "missing pancraes\n        ^"
    assert page.locator("[data-testid=stException]").count() == 0


def test_a_case_called_script_shows_as_text(page, dashboard):
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto(f"{dashboard}/query")
    page.get_by_role("link", name=f"Phantom/{HOSTILE_NAME}").click()
    page.wait_for_selector("h1:has-text('script')")
    settled(page)
    assert page.locator("h1").inner_text() == f"Phantom/{HOSTILE_NAME}"


@pytest.mark.parametrize("path", ["runs", "models", "datasets", "sources", "case"])
@pytest.mark.parametrize("width", [1280, 1920])
def test_every_page_stands_on_its_own_and_fits_the_screen(page, dashboard, path, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{dashboard}/{path}")
    settled(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_ctrl_c_ends_the_server_cleanly_and_a_taken_port_is_told(built, tmp_path):
    port, log = free_port(), tmp_path / "log"
    child = start(built.root, port, log)
    try:
        command = [
            sys.executable,
            "-m",
            "app.cli",
            "--workspace",
            str(built.root),
            "dashboard",
            "--port",
            str(port),
        ]
        second = subprocess.run(
            command, capture_output=True, text=True, cwd=CHECKOUT, timeout=60, check=False
        )
        assert second.returncode == 3
        assert f"port {port} of 127.0.0.1 cannot be used" in second.stderr
        assert "Traceback" not in second.stderr
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health") as answer:
            assert answer.status == 200
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0
    finally:
        stop(child)
    said = log.read_text()
    assert f"http://127.0.0.1:{port}" in said
    assert "serves this machine only" in said
    assert "Traceback" not in said
