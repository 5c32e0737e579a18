"""Much, in batches: SQLite takes 32,766 bound values in a statement, and other conditions need some, too."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

IDS_PER_STATEMENT = 1000

_Item = TypeVar("_Item")


def batches(items: Sequence[_Item], size: int = IDS_PER_STATEMENT) -> Iterator[Sequence[_Item]]:
    """The items in their order, at most `size` at a time (by default ids for one statement); no batch of none."""
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
