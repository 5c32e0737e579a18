"""Saved queries on the query page: what there is, asked by a click, saved under a name, forgotten again."""

from collections.abc import Callable, Sequence

import streamlit as st

from app.settings import AccessRole
from dashboards import access
from dashboards.components.markup import code
from dashboards.components.times import stamp
from dashboards.session import plain, problems_said
from db.queries import SavedQueryRow
from pipelines import saved_queries

_SAVE, _DELETE = "save a query", "delete a saved query"


def saved_list(rows: Sequence[SavedQueryRow], query: str, use: Callable[[str], None]) -> None:
    """Show the saved queries, and a form that keeps the present one.

    Args:
        rows: Those that there are.
        query: The text in the box.
        use: Puts a text into the box.
    """
    refused = access.refusal(AccessRole.REVIEWER, _SAVE)
    for row in rows:
        name, text, said, away = st.columns([1.4, 3.4, 2.4, 0.5], vertical_alignment="center")
        name.button(plain(f"@{row.name}"), on_click=use, args=(f"@{row.name}",), key=f"ask @{row.name}")
        text.html(code(row.query))
        told = " · ".join(filter(None, (row.message, row.author, stamp(row.created_at))))
        said.caption(plain(f"{told}. Cannot be used: {row.problem}" if row.problem else told))
        away.button(
            "", icon=":material/delete:", key=f"delete @{row.name}", on_click=_delete, args=(row.name,),
            help=refused or "Forget this query; its text stays in the log", disabled=refused is not None,
        )  # fmt: skip
    if not rows:
        st.caption("None is saved yet. A saved query is used as @NAME wherever a query stands.")
    if refused:
        st.caption(plain(refused))
    elif query:
        with st.form("save query", border=False):
            name_box, message_box, replace_box, do = st.columns([2, 3, 1.3, 1], vertical_alignment="bottom")
            name_box.text_input("Save this query as", key="save name", max_chars=100)
            message_box.text_input("What it is for", key="save message", max_chars=500)
            replace_box.toggle("Replace", key="save replace", help="Whether another text may stand there")
            do.form_submit_button("Save", on_click=_save, args=(query,), width="stretch")


def _save(query: str) -> None:
    state = st.session_state
    with problems_said():
        saved_queries.save(
            access.bench(AccessRole.REVIEWER, _SAVE),
            state["save name"],
            query,
            message=state["save message"],
            replace=state["save replace"],
        )
        state["save name"] = state["save message"] = ""


def _delete(name: str) -> None:
    with problems_said():
        saved_queries.delete(access.bench(AccessRole.REVIEWER, _DELETE), name)
