"""The command that compares baseline, teacher and students on the same unseen cases."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import DeviceOption, JobsOption, JsonOption, print_json, workspace_of
from app.cli.ledger import ForceOption
from app.cli.model_books import ResamplesOption
from app.cli.score_text import comparison_json, print_titled

if TYPE_CHECKING:
    from app.workspace import Workspace
    from pipelines.ablation import Ablation

DEFAULT_QUERY = "role = test"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="Training")(ablation)


def ablation(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL MODEL... [QUERY]",
            help='Models, and last which cases; without a query "role = test".',
        ),
    ],
    query: Annotated[
        str | None,
        typer.Option("--query", help='Which cases, e.g. "role = test"; instead of a last argument.'),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="The model that differences are from; default the first.")
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="flare23 (all 14 classes) or known (classes missing in a case left out).")
    ] = "flare23",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write Markdown, CSV and HTML there, too.")
    ] = None,
    force: ForceOption = False,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap resamples.")] = 0,
    resamples: ResamplesOption = 10_000,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also compare on cases that a model was trained on.")
    ] = False,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare models on the same cases: DSC / NSD per class, organ mean, mean of all, with paired intervals.

    What is not predicted or not scored yet is so first. Cases that a model has seen in training are left out for
    all of them, and it is said where the models differ in more than in the labels that they learned from.

    Example: `maskledger ablation baseline teacher student --out ablation`
    """
    from app.progress import console_progress
    from pipelines.ablation import AblationRequest
    from pipelines.ablation import ablation as run_ablation
    from pipelines.ablation_report import check_folder, write_report

    if out is not None:
        check_folder(out, replace=force)
    with workspace_of(context) as ws:
        models, asked = _told_apart(ws, words, query)
        found = run_ablation(
            ws.bench(jobs=jobs, progress=console_progress()),
            AblationRequest(models, asked, baseline, protocol, seed, resamples, include_seen, device),
        )
    for line in found.noted:
        print(f"note: {line}", file=sys.stderr)
    for line in found.refused:
        print(f"refused: {line}", file=sys.stderr)
    for line in found.leaks:
        print(f"SEEN IN TRAINING: {line}", file=sys.stderr)
    for line in found.doubts:
        print(f"warning: {line}", file=sys.stderr)
    files = write_report(found, out, replace=force) if out is not None else []
    if as_json:
        print_json(_json(found) | {"files": [str(file) for file in files]})
    else:
        _print(found)
        for file in files:
            print(f"{file}: written")
    if found.refused:
        raise typer.Exit(1)


def _told_apart(ws: "Workspace", words: Sequence[str], query: str | None) -> tuple[tuple[str, ...], str]:
    """Models and query: the last word is the query if it is no model's name and reads like one.

    Raises:
        UsageError: A query is given twice.
    """
    from curation.errors import UsageError
    from db import queries

    with ws.catalog.reading() as session:
        is_model = queries.model(session, words[-1]) is not None
    # One word alone may be a query, too, but is a misspelt model far more often; --query takes it.
    reads_like_one = words[-1] == "" or words[-1].startswith("@") or set(words[-1]) & set(" =<>()")
    if is_model or not reads_like_one:
        return tuple(words), DEFAULT_QUERY if query is None else query
    if query is not None:
        raise UsageError(f"'{words[-1]}' is a second query beside --query '{query}'; give one")
    return tuple(words[:-1]), words[-1]


def _json(found: "Ablation") -> dict[str, Any]:
    return {
        "query": found.query,
        **comparison_json(found.comparison),
        "models": [
            {
                "model": one.name,
                "kind": one.model.kind,
                "dataset": one.dataset.address if one.dataset else None,
                "origins": list(one.model.origins or ()),
                "profile": (one.model.profile or {}).get("name"),
                "seed": one.model.seed,
                "code_version": one.model.code_version,
            }
            for one in found.models
        ],
        "seen_in_training": list(found.leaks),
        "warnings": list(found.doubts),
        "refused": list(found.refused),
        "noted": list(found.noted),
    }


def _print(found: "Ablation") -> None:
    from pipelines.ablation_report import summary, tables

    print(summary(found))
    for table in tables(found):
        print()
        print_titled(table)
    for one in found.comparison.left_out:
        print(f"left out: {one.case}: {one.reason}")
