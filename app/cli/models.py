"""Commands that train, predict, evaluate and compare models."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import (
    DeviceOption,
    JobsOption,
    JsonOption,
    MappingOption,
    ProfileOption,
    finish,
    load_mapping,
    print_json,
    print_table,
    warn_of_taints,
    workspace_of,
)
from app.cli.image_files import (
    AnyValuesOption,
    OutOption,
    SeriesOption,
    export_model,
    predict_image_files,
    the_query,
)

if TYPE_CHECKING:
    from pipelines.compare import Comparison

teacher_app = typer.Typer(
    no_args_is_help=True, help="The nnU-Net that learns from completely labelled cases."
)
models_app = typer.Typer(no_args_is_help=True, help="Registered models and their scores.")

DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET[@N]", help="A frozen dataset.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(teacher_app, name="teacher", rich_help_panel="Training")
    app.command(rich_help_panel="Training")(predict)
    app.command(rich_help_panel="Training")(retrain)
    app.command(rich_help_panel="Training")(evaluate)
    app.command(rich_help_panel="Training")(score)
    models_app.command("export")(export_model)
    app.add_typer(models_app, name="models", rich_help_panel="Training")


def _train(
    context: typer.Context,
    kind: str,
    dataset: str,
    name: str,
    profile: str,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    from app.progress import console_progress
    from db.models import ModelKind
    from pipelines.profiles import load_profile
    from pipelines.train import TrainRequest, train

    with workspace_of(context) as ws:
        trained = train(
            ws.bench(progress=console_progress()),
            TrainRequest(ModelKind(kind), dataset, load_profile(profile), name, seed, device),
        )
    for line in trained.refused:
        print(f"refused: {line}", file=sys.stderr)
    if as_json:
        print_json(
            {
                "model": trained.name,
                "weights": str(trained.folder),
                "metrics": trained.metrics,
                "already": trained.already,
                "refused": list(trained.refused),
            }
        )
    else:
        print(
            f"{trained.name}: {'was trained before' if trained.already else 'trained'}; weights in {trained.folder}"
        )
    if trained.refused:
        raise typer.Exit(1)


@teacher_app.command("train")
def teacher_train(
    context: typer.Context,
    dataset: DatasetArgument,
    name: Annotated[str, typer.Option("--name", help="Name of the model.")] = "teacher",
    profile: ProfileOption = "paper",
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train nnU-Net on a frozen dataset of strong cases (13 organs; the tumor is left to the student).

    Stopped at any point, the same command goes on from the last checkpoint.

    Example: `maskledger teacher train strong@1 --profile quick`
    """
    _train(context, "teacher", dataset, name, profile, seed, device, as_json)


def retrain(
    context: typer.Context,
    dataset: DatasetArgument,
    name: Annotated[str, typer.Option("--name", help="Name of the model.")] = "student",
    profile: ProfileOption = "paper",
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train the coarse-to-fine student (3D U-Net, then EfficientSegNet) on a frozen dataset.

    Which labels count is the dataset's matter: the baseline is the same members frozen with
    `--origins original,corrected`. Stopped at any point, the same command goes on.

    Example: `maskledger retrain all@1 --profile quick --name student`
    """
    _train(context, "student", dataset, name, profile, seed, device, as_json)


def predict(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model that was trained here, or with --out FILE.pt.")],
    cases: Annotated[
        list[str], typer.Argument(metavar="QUERY|IMAGE...", help='E.g. "weak or unlabeled"; with --out: files.')
    ],
    out: OutOption = None,
    series: SeriesOption = None,
    any_values: AnyValuesOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Predict the queried cases that this model has not predicted yet; with --out, image files of no catalog.

    Files are NIfTI, folders of them, or a folder with the DICOM slices of one CT series; each mask lies on its image's
    own grid. What is there already of the same model and image is left; `models export` makes FILE.pt.

    Example: `maskledger predict teacher "missing any organ"`

    Example: `maskledger predict student scan.nii.gz dicom/ct --out masks`
    """
    from app.progress import console_progress
    from pipelines.predict import predict as run_predict

    if out is not None:
        from pipelines.predict_files import FilesRequest

        images = [Path(word) for word in cases]
        predict_image_files(context, model, FilesRequest(images, out, series, any_values, device), as_json)
        return
    query = the_query(model, cases, series, any_values)
    with workspace_of(context) as ws:
        warn_of_taints(ws, [model])
        outcome = run_predict(ws.bench(progress=console_progress()), model, query, device=device)
    finish(outcome, f"predict with {model}", as_json)


def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Any model, imported ones too.")],
    query: Annotated[str, typer.Argument(help='Reference cases, e.g. "role = test".')],
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a model against the newest masks of the queried cases; predicts first what is not predicted.

    Both protocols are kept: flare23 (all 14 classes) and known (classes missing in a case left out).

    Example: `maskledger evaluate student "role = test"`
    """
    from app.progress import console_progress
    from pipelines.evaluate import evaluate as run_evaluate

    with workspace_of(context) as ws:
        warn_of_taints(ws, [model])
        outcome = run_evaluate(ws.bench(jobs=jobs, progress=console_progress()), model, query, device=device)
    finish(outcome, f"evaluate {model}", as_json)


def score(
    references: Annotated[Path, typer.Argument(metavar="REFERENCE_DIR", help="Masks that count as true.")],
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTION_DIR", help="Masks of the same names.")],
    protocol: Annotated[
        str, typer.Option(help="flare23 (all 14 classes) or known (drawn classes only).")
    ] = "flare23",
    mapping: MappingOption = "flare23",
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score two folders of masks against each other: DSC and NSD as the FLARE23 evaluator computes them.

    Needs no workspace. Example: `maskledger score labelsTs predictions --json`
    """
    from app.progress import console_progress
    from curation.labels import BY_ID
    from curation.metrics import summarise
    from pipelines.runs import Workers, cores
    from pipelines.score import score_folders

    result = score_folders(
        Workers(jobs=jobs or cores(), progress=console_progress()),
        references,
        predictions,
        load_mapping(mapping),
        protocol,
    )
    for line in result.refused:
        print(f"refused: {line}", file=sys.stderr)
    if as_json:
        print_json(
            {
                "protocol": protocol,
                "rows": [
                    {"case": row.case, "class": row.class_name, "dsc": row.dsc, "nsd": row.nsd}
                    for row in result.rows
                ],
            }
        )
    else:
        print_table(
            ("case", "class", "DSC", "NSD"),
            [(row.case, row.class_name, f"{row.dsc:.4f}", f"{row.nsd:.4f}") for row in result.rows],
            numeric=(2, 3),
        )
        print()
        print_table(
            ("class", "cases", "DSC mean ± std", "NSD mean ± std"),
            [
                (BY_ID[c].name, s.n, f"{s.dsc:.4f} ± {s.dsc_std:.4f}", f"{s.nsd:.4f} ± {s.nsd_std:.4f}")
                for c, s in summarise(result.cases.values()).items()
            ],
            numeric=(1, 2, 3),
        )
    if result.refused:
        raise typer.Exit(1)


@models_app.command("list")
def models_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List all models: trained here, or known by their imported predictions."""
    from db import queries

    with workspace_of(context) as ws, ws.catalog.reading() as session:
        rows = queries.models(session)
    if as_json:
        print_json(
            {
                "models": [
                    {
                        "model": r.name,
                        "kind": r.kind,
                        "dataset": r.dataset,
                        "origins": list(r.origins or ()),
                        "created_at": r.created_at.isoformat(),
                        "retracted": r.retracted,
                        "tainted": list(r.tainted),
                    }
                    for r in rows
                ]
            }
        )
    elif not rows:
        print("no model yet; train one (`teacher train`) or import predictions (`predictions import`)")
    else:
        print_table(
            ("model", "kind", "dataset", "labels of", "since (UTC)", "state"),
            [
                (
                    r.name,
                    r.kind,
                    r.dataset or "–",
                    ",".join(r.origins or ()) or "–",
                    f"{r.created_at:%Y-%m-%d %H:%M}",
                    "retracted" if r.retracted else "tainted" if r.tainted else "–",
                )
                for r in rows
            ],
        )
        for r in rows:
            for sentence in r.doubts:
                print(f"{r.name}: {sentence}")


@models_app.command("compare")
def models_compare(
    context: typer.Context,
    models: Annotated[list[str], typer.Argument(help="Two or more evaluated models.")],
    protocol: Annotated[str, typer.Option(help="flare23 or known.")] = "flare23",
    as_json: JsonOption = False,
) -> None:
    """Compare evaluated models per class (DSC / NSD in %), on the cases that all of them were scored on.

    Example: `maskledger models compare baseline teacher student`
    """
    from pipelines.compare import compare

    with workspace_of(context) as ws:
        table = compare(ws.bench(), models, protocol)
    if as_json:
        print_json(
            {
                "protocol": protocol,
                "cases": table.cases,
                "rows": [
                    {"class": row.label, **{m: {"dsc": v.dsc, "nsd": v.nsd} for m, v in row.values.items()}}
                    for row in table.rows
                ],
            }
        )
        return
    print_comparison(table, protocol)


def print_comparison(table: "Comparison", protocol: str) -> None:
    """Print mean DSC / NSD per class and model."""
    models = list(table.rows[0].values)
    print(f"DSC / NSD in %, protocol {protocol}, mean of {table.cases} cases")
    print_table(
        ("class", *models),
        [(row.label, *(row.values[m].text for m in models)) for row in table.rows],
        numeric=tuple(range(1, len(models) + 1)),
    )
