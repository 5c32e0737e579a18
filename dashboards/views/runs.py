"""Runs: what was done, what is being done, what was refused and why."""

import streamlit as st

from dashboards.components.run_list import items_table, progress_share, progress_text, runs_table
from dashboards.session import plain, problems_told, workspace
from db import queries
from db.models import RunState

SHOWN_RUNS = 50
# How often a page with a running training looks again.
REFRESH_S = 3.0

ws = workspace()
st.title("Runs")
with ws.catalog.reading() as session:
    runs = queries.runs(session, limit=SHOWN_RUNS)


def show_runs() -> None:
    """The list of runs, the bars of those that go on, and what one of them refused."""
    with problems_told():
        with ws.catalog.reading() as session:
            runs = queries.runs(session, limit=SHOWN_RUNS)
        for run in runs:
            share = progress_share(run.progress)
            if run.state is RunState.RUNNING and share is not None:
                title = f"Run {run.id}, {run.stage} {run.key or ''}"
                st.progress(share, text=plain(f"{title}: {progress_text(run.progress)}"))
        st.html(runs_table(runs))
        with_items = {run.id: run for run in runs if {"refused", "noted"} & run.items.keys()}
        if not with_items:
            return
        st.subheader("Refused and noted")
        # What was refused wants something done; the newest of it first.
        refusing = (at for at, run in enumerate(with_items.values()) if "refused" in run.items)
        chosen = st.selectbox(
            "Run",
            list(with_items),
            index=next(refusing, 0),
            format_func=lambda run_id: (
                f"{run_id} · {with_items[run_id].stage} · "
                + ", ".join(
                    f"{n} {state}" for state, n in with_items[run_id].items.items() if state != "done"
                )
            ),
            key="run",
        )
        with ws.catalog.reading() as session:
            items = queries.run_items(session, chosen)
        st.html(items_table([item for item in items if item.reason]))


if not runs:
    st.info(
        "Nothing has been run in this workspace yet; `maskledger ingest` is the first.",
        icon=":material/info:",
    )
    st.stop()
busy = any(run.state is RunState.RUNNING for run in runs)
st.fragment(show_runs, run_every=REFRESH_S if busy else None)()
