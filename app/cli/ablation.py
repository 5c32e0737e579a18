"""The command that compares baseline, teacher and students on the same unseen cases."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import DeviceOption, JobsOption, JsonOption, print_json, print_problems, workspace_of
from app.cli.ledger import ForceOption
from app.cli.model_books import ResamplesOption
from app.cli.score_text import comparison_json, print_tables

if TYPE_CHECKING:
    from pipelines.ablation import Ablation


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="Training")(ablation)


def ablation(
    context: typer.Context,
    models: Annotated[list[str], typer.Argument(metavar="MODEL MODEL...", help="Two or more models.")],
    query: Annotated[
        str, typer.Option("--query", metavar="QUERY", help="Which cases; empty: all cases.")
    ] = "role = test",
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
        found = run_ablation(
            ws.bench(jobs=jobs, progress=console_progress()),
            AblationRequest(tuple(models), query, baseline, protocol, seed, resamples, device),
        )
    print_problems(found.noted, found.refused)
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

    print(f"{summary(found)}\n")
    print_tables(tables(found), found.comparison)
