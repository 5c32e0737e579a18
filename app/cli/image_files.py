"""Prediction of image files that are in no catalog, and the export of a model to one file."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import JsonOption, print_json, report, warn_of_taints, workspace_of

if TYPE_CHECKING:
    from pipelines.predict import Wanted
    from pipelines.predict_files import FilesRequest

OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="The arguments are image files; NAME.nii.gz per image is written there."
    ),
]
SeriesOption = Annotated[
    str | None,
    typer.Option("--series", metavar="UID", help="SeriesInstanceUID, where a DICOM folder holds several."),
]
AnyValuesOption = Annotated[
    bool, typer.Option("--any-values", help="Predict, too, images that cannot be in Hounsfield units.")
]


def the_query(model: str, arguments: Sequence[str], series: str | None, any_values: bool) -> str:
    """The one query that `predict` without --out was given.

    Raises:
        UsageError: Files were meant, or several words that were to be one query.
    """
    from curation.errors import UsageError
    from pipelines.image_arguments import is_meant_as_image
    from pipelines.predict_files import is_model_file

    for argument in arguments:
        if is_meant_as_image(argument):
            raise UsageError(f"{argument}: is no query; to predict files add --out DIR")
    if is_model_file(model):
        raise UsageError(f"{model}: an exported model knows no cases; give image files and --out DIR")
    if series is not None or any_values:
        raise UsageError("--series and --any-values are for files; add --out DIR, or leave them out")
    if len(arguments) > 1:
        raise UsageError(
            f"{len(arguments)} arguments where one query is wanted; put it in quotes: '{' '.join(arguments)}'"
        )
    return arguments[0]


def predict_image_files(
    context: typer.Context, model: str, request: "FilesRequest", wanted: "Wanted", as_json: bool
) -> None:
    """Predict files with a registered model, or with an exported one, which needs no workspace."""
    from app.progress import console_progress
    from pipelines.predict import trained_model
    from pipelines.predict_files import (
        check_request,
        exported_model,
        is_model_file,
        predict_files,
        registered_model,
        with_settings,
    )
    from pipelines.runs import Workers

    check_request(request)
    if is_model_file(model):
        known = exported_model(Path(model))
        for sentence in known.doubts:
            print(f"warning: model '{known.name}': {sentence}", file=sys.stderr)
    else:
        with workspace_of(context) as ws:
            warn_of_taints(ws, [model])
            known = registered_model(trained_model(ws.bench(), model))
    known = with_settings(known, wanted)
    outcome = predict_files(known, request, Workers(progress=console_progress()))
    masks = [{"image": str(image), "mask": str(mask)} for image, mask in outcome.masks]
    report(outcome, f"predict with {known.name} into {request.out}", as_json, {"masks": masks})


def export_model(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A student that was trained here.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.pt", help="A new file.")],
    as_json: JsonOption = False,
) -> None:
    """Export a student to one file that predicts without a catalog or workspace.

    It holds both networks, their settings and classes, and where it comes from: dataset with manifest hash, profile,
    code version, weights' hash. `maskledger predict FILE.pt IMAGE... --out DIR` applies it.

    Example: `maskledger models export student --out student.pt`
    """
    from pipelines.export_model import export_model as run_export

    with workspace_of(context) as ws:
        warn_of_taints(ws, [name])
        facts = run_export(ws.bench(), name, out)
    if as_json:
        print_json({"file": str(out), **facts.model_dump(mode="json", exclude={"profile"})})
    else:
        print(f"{name}: exported to {out} ({out.stat().st_size / 1e6:.1f} MB)")
