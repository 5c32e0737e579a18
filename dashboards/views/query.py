"""Query: which cases are there; question, point in time, sorting, page and picked cases are the page's address."""

import math

import streamlit as st

from curation.errors import UsageError
from curation.query import QueryError
from curation.query_grammar import MAX_LENGTH
from dashboards.case_selection import MAX_PICKED, query_of
from dashboards.components.as_of import as_of_box
from dashboards.components.case_files_out import csv_file, parquet_file, rows_of_cases, rows_of_query
from dashboards.components.case_list import case_table
from dashboards.components.freeze_dialog import freeze_dialog, open_freeze_dialog
from dashboards.components.markup import square_legend
from dashboards.components.picking import listen_to_ticks, pick, picked_cases
from dashboards.components.query_builder import query_builder
from dashboards.components.saved_list import saved_list
from dashboards.neighbours import in_query
from dashboards.session import plain, show_said, workspace
from db import queries

EXAMPLES = (
    "missing pancreas",
    "missing pancreas and has tumor",
    "strong or organs > 11",
    "pseudo liver and volume(liver) < 800",
    "original any organ and missing every adrenal",
    "components(spleen) > 1 or touches_border(liver)",
    "flagged",
    "role = test",
)
ORDER_TITLES = {
    "case": "case", "labels": "labels", "organs": "organs", "version": "version", "changed": "last change",
    "slices": "slices", "spacing": "slice spacing", "role": "role", "patient": "patient",
}  # fmt: skip
PAGE_SIZE = 25
PARQUET = "application/vnd.apache.parquet"


def ask(query: str) -> None:
    """Put a query into the box."""
    st.session_state["q"] = query
    to_first_page()


def to_first_page() -> None:
    """Another question, or another order, begins on its first page."""
    if "page" in st.session_state:
        st.session_state["page"] = 1


def tell_nonsense(pages: int) -> None:
    """Say what of the address cannot be meant; the boxes take their defaults then."""
    order, page = st.query_params.get("sort"), st.query_params.get("page")
    if order is not None and order not in ORDER_TITLES.values():
        st.warning(plain(f"Cases cannot be sorted by '{order}'; they are sorted by case."))
    if page is not None and not (page.isascii() and page.isdecimal() and 1 <= int(page[:9]) <= pages):
        st.warning(plain(f"There is no page '{page}'; this is the first of {pages:,}."))


ws = workspace()
title, moment = st.columns([3, 1], vertical_alignment="bottom")
title.title("Query")
show_said()
query = st.text_input(
    "Which cases?",
    key="q",
    bind="query-params",
    on_change=to_first_page,
    placeholder="all cases; or for example: missing pancreas and has tumor",
    max_chars=MAX_LENGTH,
)
with moment:
    at, snapshot = as_of_box(ws)
found: int | None = None
try:
    with ws.catalog.reading() as session:
        found = queries.count(session, query or "", snapshot=snapshot)
except QueryError as error:
    st.error(plain(str(error)), icon=":material/error:")
    st.code(error.caret(), language=None)
with st.container(horizontal=True, key="examples"):
    for example in EXAMPLES:
        st.button(plain(example), on_click=ask, args=(example,), key=f"example {example}")
with ws.catalog.reading() as session:
    saved = queries.saved_queries(session)
with st.expander("Build a query", icon=":material/construction:"):
    query_builder([row.name for row in saved], ask)
with st.expander(f"Saved queries ({len(saved)})", icon=":material/bookmark:", key="saved"):
    saved_list(saved, query or "", ask)

if found is None:
    st.stop()
if not found:
    if query or at:
        st.info(
            "No case is so. Clear the boxes to see all cases, or try one of the examples.",
            icon=":material/info:",
        )
    else:
        st.info("This catalog has no cases yet; `maskledger ingest` takes some in.", icon=":material/info:")
    st.stop()

pages = math.ceil(found / PAGE_SIZE)
tell_nonsense(pages)
count, order_box, direction_box, csv_box, parquet_box, freeze_box = st.columns(
    [2.6, 1.6, 1.2, 0.9, 1.1, 1.1], vertical_alignment="bottom", gap="small"
)
count.markdown(f"**{found:,}** {'case' if found == 1 else 'cases'}")
order_title = order_box.selectbox(
    "Sort by", list(ORDER_TITLES.values()), key="sort", bind="query-params", on_change=to_first_page
)
order = next(name for name, title_ in ORDER_TITLES.items() if title_ == order_title)
descending = direction_box.toggle("Descending", key="desc", bind="query-params", on_change=to_first_page)
everything = rows_of_query(ws, query or "", order, descending, snapshot)
csv_box.download_button(
    "CSV", csv_file(everything), "cases.csv", "text/csv", icon=":material/download:", on_click="ignore",
    width="stretch", help="All cases that were found, not only those of this page",
)  # fmt: skip
parquet_box.download_button(
    "Parquet", parquet_file(everything), "cases.parquet", PARQUET, icon=":material/download:",
    on_click="ignore", width="stretch", help="The same with types, for pandas and DuckDB",
)  # fmt: skip
freeze_box.button(
    "Freeze…", icon=":material/ac_unit:", key="freeze", width="stretch", disabled=snapshot != queries.NEWEST,
    help="As a dataset of these cases at their newest versions", on_click=open_freeze_dialog,
)  # fmt: skip
freeze_dialog(query or "")

page = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
with ws.catalog.reading() as session:
    rows = queries.cases(
        session,
        query or "",
        limit=PAGE_SIZE,
        offset=(page - 1) * PAGE_SIZE,
        order=order,
        descending=descending,
        snapshot=snapshot,
    )
picked = picked_cases()
with st.container(horizontal=True, key="picking", vertical_alignment="center"):
    st.caption(f"{len(picked):,} picked", width="content")
    st.button(
        "Pick this page", on_click=pick, args=([*picked, *(row.id for row in rows)],), key="pick page",
    )  # fmt: skip
    if picked:
        st.button("Pick none", on_click=pick, args=([],), key="pick none")
        with ws.catalog.reading() as session:
            chosen = queries.cases_of(session, picked, snapshot=snapshot, sort=True)
        some = rows_of_cases(ws, picked, snapshot)
        try:
            st.button(
                "Ask for these", on_click=ask, args=(query_of([row.address for row in chosen]),),
                key="ask picked", help="Puts a query that finds just these cases into the box",
            )  # fmt: skip
        except UsageError as error:
            st.caption(plain(str(error)))
        st.download_button(
            f"CSV of {len(picked):,}", csv_file(some), "picked.csv", "text/csv", on_click="ignore",
            key="csv picked",
        )  # fmt: skip
        st.download_button(
            f"Parquet of {len(picked):,}", parquet_file(some), "picked.parquet", PARQUET, on_click="ignore",
            key="parquet picked",
        )  # fmt: skip
        if len(chosen) < len(picked):
            st.caption(f"{len(picked) - len(chosen)} of them are not in this catalog at this time.")
        if len(picked) == MAX_PICKED:
            st.caption(f"At most {MAX_PICKED:,} cases are picked one by one; more are asked for by a query.")
first = (page - 1) * PAGE_SIZE


def within(number: int) -> dict[str, str]:
    """What the link of a row says of this list."""
    return in_query(query or "", first + number, order, descending)


now = snapshot == queries.NEWEST
# The list of another time is none to step through: its neighbours are looked up as they stand now.
st.html(case_table(rows, within=within if now else None, picked=set(picked), versions=not now))
listen_to_ticks()
st.html(square_legend())
