"""Freeze what a query finds as a training set: how it is split, what would leak, and only then the freeze."""

import streamlit as st

from app.settings import AccessRole
from curation.status import Origin
from dashboards import access
from dashboards.components.markup import Html, code, link, table
from dashboards.session import page_bench, plain, problems_told
from pipelines.freeze import ALL_ORIGINS, FreezeRequest, freeze, plan
from pipelines.leaks import Leak, leaks

_DEED = "freeze a dataset"
_OPEN, _CHECKED = "freeze open", "freeze checked"
_SHOWN_LEAKS = 20
SPLITS = ("validation share", "folds", "no split")


def open_freeze_dialog() -> None:
    """Open the dialog, until it is dismissed."""
    st.session_state[_OPEN] = True


def freeze_dialog(query: str) -> None:
    """Show the dialog while it is open."""
    if st.session_state.get(_OPEN):
        _dialog(query)


def _dismissed() -> None:
    st.session_state.pop(_OPEN, None)
    st.session_state.pop(_CHECKED, None)


@st.dialog("Freeze as a dataset", width="large", on_dismiss=_dismissed)
def _dialog(query: str) -> None:
    """Ask for name and split, check for leaks, freeze; the query's cases at their newest versions."""
    refused = access.refusal(AccessRole.ADMIN, _DEED)
    if refused:
        st.info(plain(refused), icon=":material/lock:")
        return
    st.caption("Fixes the newest version of every case that this query finds, for ever:")
    st.html(code(query or "all"))
    request = _asked(query)
    if st.button("Check", key="freeze check", icon=":material/fact_check:", disabled=not request.name):
        st.session_state.pop(_CHECKED, None)
        with problems_told():
            bench = page_bench()
            planned = plan(bench, request)
            st.session_state[_CHECKED] = (request, planned, leaks(bench, planned))
    checked = st.session_state.get(_CHECKED)
    if checked is None or checked[0] != request:
        st.caption("Check first: it counts the members and looks for leaks. Nothing is written by it.")
        return
    _, planned, found = checked
    side = (
        f"{request.folds} folds"
        if request.folds
        else f"{len(planned.members) - planned.val:,} train, {planned.val:,} validation"
    )
    left_out = "".join(f"; {n:,} {reason} left out" for reason, n in planned.left_out.items())
    st.markdown(f"**{len(planned.members):,} members**: {side}{plain(left_out)}")
    willing = True
    if found:
        st.warning(
            f"{len(found):,} {'leak' if len(found) == 1 else 'leaks'}: a model would score better than it is.",
            icon=":material/warning:",
        )
        st.html(_leaks_table(found[:_SHOWN_LEAKS]))
        if len(found) > _SHOWN_LEAKS:
            st.caption(f"… and {len(found) - _SHOWN_LEAKS:,} more")
        willing = st.checkbox("Freeze all the same", key="freeze willing")
    else:
        st.success(
            "No patient, mask or image stands on two sides of the split, or among the test cases, too."
        )
    if st.button("Freeze", key="freeze do", type="primary", disabled=not willing):
        with problems_told():
            frozen = freeze(access.bench(AccessRole.ADMIN, _DEED), request, checked=planned)
            st.session_state.pop(_CHECKED, None)
            dataset = link("datasets", frozen.address, dataset=frozen.address)
            st.html(Html(
                f"<p>Frozen as {dataset}: {frozen.members:,} members, "
                f"manifest <code>{frozen.manifest_hash[:12]}</code>.</p>"
            ))  # fmt: skip


def _asked(query: str) -> FreezeRequest:
    """The boxes of the dialog as a request."""
    name_box, message_box = st.columns([1, 2])
    name = name_box.text_input("Name", key="freeze name", max_chars=100, placeholder="strong")
    message = message_box.text_input("Why", key="freeze message", max_chars=500)
    split_box, number_box, seed_box = st.columns([2, 1, 1])
    split = split_box.segmented_control("Split", SPLITS, default=SPLITS[0], key="freeze split", required=True)
    share = folds = None
    if split == SPLITS[0]:
        share = number_box.number_input("Share", 0.01, 0.99, 0.2, 0.05, key="freeze share")
    elif split == SPLITS[1]:
        folds = int(number_box.number_input("Folds", 2, 20, 5, key="freeze folds"))
    seed = int(seed_box.number_input("Seed", 0, 2**31 - 1, 0, key="freeze seed"))
    origins = st.pills(
        "Labels that count", list(Origin), selection_mode="multi", default=list(ALL_ORIGINS), key="freeze origins",
        format_func=str, help="Pseudo labels left out count as missing: the baseline.",
    )  # fmt: skip
    test = st.toggle("Also cases of role test", key="freeze test")
    return FreezeRequest(
        name=name.strip(), query=query, origins=tuple(o for o in Origin if o in origins), val_share=share,
        folds=folds, seed=seed, include_test=test, message=message.strip(),
    )  # fmt: skip


def _leaks_table(found: list[Leak]) -> Html:
    return table(
        ("Leak", "Where, and what to do"), [(leak.kind, leak.sentence) for leak in found], label="Leaks"
    )
