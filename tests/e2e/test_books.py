"""What a person does with the books in a real browser: from a model to its worst case, from a run to its reasons."""

import re

import pytest
from dashboard_workspace import BASELINE
from test_dashboard import settled

pytestmark = pytest.mark.long


def test_from_a_model_its_worst_case_is_one_click_away(page, dashboard):
    page.goto(f"{dashboard}/models")
    settled(page)
    page.get_by_role("link", name=BASELINE).click()
    page.get_by_text("Worst cases").wait_for()
    settled(page)
    worst = page.get_by_role("table", name="Worst cases").get_by_role("row").nth(1)
    # The baseline lacks the right adrenal gland: 0 in both cases, the first by address on top.
    assert re.sub(r"\s+", " ", worst.inner_text()).startswith(
        "Phantom/PHANTOM_T0000 Right adrenal gland 0.00 0.00"
    )
    worst.get_by_role("link").click()
    page.get_by_role("heading", name="Phantom/PHANTOM_T0000").wait_for()
    settled(page)
    assert re.search(r"case=Phantom%2FPHANTOM_T0000%401&prediction=\d+", page.url)


def test_from_the_runs_to_what_one_of_them_refused(page, dashboard):
    page.goto(f"{dashboard}/runs?stage=ingest")
    settled(page)
    page.get_by_role("table", name="Runs").get_by_role("link", name="1", exact=True).click()
    refused = page.get_by_role("table", name="Cases and files")
    refused.wait_for()
    assert "fetch or write the file again" in refused.inner_text()
    page.get_by_role("link", name="All runs").click()
    page.get_by_role("table", name="Runs").wait_for()
    page.go_back()
    refused.wait_for()
    page.get_by_role("radio", name="noted (2)").click()
    page.get_by_text("no image named").wait_for()
    page.get_by_role("table", name="Cases and files").get_by_role("link").click()
    page.get_by_role("heading", name="Phantom/<script>alert(1)<_script>").wait_for()


def test_a_manifest_is_downloaded_and_two_versions_are_compared(page, dashboard):
    page.goto(f"{dashboard}/datasets?dataset=all@1")
    settled(page)
    page.get_by_role("tab", name="Manifest and export").click()
    button = page.get_by_role("button", name="Manifest as CSV")
    button.wait_for()
    with page.expect_download() as download:
        button.click()
    assert download.value.suggested_filename == "manifest-all-1.csv"
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("case,version,patient,split,fold,licence,source")
    assert len(lines) == 11  # 10 members
    page.get_by_role("tab", name="Diff").click()
    page.get_by_text("Settings that differ").wait_for()
    settled(page)
    assert "tab=Diff" in page.url


def test_every_tab_fits_a_laptops_screen(page, dashboard):
    for path in (
        "models?tab=Model", "models?tab=Scores", "models?tab=Two%20models", "datasets?tab=Manifest%20and%20export",
        "datasets?tab=Diff", "sources?tab=Known%20datasets", "runs?run=1", "runs?run=10",
    ):  # fmt: skip
        page.goto(f"{dashboard}/{path}")
        settled(page)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280, path
