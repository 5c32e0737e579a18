"""What every page needs first: the workspace, opened once per process, and problems told in a sentence."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from app.settings import Environment
from app.workspace import Workspace, open_workspace
from curation.errors import CurationError, UsageError, first_line
from pipelines.runs import Workbench

# What a user or the world can cause; anything else is a defect of ours, and Streamlit logs it.
TOLD = (CurationError, SQLAlchemyError)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|$:~&])")


def workspace() -> Workspace:
    """The workspace that `maskledger dashboard` was started for (MASKLEDGER_WORKSPACE).

    Raises:
        CurationError: There is none, or its catalog cannot be opened.
    """
    # The environment is part of the key: tests open several workspaces in one process.
    return _opened(Environment().model_dump_json())[0]


def page_bench() -> Workbench:
    """What a stage that only reads works with; of one that writes: see `access.bench`.

    A page does not wait for a database that is gone: it says so, and the person tries again.
    """
    ws = workspace()
    return replace(ws.bench(jobs=1), catalog=ws.catalog)


@st.cache_resource(show_spinner=False, on_release=lambda opened: opened[1].close())
def _opened(environment: str) -> tuple[Workspace, ExitStack]:  # noqa: ARG001 - the cache's key
    stack = ExitStack()
    return stack.enter_context(open_workspace()), stack


@contextmanager
def problems_told() -> Iterator[None]:
    """Show what goes wrong in the block as one sentence with its remedy, and stop there."""
    try:
        yield
    except UsageError as error:
        st.error(plain(str(error)), icon=":material/error:")
    except TOLD as error:
        # What may be otherwise in a moment: a database that is away, a file that is brought back.
        st.error(plain(sentence(error)), icon=":material/error:")
        if st.button("Try again", icon=":material/refresh:"):
            st.rerun()


def sentence(error: Exception) -> str:
    """What went wrong, and what to do, of an error of TOLD."""
    if isinstance(error, CurationError):
        return str(error)
    found = first_line(getattr(error, "orig", None) or error)
    return f"The catalog's database gave no answer ({found}); check that it runs, then try again."


@contextmanager
def problems_said() -> Iterator[None]:
    """The same for a callback, which runs before its page and so has no place to show anything: see `show_said`."""
    try:
        yield
    except TOLD as error:
        say(sentence(error), problem=True)


def say(text: str, *, problem: bool = False) -> None:
    """Keep a sentence for the page that is drawn next: what a click did, or why it did nothing."""
    st.session_state["said"] = (text, problem)


def show_said() -> None:
    """Show what the last click said, once."""
    if (said := st.session_state.pop("said", None)) is None:
        return
    text, problem = said
    if problem:
        st.error(plain(text), icon=":material/error:")
    else:
        st.success(plain(text), icon=":material/check_circle:")


def plain(text: str) -> str:
    """Text for a place that reads Markdown, so that it shows as it is: names are never markup."""
    return _MARKDOWN.sub(r"\\\1", text)
