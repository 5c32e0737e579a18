"""Picking cases: ticks in the case table, kept as part of the page's address, so that a refresh keeps them."""

from pathlib import Path
from typing import Any

import streamlit as st

from curation.errors import UsageError
from dashboards.case_selection import MAX_PICKED, read_picked, write_picked
from dashboards.session import plain

PARAM = "sel"
_KEY = "ticks"


@st.cache_resource(show_spinner=False)
def _listener() -> Any:
    # Registered once per process, when a first page needs it: there is no server yet when modules are imported.
    script = Path(__file__).with_name("picking.js").read_text(encoding="utf-8")
    return st.components.v2.component("maskledger_picking", js=script, isolate_styles=False)


def picked_cases() -> list[int]:
    """Ids of the picked cases, ascending; an address that names none says so on the page."""
    try:
        return read_picked(st.query_params.get(PARAM, ""))
    except UsageError as error:
        del st.query_params[PARAM]
        st.warning(plain(str(error)), icon=":material/warning:")
        return []


def pick(case_ids: list[int]) -> None:
    """Make these the picked cases; at most `MAX_PICKED` of them."""
    kept = sorted(set(case_ids))[:MAX_PICKED]
    if kept:
        st.query_params[PARAM] = write_picked(kept)
    elif PARAM in st.query_params:
        del st.query_params[PARAM]


def listen_to_ticks() -> None:
    """Place what hears of ticks in the table that the page shows."""
    _listener()(key=_KEY, on_picked_change=_ticked, height=1)


def _ticked() -> None:
    said = (st.session_state.get(_KEY) or {}).get("picked") or {}
    pick(after_ticks(_read_or_none(), said.get("shown"), said.get("ticked")))


def _read_or_none() -> list[int]:
    """The picked cases, none where the address cannot be read."""
    try:
        return read_picked(st.query_params.get(PARAM, ""))
    except UsageError:
        return []


def after_ticks(before: list[int], shown: object, ticked: object) -> list[int]:
    """What is picked after the boxes of a page changed: on it the ticked ones, elsewhere what was picked before.

    `shown` and `ticked` come from the browser: whatever is no id of a case is left out.
    """
    here, now = (
        {i for i in ids if isinstance(i, int) and not isinstance(i, bool) and i > 0}
        if isinstance(ids, list)
        else set()
        for ids in (shown, ticked)
    )
    return sorted((set(before) - here) | (now & here))
