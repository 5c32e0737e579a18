"""The volume viewer in a real browser: what it draws, what it says, and what it does where it cannot draw."""

import re
import time

import nibabel as nib
import numpy as np
import pytest
from browsing import WITHOUT_WEBGL, chromium, served
from canvases import VIEWER, of_color, pixels, readout, set_overlay, voxel, wait_for_viewer

from app.workspace import create_workspace, open_workspace
from curation.geometry import Geometry
from curation.labels import BY_NAME
from curation.mappings import load_builtin
from curation.rle import RunLengths
from curation.volumes import encode_image, encode_mask
from dashboards import niivue
from db import queries, writes
from db.models import Role
from pipelines.blame import trace
from pipelines.ingest import IngestRequest, ingest

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(niivue.installed() is None, reason=f"NiiVue is not installed: run {niivue.INSTALL}"),
]


def color(class_name):
    return BY_NAME[class_name].color


def opened(page, dashboard, case="Phantom/PHANTOM_0001"):
    page.goto(f"{dashboard}/case?case={case}")
    wait_for_viewer(page)
    set_overlay(page, 100)


def test_the_canvas_has_the_masks_colors_and_a_class_can_be_switched_off(page, dashboard):
    opened(page, dashboard)
    before = pixels(page)
    assert before.std() > 20  # neither blank nor black
    assert of_color(before, color("liver")) > 500
    assert of_color(before, color("pancreas")) > 20
    page.get_by_role("checkbox", name="Liver").uncheck()
    after = pixels(page)
    assert of_color(after, color("liver")) == 0
    assert of_color(after, color("pancreas")) == of_color(before, color("pancreas"))
    set_overlay(page, 0)
    assert of_color(pixels(page), color("pancreas")) == 0


def test_where_there_is_a_graphics_card_niivues_own_shaders_draw_the_same(page, dashboard):
    opened(page, dashboard)
    page.get_by_role("button", name="Axial", exact=True).click()
    by_table = pixels(page)
    # The card's name is all that is asked for; what draws is the processor still.
    page.add_init_script(
        "const ask = WebGL2RenderingContext.prototype.getParameter; const UNMASKED_RENDERER = 37446;"
        "WebGL2RenderingContext.prototype.getParameter = function (name) {"
        " return name === UNMASKED_RENDERER ? 'A graphics card' : ask.call(this, name) }"
    )
    opened(page, dashboard)
    page.get_by_role("button", name="Axial", exact=True).click()
    by_shader = pixels(page)
    for class_name in ("liver", "pancreas", "stomach"):
        assert of_color(by_shader, color(class_name)) == of_color(by_table, color(class_name)) > 20
    # The crosshair's rim and rounding aside, the image's gray levels are the same.
    assert np.median(np.abs(by_shader.astype(int) - by_table)) <= 1
    page.get_by_role("checkbox", name="Liver").uncheck()
    assert of_color(pixels(page), color("liver")) == 0


def test_the_line_at_the_crosshair_tells_hu_class_origin_version_and_voxel(page, dashboard, built):
    opened(page, dashboard)
    page.get_by_label("Go to").select_option(label="Liver")
    said = readout(page)
    assert re.fullmatch(
        r"-?\d+ HU · Liver, pseudo \(truth-teacher\) · version 2 · voxel \(\d+, \d+, \d+\)", said
    )
    image = nib.load(built.cohort / "imagesTr" / "PHANTOM_0001_0000.nii.gz")
    assert int(said.split()[0]) == round(float(image.dataobj[voxel(page)]))
    page.get_by_label("Window").select_option("Bone")
    page.wait_for_function("() => document.querySelector('.mlv-told').innerText.startsWith('Full')")
    assert readout(page) == said


def test_keys_move_the_crosshair_along_the_patients_axes(page, dashboard):
    opened(page, dashboard)
    x, y, z = voxel(page)  # the file runs towards right, anterior, superior
    page.locator(f"{VIEWER} canvas").focus()
    page.keyboard.press("PageUp")
    assert voxel(page) == (x, y, z + 1)
    page.keyboard.press("ArrowLeft")  # the patient's right lies on the left
    page.keyboard.press("ArrowUp")
    assert voxel(page) == (x + 1, y + 1, z + 1)


def test_another_case_begins_at_its_own_place(page, dashboard):
    opened(page, dashboard, "Phantom/PHANTOM_0002")
    start = readout(page)
    opened(page, dashboard)
    page.get_by_label("Go to").select_option(label="Spleen")
    assert readout(page) != start
    box = page.get_by_role("textbox", name="Case", exact=True)
    box.fill("Phantom/PHANTOM_0002")
    box.press("Enter")
    page.wait_for_function("start => document.querySelector('.mlv-readout').innerText === start", arg=start)


def test_two_versions_stand_side_by_side_with_one_crosshair(page, dashboard):
    opened(page, dashboard)
    page.get_by_role("combobox", name="Beside it").click()
    page.get_by_role("option", name="version 1 · ingested").click()
    page.wait_for_function("() => document.querySelectorAll('.mlv .mlv-readout:not(:empty)').length === 2")
    wait_for_viewer(page)
    assert of_color(pixels(page, 0), color("liver")) > 200
    assert of_color(pixels(page, 1), color("liver")) == 0  # nobody had drawn it yet
    assert "version 2" in readout(page, 0)
    assert "version 1" in readout(page, 1)
    page.locator(f"{VIEWER} canvas").first.focus()
    page.keyboard.press("PageDown")
    page.wait_for_function(
        "() => { const [a, b] = [...document.querySelectorAll('.mlv-readout')].map((r) => "
        "r.innerText.split('voxel')[1]); return a === b }"
    )


def test_a_prediction_stands_beside_the_label(page, dashboard):
    opened(page, dashboard)
    page.get_by_role("combobox", name="Beside it").click()
    page.get_by_role("option", name="prediction of truth-teacher").click()
    page.wait_for_function("() => document.querySelectorAll('.mlv .mlv-readout:not(:empty)').length === 2")
    assert "prediction of truth-teacher" in readout(page, 1)
    assert of_color(pixels(page, 1), color("liver")) > 200


def test_origin_coloring_shows_whose_voxels_they_are(page, dashboard, built):
    opened(page, dashboard)
    page.get_by_role("radio", name="Origin").or_(
        page.get_by_role("button", name="Origin", exact=True)
    ).click()
    page.wait_for_selector("text=Drawn by")
    wait_for_viewer(page)
    with open_workspace(built.root) as ws:
        hands = {hand.who: hand for hand in trace(ws.bench(jobs=1), "Phantom/PHANTOM_0001@2").hands}
    page.get_by_label("Go to").select_option(label="Liver")
    assert of_color(pixels(page), hands["truth-teacher"].color) > 500
    assert of_color(pixels(page), color("liver")) == 0
    assert f"drawn: {hands['truth-teacher'].title}" in readout(page)
    assert "Liver, pseudo (truth-teacher)" in readout(page)


def test_a_mask_without_its_image_is_shown_alone_and_says_why(page, dashboard):
    opened(page, dashboard, "Phantom/PHANTOM_0005")
    assert of_color(pixels(page), color("liver")) > 500
    told = page.locator(".mlv-told").inner_text()
    assert "the image is not there" in told
    assert "The mask is shown alone." in told
    assert "HU" not in readout(page)


def test_a_page_that_was_open_for_long_gets_new_addresses_by_itself(page, dashboard):
    refused = []

    def refuse_once(route):
        if refused:
            route.continue_()
        else:
            refused.append(route.request.url)
            route.fulfill(status=403, body="This address has run out; load the case's page again.")

    page.route("**/volumes/mask/**", refuse_once)
    opened(page, dashboard)
    assert refused
    assert of_color(pixels(page), color("liver")) > 500


def test_a_browser_without_webgl_gets_slices(browser, dashboard):
    plain = browser.browser_type.launch(executable_path=chromium(), args=list(WITHOUT_WEBGL))
    try:
        page = plain.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{dashboard}/case?case=Phantom/PHANTOM_0001")
        page.wait_for_selector(".st-key-slice .imagelayer image")
        assert "This browser has no WebGL 2" in page.inner_text("body")
        assert page.locator(f"{VIEWER} canvas").count() == 0
    finally:
        plain.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A dashboard of one case of 512 × 512 × 300 voxels: a body that brightens upwards, a liver in it."""
    folder = tmp_path_factory.mktemp("large")
    shape = (512, 512, 300)
    grid = Geometry(shape, np.diag([-0.8, -0.8, 1.5, 1.0]))
    image = np.full(shape, -1000, np.int16, order="F")
    image[96:416, 96:416] = np.linspace(-100, 200, 300).astype(np.int16)
    mask = np.zeros(shape, np.uint8, order="F")
    mask[150:350, 150:300, 100:200] = 1
    for name, data in (
        ("images/LARGE_0000.nii.gz", encode_image(image, grid)),
        ("labels/LARGE.nii.gz", encode_mask(RunLengths.from_array(mask), grid)),
    ):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(data)
    root, _ = create_workspace(folder / "workspace")
    with open_workspace(root) as ws:
        with ws.catalog.writing() as session:
            writes.ensure_source(session, "Large", licence="CC0-1.0", image_root=str(folder))
        ingest(
            ws.bench(jobs=1),
            IngestRequest(
                source="Large", mapping=load_builtin("flare23"), role=Role.TRAIN,
                labels=folder / "labels", images=folder / "images",
            ),
        )  # fmt: skip
        with ws.catalog.reading() as session:
            assert [c.address for c in queries.cases(session, "has liver")] == ["Large/LARGE"]
    with served(root, folder / "log") as address:
        yield address


def window_chosen_last_stays(page):
    """Choose a window while another one's preview is still on its way, which then comes too late."""
    windows = page.get_by_label("Window")
    done = "() => /^Preview/.test(document.querySelector('.mlv-told').innerText)"
    windows.select_option("Bone")
    page.wait_for_function(done)
    bone = pixels(page)
    windows.select_option("Abdomen")
    page.wait_for_function(done)
    assert (pixels(page) != bone).any()
    held = []
    page.route("**/volumes/image/*window=Lung*", lambda route: held.append(route))
    windows.select_option("Lung")
    windows.select_option("Bone")
    page.wait_for_timeout(2000)
    assert held
    with page.expect_response("**/volumes/image/*window=Lung*"):
        held[0].continue_()
    page.wait_for_timeout(2000)
    page.wait_for_function(done)
    assert (pixels(page) == bone).all()
    windows.select_option("Abdomen")
    page.wait_for_function(done)


def test_a_large_case_comes_as_a_preview_first_and_then_whole(page, large):
    page.goto(large)
    page.wait_for_selector("[data-testid=stMainBlockContainer] h1")
    began = time.monotonic()
    page.goto(f"{large}/case?case=Large/LARGE")
    wait_for_viewer(page, "preview")
    preview_s = time.monotonic() - began
    set_overlay(page, 100)
    assert of_color(pixels(page), color("liver")) > 500
    page.get_by_label("Go to").select_option(label="Liver")
    # The middle of the liver in z is voxel 149.5 of 300: 50 HU, to the preview's step of 400 / 255 HU.
    assert abs(int(re.match(r"≈ (-?\d+) HU", readout(page))[1]) - 50) <= 2
    window_chosen_last_stays(page)
    began = time.monotonic()
    page.get_by_role("button", name="Full resolution").click()
    wait_for_viewer(page, "full")
    full_s = time.monotonic() - began
    assert of_color(pixels(page), color("liver")) > 500
    assert readout(page).startswith(("49 HU", "50 HU"))
    print(f"512 × 512 × 300: preview on screen after {preview_s:.1f} s, full resolution after {full_s:.1f} s")
    # 5 and 15 s on a machine with nothing else to do; the machines of a build have.
    assert preview_s < 40
    assert full_s < 60
