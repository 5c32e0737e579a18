"""Commands that train, predict and evaluate models."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import (
    DeviceOption,
    JobsOption,
    JsonOption,
    MappingOption,
    ProfileOption,
    finish,
    is_largest_only,
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
    predict_image_files,
    the_query,
)

teacher_app = typer.Typer(
    no_args_is_help=True, help="The nnU-Net that learns from completely labelled cases."
)

AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow", help="Train although: tainted (descends from something retracted), not-hu, undrawn-organ."
    ),
]
DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET[@N]", help="A frozen dataset.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(teacher_app, name="teacher", rich_help_panel="Training")
    app.command(rich_help_panel="Training")(predict)
    app.command(rich_help_panel="Training")(retrain)
    app.command(rich_help_panel="Training")(evaluate)
    app.command(rich_help_panel="Training")(score)


def _train(
    context: typer.Context,
    kind: str,
    dataset: str,
    name: str,
    profile: str,
    seed: int,
    device: str,
    allow: list[str] | None,
    as_json: bool,
    gpus: int | None = None,
) -> None:
    from app.progress import console_progress
    from db.models import ModelKind
    from pipelines.profiles import load_profile
    from pipelines.train import TrainRequest, train

    with workspace_of(context) as ws:
        trained = train(
            ws.bench(progress=console_progress()),
            TrainRequest(
                ModelKind(kind),
                dataset,
                load_profile(profile),
                name,
                seed,
                device,
                gpus,
                frozenset(allow or ()),
            ),
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
    gpus: Annotated[
        int | None, typer.Option(min=1, help="GPUs that train together; default: one per sample of a batch.")
    ] = None,
    allow: AllowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train nnU-Net on a frozen dataset of strong cases (13 organs; the tumor is left to the student).

    Stopped at any point, the same command goes on from the last checkpoint.

    Example: `maskledger teacher train strong@1 --profile quick`
    """
    _train(context, "teacher", dataset, name, profile, seed, device, allow, as_json, gpus)


def retrain(
    context: typer.Context,
    dataset: DatasetArgument,
    name: Annotated[str, typer.Option("--name", help="Name of the model.")] = "student",
    profile: ProfileOption = "paper",
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    device: DeviceOption = "auto",
    allow: AllowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the coarse-to-fine student (3D U-Net, then EfficientSegNet) on a frozen dataset.

    Which labels count is the dataset's matter: the baseline is the same members frozen with
    `--origins original,corrected`. Stopped at any point, the same command goes on.

    Example: `maskledger retrain all@1 --profile quick --name student`
    """
    _train(context, "student", dataset, name, profile, seed, device, allow, as_json)


def predict(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model that was trained here, or with --out FILE.pt.")],
    cases: Annotated[
        list[str],
        typer.Argument(metavar="QUERY|IMAGE...", help='E.g. "weak or unlabeled"; with --out: files.'),
    ],
    out: OutOption = None,
    series: SeriesOption = None,
    any_values: AnyValuesOption = False,
    tta: Annotated[
        bool | None,
        typer.Option(
            "--tta/--no-tta",
            help="Average over mirrored inputs (teachers alone). Default: the model's profile.",
        ),
    ] = None,
    components: Annotated[
        str | None,
        typer.Option(help="Keep the 'largest' piece of each organ or 'all'. Default: the model's profile."),
    ] = None,
    probabilities: Annotated[
        bool | None,
        typer.Option(
            "--probabilities/--no-probabilities",
            help="Keep a map of each voxel's probability, for `complement --uncertain-below`. Default: the "
            "model's profile.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Predict the queried cases that this model has not predicted yet, as their images are now and with these settings.

    With --out, image files of no catalog: NIfTI, folders of them, or a folder with the DICOM slices of one CT series.
    Each mask lies on its image's own grid. What is there of the same model and image is left; `models export` makes
    FILE.pt.

    Example: `maskledger predict teacher "missing any organ"`

    Example: `maskledger predict teacher "missing pancreas" --tta --probabilities`

    Example: `maskledger predict student scan.nii.gz dicom/ct --out masks`
    """
    from app.progress import console_progress
    from pipelines.predict import Wanted
    from pipelines.predict import predict as run_predict

    wanted = Wanted(tta, None if components is None else is_largest_only(components), probabilities)
    if out is not None:
        from pipelines.predict_files import FilesRequest

        images = [Path(word) for word in cases]
        request = FilesRequest(images, out, series, any_values, device)
        predict_image_files(context, model, request, wanted, as_json)
        return
    query = the_query(model, cases, series, any_values)
    with workspace_of(context) as ws:
        warn_of_taints(ws, [model])
        bench = ws.bench(progress=console_progress())
        outcome = run_predict(bench, model, query, device=device, wanted=wanted)
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

    Both protocols are kept: flare23 (all 14 classes) and known (classes missing in a case left out). Ends with
    mean ± standard deviation per class over the queried cases, by both.

    Example: `maskledger evaluate student "role = test"`
    """
    from app.cli.score_text import comparison_json, print_efficiency, print_means
    from app.progress import console_progress
    from pipelines.evaluate import evaluate as run_evaluate
    from pipelines.evaluate import summaries

    with workspace_of(context) as ws:
        warn_of_taints(ws, [model])
        bench = ws.bench(jobs=jobs, progress=console_progress())
        outcome = run_evaluate(bench, model, query, device=device)
        found = summaries(bench, model, query)
    if not as_json:
        for table in found:
            print_means(table)
            print()
        if found:
            print_efficiency(found[0])
    finish(
        outcome, f"evaluate {model}", as_json, {"summary": {t.protocol: comparison_json(t) for t in found}}
    )


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
