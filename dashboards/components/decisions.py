"""What a person says of a case: classes accepted, rejected or absent, findings dismissed, a version brought back.

A button says what its page showed when it was drawn (`Seen`). What came since is found by the stage, under the case's
lock, and told; a role is asked for when the button is pressed, whatever the page looked like.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import streamlit as st

from app.settings import AccessRole
from curation.errors import UsageError
from curation.labels import BY_NAME, CLASS_NAMES
from dashboards import access
from dashboards.components.review_list import standing_table
from dashboards.components.viewer import pill_colors
from dashboards.session import problems_said, say
from db.models import FindingState
from db.queries import CasePage
from db.reviewing import DecisionRow
from pipelines.by_hand import Seen
from pipelines.revert import revert
from pipelines.review import Reviewed, absent, accept, dismiss, reject
from pipelines.runs import Workbench

LONGEST_REASON = 1000


class _Decide(Protocol):
    def __call__(
        self, bench: Workbench, address: str, class_words: Sequence[str], reason: str, *, seen: Seen
    ) -> Reviewed: ...


def _out_of_field(
    bench: Workbench, address: str, class_words: Sequence[str], reason: str, *, seen: Seen
) -> Reviewed:
    return absent(bench, address, class_words, reason, out_of_field=True, seen=seen)


@dataclass(frozen=True)
class _Verdict:
    """What can be said of classes. `key` is the keyboard's, `deed` of a refusal, `done` of what was booked."""

    title: str
    icon: str
    key: str
    help: str
    deed: str
    done: str
    stage: _Decide
    needs_reason: bool = True


# Of the keys Streamlit keeps C and R for itself.
_VERDICTS = (
    _Verdict(
        "Accept", ":material/check:", "A", "As it is drawn: from here on people alone change it.",
        "accept a class", "accepted", accept, needs_reason=False,
    ),
    _Verdict(
        "Reject", ":material/close:", "X",
        "It is wrong: missing in a new version, and the model that drew it does not fill it again.",
        "reject a class", "rejected", reject,
    ),
    _Verdict(
        "Absent", ":material/block:", "B",
        "Not in this patient, e.g. removed; what is drawn of it is taken out in a new version.",
        "call a class absent", "called absent", absent,
    ),
    _Verdict(
        "Out of field", ":material/crop_free:", "O", "The scan does not reach it, so nobody can know.",
        "call a class out of field", "called out of field", _out_of_field,
    ),
)  # fmt: skip


def decide_classes(case: CasePage, seen: Seen) -> None:
    """The form that says something of classes of the newest version; several at once."""
    if why_not := _closed(case):
        st.caption(why_not)
        newest = case.versions[-1].number
        if case.detail.row.number != newest:
            st.button(
                f"Show version {newest}",
                icon=":material/update:",
                on_click=_show_newest,
                args=(case.address,),
            )
        return
    turn = st.session_state.get("turn", 0)
    drawn = {a.class_name for a in case.detail.annotations if a.voxels}
    with st.form("decide", enter_to_submit=False, border=True):
        st.pills(
            "Classes to decide about", CLASS_NAMES, selection_mode="multi", key=f"decided classes {turn}",
            format_func=lambda name: BY_NAME[name].title + ("" if name in drawn else " (not drawn)"),
        )  # fmt: skip
        st.html(pill_colors([BY_NAME[name].id for name in CLASS_NAMES], "decided-classes"))
        st.text_input(
            "Reason", key=f"reason {turn}", max_chars=LONGEST_REASON,
            placeholder="why; kept with the decision and in the new version's message",
        )  # fmt: skip
        with st.container(horizontal=True, key="verdicts"):
            for verdict in _VERDICTS:
                st.form_submit_button(
                    verdict.title, icon=verdict.icon, shortcut=verdict.key, help=verdict.help,
                    key=f"verdict {verdict.title.lower()}", on_click=_decide, args=(verdict, case.address, seen, turn),
                )  # fmt: skip


def _closed(case: CasePage) -> str | None:
    """Why there is nothing to decide here for this person; None where there is."""
    if not access.may(AccessRole.REVIEWER):
        return "You look as a viewer: it takes a reviewer to decide about classes."
    if case.detail.row.number != case.versions[-1].number:
        return f"This is version {case.detail.row.number}; what you decide, you decide about the newest."
    return None


def _decide(verdict: _Verdict, address: str, seen: Seen, turn: int) -> None:
    names = list(st.session_state.get(f"decided classes {turn}") or [])
    reason = str(st.session_state.get(f"reason {turn}") or "").strip()

    def done(bench: Workbench) -> str:
        if not names:
            raise UsageError("Choose the classes first, then say what they are.")
        if not reason and verdict.needs_reason:
            raise UsageError("Write a reason first: who looks at this class next wants to know why.")
        return _reviewed(
            verdict.stage(bench, f"{address}@{seen.version}", names, reason, seen=seen), verdict.done
        )

    act(verdict.deed, address, done)


def act(deed: str, address: str, stage: Callable[[Workbench], str]) -> None:
    """Do something to a case in the person's name, keep what is to be said of it, and show its newest version then.

    Args:
        deed: What it is, for a refusal: "reject a class".
        address: The case.
        stage: Does it, and says what it did; what goes wrong is said, too.
    """
    with problems_said():
        bench = access.bench(AccessRole.REVIEWER, deed)
        # Also where it is refused because somebody was faster: what they made is what is to be looked at.
        _show_newest(address)
        said = stage(bench)
        # Another turn has another form: what was filled into this one is done with.
        st.session_state["turn"] = st.session_state.get("turn", 0) + 1
        say(said)


def _show_newest(address: str) -> None:
    st.session_state["case"] = address


def _reviewed(done: Reviewed, called: str) -> str:
    titles = ", ".join(BY_NAME[name].title for name in done.decided)
    already = ", ".join(BY_NAME[name].title for name in done.already)
    said = []
    if done.decided:
        said.append(f"{titles}: {called}.")
    if already:
        said.append(f"{already}: {called} before, nothing is booked of it.")
    if done.after != done.before:
        said.append(f"This is version {done.after}.")
    return " ".join(said)


def standing_decisions(decisions: Sequence[DecisionRow]) -> None:
    """What people decided that holds of this version."""
    if not decisions:
        st.caption("Nobody has decided anything that holds of this version yet.")
        return
    st.html(standing_table(decisions))


def dismiss_finding(case: CasePage, seen: Seen) -> None:
    """The form that says of an open finding that it is no problem."""
    found = [f for f in case.detail.findings if f.state is FindingState.OPEN]
    if not found or _closed(case):
        return
    titles = {f.id: f"{f.severity}: {(f.class_name or 'whole mask')}: {f.message}" for f in found}
    turn = st.session_state.get("turn", 0)
    with st.form("dismiss", enter_to_submit=False):
        which, why, go = st.columns([2, 2, 1], vertical_alignment="bottom")
        which.selectbox(
            "Open finding",
            list(titles),
            format_func=titles.__getitem__,
            key=f"finding {seen.version} {turn}",
        )
        why.text_input("Why it is no problem", key=f"dismissed because {turn}", max_chars=LONGEST_REASON)
        go.form_submit_button(
            "Dismiss", icon=":material/notifications_off:", key="dismiss finding", width="stretch",
            on_click=_dismiss, args=(case.address, seen, turn),
        )  # fmt: skip


def _dismiss(address: str, seen: Seen, turn: int) -> None:
    finding = st.session_state[f"finding {seen.version} {turn}"]
    reason = str(st.session_state.get(f"dismissed because {turn}") or "").strip()

    def done(bench: Workbench) -> str:
        if not reason:
            raise UsageError("Write first why this finding is no problem.")
        one, was_open = dismiss(bench, f"{address}@{seen.version}", reason, finding_id=finding, seen=seen)
        if not was_open:
            return f"{one.check} was {one.state} before by {one.person}; nothing is booked."
        return f"{one.check} dismissed; it stays so while the class is unchanged."

    act("dismiss a finding", address, done)


def bring_back(case: CasePage, seen: Seen) -> None:
    """The form that makes an earlier version the newest again."""
    earlier = [v for v in reversed(case.versions) if v.number != seen.version]
    if not earlier:
        return
    if not access.may(AccessRole.REVIEWER):
        st.caption("It takes a reviewer to bring an earlier version back.")
        return
    titles = {v.number: f"{v.number} · {v.kind.value} by {v.author}" for v in earlier}
    turn = st.session_state.get("turn", 0)
    with st.form("revert", enter_to_submit=False):
        which, why, go = st.columns([1.4, 2, 1], vertical_alignment="bottom")
        which.selectbox("Version to bring back", list(titles), format_func=titles.__getitem__,
                        key=f"back to {seen.version} {turn}")  # fmt: skip
        why.text_input("Reason", key=f"back because {turn}", max_chars=LONGEST_REASON)
        go.form_submit_button(
            "Bring back", icon=":material/history:", key="bring back", width="stretch",
            on_click=_bring_back, args=(case.address, seen, turn),
        )  # fmt: skip


def _bring_back(address: str, seen: Seen, turn: int) -> None:
    number = st.session_state[f"back to {seen.version} {turn}"]
    reason = str(st.session_state.get(f"back because {turn}") or "").strip()

    def done(bench: Workbench) -> str:
        if not reason:
            raise UsageError("Write first why this version comes back.")
        back = revert(bench, f"{address}@{number}", reason, seen=seen)
        said = f"Version {back.after} is as version {back.restored} was."
        if back.stale:
            stale = ", ".join(BY_NAME[name].title for name in back.stale)
            said += f" Stale, because what they stand on was revised or retracted since: {stale}."
        return said

    act("bring a version back", address, done)
