"""Commands that list registered models and compare how they scored."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import JsonOption, print_json, print_table, workspace_of

if TYPE_CHECKING:
    from pipelines.compare import Comparison

models_app = typer.Typer(no_args_is_help=True, help="Registered models and their scores.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(models_app, name="models", rich_help_panel="Training")


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
