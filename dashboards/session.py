"""What every page needs first: the workspace, opened once per process, and problems told in a sentence."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from app.settings import Environment
from app.workspace import Workspace, open_workspace
from curation.errors import CurationError, UsageError

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|$:~&])")


def workspace() -> Workspace:
    """The workspace that `maskledger dashboard` was started for (MASKLEDGER_WORKSPACE).

    Raises:
        CurationError: There is none, or its catalog cannot be opened.
    """
    # The environment is part of the key: tests open several workspaces in one process.
    return _opened(Environment().model_dump_json())[0]


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
    except CurationError as error:
        _tell(str(error))
    except SQLAlchemyError as error:
        found = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        _tell(f"The catalog's database gave no answer ({found}); check that it runs, then try again.")


def _tell(sentence: str) -> None:
    """For what may be otherwise in a moment: a database that is away, a file that is brought back."""
    st.error(plain(sentence), icon=":material/error:")
    if st.button("Try again", icon=":material/refresh:"):
        st.rerun()


def plain(text: str) -> str:
    """Text for a place that reads Markdown, so that it shows as it is: names are never markup."""
    return _MARKDOWN.sub(r"\\\1", text)
