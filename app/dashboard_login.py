"""How people log in to the dashboard: by an OpenID Connect provider that a workspace's `.streamlit/secrets.toml` names.

Whoever reads this file can log in as anybody, so it lies beside the settings and not among them: `maskledger.toml` may
be shown to others.
"""

import importlib.util
import ipaddress
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from curation.errors import UsageError

LOOPBACK = "127.0.0.1"
# The path that Streamlit answers a provider at.
CALLBACK = "/oauth2callback"
# Without these Streamlit would say so to the first person who wants to log in.
NEEDED = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
SHORTEST_SECRET = 32


def login_file(root: Path) -> Path:
    """Where a workspace says how people log in; it need not be there."""
    return root / ".streamlit" / "secrets.toml"


def has_login(root: Path) -> bool:
    """Whether people log in to the dashboard of a workspace.

    Raises:
        UsageError: The file that says how cannot be read, lacks something, or the library for it is not installed.
    """
    path = login_file(root)
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8")).get("auth")
    except FileNotFoundError:
        return False
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: cannot be read as TOML ({error}); correct the file, or remove it"
        ) from error
    if said is None:
        return False
    if not isinstance(said, dict):
        raise UsageError(f"{path}: auth is no table; write [auth] and below it {', '.join(NEEDED)}")
    lacking = [name for name in NEEDED if not isinstance(said.get(name), str) or not said[name].strip()]
    if lacking:
        raise UsageError(f"{path}: [auth] lacks {', '.join(lacking)}; docs/dashboard.md shows a whole one")
    if len(said["cookie_secret"]) < SHORTEST_SECRET:
        raise UsageError(
            f"{path}: cookie_secret has {len(said['cookie_secret'])} characters and could be guessed; give at least "
            f'{SHORTEST_SECRET}, e.g. of `python -c "import secrets; print(secrets.token_hex(32))"`'
        )
    back = urlsplit(said["redirect_uri"])
    if back.scheme not in ("http", "https") or not back.netloc or back.path != CALLBACK:
        raise UsageError(
            f"{path}: redirect_uri '{said['redirect_uri']}' is not https://HOST{CALLBACK}, where Streamlit answers"
        )
    if importlib.util.find_spec("authlib") is None:
        raise UsageError(
            "a login needs Authlib, which is not installed; run `make .venv`, or `pip install authlib`"
        )
    return True


def require_loopback_or_login(address: str, login: bool) -> None:
    """Refuse to serve other machines where nobody logs in.

    Raises:
        UsageError: The address is not this machine's loopback, and there is no login.
    """
    if login or is_loopback(address):
        return
    raise UsageError(
        f"--address {address} would show patients' images to whoever reaches this machine; without a login the "
        f"dashboard is served on {LOOPBACK} alone. Set a login up (docs/dashboard.md, People and roles), or reach it "
        f"by `ssh -L 8501:{LOOPBACK}:8501 HOST`"
    )


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this machine alone; a name other than localhost is not looked up."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
