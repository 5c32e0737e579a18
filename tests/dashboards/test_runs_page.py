"""The runs page: what goes on, what was refused and why, and one run with its parameters in full."""

import shutil
from html import escape

import pytest
from dashboard_workspace import HOSTILE_NAME, TEACHER
from sqlalchemy import update
from test_dashboard_pages import html_of
from test_models_page import cells, told

from app.workspace import open_workspace
from dashboards.components.run_list import told_parts
from db import queries, writes
from db.models import ItemState, Run, RunState

INGEST, COMPLEMENT, FAILED, RUNNING = 1, 6, 9, 10


@pytest.fixture
def copied(built, tmp_path):
    """A workspace of the same content that a test may change."""
    root = tmp_path / "copied"
    shutil.copytree(built.root, root)
    return root


def test_runs_are_listed_with_failures_and_what_goes_on(visit, built):
    app = visit(built.root, "runs")
    rows = {row[0]: row for row in cells(html_of(app), "Runs")}
    assert list(rows) == [str(n) for n in range(10, 0, -1)]
    assert rows["9"][2:5:2] == [
        "failed",
        "the device has 2.0 GB and the profile wants 6.5 GB; use --profile quick",
    ]
    assert rows["10"][4] == "fine: 120 of 400, epoch 12, loss 0.412"
    assert 'href="runs?run=9"' in html_of(app)
    assert not app.exception


def test_runs_are_narrowed_by_stage_and_state(visit, built):
    app = visit(built.root, "runs", stage="evaluate", state="done")
    assert [row[0] for row in cells(html_of(app), "Runs")] == ["8", "7"]
    assert "2 runs" in told(app)
    app.segmented_control(key="state").set_value("failed").run()
    assert "No run is so" in told(app)


def test_thousands_of_runs_come_page_by_page(visit, copied):
    with open_workspace(copied) as ws, ws.catalog.writing() as session:
        for number in range(1, 1001):
            run = writes.start_run(session, "predict", None, {"number": number}, "Ada", "1")
            writes.finish_run(session, run, state=RunState.DONE, message="")
    app = visit(copied, "runs", stage="predict")
    rows = cells(html_of(app), "Runs")
    assert "1,000 runs" in told(app)
    assert len(rows) == 25
    assert rows[0][3] == "number 1000"


def test_what_was_refused_comes_first_with_file_reason_and_remedy(visit, built):
    app = visit(built.root, "runs", run=str(INGEST))
    page = html_of(app)
    ((what, state, file, reason, remedy, _),) = cells(page, "Cases and files")
    # The case was refused, so there is none to open.
    assert (what, state, file) == ("Phantom/PHANTOM_TEXT", "refused", "PHANTOM_TEXT.nii.gz")
    assert reason == "text, not NIfTI (it begins with 'not a volume')"
    assert remedy == "fetch or write the file again"
    assert f'title="{built.cohort}/labelsTr/PHANTOM_TEXT.nii.gz"' in page
    assert ["labels", f"{built.cohort}/labelsTr"] in cells(page, "Parameters")
    app.segmented_control[0].set_value("noted").run()
    page = html_of(app)
    assert "<script" not in page
    assert 'href="case?case=Phantom%2F%3Cscript%3Ealert%281%29%3C_script%3E"' in page
    assert escape(HOSTILE_NAME) in page


def test_a_failed_run_says_why_and_a_stopped_one_that_it_goes_on(visit, copied):
    assert "use \\-\\-profile quick" in visit(copied, "runs", run=str(FAILED)).error[0].value
    with open_workspace(copied) as ws, ws.catalog.writing() as session:
        writes.finish_run(session, RUNNING, state=RunState.INTERRUPTED, message="stopped *here*")
    assert visit(copied, "runs", run=str(RUNNING)).warning[0].value == r"stopped \*here\*"


def test_a_running_training_shows_its_bar_and_its_curves(visit, copied):
    app = visit(copied, "runs", run=str(RUNNING))
    assert len(app.get("plotly_chart")) == 0
    curve = [{"stage": "fine", "step": step, "loss": 1 / step} for step in (1, 2, 3)]
    with open_workspace(copied) as ws, ws.catalog.writing() as session:
        writes.update_progress(session, RUNNING, {"stage": "fine", "step": 3, "of": 4, "curve": curve})
    app.run()
    assert len(app.get("plotly_chart")) == 1
    assert app.get("progress")[0].proto.value == 75
    assert not app.exception


def test_a_runs_work_is_counted_as_it_goes(built):
    with open_workspace(built.root) as ws, ws.catalog.reading() as session:
        runs = {run.id: run for run in queries.runs(session)}
    # 12 files, 11 taken in and 1 refused; what is noted is no item of the work.
    assert runs[INGEST].progress == {"step": 12, "of": 12}
    assert runs[FAILED].progress == {}


def test_the_model_that_a_run_trained_is_a_click_away(visit, copied):
    with open_workspace(copied) as ws, ws.catalog.writing() as session:
        from db.models import ModelKind

        run = writes.start_run(session, "student train", "k", {"model": "pupil", "seed": 3}, "Ada", "1")
        writes.add_model(session, "pupil", ModelKind.STUDENT, run_id=run)
        writes.finish_run(session, run, state=RunState.DONE, message="1 trained")
    assert 'href="models?tab=Model&amp;model=pupil"' in html_of(visit(copied, "runs", run=str(run)))
    # A run that only used a model did not train it.
    assert f"model={TEACHER}" not in html_of(visit(copied, "runs", run=str(COMPLEMENT)))


@pytest.mark.parametrize("number", ["99", "x*", "99999999999999999999"])
def test_a_run_that_is_not_there_is_said_and_the_list_shown(visit, built, number):
    app = visit(built.root, "runs", run=number)
    assert "There is no run" in app.warning[0].value
    assert cells(html_of(app), "Runs")
    assert not app.exception


def test_names_in_parameters_and_reasons_stay_text(visit, copied):
    with open_workspace(copied) as ws, ws.catalog.writing() as session:
        session.execute(
            update(Run).where(Run.id == COMPLEMENT).values(parameters={HOSTILE_NAME: {"a": HOSTILE_NAME}})
        )
        writes.add_run_item(
            session,
            COMPLEMENT,
            subject=HOSTILE_NAME,
            state=ItemState.REFUSED,
            reason=f"/x/{HOSTILE_NAME}: bad; flee",
        )
    page = html_of(visit(copied, "runs", run=str(COMPLEMENT)))
    assert "<script" not in page
    assert [f"{HOSTILE_NAME}.a", HOSTILE_NAME] in cells(page, "Parameters")
    assert cells(page, "Cases and files")[0][2:5] == [HOSTILE_NAME, "bad", "flee"]


@pytest.mark.parametrize(
    ("subject", "line", "parts"),
    [
        ("S/A", "/d/a.nii.gz: no NIfTI; fetch it again", ("/d/a.nii.gz", "no NIfTI", "fetch it again")),
        ("S/A", "S/A: no prediction of m, so no score", (None, "no prediction of m, so no score", None)),
        ("/d/b", "/d/b: is a link; follow it; or not", ("/d/b", "is a link; follow it", "or not")),
        ("note", "cases compared: 3; list them", (None, "cases compared: 3", "list them")),
    ],
)
def test_a_booked_line_is_told_in_file_reason_and_remedy(subject, line, parts):
    assert told_parts(subject, line) == parts
