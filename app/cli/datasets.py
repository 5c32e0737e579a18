"""Commands on frozen training sets."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import JobsOption, JsonOption, print_json, print_table, workspace_of

dataset_app = typer.Typer(no_args_is_help=True, help="Frozen training sets: freeze, list, show, export.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(dataset_app, name="dataset", rich_help_panel="Training")


def _origins(text: str) -> tuple[str, ...]:
    from curation.errors import UsageError
    from curation.status import Origin

    if text == "all":
        return tuple(Origin)
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if unknown := [word for word in words if word not in set(Origin)]:
        raise UsageError(
            f"--origins: unknown origin '{unknown[0]}'; use original, pseudo, corrected (comma-separated) or all"
        )
    return words


@dataset_app.command()
def freeze(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the dataset; a new version if it exists.")],
    query: Annotated[str, typer.Argument(help='Which cases, e.g. "strong" or "complete".')],
    val: Annotated[
        float | None, typer.Option("--val", help="Validation share, e.g. 0.2; by patient, stratified.")
    ] = None,
    folds: Annotated[int | None, typer.Option("--folds", help="Number of folds instead of --val.")] = None,
    origins: Annotated[
        str, typer.Option("--origins", help="Whose labels count: original,corrected or all.")
    ] = "all",
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    include_test: Annotated[bool, typer.Option(help="Also take cases of role test.")] = False,
    message: Annotated[str, typer.Option("--message", "-m", help="Why.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Fix a training set: the cases of a query, each at its newest version, with split and manifest hash.

    Frozen means frozen: later changes of masks do not touch it. Freezing the same again gives the same version.

    Example: `maskledger dataset freeze strong "strong" --val 0.2`
    """
    from curation.status import Origin
    from pipelines.freeze import FreezeRequest
    from pipelines.freeze import freeze as run_freeze

    with workspace_of(context) as ws:
        frozen = run_freeze(
            ws.bench(),
            FreezeRequest(
                name=name,
                query=query,
                origins=tuple(Origin(word) for word in _origins(origins)),
                val_share=val,
                folds=folds,
                seed=seed,
                include_test=include_test,
                message=message,
            ),
        )
    if as_json:
        print_json(
            {
                "dataset": frozen.address,
                "manifest_hash": frozen.manifest_hash,
                "members": frozen.members,
                "train": frozen.train,
                "val": frozen.val,
                "left_out": frozen.left_out,
            }
        )
    else:
        left_out = "".join(f"; {n} {reason} left out" for reason, n in frozen.left_out.items())
        print(
            f"{frozen.address}: {frozen.members} members ({frozen.train} train, {frozen.val} val), "
            f"manifest {frozen.manifest_hash[:12]}{left_out}"
        )


@dataset_app.command("list")
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List all datasets and their versions."""
    from db import datasets

    with workspace_of(context) as ws, ws.catalog.reading() as session:
        rows = datasets.datasets(session)
    if as_json:
        print_json(
            {
                "datasets": [
                    {
                        "dataset": row.address,
                        "query": row.query,
                        "origins": list(row.origins),
                        "members": row.members,
                        "manifest_hash": row.manifest_hash,
                        "author": row.author,
                        "created_at": row.created_at.isoformat(),
                    }
                    for row in rows
                ]
            }
        )
    elif not rows:
        print('no dataset yet; make one with: maskledger dataset freeze NAME "strong" --val 0.2')
    else:
        print_table(
            ("dataset", "members", "origins", "query", "manifest", "by", "when (UTC)"),
            [
                (
                    row.address, row.members, ",".join(row.origins), row.query, row.manifest_hash[:12],
                    row.author, f"{row.created_at:%Y-%m-%d %H:%M}",
                )
                for row in rows
            ],
            numeric=(1,),
        )  # fmt: skip


@dataset_app.command()
def show(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="NAME[@N]", help="Default the newest version.")],
    as_json: JsonOption = False,
) -> None:
    """Show one frozen dataset: query, origins, and every member with version, split and fold."""
    from pipelines.freeze import frozen_members

    with workspace_of(context) as ws:
        version, members = frozen_members(ws.bench(), dataset)
    if as_json:
        print_json(
            {
                "dataset": version.address,
                "query": version.query,
                "origins": list(version.origins),
                "seed": version.seed,
                "val_share": version.val_share,
                "folds": version.folds,
                "manifest_hash": version.manifest_hash,
                "members": [
                    {
                        "case": case.address,
                        "version": case.number,
                        "patient": case.patient,
                        "split": member.split,
                        "fold": member.fold,
                    }
                    for case, member in members
                ],
            }
        )
        return
    print(
        f"{version.address}  query: {version.query}  origins: {','.join(version.origins)}  seed: {version.seed}"
    )
    print(f"manifest {version.manifest_hash}")
    print_table(
        ("case", "version", "split", "fold", "labels", "missing"),
        [
            (
                case.address, case.number, member.split, "–" if member.fold is None else member.fold,
                len(case.annotated), len(case.missing),
            )
            for case, member in members
        ],
        numeric=(1, 4, 5),
    )  # fmt: skip


@dataset_app.command()
def export(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="NAME[@N]", help="Default the newest version.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder, e.g. Dataset501_Abdomen.")],
    format_: Annotated[str, typer.Option("--format", help="nnunet: nnU-Net's raw layout.")] = "nnunet",
    missing: Annotated[
        str,
        typer.Option(
            "--missing",
            help="Background of cases with missing classes: 'background' (the paper), 'ignore' (nnU-Net's "
            "ignore label), 'refuse'.",
        ),
    ] = "background",
    jobs: JobsOption = None,
) -> None:
    """Write a frozen dataset as a folder that nnU-Net trains on, whole or not at all.

    Images are links where the file system can link. Unresolved and ignored voxels become nnU-Net's
    ignore label. Check with `nnUNetv2_plan_and_preprocess --verify_dataset_integrity`.

    Example: `maskledger dataset export strong@1 --format nnunet Dataset501_Strong`
    """
    from app.progress import console_progress
    from curation.errors import UsageError
    from pipelines.export import MissingPolicy, export_nnunet

    if format_ != "nnunet":
        raise UsageError(f"unknown format '{format_}'; use nnunet")
    if missing not in set(MissingPolicy):
        raise UsageError(f"--missing '{missing}' is none of background, ignore, refuse")
    with workspace_of(context) as ws:
        written = export_nnunet(
            ws.bench(jobs=jobs, progress=console_progress()), dataset, folder, MissingPolicy(missing)
        )
    print(f"{folder}: {written} cases of {dataset}")
