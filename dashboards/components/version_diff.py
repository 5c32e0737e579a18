"""Two versions of a case beside each other: per class what was gained and lost, and where, as a picture."""

import streamlit as st

from curation.labels import BY_ID
from dashboards.components.markup import Html, class_cell, markup, table
from dashboards.components.viewer import value_title
from dashboards.session import page_bench, plain, problems_told
from db.queries import CasePage
from pipelines.changes import Comparison, ValueDiff, compare, drawn


@st.fragment
def compare_versions(case: CasePage) -> None:
    """Two versions to choose, and what differs between them when the button is pressed: it reads both masks."""
    numbers = [v.number for v in case.versions]
    if len(numbers) < 2:
        st.caption("There is one version: nothing to compare it with yet.")
        return
    with problems_told():
        before_box, after_box, go = st.columns([1, 1, 1], vertical_alignment="bottom")
        here = case.detail.row.number
        after = after_box.selectbox("After", numbers, index=numbers.index(here), key=f"after {case.address}")
        parent = next(v.parent for v in case.versions if v.number == here) or numbers[0]
        before = before_box.selectbox(
            "Before", numbers, index=numbers.index(parent), key=f"before {case.address}"
        )
        if not go.button("Compare", icon=":material/compare:", key="compare", width="stretch"):
            return
        if before == after:
            st.caption("That is one version twice; choose two.")
            return
        found = compare(page_bench(), f"{case.address}@{before}", f"{case.address}@{after}")
        rows = [*found.classes.values(), *found.reserved.values()]
        if not rows:
            st.caption("Nothing differs: every class has the same voxels, status and origin.")
            return
        st.html(_table(rows))
        _picture(found)


def _table(rows: list[ValueDiff]) -> Html:
    return table(
        ("Class", "Before", "After", "Gained (ml)", "Lost (ml)", "Dice"),
        [
            (
                _class(row.value), _state(row, 0), _state(row, 1), f"{row.gained_ml:,.2f}", f"{row.lost_ml:,.2f}",
                f"{row.voxels.dice:.4f}",
            )
            for row in rows
        ],
        numeric=(3, 4, 5),
        label="What differs between the versions",
    )  # fmt: skip


def _class(value: int) -> Html:
    return class_cell(BY_ID[value].name) if value in BY_ID else markup(value_title(value))


def _state(row: ValueDiff, side: int) -> str | None:
    origin, by, status = row.origin[side], row.by[side], row.status[side]
    if origin is None:
        return status.value.replace("_", " ") if status else None
    return f"{origin.value} ({by})" if by else origin.value


def _picture(found: Comparison) -> None:
    made = drawn(found)
    if made is None:
        st.caption("No voxel differs: what changed is what is known of the classes.")
        return
    picture, without = made
    st.image(picture, output_format="PNG", alt="The slices with most changes: before, after, gained and lost")
    if without:
        st.caption(plain(without))
