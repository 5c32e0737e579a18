"""Commands on registered models: list them, show one, compare how they scored."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import DAMAGED, JsonOption, print_json, print_table, workspace_of
from app.cli.datasets import version_json
from app.cli.image_files import export_model
from app.cli.score_text import comparison_json, print_comparison, print_efficiency, print_means

if TYPE_CHECKING:
    from pipelines.model_page import ModelPage

BLOCKS = "▁▂▃▄▅▆▇█"
ResamplesOption = Annotated[
    int, typer.Option(min=0, help="Bootstrap resamples of the intervals; 0 for no intervals.")
]

models_app = typer.Typer(no_args_is_help=True, help="Registered models and their scores.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    models_app.command("export")(export_model)
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
    models: Annotated[
        list[str], typer.Argument(help="Two or more evaluated models; differences are from the first.")
    ],
    protocol: Annotated[str, typer.Option(help="flare23 or known.")] = "flare23",
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap resamples.")] = 0,
    resamples: ResamplesOption = 10_000,
    as_json: JsonOption = False,
) -> None:
    """Compare evaluated models per class (DSC / NSD in %), on the cases that all of them were scored on.

    Mean ± standard deviation, what predicting took, and by how much each model lies above the first, with paired
    bootstrap intervals. `ablation` also scores what is not scored yet and looks whether the comparison is fair.

    Example: `maskledger models compare baseline teacher student`
    """
    from pipelines.compare import compare

    with workspace_of(context) as ws:
        table = compare(ws.bench(), models, protocol, resamples=resamples, seed=seed)
    if as_json:
        print_json(comparison_json(table))
    else:
        print_comparison(table)


@models_app.command("show")
def models_show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A registered model.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash the weights' files, too; exit code 4 if they differ.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what is known of a model: data, settings, code, weights, metrics, curves, scores, what is held against it.

    Example: `maskledger models show student --verify`
    """
    from pipelines.model_page import model_page

    with workspace_of(context) as ws:
        page = model_page(ws.bench(), name, verify=verify)
    if page.damage:
        print(f"damaged: {page.damage}", file=sys.stderr)
    if as_json:
        print_json(_page_json(page, verify))
    else:
        _print_page(page, verify)
    if page.damage:
        raise typer.Exit(DAMAGED)


def _page_json(page: "ModelPage", verified: bool) -> dict[str, Any]:
    model, dataset, run = page.model, page.dataset, page.run
    return {
        "model": model.name,
        "kind": model.kind,
        "created_at": model.created_at.isoformat(),
        "dataset": None
        if dataset is None
        else version_json(dataset) | {"train": dataset.members - dataset.val, "val": dataset.val},
        "origins": list(model.origins or ()),
        "profile": model.profile,
        "seed": model.seed,
        "code_version": model.code_version,
        "weights": {
            "path": str(page.weights) if page.weights else None,
            "sha256": model.weights_hash,
            "verified": page.damage is None if verified else None,
            "damage": page.damage,
        },
        "run": None
        if run is None
        else {
            "run": run.id,
            "stage": run.stage,
            "state": run.state,
            "author": run.author,
            "started_at": run.started_at.isoformat(),
            "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        },
        "metrics": page.metrics,
        "curves": model.curves,
        "predicted_cases": model.predicted_cases,
        "scores": {protocol: comparison_json(table) for protocol, table in page.scores.items()},
        "retracted": model.retracted,
        "tainted": list(model.tainted),
    }


def _print_page(page: "ModelPage", verified: bool) -> None:
    model = page.model
    print(f"{model.name}: {model.kind}, registered {model.created_at:%Y-%m-%d %H:%M} UTC")
    for sentence in model.doubts:
        print(f"beware: {sentence}")
    checked = "" if not verified else "; files differ" if page.damage else "; files verified"
    facts = [
        ("dataset", _dataset_text(page)),
        ("manifest", f"sha256 {page.dataset.manifest_hash}" if page.dataset else None),
        ("labels of", ", ".join(model.origins or ()) or None),
        ("profile", (model.profile or {}).get("name")),
        ("seed", model.seed),
        ("code", model.code_version),
        ("weights", page.weights),
        ("", f"sha256 {model.weights_hash}{checked}" if model.weights_hash else None),
        ("run", _run_text(page)),
        ("predicted", f"{model.predicted_cases} cases"),
    ]
    for title, fact in facts:
        if fact is not None:
            print(f"  {title:10}{fact}")
    for title, lines in (
        ("settings", settings_lines(model.profile or {}, model.kind)),
        ("metrics", [f"{key} = {_figure(value)}" for key, value in page.metrics.items()]),
        ("curves", curve_lines(model.curves)),
    ):
        if lines:
            print(f"\n{title}")
            for line in lines:
                print(f"  {line}")
    for table in page.scores.values():
        print()
        print_means(table)
    if page.scores:
        print_efficiency(next(iter(page.scores.values())))


def _dataset_text(page: "ModelPage") -> str | None:
    if page.dataset is None:
        return None
    found = page.dataset
    purged = f", {found.purged} purged since" if found.purged else ""
    return (
        f"{found.address}: {found.members} members ({found.members - found.val} train, {found.val} val{purged}) "
        f"of '{found.query}'"
    )


def _run_text(page: "ModelPage") -> str | None:
    if page.run is None:
        return None
    run = page.run
    took = f" in {(run.finished_at - run.started_at).total_seconds():,.0f} s" if run.finished_at else ""
    return f"{run.id} ({run.stage}), {run.state}{took}, by {run.author}"


def settings_lines(profile: dict[str, Any], kind: str) -> list[str]:
    """A profile's tables that concern a kind of model, one line each: ``student.fine: epochs = 300, …``."""
    lines: list[str] = []

    def table(name: str, content: dict[str, Any]) -> None:
        plain = {key: value for key, value in content.items() if not isinstance(value, dict)}
        if plain:
            lines.append(
                f"{name}: " + ", ".join(f"{key} = {_setting(value)}" for key, value in plain.items())
            )
        for key, value in content.items():
            if isinstance(value, dict):
                table(f"{name}.{key}", value)

    for name in (kind, "predict"):
        if isinstance(profile.get(name), dict):
            table(name, profile[name])
    return lines


def _setting(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_setting, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def curve_lines(curves: Sequence[dict[str, Any]]) -> list[str]:
    """A sparkline per figure and stage, with its first and last value; per class they are in --json alone."""
    from pipelines.curves import curve_series

    series = curve_series(curves)
    width = max(map(len, series), default=0)
    return [
        f"{name.ljust(width)}  {sparkline(values)}  {values[0]:.4g} → {values[-1]:.4g} ({_points(len(values))})"
        for name, (_, values) in series.items()
    ]


def _points(n: int) -> str:
    return "1 point" if n == 1 else f"{n} points"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """One or more values as blocks of eight heights from the lowest to the highest.

    Where there are more than `width`, each block is the mean of its share of them.
    """
    n = min(width, len(values))
    pieces = [values[i * len(values) // n : (i + 1) * len(values) // n] for i in range(n)]
    means = [sum(piece) / len(piece) for piece in pieces]
    low, high = min(means), max(means)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round((mean - low) / (high - low) * top) if high > low else 0] for mean in means)
