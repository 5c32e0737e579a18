"""Commands that take predictions in and fill missing classes from them."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import (
    JobsOption,
    JsonOption,
    MappingOption,
    finish,
    is_largest_only,
    load_mapping,
    warn_of_taints,
    workspace_of,
)

predictions_app = typer.Typer(no_args_is_help=True, help="Predicted masks that were made elsewhere.")

ReplaceOption = Annotated[
    bool,
    typer.Option("--replace-pseudo", help="Also redraw other models' pseudo classes that nobody accepted."),
]
AgreementOption = Annotated[
    float | None,
    typer.Option(
        "--agreement",
        min=0.0,
        max=1.0,
        help="Of several models: take the classes on which every two reach this Dice, as the first draws "
        "them. Without it: what more than half of them say, voxel by voxel.",
    ),
]
ComponentsOption = Annotated[
    str, typer.Option(help="Of each predicted organ take the 'largest' piece (as the paper does) or 'all'.")
]
MinConfidenceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--min-confidence",
        metavar="P or CLASS=P",
        help="Leave a class missing whose mean probability is below this, 0 to 1; may be repeated: "
        "`0.8`, `pancreas=0.9`.",
    ),
]
UncertainOption = Annotated[
    float | None,
    typer.Option(
        "--uncertain-below",
        help="Voxels less probable than this become 'ignore' instead of the class; in steps of 0.05 up to "
        "0.95. Needs predictions made with `predict --probabilities`.",
    ),
]


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
    query: Annotated[str, typer.Argument(help='Which cases, e.g. "missing pancreas", "weak" or "stale".')],
    model: Annotated[
        list[str],
        typer.Option("--model", help="Whose predictions fill the missing classes; several: combined."),
    ],
    replace_pseudo: ReplaceOption = False,
    agreement: AgreementOption = None,
    components: ComponentsOption = "largest",
    min_confidence: MinConfidenceOption = None,
    uncertain_below: UncertainOption = None,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fill missing classes from a model's predictions, as new versions.

    A class is filled only where nobody annotated it; only background voxels change; what original
    foreground kept out is booked in the conflict ledger (`show CASE`). Absent, out-of-field, rejected and
    unresolved classes are never filled, accepted ones never changed. What this model drew earlier is drawn
    again where it is stale (`cases stale`): predicted anew, or the source revised since. A second call
    changes nothing.

    Examples: `maskledger complement "weak or unlabeled" --model teacher`,
    `maskledger complement stale --model teacher`,
    `maskledger complement "missing pancreas" --model A --model B --agreement 0.9`,
    `maskledger complement "missing any organ" --model teacher --min-confidence 0.8 --uncertain-below 0.6`
    """
    from app.progress import console_progress
    from curation.errors import UsageError
    from pipelines.combine import Combination, combine
    from pipelines.complement import complement as run_complement
    from pipelines.gates import Gates, parse_min_confidence

    largest_only = is_largest_only(components)
    if agreement is not None and len(model) < 2:
        raise UsageError("--agreement is between models: name at least two with --model")
    gates = Gates(parse_min_confidence(min_confidence or ()), uncertain_below)
    with workspace_of(context) as ws:
        bench = ws.bench(jobs=jobs, progress=console_progress())
        warn_of_taints(ws, model)
        name, refused = model[0], []
        if len(model) > 1:
            combination = Combination(tuple(model), agreement)
            name, refused = combination.name, combine(bench, query, combination).refused
        outcome = run_complement(
            bench,
            query,
            name,
            largest_only=largest_only,
            replace_pseudo=replace_pseudo,
            gates=gates,
        )
    outcome.refused[:0] = refused
    finish(outcome, f"complement from {name}", as_json)
