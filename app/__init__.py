"""The faces: command line, settings, and the workspace; `from app import open_workspace` is the Python door."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.workspace import Workspace, open_workspace

__all__ = ["Workspace", "open_workspace"]


def __getattr__(name: str) -> Any:
    # Late, so that `maskledger --help` does not wait for the database library.
    if name in __all__:
        from app import workspace

        return getattr(workspace, name)
    raise AttributeError(f"module 'app' has no attribute '{name}'")
