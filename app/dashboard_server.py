"""Serve the dashboard: Streamlit, on this machine's loopback alone, told which workspace to show."""

import os
import socket
import sys
from pathlib import Path

from curation.errors import CurationError

HOST = "127.0.0.1"


class PortTakenError(CurationError):
    """Something else listens on the port that the dashboard was to use."""


def serve(root: Path, *, port: int, open_browser: bool) -> None:
    """Serve the dashboard of a workspace until Ctrl-C. Becomes the server's process: it does not return.

    Args:
        root: The workspace's folder; MASKLEDGER_* settings hold for the pages too.
        port: On 127.0.0.1.
        open_browser: Open the start page in the system's browser.

    Raises:
        PortTakenError: Another program listens there.
    """
    require_free(port)
    print(f"maskledger dashboard of {root}")
    print(f"    http://{HOST}:{port}")
    print("It has no login, so it serves this machine only. Ctrl-C ends it.", flush=True)
    environment = os.environ | {"MASKLEDGER_WORKSPACE": str(root)}
    # In place of this process, so that Ctrl-C and signals reach Streamlit itself.
    os.execve(sys.executable, [sys.executable, *streamlit_arguments(port, open_browser)], environment)


def require_free(port: int) -> None:
    """Make sure that nobody listens on a port of the loopback.

    Raises:
        PortTakenError: Somebody does, or this user may not use the port.
    """
    with socket.socket() as probe:
        # As the server will: a port whose last connections still linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "not a port"
            raise PortTakenError(
                f"port {port} of {HOST} cannot be used ({reason}); give another with --port"
            ) from error


def streamlit_arguments(port: int, open_browser: bool) -> list[str]:
    """What follows the interpreter on Streamlit's command line.

    Colors and all else that does not change stand in dashboards/.streamlit/config.toml; what keeps the
    dashboard on this machine stands here too, where no user's own configuration overrules it.
    """
    served = Path(__file__).resolve().parents[1] / "dashboards" / "served.py"
    return [
        "-m", "dashboards", "run", str(served),
        f"--server.address={HOST}",
        f"--server.port={port}",
        f"--server.headless={str(not open_browser).lower()}",
        "--server.showEmailPrompt=false",
        "--browser.gatherUsageStats=false",
        f"--browser.serverAddress={HOST}",
    ]  # fmt: skip
