"""Commands that show: the dashboard, and the demo that makes something to look at."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import print_table, workspace_of


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel="Looking at it")(dashboard)
    app.command(rich_help_panel="Looking at it")(demo)


def dashboard(
    context: typer.Context,
    port: Annotated[int, typer.Option("--port", "-p", help="Port to listen on.")] = 8501,
    address: Annotated[
        str,
        typer.Option("--address", help="Address to listen on; another than this machine's takes a login."),
    ] = "127.0.0.1",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Nobody decides, corrects or freezes anything.")
    ] = False,
    open_browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser window.")
    ] = False,
) -> None:
    """Serve the dashboard of this workspace on 127.0.0.1 until Ctrl-C.

    Without a login it serves this machine only. How people log in, and who may do what: docs/dashboard.md.
    """
    from app.dashboard_login import has_login, require_loopback_or_login
    from app.dashboard_server import serve
    from app.settings import Environment

    with workspace_of(context) as ws:
        root = ws.root
    login = has_login(root)
    require_loopback_or_login(address, login)
    serve(
        root,
        port=port,
        open_browser=open_browser,
        address=address,
        login=login,
        read_only=read_only or Environment().read_only,
    )


def demo(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Where cohort and workspace go; a second call goes on there."),
    ] = Path("demo"),
    size: Annotated[
        str, typer.Option(help="quick (15 minutes on 2 cores) or full (no time limit).")
    ] = "quick",
) -> None:
    """Run the whole job on a phantom cohort: make CTs, ingest, teacher, complement, students, scores.

    Ends with the table baseline / teacher / student per class on unseen cases. Stopped at any point, the
    same command goes on.
    """
    from app.cli.score_text import print_comparison
    from app.progress import console_progress
    from app.workspace import create_workspace, open_workspace
    from curation.errors import UsageError
    from pipelines.demo import SIZES, run_demo

    if size not in SIZES:
        raise UsageError(f"--size '{size}' is none of {', '.join(SIZES)}")
    root, _ = create_workspace(folder / "workspace")
    with open_workspace(root) as ws:
        result = run_demo(ws.bench(progress=console_progress()), folder / "cohort", SIZES[size])
    print_comparison(result.comparison)
    print()
    print_table(
        ("step", "seconds"),
        [(name, f"{seconds:.1f}") for name, seconds in result.seconds.items()],
        numeric=(1,),
    )
    total = sum(result.seconds.values())
    print(f"\nAll of it took {int(total // 60)} min {int(total % 60)} s. Look at it:")
    # As this command was started: the environment that `make demo` made need not be on the path.
    program = sys.argv[0] if sys.argv[0].endswith("maskledger") else "maskledger"
    print(f"    {program} --workspace {root} dashboard")
