"""Who may do what in the dashboard: roles in the settings, the login's file, what is served to whom."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.dashboard_login import has_login, login_file, require_loopback_or_login
from app.settings import DEFAULT_CONFIG, AccessRole, AccessTable, read_config
from app.workspace import create_workspace
from curation.errors import UsageError

ADMIN, REVIEWER, VIEWER = AccessRole.ADMIN, AccessRole.REVIEWER, AccessRole.VIEWER

WHOLE = """
[auth]
redirect_uri = "https://ledger.example/oauth2callback"
cookie_secret = "0123456789abcdef0123456789abcdef"
client_id = "ledger"
client_secret = "s"
server_metadata_url = "https://id.example/.well-known/openid-configuration"
"""


def settings(tmp_path: Path, text: str) -> Path:
    (tmp_path / "maskledger.toml").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_role_includes_those_before_it():
    assert [ADMIN.includes(r) for r in (VIEWER, REVIEWER, ADMIN)] == [True, True, True]
    assert [REVIEWER.includes(r) for r in (VIEWER, REVIEWER, ADMIN)] == [True, True, False]
    assert [VIEWER.includes(r) for r in (VIEWER, REVIEWER, ADMIN)] == [True, False, False]


def test_an_address_counts_more_than_its_domain_and_a_domain_more_than_the_others(tmp_path):
    people = '"Ada@Clinic.example" = "admin"\n"@clinic.example" = "reviewer"\n'
    table = read_config(settings(tmp_path, f'[access]\nothers = "viewer"\n[access.people]\n{people}')).access
    assert table.role_of("ada@clinic.example") is ADMIN
    assert table.role_of("BOB@clinic.example") is REVIEWER
    assert table.role_of("eve@else.example") is VIEWER
    # A name that ends like the domain's is another domain's.
    assert table.role_of("bob@evilclinic.example") is VIEWER
    assert table.role_of("@clinic.example@else.example") is VIEWER


def test_whoever_is_not_named_has_no_role_unless_the_settings_say_so():
    assert AccessTable().role_of("eve@else.example") is None
    assert AccessTable().role_of(None) is None
    assert AccessTable().local is ADMIN


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[access]\nlocal = "king"\n', "access.local: Input should be 'viewer', 'reviewer' or 'admin'"),
        ('[access.people]\n"ada" = "admin"\n', "'ada' is no e-mail address"),
        ('[access.people]\n"ada@" = "admin"\n', "'ada@' is no e-mail address"),
        ('[access]\nguests = "viewer"\n', "access.guests"),
    ],
)
def test_a_role_that_cannot_be_is_refused_with_its_place(tmp_path, text, says):
    with pytest.raises(UsageError) as refused:
        read_config(settings(tmp_path, text))
    assert says in str(refused.value)
    assert "maskledger.toml" in str(refused.value)


def test_the_settings_file_of_a_new_workspace_can_be_uncommented(tmp_path):
    marked = ("# [access", "# local", "# others", '# "')
    lines = [line[2:] if line.startswith(marked) else line for line in DEFAULT_CONFIG.split("\n")]
    table = read_config(settings(tmp_path, "\n".join(lines))).access
    assert (table.local, table.others, table.role_of("x@clinic.example")) == (ADMIN, VIEWER, REVIEWER)


def test_without_its_file_nobody_logs_in(tmp_path):
    assert not has_login(tmp_path)
    login_file(tmp_path).parent.mkdir()
    login_file(tmp_path).write_text('other = "secret"\n', encoding="utf-8")
    assert not has_login(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[auth", "cannot be read as TOML"),
        ("auth = 3", "is no table"),
        (WHOLE.replace("client_id", "klient"), "lacks client_id"),
        (WHOLE.replace('client_secret = "s"', 'client_secret = " "'), "lacks client_secret"),
        (WHOLE.replace("0123456789abcdef0123456789abcdef", "secret"), "has 6 characters"),
        (WHOLE.replace("/oauth2callback", "/back"), "is not https://HOST/oauth2callback"),
    ],
)
def test_a_login_that_would_not_work_is_refused_at_the_start(tmp_path, text, says):
    login_file(tmp_path).parent.mkdir()
    login_file(tmp_path).write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        has_login(tmp_path)
    assert says in str(refused.value)
    assert "secrets.toml" in str(refused.value)


def test_a_whole_login_is_one_where_its_library_is_installed(tmp_path):
    login_file(tmp_path).parent.mkdir()
    login_file(tmp_path).write_text(WHOLE, encoding="utf-8")
    if importlib.util.find_spec("authlib"):
        assert has_login(tmp_path)
    else:
        with pytest.raises(UsageError, match="needs Authlib"):
            has_login(tmp_path)


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "192.168.1.4", "::", "ledger.example", "127.0.0.1.evil.example"]
)
def test_other_machines_are_served_only_where_people_log_in(address):
    with pytest.raises(UsageError, match="without a login"):
        require_loopback_or_login(address, login=False)
    require_loopback_or_login(address, login=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_is_served_without_a_login(address):
    require_loopback_or_login(address, login=False)


def test_the_command_refuses_another_address_in_one_sentence(tmp_path):
    root, _ = create_workspace(tmp_path / "w")
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "--workspace", str(root), "dashboard", "--address", "0.0.0.0"],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--address 0.0.0.0 would show patients' images" in done.stderr
    assert "Traceback" not in done.stderr
