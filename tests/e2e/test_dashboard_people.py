"""What people do in the dashboard, in a real browser: decide, be refused, log in, go from case to case."""

import re
import shutil

import pytest
from browsing import free_port, served
from dashboard_workspace import HOSTILE_NAME, SOURCE

from app.dashboard_login import login_file
from app.workspace import open_workspace
from db import queries

pytestmark = pytest.mark.long

CASE = f"{SOURCE}/PHANTOM_0001"


def settled(page) -> None:
    """Wait until the server has drawn everything."""
    page.wait_for_selector("[data-testid=stMainBlockContainer] h1")
    page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")


@pytest.fixture(scope="module")
def root(built, tmp_path_factory):
    """A copy of the small workspace that these tests change."""
    copied = tmp_path_factory.mktemp("people") / "w"
    shutil.copytree(built.root, copied)
    return copied


@pytest.fixture(scope="module")
def address(root, tmp_path_factory):
    with served(root, tmp_path_factory.mktemp("log") / "log") as found:
        yield found


def newest(root):
    with open_workspace(root) as ws, ws.catalog.reading() as session:
        return queries.case_page(session, CASE).versions[-1]


def choose(page, *titles: str) -> None:
    for title in titles:
        page.locator("[class*='st-key-decided-classes']").get_by_role("button", name=title).click()


def complete(page, address: str) -> int:
    """What the overview says of complete cases."""
    page.goto(address)
    settled(page)
    card = page.locator(".ml-card", has_text="Complete").locator(".ml-value")
    return int(card.inner_text())


def test_a_class_is_rejected_with_a_reason_and_the_overview_follows(page, root, address):
    before, version = complete(page, address), newest(root).number
    page.goto(f"{address}/case?case={CASE}")
    settled(page)
    choose(page, "Pancreas")
    page.get_by_label("Reason", exact=True).first.fill("is duodenum")
    page.get_by_role("button", name=re.compile("^Reject")).click()
    page.wait_for_selector(f"text=This is version {version + 1}.")
    settled(page)
    assert f"version {version + 1} of {version + 1}: reviewed" in page.inner_text("body")
    assert newest(root).message == "rejected pancreas: is duodenum"
    # The case misses its pancreas now, so there is one complete case less.
    assert complete(page, address) == before - 1


def test_a_key_decides_but_not_while_a_reason_is_typed(page, root, address):
    version = newest(root).number
    page.goto(f"{address}/case?case={CASE}")
    settled(page)
    choose(page, "Spleen")
    box = page.get_by_label("Reason", exact=True).first
    box.click()
    page.keyboard.type("axe box")
    assert box.input_value() == "axe box"
    page.locator("h1").click()
    page.keyboard.press("x")
    page.wait_for_selector(f"text=This is version {version + 1}.")
    assert newest(root).message == "rejected spleen: axe box"


def test_two_browsers_decide_about_one_class_and_the_second_is_told(page, browser, root, address):
    other = browser.new_context().new_page()
    version = newest(root).number
    for one in (page, other):
        one.goto(f"{address}/case?case={CASE}")
        settled(one)
        choose(one, "Liver")
        one.get_by_label("Reason", exact=True).first.fill("at once")
    page.get_by_role("button", name=re.compile("^Reject")).click()
    page.wait_for_selector(f"text=This is version {version + 1}.")
    other.get_by_role("button", name=re.compile("^Reject")).click()
    other.wait_for_selector(f"text=came while you looked at version {version}")
    assert newest(root).number == version + 1
    other.context.close()


def step(page, key: str, there: str, first: str) -> None:
    """Press a key; once more where it fell into the moment in which the viewer's part of the page was drawn anew."""
    page.keyboard.press(key)
    try:
        page.wait_for_function(there, arg=first, timeout=10_000)
    except playwright_timeout():
        page.keyboard.press(key)
        page.wait_for_function(there, arg=first)


def playwright_timeout() -> type[Exception]:
    return pytest.importorskip("playwright.sync_api").TimeoutError


def test_from_the_worklist_to_a_case_and_on_by_a_key(page, address):
    page.goto(f"{address}/worklist")
    settled(page)
    page.locator("table[aria-label=Worklist] a").first.click()
    page.wait_for_selector("text=Place 1 of")
    settled(page)
    first = page.locator("h1").inner_text()
    step(page, "n", "first => document.querySelector('h1').innerText !== first", first)
    settled(page)
    assert "list=worklist" in page.url
    step(page, "p", "first => document.querySelector('h1').innerText === first", first)


def test_a_case_called_script_is_text_on_the_worklist_and_when_it_is_decided_about(page, address):
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto(f"{address}/worklist?q=pseudo%20any%20organ")
    settled(page)
    page.goto(f"{address}/case?case={SOURCE}/{HOSTILE_NAME}")
    settled(page)
    assert page.locator("h1").inner_text() == f"{SOURCE}/{HOSTILE_NAME}"
    choose(page, "Liver")
    page.get_by_label("Reason", exact=True).first.fill("<img src=x onerror=alert(1)>")
    page.get_by_role("button", name=re.compile("^Accept")).click()
    page.wait_for_selector("text=Liver: accepted.")
    page.wait_for_selector("text=<img src=x onerror=alert(1)>")


@pytest.mark.parametrize("width", [1280, 1920])
def test_the_worklist_fits_the_screen(page, address, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address}/worklist")
    settled(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_a_viewer_is_refused(page, built, tmp_path):
    with served(built.root, tmp_path / "log", "--read-only") as readable:
        page.goto(f"{readable}/case?case={CASE}")
        settled(page)
        page.wait_for_selector("text=You look as a viewer")
        assert page.locator("[class*='st-key-verdict']").count() == 0
        assert page.locator("[data-testid=stFileUploader]").count() == 0
        assert "started with --read-only: nobody changes anything here" in page.inner_text("body")


def test_people_log_in_by_a_provider_and_what_they_decide_is_booked_to_them(page, built, tmp_path):
    pytest.importorskip("authlib", reason="Authlib is not installed")
    from oidc_provider import CLIENT, SECRET, provider

    root = tmp_path / "w"
    shutil.copytree(built.root, root)
    with (root / "maskledger.toml").open("a", encoding="utf-8") as file:
        file.write('\n[access.people]\n"@clinic.example" = "reviewer"\n')
    port = free_port()
    with provider() as there:
        login_file(root).parent.mkdir()
        login_file(root).write_text(
            f'[auth]\nredirect_uri = "http://127.0.0.1:{port}/oauth2callback"\ncookie_secret = "{"k" * 32}"\n'
            f'client_id = "{CLIENT}"\nclient_secret = "{SECRET}"\n'
            f'server_metadata_url = "{there.issuer}/.well-known/openid-configuration"\n'
        )
        with served(root, tmp_path / "log", port=port) as address:
            page.goto(f"{address}/case?case={CASE}")
            page.wait_for_selector("text=This dashboard is shown to people who log in.")
            assert "PHANTOM" not in page.inner_text("body")

            there.person = {"email": "eve@else.example"}
            page.get_by_role("button", name="Log in").click()
            page.wait_for_selector("text=eve@else.example has no role here")
            page.get_by_role("button", name="Log out").click()
            page.wait_for_selector("text=This dashboard is shown to people who log in.")

            there.person = {"email": "bob@clinic.example", "email_verified": True}
            page.get_by_role("button", name="Log in").click()
            page.wait_for_selector("text=bob@clinic.example, reviewer")
            page.goto(f"{address}/case?case={CASE}")
            settled(page)
            choose(page, "Pancreas")
            page.get_by_label("Reason", exact=True).first.fill("is duodenum")
            page.get_by_role("button", name=re.compile("^Reject")).click()
            page.wait_for_selector("text=This is version 3.")
            assert newest(root).author == "bob@clinic.example"

            # A role that is taken away is gone with the next click, whatever the page shows.
            settings = root / "maskledger.toml"
            settings.write_text(settings.read_text().replace('"reviewer"', '"viewer"'))
            choose(page, "Liver")
            page.get_by_label("Reason", exact=True).first.fill("why")
            page.get_by_role("button", name=re.compile("^Reject")).click()
            page.wait_for_selector("text=bob@clinic.example is a viewer here and cannot reject a class")
            assert newest(root).number == 3
