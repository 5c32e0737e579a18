"""Query: which cases are there; the text of the question is part of the page's address."""

import io
import math

import streamlit as st

from app.case_csv import write_cases
from curation.query import QueryError
from dashboards.components.case_list import case_table
from dashboards.components.markup import square_legend
from dashboards.neighbours import in_query
from dashboards.session import plain, workspace
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


def ask(query: str) -> None:
    """Put a query into the box."""
    st.session_state["q"] = query


ws = workspace()
st.title("Query")
query = st.text_input(
    "Which cases?",
    key="q",
    bind="query-params",
    placeholder="all cases; or for example: missing pancreas and has tumor",
    max_chars=2000,
)
with st.container(horizontal=True, key="examples"):
    for example in EXAMPLES:
        st.button(plain(example), on_click=ask, args=(example,), key=f"example {example}")

try:
    with ws.catalog.reading() as session:
        found = queries.count(session, query or "")
except QueryError as error:
    st.error(plain(str(error)), icon=":material/error:")
    st.code(error.caret(), language=None)
    st.stop()

if not found:
    if query:
        st.info(
            "No case is so. Clear the box to see all cases, or try one of the examples.",
            icon=":material/info:",
        )
    else:
        st.info("This catalog has no cases yet; `maskledger ingest` takes some in.", icon=":material/info:")
    st.stop()

count, order_box, direction_box, download = st.columns(
    [4, 1.6, 1.1, 0.9], vertical_alignment="bottom", gap="small"
)
count.markdown(f"**{found:,}** {'case' if found == 1 else 'cases'}")
order = order_box.selectbox(
    "Sort by", list(ORDER_TITLES), format_func=ORDER_TITLES.__getitem__, key="sort", bind="query-params"
)
descending = direction_box.toggle("Descending", key="desc", bind="query-params")


def as_csv() -> bytes:
    """All cases that were found, not only those of this page."""
    with ws.catalog.reading() as session:
        rows = queries.cases(session, query or "", order=order, descending=descending)
    text = io.StringIO()
    write_cases(rows, text)
    return text.getvalue().encode()


download.download_button(
    "CSV", as_csv, "cases.csv", "text/csv", icon=":material/download:", on_click="ignore", width="stretch"
)

pages = math.ceil(found / PAGE_SIZE)
# Of its own key per question, so that another question begins on its first page.
page = st.pagination(pages, key=f"page of {query} {order} {descending}") if pages > 1 else 1
with ws.catalog.reading() as session:
    rows = queries.cases(
        session,
        query or "",
        limit=PAGE_SIZE,
        offset=(page - 1) * PAGE_SIZE,
        order=order,
        descending=descending,
    )
first = (page - 1) * PAGE_SIZE
st.html(case_table(rows, lambda number: in_query(query or "", first + number, order, descending)))
st.html(square_legend())
