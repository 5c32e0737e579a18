"""The list that a case was opened from, worklist or query, and the cases before and after it there.

The page's address carries it, so that a link can be sent and the browser's back button works: ``list`` (worklist
or query), ``place`` (from 0), ``within`` (the query's text), and of a worklist ``class`` and ``source``, of a query
``sort`` and ``desc``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from curation.labels import BY_NAME
from dashboards.ranked import WHOLE_MASK, Asked, ranking
from dashboards.session import workspace
from db import queries
from pipelines.worklist import Place, explained


@dataclass(frozen=True)
class Neighbours:
    """Where a case stands in its list; `previous` and `next` are (address, place), None at an end.

    Attributes:
        title: E.g. "Place 3 of 120 in the worklist".
        why: Why a case of the worklist is in it, the weightiest reason first.
    """

    title: str
    previous: tuple[str, int] | None
    next: tuple[str, int] | None
    why: tuple[str, ...] = ()


def in_worklist(asked: Asked, place: int) -> dict[str, str]:
    """What a link from the worklist to a case carries."""
    carried = {"list": "worklist", "place": str(place), "within": asked.query, "class": asked.class_name}
    return _set(carried | {"source": asked.source})


def in_query(query: str, place: int, order: str, descending: bool) -> dict[str, str]:
    """What a link from a page of a query to a case carries."""
    carried = {"list": "query", "place": str(place), "within": query, "sort": order}
    return _set(carried | {"desc": "true" if descending else ""})


def _set(carried: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in carried.items() if value}


def neighbours(address: str) -> Neighbours | None:
    """The cases before and after a case in the list of the page's address; None where it names no list.

    Raises:
        QueryError: The address has a query that cannot be read.
    """
    said = st.query_params
    place = _number(said.get("place", ""))
    match said.get("list"):
        case "worklist":
            class_name = said.get("class", "")
            known = class_name if class_name in BY_NAME or class_name == WHOLE_MASK else ""
            return _of_worklist(Asked(said.get("within", ""), known, said.get("source", "")), address, place)
        case "query":
            order = said.get("sort", "case")
            known = order if order in queries.ORDERS else "case"
            return _of_query(said.get("within", ""), known, said.get("desc") == "true", address, place)
    return None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _of_worklist(asked: Asked, address: str, place: int) -> Neighbours:
    found, _ = ranking(asked)
    places = found.places
    here = place if place < len(places) and places[place].address == address else None
    if here is None:
        # Ranked anew since: a case that is still in the list is where it is now, any other where it was.
        here = next((n for n, p in enumerate(places) if p.address == address), min(place, len(places)))
    before = range(min(here, len(places)) - 1, -1, -1)
    after = range(here, len(places))
    return Neighbours(
        f"Place {here + 1:,} of {found.total:,} in the worklist",
        _first_other(places, before, address),
        _first_other(places, after, address),
        _why(places[here]) if here < len(places) and places[here].address == address else (),
    )


def _first_other(places: tuple[Place, ...], numbers: range, address: str) -> tuple[str, int] | None:
    """The first place of another case: several classes of one case are looked at together."""
    return next(((places[n].address, n) for n in numbers if places[n].address != address), None)


def _why(place: Place) -> tuple[str, ...]:
    with workspace().catalog.reading() as session:
        items = explained(session, [place])
    if not items:
        return ("decided about since it was ranked",)
    what = BY_NAME[items[0].class_name].title if items[0].class_name else "the whole mask"
    return tuple(f"{what}: {reason.sentence}" for reason in items[0].reasons)


def _of_query(query: str, order: str, descending: bool, address: str, place: int) -> Neighbours:
    first = max(0, place - 1)
    with workspace().catalog.reading() as session:
        total = queries.count(session, query)
        rows = queries.cases(session, query, limit=3, offset=first, order=order, descending=descending)
    found = [(row.address, first + n) for n, row in enumerate(rows)]
    here = next((number for name, number in found if name == address), None)
    # A case that the query finds no more, because of what was decided about it, has made room for the next one.
    at = place if here is None else here
    previous = [one for one in found if one[1] < at and one[0] != address]
    after = [one for one in found if one[1] >= at and one[0] != address]
    title = f"Case {at + 1:,} of {total:,}" if here is not None else f"No longer one of the {total:,} cases"
    of = f" of the query {query}" if query else " of all cases"
    return Neighbours(title + of, previous[-1] if previous else None, after[0] if after else None)
