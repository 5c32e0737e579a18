"""Datasets: frozen training sets, what they were made from, what they hold, and how two of them differ."""

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st

from dashboards.components import dataset_facts
from dashboards.components.commands import show_command
from dashboards.components.markup import Html
from dashboards.components.pages import page_of
from dashboards.session import page_bench, plain, problems_told, workspace
from db import queries
from db.models import Split
from db.queries import DatasetVersionRow
from pipelines.dataset_diff import DatasetDiff, diff_datasets

PAGE_SIZE = 25
EVERYONE = "all"
# What `dataset export --format` writes.
FORMATS = {
    "nnunet": "Images, masks and the split for nnU-Net; name the folder DatasetNNN_NAME.",
    "monai": "Images, masks and a datalist for MONAI and Auto3DSeg.",
    "labels": "The masks alone.",
    "manifest": "The manifest above as CSV and Parquet.",
}

ws = workspace()
st.title("Datasets")
with ws.catalog.reading() as session:
    versions = queries.datasets(session)
if not versions:
    st.info("Nothing is frozen yet. A training set is made from a query:", icon=":material/info:")
    show_command(ws, "dataset freeze strong strong --val 0.2")
    st.stop()


def show_members(version: DatasetVersionRow) -> None:
    """The members page by page, of one side of the split or one fold."""
    with ws.catalog.reading() as session:
        counts = queries.member_counts(session, version.id)
    sides: dict[str, int] = {EVERYONE: sum(counts.splits.values())}
    if counts.folds:
        sides |= {f"fold {fold}": n for fold, n in sorted(counts.folds.items())}
    else:
        sides |= {split.value: n for split, n in counts.splits.items()}
    side = st.segmented_control(
        "Side of the split", list(sides), default=EVERYONE, required=True, key=f"side of {version.address}",
        format_func=lambda name: f"{name} ({sides[name]:,})",
    )  # fmt: skip
    if counts.folds:
        st.caption("A fold validates on its members and trains on all others.")
    page = page_of(sides[side], PAGE_SIZE, f"members of {version.address} {side}")
    with ws.catalog.reading() as session:
        members = queries.member_page(
            session, version.id, limit=PAGE_SIZE, offset=(page - 1) * PAGE_SIZE,
            split=Split(side) if side in set(Split) else None,
            fold=int(side.removeprefix("fold ")) if side.startswith("fold ") else None,
        )  # fmt: skip
    st.html(dataset_facts.members_table(members))


def show_manifest(version: DatasetVersionRow) -> None:
    """The manifest to take along, the commands that write images and masks, and where copies went."""
    # pyarrow takes a while to come, and most visits need it not.
    from pipelines.exports.download import manifest_csv, manifest_parquet

    address, name = version.address, version.address.replace("@", "-")
    st.caption(
        "Manifest hash: names members, their versions and the split; the same hash is the same training set."
    )
    st.code(version.manifest_hash, language=None)
    if version.purged == version.members:
        st.info("All of its members were purged: there is nothing to export.", icon=":material/info:")
    else:
        st.caption(
            "A row per member: split, licence, citation, hashes, every class's status, origin, model and volume "
            "(ml), and the lineage. Purged members are left out."
        )
        bench = page_bench()
        with st.container(horizontal=True):
            st.download_button(
                "Manifest as CSV", partial(manifest_csv, bench, address), f"manifest-{name}.csv", "text/csv",
                icon=":material/download:", on_click="ignore",
            )  # fmt: skip
            st.download_button(
                "Manifest as Parquet", partial(manifest_parquet, bench, address), f"manifest-{name}.parquet",
                "application/vnd.apache.parquet", icon=":material/download:", on_click="ignore",
            )  # fmt: skip
        st.subheader("Export")
        format_ = st.segmented_control("Format", list(FORMATS), default="nnunet", required=True, key="format")
        st.caption(f"{FORMATS[format_]} A command writes it, where there is room for it:")
        show_command(ws, f"dataset export {shlex.quote(address)} DIR --format {format_}")
    with ws.catalog.reading() as session:
        exports = queries.exports_of(session, address)
    if exports:
        st.subheader("Where copies went")
        st.html(dataset_facts.exports_table(exports))
    else:
        st.caption("It has not been exported yet.")


@st.cache_data(max_entries=4, show_spinner="Comparing members …")
def compared(root: str, before: str, after: str, state: tuple[object, ...]) -> DatasetDiff:  # noqa: ARG001
    """Two versions compared; they never change, and `state` says what may: what was purged of them."""
    return diff_datasets(page_bench(), before, after)


def show_diff(version: DatasetVersionRow) -> None:
    """What another version has that this one has not, and the other way round."""
    others = [v.address for v in versions if v.address != version.address]
    if not others:
        st.info("There is no other version to compare this one with.", icon=":material/info:")
        return
    earlier = f"{version.name}@{version.number - 1}"
    before = st.selectbox(
        "Compared with", others, index=others.index(earlier) if earlier in others else 0,
        key=f"before {version.address}",
    )  # fmt: skip
    hashes = tuple((v.manifest_hash, v.purged) for v in versions if v.address in {before, version.address})
    diff = compared(str(ws.root), before, version.address, hashes)
    if diff.same:
        st.success("Both are the same training set.", icon=":material/check:")
    st.html(dataset_facts.diff_cards(diff))
    if diff.settings:
        st.subheader("Settings that differ")
        st.html(dataset_facts.settings_diff_table(diff))
    show_part("Added", diff.added, lambda rows: dataset_facts.addresses_table(rows, "Added"))
    show_part("Removed", diff.removed, lambda rows: dataset_facts.addresses_table(rows, "Removed"))
    show_part("At another version", diff.redrawn, dataset_facts.redrawn_table)
    show_part("Moved in the split", diff.moved, dataset_facts.moved_table)
    show_part("Restated", diff.restated, dataset_facts.restated_table)


def show_part(title: str, rows: Sequence[Any], made: Callable[[Sequence[Any]], Html]) -> None:
    """One list of a comparison, page by page; nothing where there is nothing."""
    if rows:
        st.subheader(f"{title} ({len(rows):,})")
        page = page_of(len(rows), PAGE_SIZE, f"{title} {rows[0]} {len(rows)}")
        st.html(made(rows[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]))


shown = page_of(len(versions), PAGE_SIZE, "versions")
newest_first = sorted(versions, key=lambda version: version.created_at, reverse=True)
st.html(dataset_facts.versions_table(newest_first[(shown - 1) * PAGE_SIZE : shown * PAGE_SIZE]))

by_address = {version.address: version for version in newest_first}
wanted = st.query_params.get("dataset")
if wanted is not None and wanted not in by_address:
    st.warning(
        f"No dataset version is called {plain(wanted)}; choose one of these.", icon=":material/warning:"
    )
address = st.selectbox("Dataset version", list(by_address), key="dataset", bind="query-params")
chosen = by_address[address]
with ws.catalog.reading() as session:
    taught = queries.trained_on(session, chosen.id)
st.html(dataset_facts.facts_table(chosen, taught))
members_tab, manifest_tab, diff_tab = st.tabs(
    ["Members", "Manifest and export", "Diff"], key="tab", bind="query-params"
)
for tab, show in ((members_tab, show_members), (manifest_tab, show_manifest), (diff_tab, show_diff)):
    if tab.open:
        with tab, problems_told():
            show(chosen)
