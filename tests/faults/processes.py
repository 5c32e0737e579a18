"""Commands as real processes, each with its workers in a process group of its own that a test can end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float


class Command:
    """`maskledger` under way in one workspace."""

    def __init__(self, workspace: Path, *words: object, env: Mapping[str, str] | None = None) -> None:
        self.began = time.monotonic()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "-w", str(workspace), *map(str, words)],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"MASKLEDGER_AUTHOR": "Ada Tester", "COLUMNS": "200"} | dict(env or {}),
        )

    @property
    def pid(self) -> int:
        """Of the command itself; also the number of its process group."""
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._child.poll() is None

    def send(self, number: signal.Signals, *, to_group: bool = False) -> None:
        """Send a signal to the command alone, or to all its processes as a terminal does."""
        (os.killpg if to_group else os.kill)(self.pid, number)

    def kill(self) -> bool:
        """kill -9 to all its processes at once; False if it had ended before."""
        if not self.is_running:
            return False
        self.send(signal.SIGKILL, to_group=True)
        return self.wait().returncode == -signal.SIGKILL

    def wait(self, timeout: float = 120) -> Ended:
        """Wait for its end. Whatever happens, nothing of it is left running by the test."""
        try:
            stdout, stderr = self._child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL, to_group=True)
            stdout, stderr = self._child.communicate()
            raise AssertionError(f"still running after {timeout} s\n{stdout}\n{stderr}") from None
        return Ended(self._child.returncode, stdout, stderr, time.monotonic() - self.began)

    def group(self) -> list[psutil.Process]:
        """Its processes that still run."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getpgid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    def assert_nothing_left(self, within_s: float = 5.0) -> None:
        """Fail if a process of the group outlives the command by more than `within_s`."""
        until = time.monotonic() + within_s
        while left := self.group():
            assert time.monotonic() < until, f"left running: {[p.cmdline() for p in left]}"
            time.sleep(0.05)


def run(workspace: Path, *words: object, rc: int = 0, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end and expect its exit code."""
    ended = Command(workspace, *words, env=env).wait()
    assert ended.returncode == rc, f"{words}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended
