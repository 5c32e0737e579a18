"""Worklist: what needs eyes most, and why; how far the review is."""

import math

import streamlit as st

from curation.labels import BY_NAME, CLASS_NAMES
from curation.query import QueryError
from dashboards import ranked
from dashboards.components import review_list
from dashboards.components.times import ago
from dashboards.ranked import WHOLE_MASK, Asked
from dashboards.session import plain, workspace
from db import queries, reviewing
from pipelines.worklist import explained

PAGE_SIZE = 25
LATEST = 10

ws = workspace()
st.title("Worklist")
with ws.catalog.reading() as session:
    sources = [source.name for source in queries.sources(session)]
    counts = reviewing.review_counts(session)
if not sources:
    st.info("This catalog has no cases yet; `maskledger ingest` takes some in.", icon=":material/info:")
    st.stop()

query_box, class_box, source_box, again = st.columns(
    [3, 1.3, 1.3, 0.9], vertical_alignment="bottom", gap="small"
)
query = query_box.text_input(
    "Of which cases?",
    key="q",
    bind="query-params",
    placeholder="all; or a query: pseudo pancreas",
    max_chars=2000,
)
class_name = class_box.selectbox(
    "Class", ["", *CLASS_NAMES, WHOLE_MASK], key="class", bind="query-params",
    format_func=lambda name: "all" if not name else "whole mask" if name == WHOLE_MASK else BY_NAME[name].title,
)  # fmt: skip
source = source_box.selectbox(
    "Source", ["", *sources], key="source", bind="query-params", format_func=lambda name: name or "all"
)
again.button("Rank anew", icon=":material/refresh:", on_click=ranked.forget, width="stretch")

asked = Asked(query or "", class_name or "", source or "")
try:
    ranking, moment = ranked.ranking(asked)
except QueryError as error:
    st.error(plain(str(error)), icon=":material/error:")
    if query:
        st.code(error.caret(), language=None)
    st.stop()

if not ranking.total:
    st.info(
        "Nothing here wants eyes: no open finding, no doubtful or stale class, no pseudo label that nobody accepted.",
        icon=":material/task_alt:",
    )
else:
    kept = len(ranking.places)
    cut = f"; the first {kept:,} are listed" if kept < ranking.total else ""
    st.caption(
        f"{ranking.total:,} drawings and masks may want eyes{cut}. Ranked {ago(moment)}; points add up, and each says "
        "why. What a person accepted is not in it."
    )
    pages = math.ceil(kept / PAGE_SIZE)
    page = st.pagination(pages, key=f"page of {asked}") if pages > 1 else 1
    first = (page - 1) * PAGE_SIZE
    places = ranking.places[first : first + PAGE_SIZE]
    with ws.catalog.reading() as session:
        items = {(item.address, item.class_name): item for item in explained(session, places)}
    st.html(review_list.worklist_table(asked, first, places, items))

st.subheader("How far the review is")
people = sorted({count.person for count in counts})
person = st.selectbox(
    "Reviewer", ["", *people], key="reviewer", bind="query-params", format_func=lambda name: name or "all"
)
chosen = [count for count in counts if not person or count.person == person]
left, right = st.columns(2, gap="large")
with left:
    st.html(review_list.class_progress_table(ranking.by_class, chosen))
with right:
    if chosen:
        st.html(review_list.person_progress_table(chosen))
        with ws.catalog.reading() as session:
            latest = reviewing.latest_decisions(session, person=person or None, limit=LATEST)
        st.html(review_list.decisions_table(latest))
    else:
        st.caption("Nobody has decided anything yet: open a case of the list, and say what you see.")
