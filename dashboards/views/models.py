"""Models: what each was made from, how it scored (Tables 4, 5, 6 of the paper), where it is worst, two compared."""

import math
import shlex

import streamlit as st

from curation.bootstrap import RESAMPLES
from curation.errors import UsageError
from curation.labels import BY_NAME, CLASS_NAMES
from curation.metrics import PROTOCOLS
from dashboards import figures
from dashboards.components import score_table
from dashboards.components.commands import show_command
from dashboards.components.model_facts import facts_table, models_table
from dashboards.components.settings_table import settings_table
from dashboards.session import page_bench, plain, workspace
from db import queries
from pipelines import fairness
from pipelines.compare import METRICS, Comparison, compare
from pipelines.model_page import ModelPage, model_page, weights_damage
from pipelines.score_sets import scores_by_set
from pipelines.score_tables import efficiency_table

PROTOCOL_TITLES = {"flare23": "FLARE23", "known": "Known classes"}
PROTOCOL_NOTES = {
    "flare23": "All 14 classes of every case; a class that is empty in reference and prediction alike counts 1.",
    "known": "A class that nobody looked for in a case's reference is left out there.",
}
ANY_CLASS = "any class"
WORST = 20
PAGE_SIZE = 25

ws = workspace()
st.title("Models")
with ws.catalog.reading() as session:
    models = queries.models(session, with_curves=False)
    scored = queries.scored_models(session)
    stamp = queries.scores_stamp(session)
if not models:
    st.info(
        "No model is known yet: `maskledger teacher train DATASET` trains one, "
        "`maskledger predictions import DIR --model NAME` takes in another's masks.",
        icon=":material/info:",
    )
    st.stop()


@st.cache_data(max_entries=16, show_spinner="Comparing …")
def compared(
    root: str,  # noqa: ARG001 - part of the cache's key
    names: tuple[str, ...],
    protocol: str,
    resamples: int,
    state: tuple[object, ...],  # noqa: ARG001 - likewise: which scores and models there are
) -> tuple[Comparison, list[str]]:
    """Models compared, and what makes that unequal where there are intervals to be read wrongly."""
    comparison = compare(page_bench(), names, protocol, resamples=resamples)
    if not resamples:
        return comparison, []
    with ws.catalog.reading() as session:
        return comparison, fairness.cautions(session, comparison)


def state_of_scores() -> tuple[object, ...]:
    """What a comparison depends on, apart from what is asked."""
    return (*stamp, tuple((m.name, m.doubts) for m in models))


def choose_protocol(key: str) -> str:
    """By which protocol scores are shown."""
    chosen: str = st.segmented_control(
        "Protocol", list(PROTOCOLS), default="flare23", key=key, required=True,
        format_func=PROTOCOL_TITLES.__getitem__,
    )  # fmt: skip
    return chosen


def nothing_scored(model: str = "MODEL") -> None:
    """What to do where no score is."""
    whose = "No model has" if model == "MODEL" else f"{plain(model)} has not"
    st.info(f"{whose} been scored yet. Score on the test cases:", icon=":material/info:")
    show_command(ws, f"evaluate {shlex.quote(model)} 'role = test'")


def show_model(page: ModelPage) -> None:
    """One model from top to bottom."""
    name = page.model.name
    for doubt in page.model.doubts:
        st.warning(plain(doubt), icon=":material/warning:")
    left, right = st.columns([1.15, 1], gap="large")
    with left:
        st.html(facts_table(page))
        if page.weights is not None and st.button("Verify weights", icon=":material/verified:"):
            damage = weights_damage(page.model, page.weights)
            if damage:
                st.error(plain(damage), icon=":material/error:")
            else:
                st.success("The weights are those that were registered.", icon=":material/check:")
        if page.model.profile:
            with st.expander("Settings of the profile"):
                st.html(settings_table(page.model.profile, "Settings"))
    with right:
        if page.model.curves:
            st.plotly_chart(figures.curves_figure(page.model.curves), key="curves")
        else:
            st.caption("No curves: this model was not trained here.")
    if name not in scored:
        nothing_scored(name)
        return
    protocol = choose_protocol("model protocol")
    st.subheader("Scores by set of cases (Table 5)")
    st.caption(
        f"{PROTOCOL_NOTES[protocol]} Mean ± standard deviation; numbers of cases stand in parentheses."
    )
    by_set = scores_by_set(page_bench(), name, protocol)
    if by_set:
        st.html(score_table.sets_table(by_set, name))
    show_worst(name, protocol)


def show_worst(name: str, protocol: str) -> None:
    """The lowest scores, each a click from its picture."""
    st.subheader("Worst cases")
    class_box, metric_box, _ = st.columns([1.2, 1, 2], vertical_alignment="bottom")
    class_name = class_box.selectbox(
        "Class", [ANY_CLASS, *CLASS_NAMES], key="worst class",
        format_func=lambda word: BY_NAME[word].title if word in BY_NAME else "Any class",
    )  # fmt: skip
    metric = metric_box.segmented_control(
        "By", METRICS, default="dsc", key="worst metric", required=True, format_func=str.upper
    )
    with ws.catalog.reading() as session:
        worst = queries.worst_scores(
            session, name, protocol, metric=metric, limit=WORST,
            class_id=None if class_name == ANY_CLASS else BY_NAME[class_name].id,
        )  # fmt: skip
    if worst:
        st.caption("A case opens at the version that it was scored against, with this prediction beside it.")
        st.html(score_table.worst_table(worst))
    else:
        st.caption("No case was scored for this class by this protocol.")


def show_scores() -> None:
    """Models side by side: Table 4, box plots, Table 6."""
    box, protocol_box = st.columns([3, 1], vertical_alignment="bottom")
    chosen = box.multiselect("Models", list(scored), default=list(scored)[:4], key="models")
    with protocol_box:
        protocol = choose_protocol("protocol")
    if not chosen:
        st.info("Choose at least one model.", icon=":material/info:")
        return
    try:
        comparison, _ = compared(str(ws.root), tuple(chosen), protocol, 0, state_of_scores())
    except UsageError as error:
        st.warning(plain(str(error)), icon=":material/warning:")
        return
    left_out = f" {len(comparison.left_out)} are left out." if comparison.left_out else ""
    st.subheader("Scores per class (Table 4)")
    st.caption(
        f"{PROTOCOL_NOTES[protocol]} Mean ± standard deviation over the {comparison.cases} cases that all chosen "
        f"models were scored on.{left_out} Bold: the highest of a row."
    )
    st.html(score_table.comparison_table(comparison))
    rows = [row for of in comparison.scores.values() for row in of]
    for metric in METRICS:
        st.subheader(f"{metric.upper()} per class and case")
        st.plotly_chart(figures.scores_figure(rows, chosen, metric), key=f"box {metric}")
    st.subheader("What predicting took (Table 6)")
    if table := efficiency_table(comparison):
        st.caption(f"{plain(table.title)}.")
        st.html(score_table.text_table(table))
        of = comparison.efficiency
        show_costs(
            sorted(chosen, key=lambda name: of[name].seconds is None and of[name].peak_memory_mb is None)
        )
    else:
        st.caption(
            "Nobody measured it: these predictions were imported. `maskledger predict` measures time and memory."
        )


def show_costs(chosen: list[str]) -> None:
    """Table 6 itself: case by case."""
    model = st.selectbox("Case by case", chosen, key="costs of")
    number = st.session_state.get(f"page of costs {model}", 1)
    with ws.catalog.reading() as session:
        rows, total = queries.costs(session, model, limit=PAGE_SIZE, offset=(number - 1) * PAGE_SIZE)
    if not total:
        st.caption(f"Nobody measured what the predictions of {plain(model)} took.")
        return
    st.html(score_table.costs_table(rows))
    if total > PAGE_SIZE:
        st.pagination(math.ceil(total / PAGE_SIZE), key=f"page of costs {model}")


def show_two() -> None:
    """By how much one model lies above another, and whether that can be chance."""
    if len(scored) < 2:
        st.info(
            "Two scored models are needed; evaluate another one on the same cases.", icon=":material/info:"
        )
        return
    first_box, other_box, protocol_box = st.columns(3, vertical_alignment="bottom")
    names = list(scored)
    first = first_box.selectbox("Baseline", names, index=0, key="baseline", bind="query-params")
    others = [name for name in names if name != first]
    other = other_box.selectbox("Compared with it", others, index=len(others) - 1, key="other")
    with protocol_box:
        protocol = choose_protocol("two protocol")
    try:
        comparison, cautions = compared(str(ws.root), (first, other), protocol, RESAMPLES, state_of_scores())
    except UsageError as error:
        st.warning(plain(str(error)), icon=":material/warning:")
        return
    if cautions:
        said = "\n".join(f"- {plain(caution)}" for caution in cautions)
        st.warning(f"Before you read the numbers:\n{said}", icon=":material/warning:")
    st.caption(
        f"{PROTOCOL_NOTES[protocol]} {comparison.cases} cases; differences in percentage points, {plain(other)} above "
        f"{plain(first)}, with 95 % paired bootstrap intervals ({comparison.resamples:,} resamples, seed "
        f"{comparison.seed}). ▲ and ▼: the interval leaves out 0."
    )
    st.html(score_table.differences_table(comparison))
    st.plotly_chart(figures.differences_figure(comparison), key="differences")
    if comparison.left_out:
        with st.expander(f"Left out: {len(comparison.left_out)} cases"):
            st.html(score_table.left_out_table(comparison))


every, one, scores_tab, two = st.tabs(
    ["All models", "Model", "Scores", "Two models"], key="tab", bind="query-params"
)
if every.open:
    with every:
        st.html(models_table(models, scored))
if one.open:
    with one:
        names = [m.name for m in models]
        wanted = st.query_params.get("model")
        if wanted is not None and wanted not in names:
            st.warning(f"No model is called {plain(wanted)}; choose one of these.", icon=":material/warning:")
        name = st.selectbox("Model", names, index=len(names) - 1, key="model", bind="query-params")
        show_model(model_page(page_bench(), name, with_scores=False))
if scores_tab.open:
    with scores_tab:
        if scored:
            show_scores()
        else:
            nothing_scored()
if two.open:
    with two:
        show_two()
