"""Runs: what was done, what is being done, what was refused and why."""

import streamlit as st

from dashboards import figures
from dashboards.components.markup import link
from dashboards.components.pages import page_of
from dashboards.components.run_list import (
    facts_table,
    items_table,
    progress_share,
    progress_text,
    runs_table,
)
from dashboards.components.settings_table import settings_table
from dashboards.session import plain, problems_told, workspace
from db import queries
from db.models import ItemState, RunState
from db.queries import RunRow

PAGE_SIZE = 25
# Bars of at most so many runs at once.
SHOWN_RUNNING = 5
# How often a page looks again: while something runs, and while nothing does.
BUSY_S, IDLE_S = 3.0, 15.0
ANY = "any"

ws = workspace()
st.title("Runs")


def running_now() -> list[RunRow]:
    """The runs that go on, the newest first."""
    with ws.catalog.reading() as session:
        return queries.runs(session, state=RunState.RUNNING, limit=SHOWN_RUNNING)


def watch_running() -> None:
    """The bars of what goes on; when a run begins or ends, the whole page is made anew."""
    with problems_told():
        running = running_now()
        if [run.id for run in running] != st.session_state.get("running runs"):
            st.rerun()
        for run in running:
            show_progress(run)


def show_progress(run: RunRow) -> None:
    """One run's bar; what does not say how far it is has a line alone."""
    title = f"Run {run.id}, {run.stage} {run.key or ''}"
    share = progress_share(run.progress)
    text = plain(f"{title}: {progress_text(run.progress) or 'at work'}")
    if share is None:
        st.caption(text)
    else:
        st.progress(share, text=text)


def watch_run(run_id: int, was: RunState) -> None:
    """Progress and curves of one run, again and again while it goes on."""
    with problems_told():
        with ws.catalog.reading() as session:
            run = queries.run_by_id(session, run_id)
        if run is None:
            return
        if run.state is not was:
            st.rerun()
        if run.state is RunState.RUNNING:
            show_progress(run)
        if curve := run.progress.get("curve"):
            st.plotly_chart(figures.curves_figure(curve, along="Step"), key=f"curve of {run_id}")


def show_run(run: RunRow) -> None:
    """One run: facts, progress and curves, parameters in full, and what it booked case by case."""
    # A page of its own to the browser: its back button leads here again, which Streamlit's own link would not.
    st.html(link("runs", "All runs"))
    st.subheader(plain(f"Run {run.id}: {run.stage}"))
    every_s = BUSY_S if run.state is RunState.RUNNING else None
    if run.state is RunState.FAILED:
        st.error(plain(run.message or "It failed without a word."), icon=":material/error:")
    if run.state is RunState.INTERRUPTED:
        st.warning(plain(run.message), icon=":material/warning:")
    st.fragment(watch_run, run_every=every_s)(run.id, run.state)
    with ws.catalog.reading() as session:
        model = queries.model(session, str(run.parameters.get("model", "")))
    left, right = st.columns(2, gap="large")
    with left:
        st.html(facts_table(run, model.name if model and model.run_id == run.id else None))
    with right:
        if run.parameters:
            st.html(settings_table(run.parameters, "Parameters"))
    if run.items:
        show_items(run)


def show_items(run: RunRow) -> None:
    """What it booked of single cases and files; what was refused wants something done, so it comes first."""
    first = "refused" if "refused" in run.items else next(iter(run.items))
    state = st.segmented_control(
        "Cases and files", list(run.items), default=first, required=True, key=f"items of {run.id}",
        format_func=lambda word: f"{word} ({run.items[word]:,})",
    )  # fmt: skip
    page = page_of(run.items[state], PAGE_SIZE, f"page of items of {run.id} {state}")
    with ws.catalog.reading() as session:
        items = queries.run_item_page(
            session, run.id, state=ItemState(state), limit=PAGE_SIZE, offset=(page - 1) * PAGE_SIZE
        )
    st.html(items_table(items))


def show_list() -> None:
    """All runs, of one stage and in one state where asked, page by page."""
    with ws.catalog.reading() as session:
        stages = queries.run_stages(session)
    if not stages:
        st.info(
            "Nothing has been run in this workspace yet; `maskledger ingest` is the first.",
            icon=":material/info:",
        )
        return
    stage_box, state_box = st.columns([1, 2], vertical_alignment="bottom")
    stage = stage_box.selectbox("Stage", [ANY, *stages], key="stage", bind="query-params")
    state = state_box.segmented_control(
        "State", [ANY, *(s.value for s in RunState)], default=ANY, required=True, key="state", bind="query-params"
    )  # fmt: skip
    wanted_stage = None if stage == ANY else stage
    wanted_state = None if state == ANY else RunState(state)
    with ws.catalog.reading() as session:
        total = queries.count_runs(session, stage=wanted_stage, state=wanted_state)
    st.caption(f"{total:,} {'run' if total == 1 else 'runs'}, the newest first")
    page = page_of(total, PAGE_SIZE, f"page of {stage} {state}")
    with ws.catalog.reading() as session:
        runs = queries.runs(
            session, stage=wanted_stage, state=wanted_state, limit=PAGE_SIZE, offset=(page - 1) * PAGE_SIZE
        )
    if runs:
        st.html(runs_table(runs))
    else:
        st.info("No run is so; choose another stage or state.", icon=":material/info:")


wanted = st.query_params.get("run")
if wanted is not None:
    with ws.catalog.reading() as session:
        found = queries.run_by_id(session, int(wanted)) if wanted.isdecimal() and len(wanted) < 10 else None
    if found is None:
        st.warning(f"There is no run {plain(wanted)}; these there are.", icon=":material/warning:")
        show_list()
    else:
        show_run(found)
else:
    running = running_now()
    st.session_state["running runs"] = [run.id for run in running]
    st.fragment(watch_running, run_every=BUSY_S if running else IDLE_S)()
    show_list()
