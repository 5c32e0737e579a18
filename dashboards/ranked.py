"""The review's ranking, kept for a while and shared by all who look: ranking a large catalog takes seconds."""

from dataclasses import dataclass
from datetime import UTC, datetime

import streamlit as st

from app.settings import Environment
from curation.labels import BY_NAME
from curation.query import quote
from dashboards.session import workspace
from pipelines.worklist import Ranking, rank

# What nobody leafs through to the end; whoever has reviewed so many ranks anew.
PLACES = 1000
KEPT_S = 15 * 60
WHOLE_MASK = "mask"


@dataclass(frozen=True)
class Asked:
    """What is to be ranked. Empty texts: all. `class_name` may be WHOLE_MASK: findings of no class in particular."""

    query: str = ""
    class_name: str = ""
    source: str = ""

    @property
    def whole_query(self) -> str:
        """The query, and the source as part of it."""
        parts = [f"({self.query})"] if self.query.strip() else []
        if self.source:
            parts.append(f"source = {quote((self.source,))}")
        return " and ".join(parts)


def ranking(asked: Asked) -> tuple[Ranking, datetime]:
    """The first PLACES of what may want eyes, and when they were ranked.

    Raises:
        QueryError: The query cannot be read.
    """
    return _ranking(Environment().model_dump_json(), asked)


def forget() -> None:
    """Rank anew when asked next."""
    _ranking.clear()


@st.cache_resource(ttl=KEPT_S, max_entries=32, show_spinner="Ranking what wants eyes …")
def _ranking(environment: str, asked: Asked) -> tuple[Ranking, datetime]:  # noqa: ARG001 - of the cache's key
    only: list[int | None] | None = None
    if asked.class_name:
        only = [None if asked.class_name == WHOLE_MASK else BY_NAME[asked.class_name].id]
    moment = datetime.now(UTC)
    with workspace().catalog.reading() as session:
        return rank(session, asked.whole_query, limit=PLACES, class_ids=only), moment
