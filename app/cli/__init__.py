"""The command line: `maskledger`. A command parses, makes one call, prints."""

import errno
import signal
import sys

import typer

from app.cli import (
    ablation,
    catalog,
    correction,
    datasets,
    ledger,
    model_books,
    models,
    predictions,
    query,
    retraction,
    review,
    upkeep,
    viewing,
)
from app.cli.common import Invocation

# As shells count: 128 and the number of the signal. Typer makes Ctrl-C's.
INTERRUPTED, ENDED = 128 + signal.SIGINT, 128 + signal.SIGTERM

app = typer.Typer(
    name="maskledger",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""
    Keep the books of partially labelled CT datasets: which of 13 organs and tumor are annotated, absent or
    missing in which case, who or what drew each of them, and every version of every mask.

    The main job: `init` a workspace, `ingest` a source, ask (`census`, `cases "missing pancreas"`),
    `predictions import` or `teacher train` + `predict`, `complement`, `dataset freeze`, `dataset export` or
    `retrain`, `evaluate`, `dashboard`. Or see all of it at once: `demo`.

    Exit codes: 0 done; 1 done, but some cases were refused (each on stderr); 2 wrong usage; 3 could not be
    done; 4 `verify` found damage; 130 and 143 interrupted: start the same command again to go on.
    """,
)


@app.callback()
def main_options(
    context: typer.Context,
    workspace: str | None = typer.Option(
        None,
        "--workspace",
        "-w",
        metavar="DIR",
        envvar="MASKLEDGER_WORKSPACE",
        help="Folder with maskledger.toml; default the current folder.",
    ),
) -> None:
    """Remember the workspace for the command that follows."""
    context.obj = Invocation(workspace)


catalog.register(app)
query.register(app)
ledger.register(app)
predictions.register(app)
review.register(app)
correction.register(app)
retraction.register(app)
datasets.register(app)
models.register(app)
model_books.register(app)
ablation.register(app)
upkeep.register(app)
viewing.register(app)


def main() -> None:
    """Entry point: run the command and turn errors into one line and the documented exit code."""
    from curation.errors import CurationError, UsageError

    # As Ctrl-C does: what is open is closed, and the run is booked as interrupted.
    signal.signal(signal.SIGTERM, _end)
    try:
        app()
    except UsageError as error:
        _complain(error)
        sys.exit(2)
    except CurationError as error:
        _complain(error)
        sys.exit(3)
    except BrokenPipeError:
        # `maskledger cases … | head` closes our stdout early; that is no failure of ours.
        sys.stderr.close()
        sys.exit(0)
    except UnicodeEncodeError as error:
        from curation.one_line import one_line

        text = error.object
        if one_line(text) == text:
            raise
        # What a shell hands over need not be text; the databases and our files take nothing else.
        _complain(f"'{text}' is not UTF-8; give a name that is")
        sys.exit(2)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _complain(f"{error.filename}: {error.strerror}; choose a shorter path, or rename the case's file")
            sys.exit(3)
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        where = error.filename or "a file"
        _complain(f"{where}: {error.strerror}; free some space there and start the same command again")
        sys.exit(3)
    except SystemExit as end:
        if end.code in {INTERRUPTED, ENDED}:
            _complain("interrupted; start the same command again to go on")
        raise


def _end(_signal: int, _frame: object) -> None:
    sys.exit(ENDED)


def _complain(error: object) -> None:
    from curation.one_line import one_line

    print(f"maskledger: {one_line(str(error))}", file=sys.stderr)
    caret = getattr(error, "caret", None)
    if caret is not None:
        print(caret(), file=sys.stderr)
