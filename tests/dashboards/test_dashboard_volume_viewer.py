"""What the volume viewer is told of a case, and what a page shows where the viewer is not installed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.workspace import open_workspace
from curation.geometry import Geometry
from curation.status import Severity
from dashboards import niivue
from dashboards.components.volume_viewer import places, prediction_shown, start_mm, version_shown, viewer_data
from dashboards.niivue import Niivue
from db import queries
from db.case_files import case_files
from db.models import FindingState
from db.queries import StoredFinding
from db.queries.volumes import case_image
from pipelines.blame import trace

ENGINE = Niivue("1.2.3", Path("niivue.js"))


def told(built, address, beside=None):
    """What the component is told of a case, alone or beside the mask that `beside` makes of it."""
    with open_workspace(built.root) as ws:
        with ws.catalog.reading() as session:
            case = queries.case_page(session, address)
            image = case_image(session, case.case_id)
            geometry = case_files(session, [case.detail.row.id])[0].geometry
        shown = [version_shown(case.detail, geometry)]
        if beside is not None:
            shown.append(beside(case, geometry))
        return case, viewer_data(case, image, shown, ENGINE)


def test_the_viewer_is_told_windows_colors_and_who_drew_each_class(built):
    _, data = told(built, "PHANTOM_0001")
    assert data["module"] == "/viewer/niivue-1.2.3.js"
    assert data["windows"]["Abdomen"] == (-160, 240)
    assert data["colors"] == "class"
    (pane,) = data["panes"]
    assert pane["title"] == "Version 2: complemented"
    assert pane["problem"] is None
    liver = {"value": 1, "title": "Liver", "color": "#b5482e", "detail": "pseudo (truth-teacher)"}
    assert pane["mask"]["legend"][0] == liver
    assert pane["mask"] == pane["overlay"]
    assert pane["image"]["half"] is None  # a small case needs no preview


def test_addresses_name_the_content_and_no_path(built):
    case, data = told(built, "PHANTOM_0001")
    (pane,) = data["panes"]
    assert pane["mask"]["full"].startswith(f"/volumes/mask/{case.detail.row.file_hash}?case={case.case_id}&")
    assert str(built.cohort) not in str(data)
    assert str(built.root) not in str(data)


def test_two_panes_on_one_grid_share_the_image(built):
    _, data = told(
        built, "PHANTOM_0001@1", lambda case, geometry: prediction_shown(case.predictions[0], geometry)
    )
    first, second = data["panes"]
    assert second["title"] == "Prediction of truth-teacher"
    assert first["image"]["full"] == second["image"]["full"]
    assert first["mask"]["full"] != second["mask"]["full"]
    assert {entry["detail"] for entry in second["mask"]["legend"]} == {"predicted"}


def test_an_image_that_is_gone_is_told_and_not_asked_for(built):
    _, data = told(built, "PHANTOM_0005")
    (pane,) = data["panes"]
    assert pane["image"] is None
    assert "the image is not there" in pane["problem"]
    assert pane["problem"].endswith("The mask is shown alone.")


def test_origin_coloring_has_a_color_for_every_hand(built):
    with open_workspace(built.root) as ws:
        with ws.catalog.reading() as session:
            case = queries.case_page(session, "PHANTOM_0001")
            image = case_image(session, case.case_id)
        traced = trace(ws.bench(jobs=1), "PHANTOM_0001")
        shown = version_shown(case.detail, traced.geometry, ("Phantom/PHANTOM_0001@2", traced))
        data = viewer_data(case, image, [shown], ENGINE)
    assert data["colors"] == "origin"
    overlay = data["panes"][0]["overlay"]
    assert [entry["title"] for entry in overlay["legend"]] == [hand.title for hand in traced.hands]
    assert overlay["full"].startswith("/volumes/origin/")
    assert data["panes"][0]["mask"]["full"].startswith("/volumes/mask/")


def finding(class_name, message):
    return StoredFinding(
        1, class_name, "holes_in_organ", Severity.WARNING, 2.0, 1.0, message, FindingState.OPEN, None, None
    )


def test_a_finding_is_found_at_its_voxel_and_a_class_at_its_middle(built):
    case, _ = told(built, "PHANTOM_0001")
    liver = case.detail.annotations[0].centroid
    detail = replace(
        case.detail,
        findings=[
            finding("liver", "Background, 2.00 ml around voxel (1, 2, 3)."),
            finding("liver", "Liver is larger than usual."),
            finding(None, "The mask is another case's."),  # nowhere to go to
        ],
    )
    # A grid of 2 mm whose first voxel lies at (10, 20, 30) mm: voxel (1, 2, 3) at (12, 24, 36).
    affine = np.array([[2, 0, 0, 10], [0, 2, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1.0]])
    given = places(detail, Geometry((9, 9, 9), affine))
    assert [p["mm"] for p in given["Findings"]] == [[12, 24, 36], liver]
    assert given["Findings"][0]["title"] == "warning: holes in organ, Liver"
    assert given["Classes"][0] == {"title": "Liver", "mm": liver}
    assert len(given["Classes"]) == 14


def test_without_a_drawn_class_the_crosshair_begins_in_the_middle():
    # 10 × 20 × 30 voxels of 1, 2 and 3 mm: the middle is voxel (5, 10, 15), at (5, 20, 45) mm.
    assert start_mm([], Geometry((10, 20, 30), np.diag([1.0, 2, 3, 1]))) == [5, 20, 45]


def test_where_niivue_is_not_installed_the_page_says_the_command_and_shows_slices(visit, built, monkeypatch):
    monkeypatch.setattr(niivue, "installed", lambda: None)
    app = visit(built.root, "case", case="PHANTOM_0001")
    assert "make node\\_modules" in app.info[0].value or "make node_modules" in app.info[0].value
    assert len(app.get("plotly_chart")) == 1
    assert not app.exception


@pytest.mark.skipif(niivue.installed() is None, reason=f"NiiVue is not installed: run {niivue.INSTALL}")
def test_the_page_offers_the_viewer_and_what_can_stand_beside_a_version(visit, built):
    app = visit(built.root, "case", case="PHANTOM_0001")
    assert not app.exception
    assert app.segmented_control(key="view").value == "Volume"
    assert not app.get("plotly_chart")
    assert app.selectbox(key="beside").options == [
        "nothing", "version 1 · ingested", "prediction of truth-teacher",
    ]  # fmt: skip
    app.selectbox(key="beside").select_index(1).run()
    app.segmented_control(key="colored by").set_value("Origin").run()
    assert not app.exception
    assert not app.error


@pytest.mark.skipif(niivue.installed() is None, reason=f"NiiVue is not installed: run {niivue.INSTALL}")
def test_a_link_puts_the_prediction_that_it_names_beside_the_version(visit, built):
    with open_workspace(built.root) as ws, ws.catalog.reading() as session:
        case = queries.case_page(session, "PHANTOM_0001")
    (prediction,) = (p.id for p in case.predictions)
    app = visit(built.root, "case", case="PHANTOM_0001", prediction=str(prediction))
    assert app.selectbox(key="beside").value == ("prediction", prediction)
    for nonsense in (str(prediction + 1000), "x", ""):
        app = visit(built.root, "case", case="PHANTOM_0001", prediction=nonsense)
        assert app.selectbox(key="beside").value is None
        assert not app.exception
