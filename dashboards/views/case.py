"""Case: one version of one case, looked at slice by slice, with everything that is recorded of it."""

import streamlit as st

from dashboards.components import case_facts, case_steps, decisions, mask_files, version_diff
from dashboards.components.case_viewer import case_viewer
from dashboards.components.markup import Html, markup, tag
from dashboards.session import plain, show_said, workspace
from db import queries, reviewing
from db.queries import CasePage
from pipelines.by_hand import seen_now


def choose_version() -> None:
    """Put the version that was picked into the page's address."""
    st.session_state["case"] = f"{case.address}@{st.session_state['version']}"


def heading(case: CasePage) -> Html:
    """Address and facts; the address is text, whatever characters it has."""
    x, y, z = case.detail.shape
    mm = " × ".join(f"{s:.2f}" for s in case.detail.spacing_mm)
    facts = [
        f"patient {case.patient}",
        f"role {case.role.value}",
        f"licence {case.licence or 'not stated'}",
        f"{x} × {y} × {z} voxels of {mm} mm (x, y, z)",
        f"axes {case.detail.orientation}",
    ]
    drawn = tag(
        f"version {case.detail.row.number} of {case.versions[-1].number}: {case.detail.row.kind.value}"
    )
    return Html(
        f'<div class="ml-heading"><h1>{markup(case.address)}</h1>{drawn} '
        f'<span class="ml-caption">{" · ".join(markup(fact) for fact in facts)}</span></div>'
    )


ws = workspace()
show_said()
steps = st.container()
box, version_box = st.columns([3, 1], gap="small")
wanted = box.text_input(
    "Case", key="case", bind="query-params", placeholder="SOURCE/NAME, or SOURCE/NAME@VERSION", max_chars=1000
)
if not wanted:
    st.title("Case")
    st.info("Name a case above, or open one from the query page.", icon=":material/info:")
    st.page_link("views/query.py", label="Find a case", icon=":material/search:")
    st.stop()

# Also of a case that cannot be shown: it was purged, and the next one is wanted.
with steps:
    case_steps.steps(wanted.partition("@")[0])
with ws.catalog.reading() as session:
    case = queries.case_page(session, wanted)
    parent = next((v for v in case.versions if v.number == case.detail.row.parent), None)
    before = queries.annotations(session, parent.id) if parent else None
    # In the same state of the catalog as what is shown.
    seen = seen_now(session, case.case_id, case.versions[-1].number)
    decided = reviewing.decisions_that_hold(session, case.detail.row.id)

st.html(heading(case))
numbers = {v.number: f"{v.number} · {v.kind.value} · {v.labels} labels" for v in reversed(case.versions)}
# The address decides which version is shown, so it sets the box and not the other way round.
st.session_state["version"] = case.detail.row.number
version_box.selectbox(
    "Version", list(numbers), format_func=numbers.__getitem__, key="version", on_change=choose_version
)

picture, census = st.columns([1.05, 1], gap="medium")
with picture:
    case_viewer(case, ws)
with census:
    st.subheader("Census")
    st.html(case_facts.census_table(case))
    st.caption(
        "Pieces: connected parts, with the share of the largest. Conf.: the model's mean probability. "
        "Agree.: Dice of the newest prediction with what is drawn."
    )
    st.subheader("Decide")
    decisions.decide_classes(case, seen)
    decisions.standing_decisions(decided)

changed = case_facts.changes(before, case.detail.annotations) if before is not None else []
findings, difference, conflicts, history, predictions, files = st.tabs(
    [
        f"Findings ({len(case.detail.findings)})",
        f"Changes ({len(changed)})",
        f"Conflicts ({len(case.detail.conflicts)})",
        f"Versions ({len(case.versions)})",
        f"Predictions ({len(case.predictions)})",
        "Mask files",
    ]
)
with findings:
    if case.detail.findings:
        st.html(case_facts.findings_table(case.detail))
        decisions.dismiss_finding(case, seen)
    else:
        st.caption("The checks noticed nothing in this version.")
with difference:
    if parent is None:
        st.caption("This is the first version: as it was ingested.")
    elif changed:
        came = sum(c.what == "came in" for c in changed)
        st.caption(
            f"Against version {parent.number}: {came} classes came in, {len(changed) - came} differ otherwise."
        )
        st.html(case_facts.changes_table(changed))
    else:
        st.caption(f"No class differs from version {parent.number}.")
with conflicts:
    if case.detail.conflicts:
        st.caption(f"V{case.detail.disputed[1:]}, and who has them.")
        st.html(case_facts.conflicts_table(case.detail))
    else:
        st.caption("Nothing was turned away when this version was made.")
with history:
    st.html(case_facts.versions_table(case))
    version_diff.compare_versions(case)
    decisions.bring_back(case, seen)
with predictions:
    if case.predictions:
        st.html(case_facts.predictions_table(case.predictions))
    else:
        command = f"maskledger predict MODEL 'case = \"{case.address.partition('/')[2]}\"'"
        st.caption(plain(f"No model has predicted this case yet: {command}"))
with files:
    take, give = st.columns(2, gap="large")
    with take:
        st.markdown("**Download** for an annotation tool")
        mask_files.download(case)
    with give:
        st.markdown("**Bring in** a corrected mask")
        mask_files.upload(case)
