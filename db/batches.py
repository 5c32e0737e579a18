"""Ids in batches that one statement takes: SQLite takes 32,766 bound values, and other conditions need some, too."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

IDS_PER_STATEMENT = 1000

_Id = TypeVar("_Id", int, str)


def batches(ids: Sequence[_Id], size: int = IDS_PER_STATEMENT) -> Iterator[Sequence[_Id]]:
    """The ids in their order, at most `size` at a time; none of no ids."""
    for begin in range(0, len(ids), size):
        yield ids[begin : begin + size]
