"""Patience with a database that stops answering for a while: what was under way is tried again."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from db.engine import DatabaseGoneError, WritersCrossedError

T = TypeVar("T")

# A server that is restarted is back within seconds; who waits longer than this wants to be told.
PATIENCE_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0


def _tell_nobody(_line: str) -> None:
    """For callers without a terminal."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a database that is gone, and whom to tell that one waits.

    Without patience (the default) a database that is gone is an error at once, as a page or a query wants
    it. Two writers that locked each other out are sent into the next round in any case: it takes no waiting.
    """

    seconds: float = 0.0
    tell: Callable[[str], None] = _tell_nobody

    def insist(self, attempt: Callable[[], T]) -> T:
        """Do something until it works or patience ends.

        Args:
            attempt: One transaction, or a look-up. It is called again after a commit whose answer was lost,
                so it must see for itself whether that commit got through.

        Raises:
            DatabaseGoneError: The database did not answer for `seconds`.
            WritersCrossedError: Other writers were in the way for longer than PATIENCE_S.
        """
        began = time.monotonic()
        told, pause = False, FIRST_PAUSE_S
        while True:
            try:
                result = attempt()
            except (DatabaseGoneError, WritersCrossedError) as error:
                gone = isinstance(error, DatabaseGoneError)
                if time.monotonic() - began + pause > (self.seconds if gone else PATIENCE_S):
                    raise
                if gone and not told:
                    self.tell(f"the database does not answer; waiting up to {self.seconds:.0f} s for it")
                    told = True
            else:
                if told:
                    self.tell(f"the database answers again, after {time.monotonic() - began:.0f} s")
                return result
            # Of different length for everyone: two that crossed would meet again at the same place.
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_S)
