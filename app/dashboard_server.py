"""Serve the dashboard: Streamlit, on this machine's loopback unless people log in, told which workspace to show."""

import os
import socket
import sys
from pathlib import Path

from app.dashboard_login import LOOPBACK, login_file
from curation.errors import CurationError


class PortTakenError(CurationError):
    """Something else listens on the port that the dashboard was to use."""


def serve(
    root: Path,
    *,
    port: int,
    open_browser: bool,
    address: str = LOOPBACK,
    login: bool = False,
    read_only: bool = False,
) -> None:
    """Serve the dashboard of a workspace until Ctrl-C. Becomes the server's process: it does not return.

    Args:
        root: The workspace's folder; MASKLEDGER_* settings hold for the pages too.
        port: Of the address.
        open_browser: Open the start page in the system's browser.
        address: The address to listen on; not the loopback only where people log in.
        login: Whether nobody sees anything without a login.
        read_only: Whether nobody changes anything.

    Raises:
        PortTakenError: Another program listens there.
    """
    require_free(port, address)
    print(f"maskledger dashboard of {root}" + (", read-only" if read_only else ""))
    print(f"    http://{_in_a_url(address)}:{port}")
    who = "People log in" if login else "It has no login, so it serves this machine only"
    print(f"{who}. Ctrl-C ends it.", flush=True)
    environment = os.environ | {
        "MASKLEDGER_WORKSPACE": str(root),
        "MASKLEDGER_LOGIN": str(login),
        "MASKLEDGER_READ_ONLY": str(read_only),
    }
    arguments = [*streamlit_arguments(port, open_browser, address), f"--secrets.files={login_file(root)}"]
    # In place of this process, so that Ctrl-C and signals reach Streamlit itself.
    os.execve(sys.executable, [sys.executable, *arguments], environment)


def require_free(port: int, address: str = LOOPBACK) -> None:
    """Make sure that nobody listens on a port of an address of this machine.

    Raises:
        PortTakenError: Somebody does, or this user may not use the port.
    """
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        # As the server will: a port whose last connections still linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "not a port"
            raise PortTakenError(
                f"port {port} of {address} cannot be used ({reason}); give another with --port"
            ) from error


def streamlit_arguments(port: int, open_browser: bool, address: str = LOOPBACK) -> list[str]:
    """What follows the interpreter on Streamlit's command line.

    Colors and all else that does not change stand in dashboards/.streamlit/config.toml; what keeps the
    dashboard on this machine stands here too, where no user's own configuration overrules it.
    """
    served = Path(__file__).resolve().parents[1] / "dashboards" / "served.py"
    return [
        "-m", "dashboards", "run", str(served),
        f"--server.address={address}",
        f"--server.port={port}",
        f"--server.headless={str(not open_browser).lower()}",
        "--server.showEmailPrompt=false",
        "--browser.gatherUsageStats=false",
        f"--browser.serverAddress={_in_a_url(address)}",
    ]  # fmt: skip


def _in_a_url(address: str) -> str:
    """The host of a URL that somebody at this machine opens; who listens on all addresses is at the loopback, too."""
    address = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(address, address)
    return f"[{address}]" if ":" in address else address
