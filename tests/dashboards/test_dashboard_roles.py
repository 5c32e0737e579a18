"""Who the dashboard takes a visitor for, and what it lets them do."""

import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.workspace import create_workspace

HOME = Path(__file__).resolve().parents[2] / "dashboards" / "home.py"
# A page's part that says what `dashboards.access` answers, and asks for a reviewer's bench.
ASKS = """
import streamlit as st
from app.settings import AccessRole
from curation.errors import CurationError
from dashboards import access

who = access.person()
st.text("nobody" if who is None else f"{who.name}|{who.role}|{who.logged_in}")
try:
    st.text(access.bench(AccessRole.REVIEWER, "reject a class").author)
except CurationError as error:
    st.text(str(error))
"""
PEOPLE = '[access]\n[access.people]\n"ada@clinic.example" = "admin"\n"@clinic.example" = "reviewer"\n'


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """An empty workspace with people in its settings, the one that pages open."""
    made, _ = create_workspace(tmp_path / "w")
    with (made / "maskledger.toml").open("a", encoding="utf-8") as file:
        file.write(PEOPLE)
    monkeypatch.setenv("MASKLEDGER_WORKSPACE", str(made))
    monkeypatch.setenv("MASKLEDGER_AUTHOR", "Ada Tester")
    yield made
    shutil.rmtree(made)


def answers(user: dict[str, object] | None = None) -> list[str]:
    """What access says of a visitor, and what it says when they want to reject a class."""
    app = AppTest.from_string(ASKS, default_timeout=60)
    app.user = user or {}
    app.run()
    assert not app.exception
    return [t.value for t in app.text]


def logged_in(email: str | None, **claims: object) -> dict[str, object]:
    return {"is_logged_in": True, "sub": "s-1", **({"email": email} if email else {}), **claims}


def test_without_a_login_it_is_the_one_at_this_machine_with_the_settings_role(root):
    assert answers() == ["Ada Tester|admin|False", "Ada Tester"]
    text = (root / "maskledger.toml").read_text()
    (root / "maskledger.toml").write_text(text.replace("[access]\n[", '[access]\nlocal = "viewer"\n['))
    assert answers() == [
        "Ada Tester|viewer|False",
        "Ada Tester is a viewer here and cannot reject a class; it takes a reviewer, and roles stand in [access] of "
        "maskledger.toml",
    ]


def test_who_logged_in_is_booked_by_their_address():
    assert answers(logged_in("Bob@clinic.example")) == [
        "Bob@clinic.example|reviewer|True",
        "Bob@clinic.example",
    ]


def test_who_has_no_role_may_not_even_look():
    said = answers(logged_in("eve@else.example"))
    assert said[0] == "eve@else.example|None|True"
    assert "is nobody known here and cannot reject a class" in said[1]
    app = AppTest.from_file(str(HOME), default_timeout=60)
    app.user = logged_in("eve@else.example")
    app.run()
    assert "has no role here" in app.error[0].value
    assert [b.label for b in app.button] == ["Log out"]
    assert len(app.get("html")) == 1  # the style sheet


@pytest.mark.parametrize("claim", [False, "false", 0])
def test_an_address_that_the_provider_has_not_verified_gives_no_role(claim):
    assert answers(logged_in("ada@clinic.example", email_verified=claim))[0] == "ada@clinic.example|None|True"
    assert answers(logged_in("ada@clinic.example", email_verified=True))[0] == "ada@clinic.example|admin|True"


def test_who_has_not_logged_in_sees_the_door_alone():
    assert answers({"is_logged_in": False}) == [
        "nobody",
        "you are not logged in, so you cannot reject a class; load the page again and log in",
    ]
    app = AppTest.from_file(str(HOME), default_timeout=60)
    app.user = {"is_logged_in": False}
    app.run()
    assert [b.label for b in app.button] == ["Log in"]
    assert not app.error


def test_a_login_is_asked_for_even_when_its_file_is_gone(monkeypatch):
    monkeypatch.setenv("MASKLEDGER_LOGIN", "True")
    assert answers()[0] == "nobody"


def test_read_only_makes_everybody_a_viewer(monkeypatch):
    monkeypatch.setenv("MASKLEDGER_READ_ONLY", "True")
    said = "this dashboard was started with --read-only, so nobody can reject a class here"
    assert answers() == ["Ada Tester|viewer|False", said]
    assert answers(logged_in("ada@clinic.example")) == ["ada@clinic.example|viewer|True", said]
    # It opens no door: who has no role has none.
    assert answers(logged_in("eve@else.example"))[0] == "eve@else.example|None|True"


def test_a_role_that_is_taken_away_is_gone_with_the_next_click(root):
    assert answers(logged_in("bob@clinic.example"))[1] == "bob@clinic.example"
    settings = root / "maskledger.toml"
    settings.write_text(
        settings.read_text().replace('"@clinic.example" = "reviewer"', '"@clinic.example" = "viewer"')
    )
    assert "cannot reject a class" in answers(logged_in("bob@clinic.example"))[1]


def test_every_page_says_who_looks_and_how_it_is_served():
    app = AppTest.from_file(str(HOME), default_timeout=60).run()
    page = "\n".join(e.proto.body for e in app.get("html"))
    assert "Ada Tester, admin · no login: served to this machine only" in page
