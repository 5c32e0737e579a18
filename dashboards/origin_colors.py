"""Who drew each voxel of a version, kept for all who look: followed once, asked for by the page and by its volume."""

import streamlit as st

from app.workspace import Workspace
from pipelines.blame import Traced, trace


def traced(ws: Workspace, address: str, file_hash: str) -> Traced:
    """The blame of one version.

    Args:
        ws: The open workspace.
        address: ``SOURCE/NAME@N``.
        file_hash: Of the version's mask: another mask under the same address is another answer.

    Raises:
        CurationError: There is no such version, or a mask of its history is not in the store.
    """
    return _traced(ws, str(ws.root), address, file_hash)


@st.cache_resource(max_entries=8, show_spinner=False)
def _traced(_ws: Workspace, root: str, address: str, file_hash: str) -> Traced:  # noqa: ARG001 - of the cache's key
    return trace(_ws.bench(jobs=1), address)
