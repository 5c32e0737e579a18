"""What a bar or a cell of the overview stands for, as a query: made of the language's own trees, never of text."""

from collections.abc import Mapping
from typing import Any

from curation.labels import BY_NAME
from curation.query import And, Field, HasClass, format_query
from curation.status import Origin, Status


def of_labels(number: int) -> str:
    """The cases with so many annotated classes."""
    return format_query(Field("labels", "=", number))


def of_class(class_name: str, standing: Status | Origin) -> str:
    """The cases in which a class stands so."""
    return format_query(_class(class_name, standing))


def of_source(class_name: str, source: str) -> str:
    """The cases of a source in which a class is annotated."""
    return format_query(And((_class(class_name, Status.ANNOTATED), Field("source", "=", source))))


def _class(class_name: str, standing: Status | Origin) -> HasClass:
    predicate = "has" if standing is Status.ANNOTATED else standing.value
    return HasClass(predicate, "one", (BY_NAME[class_name].id,))


def clicked(event: Mapping[str, Any] | None) -> list[str]:
    """What the first mark that was clicked in a chart carries (`customdata`); empty where none was.

    Args:
        event: What `st.plotly_chart` gives with ``on_select``; it comes from the browser, so it may be anything.
    """
    selection = (event or {}).get("selection") or {}
    for point in selection.get("points") or []:
        carried = point.get("customdata")
        if isinstance(carried, str):
            return [carried]
        if isinstance(carried, list | tuple) and carried and all(isinstance(c, str) for c in carried):
            return list(carried)
        if isinstance(carried, Mapping):  # as some versions of Plotly send a row of a table
            return [str(value) for value in carried.values()]
    return []
