"""What a reviewer decides on a case's page, what a viewer cannot, and what happens when somebody was faster."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
from dashboard_workspace import HOSTILE_NAME, SOURCE, TEACHER
from streamlit.testing.v1 import AppTest

from app.workspace import open_workspace
from db import queries, reviewing
from db.engine import for_writing, open_engine
from pipelines.purge import purge
from pipelines.review import accept, reject

CASE = f"{SOURCE}/PHANTOM_0001"


def newest(root, address=CASE):
    with open_workspace(root) as ws, ws.catalog.reading() as session:
        return queries.case_page(session, address)


def holding(root, address=CASE):
    with open_workspace(root) as ws, ws.catalog.reading() as session:
        version_id = queries.resolve(session, address).version_id
        rows = reviewing.decisions_that_hold(session, version_id)
    return [(r.class_name, str(r.verdict), r.person, r.reason) for r in rows]


def fill(app: AppTest, classes: list[str], reason: str = "") -> AppTest:
    """Choose classes and write a reason, as the form then holds them."""
    next(p for p in app.pills if p.key.startswith("decided classes")).set_value(classes)
    next(t for t in app.text_input if t.key.startswith("reason")).set_value(reason)
    return app


def press(app: AppTest, verdict: str) -> AppTest:
    return app.button(key=f"verdict {verdict}").click().run()


@contextmanager
def by_bob(root):
    """A bench of somebody else, as their own process has it."""
    with open_workspace(root) as ws:
        yield replace(ws.bench(jobs=1), author="Bob")


def test_a_rejected_class_is_missing_in_a_new_version_that_names_person_and_reason(visit, root):
    app = visit(root, "case", case=CASE)
    press(fill(app, ["pancreas", "spleen"], "is *duodenum*"), "reject")
    assert not app.exception
    assert app.success[0].value == r"Spleen, Pancreas\: rejected\. This is version 3\."
    page = newest(root)
    row = page.versions[-1]
    assert (row.number, row.kind.value, row.author) == (3, "reviewed", "Ada Tester")
    assert row.message == "rejected spleen, pancreas: is *duodenum*"
    states = {a.class_name: a.status.value for a in page.detail.annotations}
    assert (states["spleen"], states["pancreas"], states["liver"]) == ("missing", "missing", "annotated")
    assert holding(root) == [
        ("spleen", "rejected", "Ada Tester", "is *duodenum*"),
        ("pancreas", "rejected", "Ada Tester", "is *duodenum*"),
    ]
    # The form of the next decision is empty, and the page shows the new version.
    assert next(p for p in app.pills if p.key.startswith("decided classes")).value == []
    assert app.selectbox(key="version").value == 3


def test_accepting_takes_no_reason_and_makes_no_version(visit, root):
    app = visit(root, "case", case=CASE)
    press(fill(app, ["liver"]), "accept")
    assert app.success[0].value == r"Liver\: accepted\."
    assert holding(root) == [("liver", "accepted", "Ada Tester", "")]
    assert newest(root).versions[-1].number == 2


@pytest.mark.parametrize(("verdict", "status"), [("absent", "absent"), ("out of field", "out_of_field")])
def test_a_class_is_called_absent_or_out_of_field(visit, root, verdict, status):
    app = visit(root, "case", case=CASE)
    press(fill(app, ["gallbladder"], "cholecystectomy"), verdict)
    assert f"called {verdict}" in app.success[0].value
    assert {a.class_name: a.status.value for a in newest(root).detail.annotations}["gallbladder"] == status


@pytest.mark.parametrize(
    ("classes", "reason", "verdict", "says"),
    [
        ([], "why", "reject", "Choose the classes first"),
        (["liver"], "  ", "reject", "Write a reason first"),
        (["liver"], "", "absent", "Write a reason first"),
    ],
)
def test_a_decision_without_a_class_or_a_reason_is_asked_for_it(visit, root, classes, reason, verdict, says):
    app = visit(root, "case", case=CASE)
    press(fill(app, classes, reason), verdict)
    assert says in app.error[0].value
    assert newest(root).versions[-1].number == 2
    # What was chosen is still there.
    assert next(p for p in app.pills if p.key.startswith("decided classes")).value == classes


def test_a_viewer_sees_no_form_and_is_refused_when_they_press_its_button_all_the_same(
    visit, root, monkeypatch
):
    app = visit(root, "case", case=CASE)
    # The page was drawn for a reviewer; by the time of the click they are one no more.
    monkeypatch.setenv("MASKLEDGER_READ_ONLY", "True")
    press(fill(app, ["liver"], "why"), "reject")
    assert "started with \\-\\-read\\-only, so nobody can reject a class here" in app.error[0].value
    assert newest(root).versions[-1].number == 2
    assert not [b for b in app.button if b.key and b.key.startswith("verdict")]
    assert any("You look as a viewer" in c.value for c in app.caption)


def test_a_viewers_role_in_the_settings_is_asked_at_the_click(visit, root):
    app = visit(root, "case", case=CASE)
    with (root / "maskledger.toml").open("a", encoding="utf-8") as file:
        file.write('\n[access]\nlocal = "viewer"\n')
    press(fill(app, ["liver"], "why"), "reject")
    assert "Ada Tester is a viewer here and cannot reject a class" in app.error[0].value
    assert holding(root) == []


def test_the_second_of_two_reviewers_is_told_and_sees_what_the_first_one_made(visit, root):
    app = visit(root, "case", case=CASE)
    with by_bob(root) as bob:
        reject(bob, CASE, ["spleen"], "is stomach")
    press(fill(app, ["spleen"], "mine"), "reject")
    assert "version 3 (reviewed by Bob) came while you looked at version 2" in app.error[0].value.replace(
        "\\", ""
    )
    assert app.selectbox(key="version").value == 3
    assert newest(root).versions[-1].number == 3
    # They look at it, and decide again with what they had filled in.
    press(fill(app, ["liver"], "mine"), "reject")
    assert newest(root).versions[-1].author == "Ada Tester"


def test_a_decision_without_a_version_is_told_too(visit, root):
    app = visit(root, "case", case=CASE)
    with by_bob(root) as bob:
        accept(bob, CASE, ["spleen"])
    press(fill(app, ["spleen"], "mine"), "reject")
    assert "Bob called spleen accepted while you looked at it" in app.error[0].value
    assert holding(root) == [("spleen", "accepted", "Bob", "")]


def test_an_older_version_is_looked_at_and_not_decided_about(visit, root):
    app = visit(root, "case", case=f"{CASE}@1")
    assert not [b for b in app.button if b.key and b.key.startswith("verdict")]
    next(b for b in app.button if b.label == "Show version 2").click().run()
    assert app.selectbox(key="version").value == 2


def test_an_earlier_version_is_brought_back(visit, root):
    app = visit(root, "case", case=CASE)
    next(t for t in app.text_input if t.key.startswith("back because")).set_value("wrong model")
    app.button(key="bring back").click().run()
    assert "Version 3 is as version 1 was" in app.success[0].value.replace("\\", "")
    row = newest(root).versions[-1]
    assert (row.kind.value, row.restores, row.author, row.message) == (
        "reverted",
        1,
        "Ada Tester",
        "wrong model",
    )


def test_a_finding_is_dismissed_with_a_reason(visit, root):
    with open_workspace(root) as ws, ws.catalog.reading() as session:
        page = next(
            p
            for p in (queries.case_page(session, row.address) for row in queries.cases(session, ""))
            if any(f.state == "open" for f in p.detail.findings)
        )
    app = visit(root, "case", case=page.address)
    app.button(key="dismiss finding").click().run()
    assert "why this finding is no problem" in app.error[0].value
    next(t for t in app.text_input if t.key.startswith("dismissed because")).set_value("as in the CT")
    app.button(key="dismiss finding").click().run()
    assert "dismissed" in app.success[0].value
    found = [f for f in newest(root, page.address).detail.findings if f.state == "dismissed"]
    assert [f.person for f in found] == ["Ada Tester"]


def test_a_case_purged_while_it_was_open_is_a_sentence(visit, root):
    app = visit(root, "case", case=CASE)
    with open_workspace(root) as ws:
        with ws.catalog.reading() as session:
            patient = queries.case_page(session, CASE).patient
        purge(ws.bench(jobs=1), patient, "consent withdrawn")
    press(fill(app, ["liver"], "why"), "reject")
    assert not app.exception
    assert all("purged" in e.value for e in app.error)
    assert len(app.error) == 2  # of the click, and of the page


def test_a_database_that_goes_away_while_a_case_is_open_is_a_sentence_with_a_retry(visit, root):
    app = visit(root, "case", case=CASE)
    engine = for_writing(open_engine(f"sqlite:///{root / 'catalog.db'}"))
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("ALTER TABLE decision RENAME TO gone")
    press(fill(app, ["liver"], "why"), "reject")
    assert not app.exception
    assert all("no such table" in e.value for e in app.error)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO decision")
    next(b for b in app.button if b.label == "Try again").click().run()
    assert not app.error
    assert newest(root).versions[-1].number == 2


def test_a_reason_that_looks_like_markup_is_text(visit, root):
    app = visit(root, "case", case=f"{SOURCE}/{HOSTILE_NAME}")
    drawn = next(
        a.class_name for a in newest(root, f"{SOURCE}/{HOSTILE_NAME}").detail.annotations if a.voxels
    )
    press(fill(app, [drawn], "<script>alert(2)</script>"), "accept")
    page = "\n".join(e.proto.body for e in app.get("html"))
    assert "<script" not in page
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in page


def test_the_teacher_does_not_refill_what_was_rejected(root, visit):
    app = visit(root, "case", case=CASE)
    press(fill(app, ["spleen"], "is stomach"), "reject")
    with open_workspace(root) as ws, ws.catalog.reading() as session:
        (row,) = reviewing.decisions_that_hold(session, queries.resolve(session, CASE).version_id)
    assert row.model == TEACHER
