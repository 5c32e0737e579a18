"""Datasets: frozen training sets, what they were made from and which version of which case they hold."""

import math

import streamlit as st

from dashboards.components.markup import Html, case_link, query_link, table
from dashboards.components.times import stamp
from dashboards.session import workspace
from db import queries
from db.queries import DatasetVersionRow

PAGE_SIZE = 25

ws = workspace()
st.title("Datasets")
with ws.catalog.reading() as session:
    versions = queries.datasets(session)
if not versions:
    st.info("Nothing is frozen yet. A training set is made from a query:", icon=":material/info:")
    st.code(f"maskledger --workspace {ws.root} dataset freeze strong strong --val 0.2", language="shell")
    st.stop()


def split_text(version: DatasetVersionRow) -> str:
    """How the members are split."""
    if version.folds is not None:
        return f"{version.folds} folds"
    return f"{version.members - version.val} train, {version.val} validation"


def beware(version: DatasetVersionRow) -> str | None:
    """What happened since to what it was frozen from: retractions and purges."""
    told = [taint.sentence for taint in version.taints]
    if version.purged:
        told.append(f"{version.purged} of {version.members} members were purged")
    return "; ".join(told) or None


st.html(
    table(
        ("Dataset", "Query", "Origins", "Members", "Split", "Manifest (SHA-256)", "Frozen (UTC)", "By", "Message",
         "Beware"),
        [
            (
                v.address, query_link(v.query), ", ".join(v.origins), f"{v.members:,}", split_text(v),
                Html(f'<code title="{v.manifest_hash}">{v.manifest_hash[:12]}…</code>'),
                stamp(v.created_at), v.author, v.message or None, beware(v),
            )
            for v in versions
        ],
        numeric=(3,),
        label="Dataset versions",
    )
)  # fmt: skip

st.subheader("Members")
by_address = {version.address: version for version in versions}
chosen = by_address[
    st.selectbox(
        "Dataset version", list(by_address), index=len(by_address) - 1, key="dataset", bind="query-params"
    )
]
st.caption(
    "Manifest hash: names members, their versions and the split; the same hash is the same training set."
)
st.code(chosen.manifest_hash, language=None)
with ws.catalog.reading() as session:
    members = queries.members(session, chosen.id)
pages = math.ceil(len(members) / PAGE_SIZE)
page = st.pagination(pages, key=f"members of {chosen.address}") if pages > 1 else 1
st.html(
    table(
        ("Case", "Version", "Split", "Validates in fold"),
        [
            (case_link(m.case, m.version), m.version, m.split.value, m.fold)
            for m in members[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
        ],
        numeric=(1, 3),
        label="Members",
    )
)
