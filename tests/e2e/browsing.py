"""A dashboard in a child process, and a browser to visit it; for the browser tests and the screenshots."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
BROWSER_ARGUMENTS = (
    "--no-sandbox",
    # WebGL on the processor, as the machines of a build have no graphics card.
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# A browser that has no WebGL at all.
WITHOUT_WEBGL = ("--no-sandbox", "--disable-gpu", "--disable-3d-apis", *BROWSER_ARGUMENTS[3:])


def chromium() -> str | None:
    """Where Debian's Chromium is; None where it is not installed."""
    return CHROMIUM if Path(CHROMIUM).is_file() else shutil.which("chromium")


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(root: Path, port: int, log: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start `maskledger dashboard` and wait until it answers.

    Raises:
        RuntimeError: It ended, or did not answer within a minute; with what it wrote.
    """
    command = [sys.executable, "-m", "app.cli", "--workspace", str(root), "dashboard", "--port", str(port)]
    command += options
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=CHECKOUT)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health"):
            return child
        time.sleep(0.2)
    stop(child)
    raise RuntimeError(f"the dashboard did not answer (exit code {child.returncode}):\n{log.read_text()}")


def stop(child: subprocess.Popen[bytes]) -> None:
    """End a server, by force if it must be."""
    child.terminate()
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


@contextlib.contextmanager
def served(root: Path, log: Path, *options: str, port: int | None = None) -> Iterator[str]:
    """A dashboard of a workspace, on a free port unless one is given; gives its address."""
    port = port or free_port()
    child = start(root, port, log, *options)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(child)
