"""Commands that take predictions in and fill missing classes from them."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import JobsOption, JsonOption, MappingOption, finish, load_mapping, workspace_of

predictions_app = typer.Typer(no_args_is_help=True, help="Predicted masks that were made elsewhere.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(predictions_app, name="predictions", rich_help_panel="Labels")
    app.command(rich_help_panel="Labels")(complement)


@predictions_app.command("import")
def import_(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of CASE.nii.gz files.", metavar="DIR")],
    model: Annotated[str, typer.Option("--model", help="Name of the model that made them.")],
    mapping: MappingOption = "flare23",
    source: Annotated[
        str | None, typer.Option("--source", help="Look for the cases in this source only.")
    ] = None,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in masks that a model made elsewhere (TotalSegmentator, your own nnU-Net).

    Files are matched to cases by name and must lie on the case's grid. Nothing of a mask changes until
    `complement` is told to use them.

    Example: `maskledger predictions import totalseg_out --model ts-v2 --mapping totalsegmentator`
    """
    from app.progress import console_progress
    from pipelines.predictions import import_predictions

    with workspace_of(context) as ws:
        bench = ws.bench(jobs=jobs, progress=console_progress())
        outcome = import_predictions(bench, folder, model, load_mapping(mapping), source)
    finish(outcome, f"predictions of {model}", as_json)


def complement(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help='Which cases, e.g. "missing pancreas" or "weak".')],
    model: Annotated[str, typer.Option("--model", help="Whose predictions fill the missing classes.")],
    components: Annotated[
        str,
        typer.Option(help="Of each predicted organ take the 'largest' piece (as the paper does) or 'all'."),
    ] = "largest",
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fill missing classes from a model's predictions, as new versions.

    A class is filled only where nobody annotated it; only background voxels change; what original
    foreground kept out is booked in the conflict ledger (`show CASE`). Absent, out-of-field and
    unresolved classes are never filled. A second call changes nothing.

    Example: `maskledger complement "weak or unlabeled" --model teacher`
    """
    from app.progress import console_progress
    from curation.errors import UsageError
    from pipelines.complement import complement as run_complement

    if components not in {"largest", "all"}:
        raise UsageError(f"--components '{components}' is neither 'largest' nor 'all'; use one of them")
    with workspace_of(context) as ws:
        bench = ws.bench(jobs=jobs, progress=console_progress())
        outcome = run_complement(bench, query, model, largest_only=components == "largest")
    finish(outcome, f"complement from {model}", as_json)
