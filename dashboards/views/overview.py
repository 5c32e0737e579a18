"""Overview: how many cases, how much of them is known, by whom, and where; every mark opens its query."""

import streamlit as st

from dashboards import chart_queries, figures
from dashboards.components import count_tables
from dashboards.components.as_of import as_of_box, hand_over
from dashboards.components.commands import show_command
from dashboards.components.markup import card, cards
from dashboards.components.times import ago
from dashboards.session import plain, workspace
from db import queries
from db.queries import Overview, RunRow, ToReview

CONFIG = {"displayModeBar": False}


def number_cards(numbers: Overview, last_run: RunRow | None, review: ToReview | None) -> str:
    """The catalog in a few numbers, each a link to the cases behind it; review and run are of now alone."""

    def share(n: int) -> str:
        return f"{n / numbers.cases:.0%} of cases"

    sources = "1 source" if numbers.sources == 1 else f"{numbers.sources} sources"
    shown = [
        card("Cases", f"{numbers.cases:,}", sources, "all", at),
        card("Complete", f"{numbers.complete:,}", share(numbers.complete), "complete", at),
        card("Strong", f"{numbers.strong:,}", share(numbers.strong), "strong", at),
        card("Weak", f"{numbers.weak:,}", share(numbers.weak), "weak", at),
        card("Unlabeled", f"{numbers.unlabeled:,}", share(numbers.unlabeled), "unlabeled", at),
    ]
    if review is None:
        shown.append(card("Flagged", f"{numbers.flagged:,}", "open warnings", "flagged", at))
    else:
        shown.append(
            card("To review", f"{review.cases:,}", f"{numbers.flagged:,} with warnings", review.query)
        )
    shown.append(card("Labels", f"{numbers.labels:,}", f"{numbers.labels / numbers.cases:.1f} per case"))
    if review is not None:
        run = "none yet" if last_run is None else last_run.stage
        note = "" if last_run is None else f"{last_run.state}, {ago(last_run.started_at)}"
        shown.append(card("Last run", run, note))
    return cards(shown)


def clickable(figure: object, key: str, alt: str) -> None:
    """Show a chart; a click on one of its marks opens the query that it stands for."""
    event = st.plotly_chart(
        figure, key=key, on_select="rerun", selection_mode="points", config=CONFIG, alt=alt
    )
    query, panel, *_ = [*chart_queries.clicked(event), "", ""]
    if query:
        hand_over(first if panel == figures.BEFORE else at)
        st.switch_page("views/query.py", query_params={"q": query})


ws = workspace()
title, box = st.columns([3, 1], vertical_alignment="bottom")
title.title("Overview")
with box:
    at, snapshot = as_of_box(ws)
first = queries.ingested(at)
with ws.catalog.reading() as session:
    numbers = queries.overview(session, snapshot=snapshot)
    last_run = next(iter(queries.runs(session, limit=1)), None)
    review = queries.to_review(session) if snapshot == queries.NEWEST and numbers.cases else None
if not numbers.cases:
    if at:
        st.info(plain(f"There is no case as of '{at}'; empty the box to see what there is now."))
        st.stop()
    st.info("This catalog has no cases yet. Take some in, then come back:", icon=":material/info:")
    show_command(ws, "ingest --source NAME --labels DIR --images DIR --mapping flare23")
    st.stop()

# The numbers stand on the screen before the charts' are counted.
st.html(number_cards(numbers, last_run, review))
with ws.catalog.reading() as session:
    before = queries.census(session, snapshot=queries.first_of(snapshot))
    after = queries.census(session, snapshot=snapshot)
    coverage = queries.coverage_by_source(session, snapshot=snapshot)
st.subheader("Labels per case")
clickable(
    figures.labels_per_case_figure(before.labels_per_case, after.labels_per_case, now=at or "Now"),
    "labels",
    "Cases by number of annotated classes, as ingested and now; the same numbers stand in the tables below",
)
left, right = st.columns(2, gap="large")
with left:
    st.subheader("Classes by status")
    st.caption("Absent: looked for and not there. Missing: nobody looked, so zero voxels say nothing.")
    clickable(figures.status_figure(after.classes), "status", "Cases per class by status")
with right:
    st.subheader("Annotated classes by origin")
    st.caption("Original: the source's own labels. Pseudo: a model's. Corrected: a person's.")
    clickable(figures.origin_figure(after.classes), "origin", "Annotated cases per class by origin")
st.subheader("Classes by source: share of cases in which they are annotated")
clickable(
    figures.source_figure(coverage, dark=st.context.theme.type == "dark"),
    "sources",
    "Share of each source's cases in which a class is annotated",
)
with st.expander("The same numbers as tables, each a link to its cases", icon=":material/table_chart:"):
    labels, classes, sources = st.tabs(["Labels per case", "Classes", "Sources"])
    labels.html(count_tables.labels_table(before.labels_per_case, after.labels_per_case, first=first, at=at))
    classes.html(count_tables.classes_table(after.classes, at=at))
    sources.html(count_tables.sources_table(coverage, at=at))
