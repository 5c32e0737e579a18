"""Who may write from a page, and as whom: the one place that the pages of this package ask."""

from app.workspace import Workspace
from pipelines.runs import Workbench


def refusal(action: str) -> str | None:  # noqa: ARG001 - the roles will want to know it
    """Why the person at the page may not do this; None where they may.

    Args:
        action: ``freeze`` or ``save queries``.
    """
    return None


def bench_of(ws: Workspace) -> Workbench:
    """What a stage works with that a page starts; it books the person as the author."""
    return ws.bench(jobs=1)
