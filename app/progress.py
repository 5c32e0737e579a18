"""Progress on a terminal as a bar, elsewhere as plain lines a few seconds apart."""

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_EVERY_S = 10.0


def console_progress(quiet: bool = False) -> "Bars | Lines":
    """What fits where stderr goes; results go to stdout and are never mixed with it."""
    return Bars() if sys.stderr.isatty() and not quiet else Lines(quiet)


class Lines:
    """One line at the start, one every PLAIN_EVERY_S, one at the end: readable in a log file."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._title = ""
        self._total: int | None = None
        self._done, self._since, self._told = 0, 0.0, 0.0

    def start(self, title: str, total: int | None) -> None:
        """Begin a piece of work."""
        self._title, self._total = title, total
        self._done, self._since = 0, time.monotonic()
        self._told = self._since
        if total != 0:
            self.say(f"{title}: {total} to do" if total is not None else f"{title} …")

    def step(self, done: int, message: str = "") -> None:
        """Tell how far it is, if the last line is long enough ago."""
        self._done = done
        if time.monotonic() - self._told >= PLAIN_EVERY_S:
            self._told = time.monotonic()
            of = f"/{self._total}" if self._total is not None else ""
            self.say(f"{self._title}: {done}{of} {message}".rstrip())

    def finish(self) -> None:
        """Tell the end and how long it took."""
        if self._done:
            self.say(f"{self._title}: {self._done} done in {time.monotonic() - self._since:.1f} s")
            self._done = 0

    def say(self, line: str) -> None:
        """Print one line on stderr."""
        if not self._quiet:
            print(line, file=sys.stderr, flush=True)


class Bars:
    """One rich progress bar at a time."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, title: str, total: int | None) -> None:
        """Open a bar."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.finish()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[message]}"), console=Console(stderr=True),
        )  # fmt: skip
        self._bar.start()
        self._task = self._bar.add_task(title, total=total, message="")

    def step(self, done: int, message: str = "") -> None:
        """Move the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, message=message)

    def finish(self) -> None:
        """Close the bar; it stays on the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, line: str) -> None:
        """Print one line on stderr, above the bar."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)
