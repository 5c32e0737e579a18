"""Commands to copy into a terminal: what a page cannot do, or would take too long over."""

import shlex

import streamlit as st

from app.workspace import Workspace


def show_command(ws: Workspace, command: str) -> None:
    """Show a command of maskledger on this workspace; names within it are quoted already."""
    st.code(f"maskledger --workspace {shlex.quote(str(ws.root))} {command}", language="shell")
