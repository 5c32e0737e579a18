"""From one case to the next one of the list that it was opened from, and why it is in it."""

import streamlit as st

from dashboards.components.markup import Html, joined, markup
from dashboards.neighbours import neighbours
from dashboards.session import problems_told


def steps(address: str) -> None:
    """Buttons for the case before and after one, with their keys; nothing where the page's address names no list."""
    if "list" not in st.query_params:
        return
    # A list that cannot be asked for any more takes nothing from the case.
    with problems_told():
        found = neighbours(address)
        if found is None:
            return
        with st.container(horizontal=True, key="steps", vertical_alignment="center"):
            for title, icon, key, beside in (
                ("Previous", ":material/arrow_back:", "P", found.previous),
                ("Next", ":material/arrow_forward:", "N", found.next),
            ):
                st.button(
                    title, icon=icon, shortcut=key, key=f"step {title}", disabled=beside is None,
                    on_click=_go, args=beside or ("", 0),
                )  # fmt: skip
            lines = [Html(f'<span class="ml-caption">{markup(found.title)}</span>')]
            if found.why:
                lines.append(Html(f'<span class="ml-caption">{markup(" · ".join(found.why))}</span>'))
            st.html(joined(lines, "<br>"), width="stretch")


def _go(address: str, place: int) -> None:
    st.session_state["case"] = address
    st.query_params["place"] = str(place)
