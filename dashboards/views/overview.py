"""Overview: how many cases, how much of them is known, by whom, and where."""

import streamlit as st

from dashboards import figures
from dashboards.components.markup import card, cards
from dashboards.components.times import ago
from dashboards.session import workspace
from db import queries
from db.queries import Overview, RunRow

ws = workspace()
with ws.catalog.reading() as session:
    numbers = queries.overview(session)
    last_run = next(iter(queries.runs(session, limit=1)), None)


def number_cards(numbers: Overview, last_run: RunRow | None) -> str:
    """The catalog in eight numbers, each a link to the cases behind it."""

    def share(n: int) -> str:
        return f"{n / numbers.cases:.0%} of cases"

    sources = "1 source" if numbers.sources == 1 else f"{numbers.sources} sources"
    run = "none yet" if last_run is None else f"{last_run.stage}"
    note = "" if last_run is None else f"{last_run.state}, {ago(last_run.started_at)}"
    return cards(
        (
            card("Cases", f"{numbers.cases:,}", sources, "all"),
            card("Complete", f"{numbers.complete:,}", share(numbers.complete), "complete"),
            card("Strong", f"{numbers.strong:,}", share(numbers.strong), "strong"),
            card("Weak", f"{numbers.weak:,}", share(numbers.weak), "weak"),
            card("Unlabeled", f"{numbers.unlabeled:,}", share(numbers.unlabeled), "unlabeled"),
            card("Flagged", f"{numbers.flagged:,}", "open warnings", "flagged"),
            card("Labels", f"{numbers.labels:,}", f"{numbers.labels / numbers.cases:.1f} per case"),
            card("Last run", run, note),
        )
    )


st.title("Overview")
if not numbers.cases:
    st.info("This catalog has no cases yet. Take some in, then come back:", icon=":material/info:")
    st.code(
        f"maskledger --workspace {ws.root} ingest --source NAME --labels DIR --images DIR --mapping flare23",
        language="shell",
    )
    st.stop()

# The numbers stand on the screen before the charts' are counted.
st.html(number_cards(numbers, last_run))
with ws.catalog.reading() as session:
    before = queries.census(session, snapshot=queries.FIRST)
    after = queries.census(session)
    coverage = queries.coverage_by_source(session)
st.subheader("Labels per case")
st.plotly_chart(figures.labels_per_case_figure(before.labels_per_case, after.labels_per_case), key="labels")
left, right = st.columns(2, gap="large")
with left:
    st.subheader("Classes by status")
    st.caption("Absent: looked for and not there. Missing: nobody looked, so zero voxels say nothing.")
    st.plotly_chart(figures.status_figure(after.classes), key="status")
with right:
    st.subheader("Annotated classes by origin")
    st.caption("Original: the source's own labels. Pseudo: a model's. Corrected: a person's.")
    st.plotly_chart(figures.origin_figure(after.classes), key="origin")
st.subheader("Classes by source: share of cases in which they are annotated")
st.plotly_chart(figures.source_figure(coverage, dark=st.context.theme.type == "dark"), key="sources")
