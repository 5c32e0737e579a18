"""What the commands share: options, tables, JSON with its schema number, and how an outcome becomes an exit code."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

if TYPE_CHECKING:
    from app.workspace import Workspace
    from curation.mappings import LabelMapping
    from pipelines.runs import Outcome

SCHEMA = 1
# Exit code: something is not what the catalog says.
DAMAGED = 4

JsonOption = Annotated[bool, typer.Option("--json", help='Print one JSON object with "schema": 1.')]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; default one per core.")
]
CaseArgument = Annotated[
    str, typer.Argument(metavar="CASE", help="SOURCE/NAME[@N], or NAME where it is unique.")
]
QueryArgument = Annotated[
    str, typer.Argument(metavar="QUERY", help='E.g. "missing pancreas and has tumor"; empty: all cases.')
]
ProfileOption = Annotated[
    str, typer.Option("--profile", help="paper, quick, another built-in profile, or FILE.toml.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto (a GPU where there is one), cpu or cuda.")]
MappingOption = Annotated[
    str,
    typer.Option(
        "--mapping",
        help="How label values read: flare23 (our own values), another of `source mappings`, or FILE.toml.",
    ),
]


@dataclass(frozen=True)
class Invocation:
    """What stands before the command."""

    workspace: str | None


@contextmanager
def workspace_of(context: typer.Context) -> Iterator["Workspace"]:
    """Open the workspace that the command line names."""
    from app.workspace import open_workspace

    with open_workspace(context.obj.workspace) as workspace:
        yield workspace


def warn_of_taints(workspace: "Workspace", models: Iterable[str]) -> None:
    """Say on stderr of which of the models it is known that they learned from something retracted."""
    from db import queries

    with workspace.catalog.reading() as session:
        rows = [queries.model(session, name) for name in models]
    for row in filter(None, rows):
        for sentence in row.tainted:
            print(f"warning: model '{row.name}' is tainted: {sentence}", file=sys.stderr)


def print_json(content: dict[str, Any]) -> None:
    """Print one result object on stdout."""
    print(json.dumps({"schema": SCHEMA, **content}, indent=2))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], numeric: Sequence[int] = ()
) -> None:
    """Print rows under headings, numbers to the right; the columns named by index in `numeric`."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max([len(title), *(len(row[i]) for row in cells)]) for i, title in enumerate(columns)]

    def line(row: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if i in numeric else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(aligned).rstrip()

    print(line(columns))
    print("  ".join("─" * width for width in widths))
    for row in cells:
        print(line(row))


class Done(Protocol):
    """What a stage or a command on files has done."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many of what kind."""

    @property
    def noted(self) -> Sequence[str]:
        """What a person should know, one line each."""

    @property
    def refused(self) -> Sequence[str]:
        """What could not be done, one line each."""


def print_problems(noted: Iterable[str], refused: Iterable[str]) -> None:
    """Say on stderr what a stage noted and refused."""
    for line in noted:
        print(f"note: {line}", file=sys.stderr)
    for line in refused:
        print(f"refused: {line}", file=sys.stderr)


def finish(outcome: "Outcome", title: str, as_json: bool, more: Mapping[str, Any] | None = None) -> None:
    """As `report`, of a stage that has a run in the catalog; `more` goes into the JSON."""
    report(outcome, title, as_json, {"run": outcome.run_id, **(more or {})})


def report(done: Done, title: str, as_json: bool, facts: Mapping[str, Any]) -> None:
    """Print what was done; refused ones go to stderr and make the exit code 1. `facts` go into the JSON."""
    print_problems(done.noted, done.refused)
    if as_json:
        print_json({**facts, "counts": done.counts, "noted": done.noted, "refused": done.refused})
    else:
        parts = [f"{n} {kind}" for kind, n in done.counts.items()]
        if done.noted:
            parts.append(f"{len(done.noted)} noted")
        if done.refused:
            parts.append(f"{len(done.refused)} refused")
        print(f"{title}: {', '.join(parts) or 'nothing to do'}")
    if done.refused:
        raise typer.Exit(1)


def is_largest_only(components: str) -> bool:
    """What `--components` says: of each organ the largest piece, or all.

    Raises:
        UsageError: It says neither.
    """
    from curation.errors import UsageError

    if components not in {"largest", "all"}:
        raise UsageError(f"--components '{components}' is neither 'largest' nor 'all'; use one of them")
    return components == "largest"


def load_mapping(name: str) -> "LabelMapping":
    """A built-in mapping by name, or a user's own TOML file.

    Raises:
        UsageError: No such mapping or file, or the file cannot be used; names file and line or key.
    """
    from curation.mappings import load_builtin, parse_mapping

    if name.endswith(".toml"):
        return parse_mapping(mapping_text(name), name)
    return load_builtin(name)


def mapping_text(name: str) -> str:
    """The text of a user's own mapping file.

    Raises:
        UsageError: It cannot be read, or is not UTF-8.
    """
    from curation.errors import UsageError
    from curation.plain_text import plain_text

    try:
        return plain_text(Path(name).read_bytes(), name)
    except OSError as error:
        raise UsageError(
            f"{name}: cannot be read ({error.strerror}); give a TOML file with a [values] table"
        ) from error
