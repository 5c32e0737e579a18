"""A small workspace, and a way to run one page of the dashboard on it without a browser."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dashboard_workspace import Built, build
from streamlit.testing.v1 import AppTest

HOME = Path(__file__).resolve().parents[2] / "dashboards" / "home.py"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The small workspace; nobody changes it."""
    return build(tmp_path_factory.mktemp("dashboard"))


@pytest.fixture
def root(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small workspace, to decide and correct in; its person is Ada."""
    copied = tmp_path / "w"
    shutil.copytree(built.root, copied)
    monkeypatch.setenv("MASKLEDGER_AUTHOR", "Ada Tester")
    return copied


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Run a page of a workspace's dashboard: ``visit(root, "query", q="strong")``."""

    def run(root: Path, page: str = "overview", /, **params: str) -> AppTest:
        monkeypatch.setenv("MASKLEDGER_WORKSPACE", str(root))
        # Like a link: the page is the session's first, and its address is there before any box of it.
        app = AppTest.from_file(str(HOME), default_timeout=60)
        app.switch_page(f"views/{page}.py")
        for name, value in params.items():
            app.query_params[name] = value
        return app.run()

    return run
