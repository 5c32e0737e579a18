"""As of when: a box whose content is part of the page's address, and the snapshot that it names."""

import streamlit as st

from app.workspace import Workspace
from curation.errors import UsageError
from dashboards.session import plain
from db import queries
from db.queries import Snapshot

KEY = "at"
_HANDED_OVER = "at of the next page"


def hand_over(name: str) -> None:
    """Let the next page ask about this time: a page cannot put into its own address what its box is bound to."""
    st.session_state[_HANDED_OVER] = name or None


def as_of_box(ws: Workspace) -> tuple[str, Snapshot]:
    """Ask for a point in time; ends the page with a sentence where what was typed is none.

    Returns:
        Its name, empty for now, and the snapshot.
    """
    with ws.catalog.reading() as session:
        frozen = [version.address for version in queries.datasets(session)]
    if _HANDED_OVER in st.session_state:
        st.session_state[KEY] = st.session_state.pop(_HANDED_OVER)
    name = st.selectbox(
        "As of",
        [queries.INGESTED, *reversed(frozen)],
        index=None,
        key=KEY,
        bind="query-params",
        placeholder="now",
        accept_new_options=True,
        help="The versions of a frozen dataset, the first ones, or those of a day: type it, such as 2026-05-17 "
        "or 2026-05-17 14:30 (UTC).",
    )
    text = name or ""
    try:
        with ws.catalog.reading() as session:
            return text, queries.snapshot_named(session, text)
    except UsageError as error:
        st.error(plain(str(error)), icon=":material/error:")
        st.stop()
