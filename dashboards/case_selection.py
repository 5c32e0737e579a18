"""Cases that somebody picked, as a short text for the page's address: ids in ascending ranges, ``3-7.12.40``."""

import re
from collections.abc import Collection, Iterable

from curation.errors import UsageError
from curation.query import Field, Or, format_query
from curation.query_grammar import MAX_CONDITIONS

# More are better said by a query; an address of so many single ids still fits every browser and server.
MAX_PICKED = 1000
_UNREADABLE = "the selection in the address cannot be read; it is left out, pick the cases again"
_TEXT = re.compile(r"\d{1,15}(-\d{1,15})?(\.\d{1,15}(-\d{1,15})?)*", re.ASCII)


def write_picked(case_ids: Iterable[int]) -> str:
    """The text of some case ids; empty of none."""
    ranges: list[list[int]] = []
    for case_id in sorted(set(case_ids)):
        if ranges and ranges[-1][1] == case_id - 1:
            ranges[-1][1] = case_id
        else:
            ranges.append([case_id, case_id])
    return ".".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def read_picked(text: str) -> list[int]:
    """The case ids of a text, ascending.

    Raises:
        UsageError: It was not written by `write_picked`, or names more than `MAX_PICKED` cases.
    """
    if not text:
        return []
    if not _TEXT.fullmatch(text):
        raise UsageError(_UNREADABLE)
    picked: set[int] = set()
    for part in text.split("."):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if high < low:
            raise UsageError(_UNREADABLE)
        if high - low >= MAX_PICKED or len(picked) + high - low >= MAX_PICKED:
            raise UsageError(
                f"the selection in the address names more than {MAX_PICKED} cases; it is left out, "
                "ask for so many by a query"
            )
        picked.update(range(low, high + 1))
    return sorted(picked)


def query_of(addresses: Collection[str]) -> str:
    """The query that finds just these cases.

    Raises:
        UsageError: They are more than one query may name.
    """
    if len(addresses) > MAX_CONDITIONS:
        raise UsageError(
            f"a query names at most {MAX_CONDITIONS} cases one by one; of {len(addresses)} save the list as "
            "CSV, or ask for what they have in common"
        )
    if not addresses:
        raise UsageError("none of the picked cases is there; pick others")
    terms = [Field("case", "=", address) for address in addresses]
    return format_query(terms[0] if len(terms) == 1 else Or(tuple(terms)))
