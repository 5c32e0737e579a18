"""Tables and marks as HTML: everything that comes from outside is escaped here, so a name is never markup."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import streamlit as st

from curation.labels import BY_NAME, CLASS_NAMES


class Html(str):
    """Text that is already markup; any other text is escaped."""

    __slots__ = ()


def style_sheet() -> None:
    """Load the style of this module's marks; once per page."""
    st.html(Path(__file__).with_name("style.css"))


def markup(content: object) -> Html:
    """Any content as markup: escaped, unless it is markup; None as a dash."""
    if isinstance(content, Html):
        return content
    return Html("–" if content is None else escape(str(content)))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numeric: Sequence[int] = (),
    sums: Sequence[int] = (),
    label: str = "",
    compact: bool = False,
) -> Html:
    """A table.

    Args:
        columns: Headings.
        rows: A cell per heading.
        numeric: Indices of the columns whose cells stand at the right.
        sums: Indices of the rows that sum up others.
        label: What a screen reader calls the table.
        compact: Less room between columns, for a table beside something else.
    """
    kinds = [' class="num"' if i in numeric else "" for i in range(len(columns))]
    head = "".join(f'<th scope="col"{k}>{markup(c)}</th>' for k, c in zip(kinds, columns, strict=True))
    lines = ("".join(f"<td{k}>{markup(c)}</td>" for k, c in zip(kinds, row, strict=True)) for row in rows)
    body = "".join(
        f'<tr class="sum">{line}</tr>' if number in sums else f"<tr>{line}</tr>"
        for number, line in enumerate(lines)
    )
    kind = "ml compact" if compact else "ml"
    return Html(
        f'<div class="ml-scroll"><table class="{kind}" aria-label="{escape(label)}">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def square(class_name: str, state: str) -> Html:
    """A class's square: its color, filled as it stands (an origin, or a status without voxels)."""
    found = BY_NAME[class_name]
    said = f"{found.title}: {state.replace('_', ' ')}"
    return Html(
        f'<span class="ml-sq {escape(state)}" style="--c:{found.color}" role="img" '
        f'title="{escape(said)}" aria-label="{escape(said)}"></span>'
    )


def class_cell(class_name: str, state: str = "original") -> Html:
    """A class with its square."""
    return Html(square(class_name, state) + " " + markup(BY_NAME[class_name].title))


def squares(classes: dict[str, dict[str, str | None]]) -> Html:
    """All classes of a case in the label table's order."""
    drawn = (square(name, classes[name]["origin"] or classes[name]["status"] or "") for name in CLASS_NAMES)
    return Html(f'<span class="ml-squares">{"".join(drawn)}</span>')


def square_legend() -> Html:
    """What the squares mean; the color of a class is told by its tooltip and the census table."""
    states = {
        "original": "original", "pseudo": "pseudo label", "corrected": "corrected",
        "absent": "absent", "missing": "missing", "out_of_field": "out of field",
    }  # fmt: skip
    marks = (
        f'<span><span class="ml-sq {state}" style="--c:#7d8b92"></span> {title}</span>'
        for state, title in states.items()
    )
    return Html(f'<div class="ml-legend">{"".join(marks)}</div>')


def joined(parts: Iterable[Html], between: str = " ") -> Html:
    """Pieces of markup as one."""
    return Html(between.join(parts))


def cut(text: str) -> Html:
    """Text that may be long where there is little room: cut by the browser, whole in its tooltip."""
    return Html(f'<span class="cut" title="{escape(text)}">{escape(text)}</span>')


def code(text: str) -> Html:
    """Text in the letters of a program's: a query, a command."""
    return Html(f'<code class="ml-code">{escape(text)}</code>')


def tag(text: str, kind: str = "") -> Html:
    """A word in a frame; `kind` colors it: done, running, failed, interrupted, refused, warning, error."""
    return Html(f'<span class="ml-tag {escape(kind)}">{escape(text)}</span>')


def case_link(
    address: str, version: int | None = None, text: str | None = None, within: Mapping[str, str] | None = None
) -> Html:
    """A link to a case's page; `within` is the list that it stands in (`dashboards.neighbours`)."""
    target = address if version is None else f"{address}@{version}"
    carried = "".join(f"&amp;{quote(k, safe='')}={quote(v, safe='')}" for k, v in (within or {}).items())
    href = f"case?case={quote(target, safe='')}{carried}"
    return Html(f'<a href="{href}" target="_self">{escape(text or address)}</a>')


def query_href(query: str, at: str = "") -> str:
    """The address of what a query finds; `at` names a snapshot (`db.queries.snapshot_named`), empty for now."""
    moment = f"&at={quote(at, safe='')}" if at else ""
    return escape(f"query?q={quote(query, safe='')}{moment}")


def query_link(query: str, text: str | None = None, at: str = "") -> Html:
    """A link to what a query finds, now or in another snapshot."""
    return Html(f'<a href="{query_href(query, at)}" target="_self">{escape(text or query)}</a>')


def card(label: str, value: object, note: str = "", query: str | None = None, at: str = "") -> Html:
    """A number with its name; with a query, the whole card is a link to what it finds."""
    inner = (
        f'<div class="ml-label">{escape(label)}</div><div class="ml-value">{markup(value)}</div>'
        f'<div class="ml-note">{escape(note) or "&nbsp;"}</div>'
    )
    if query is None:
        return Html(f'<div class="ml-card">{inner}</div>')
    return Html(f'<a class="ml-card" href="{query_href(query, at)}" target="_self">{inner}</a>')


def cards(content: Iterable[Html]) -> Html:
    """Cards side by side, as many to a row as fit."""
    return Html(f'<div class="ml-cards">{"".join(content)}</div>')


def link(page: str, text: str, **params: object) -> Html:
    """A link to a page of the dashboard with what stands in its address: ``link("models", "x", model="x")``."""
    asked = "&amp;".join(f"{name}={quote(str(value), safe='')}" for name, value in params.items())
    return Html(f'<a href="{page}{"?" if asked else ""}{asked}" target="_self">{escape(text)}</a>')


def file_name(path: str) -> Html:
    """The name of a file, which tells it from its neighbours; all of its path in the tooltip."""
    return Html(
        f'<span class="ml-file" title="{escape(path)}">{escape(path.rpartition("/")[2] or path)}</span>'
    )


def unbroken(text: str) -> Html:
    """Text that stays on one line, such as a date, which browsers break at its hyphens."""
    return Html(f'<span class="ml-unbroken">{escape(text)}</span>')
