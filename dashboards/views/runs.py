"""Runs and scores: what was done, what is being done, what was refused; models, their curves and how they compare."""

import streamlit as st

from curation.errors import UsageError
from curation.metrics import PROTOCOLS
from dashboards import figures
from dashboards.components.markup import joined, table, tag
from dashboards.components.run_list import items_table, progress_share, progress_text, runs_table
from dashboards.components.score_table import comparison_table
from dashboards.components.times import stamp
from dashboards.session import plain, problems_told, workspace
from db import queries
from db.models import RunState
from db.queries import ModelRow
from pipelines.compare import compare

SHOWN_RUNS = 50
# How often a page with a running training looks again.
REFRESH_S = 3.0
PROTOCOL_NOTES = {
    "flare23": "All 14 classes of every case; a class that is empty in reference and prediction alike counts 1.",
    "known": "A class that nobody looked for in a case's reference is left out there.",
}

ws = workspace()
st.title("Runs & scores")
with ws.catalog.reading() as session:
    runs = queries.runs(session, limit=SHOWN_RUNS)
    models = queries.models(session)
    scores = queries.evaluations(session)


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


def models_table(models: list[ModelRow]) -> str:
    """One row per model with its figures."""
    return table(
        (
            "Model",
            "Kind",
            "Trained on",
            "Origins",
            "Figures",
            "Cases predicted",
            "Registered (UTC)",
            "Beware",
        ),
        [
            (
                m.name,
                tag(m.kind.value),
                m.dataset,
                ", ".join(m.origins) if m.origins else None,
                joined(
                    tag(f"{key.replace('_', ' ')} {value:.3g}")
                    for key, value in m.metrics.items()
                    if isinstance(value, int | float)
                )
                or None,
                m.predicted_cases,
                stamp(m.created_at),
                "; ".join(m.doubts) or None,
            )
            for m in models
        ],
        numeric=(5,),
        label="Models",
    )


comparing, run_tab, model_tab = st.tabs(["Scores", "Runs", "Models"], key="tab", bind="query-params")
with comparing:
    scored = [m.name for m in models if any(row.model == m.name for row in scores)]
    if not scored:
        st.info("No model has been scored yet. Score one on the test cases:", icon=":material/info:")
        st.code(f"maskledger --workspace {ws.root} evaluate MODEL 'role = test'", language="shell")
    else:
        chosen_models = st.multiselect("Models", scored, default=scored, key="models")
        protocol = st.segmented_control(
            "Protocol", list(PROTOCOLS), default="flare23", key="protocol", required=True,
            format_func={"flare23": "FLARE23", "known": "Known classes"}.__getitem__,
        )  # fmt: skip
        if not chosen_models:
            st.info("Choose at least one model.", icon=":material/info:")
        else:
            try:
                comparison = compare(ws.bench(jobs=1), chosen_models, protocol)
            except UsageError as error:
                st.warning(plain(str(error)), icon=":material/warning:")
            else:
                common = f"Means over the {comparison.cases} cases that all chosen models were scored on."
                st.caption(f"{PROTOCOL_NOTES[protocol]} {common}")
                st.html(comparison_table(comparison, chosen_models))
            of_protocol = [row for row in scores if row.protocol == protocol]
            for metric in ("dsc", "nsd"):
                st.subheader(f"{metric.upper()} per class and case")
                st.plotly_chart(
                    figures.scores_figure(of_protocol, chosen_models, metric), key=f"box {metric}"
                )
with run_tab:
    if not runs:
        st.info(
            "Nothing has been run in this workspace yet; `maskledger ingest` is the first.",
            icon=":material/info:",
        )
    else:
        busy = any(run.state is RunState.RUNNING for run in runs)
        st.fragment(show_runs, run_every=REFRESH_S if busy else None)()
with model_tab:
    if not models:
        st.info(
            "No model is known yet: `maskledger teacher train DATASET` trains one, "
            "`maskledger predictions import DIR --model NAME` takes in another's masks.",
            icon=":material/info:",
        )
    else:
        st.html(models_table(models))
        for model in models:
            if model.curves:
                st.subheader(f"Curves of {plain(model.name)}")
                st.plotly_chart(figures.curves_figure(model.curves), key=f"curves {model.id}")
