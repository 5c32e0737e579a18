"""Commands that keep a workspace in order: verify and repair, gc, log, moving catalogs and images."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import mappings, rederiving
from app.cli.common import DAMAGED, JobsOption, JsonOption, print_json, print_table, workspace_of

if TYPE_CHECKING:
    from db.queries import LogRow, RunRow
    from pipelines.repair import Repairs
    from pipelines.verify import Verification

PANEL = "Upkeep"
source_app = typer.Typer(no_args_is_help=True, help="Sources: datasets as their users call them.")
catalog_app = typer.Typer(no_args_is_help=True, help="The catalog's database as a whole.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    mappings.register(source_app)
    rederiving.register(source_app)
    app.add_typer(source_app, name="source", rich_help_panel="Catalog")
    for command in (verify, backup, gc, log):
        app.command(rich_help_panel=PANEL)(command)
    app.add_typer(catalog_app, name="catalog", rich_help_panel=PANEL)


def verify(
    context: typer.Context,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also decode every mask: voxel hashes, counts, class hashes.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Take back what the sources still hold; each repair is booked.")
    ] = False,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that the store holds what the catalog's rows promise, and the rows each other. Exit code 4 on damage.

    `--repair` reads what came in again from where it was read, and makes masks of it again. What it cannot
    make again it leaves, and says which file to restore from a backup.
    """
    from app.progress import console_progress
    from pipelines.repair import Repairs
    from pipelines.repair import repair as run_repair
    from pipelines.verify import verify as run_verify

    with workspace_of(context) as ws:
        bench = ws.bench(jobs=jobs, progress=console_progress())
        found = run_verify(bench, deep=deep)
        repairs = run_repair(bench, found.damages) if repair else Repairs((), tuple(found.damages))
    for line in found.noted:
        print(f"note: {line}", file=sys.stderr)
    for damage in repairs.left:
        print(f"damaged: {damage.line}", file=sys.stderr)
    if as_json:
        print_json(_verification_json(found, repairs))
    else:
        for line in repairs.done:
            print(f"repaired: {line}")
        hint = "" if repair or not found.damages else "; try: maskledger verify --repair"
        print(f"{found.files} files, {found.bytes / 1e6:.1f} MB: {_verdict(repairs)}{hint}")
    if repairs.left:
        raise typer.Exit(DAMAGED)


def _verdict(repairs: "Repairs") -> str:
    said = []
    if repairs.done:
        said.append(f"{len(repairs.done)} repaired")
    if repairs.left:
        said.append(f"{len(repairs.left)} damaged")
    return ", ".join(said) or "all intact"


def _verification_json(found: "Verification", repairs: "Repairs") -> dict[str, Any]:
    return {
        "files": found.files,
        "bytes": found.bytes,
        "voxels": found.voxels,
        "damage": [damage.line for damage in repairs.left],
        "repaired": list(repairs.done),
        "noted": found.noted,
    }


def backup(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="New or empty, or an earlier backup: what is new is added.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Copy catalog, stored masks and models to a folder that is a workspace of its own; others may go on working.

    Example: `maskledger backup /mnt/backup/abdomen && maskledger --workspace /mnt/backup/abdomen verify`
    """
    from app.progress import console_progress
    from app.settings import CONFIG_NAME, DEFAULT_CONFIG
    from pipelines.backup import back_up

    with workspace_of(context) as ws:
        bench = ws.bench(progress=console_progress())
        done = back_up(bench, folder, config=CONFIG_NAME, default_config=DEFAULT_CONFIG)
    for line in done.refused:
        print(f"refused: {line}", file=sys.stderr)
    if as_json:
        print_json(
            {
                "folder": str(done.folder), "rows": done.rows, "files": done.files, "copied": done.copied,
                "bytes": done.bytes, "models": done.models, "refused": list(done.refused),
            }
        )  # fmt: skip
    else:
        print(
            f"{done.folder}: {done.rows} rows, {done.files} files ({done.copied} new, {done.bytes / 1e6:.1f} MB), "
            f"{done.models} models"
        )
    if done.refused:
        raise typer.Exit(1)


def gc(
    context: typer.Context,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete what is listed; without it nothing is.")
    ] = False,
    min_age: Annotated[
        float,
        typer.Option(
            "--min-age",
            metavar="MINUTES",
            min=0,
            help="Leave alone what is younger: it may belong to a run that has not booked it yet.",
        ),
    ] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """List the files that no version, prediction, dataset, model or unfinished run needs.

    Stored files without a row, files that a killed run left half-written, what a finished training leaves
    beside its weights. `gc --delete` deletes them.
    """
    from app.progress import console_progress
    from pipelines.garbage import collect, find_garbage

    with workspace_of(context) as ws:
        bench = ws.bench(progress=console_progress())
        found = find_garbage(bench, min_age_s=min_age * 60)
        outcome = collect(bench, found, min_age_s=min_age * 60) if delete and found else None
        root = ws.root
    counts = outcome.counts if outcome else {}
    total = sum(garbage.bytes for garbage in found)
    if as_json:
        print_json(
            {
                "files": [{"path": str(g.path), "bytes": g.bytes, "reason": g.reason} for g in found],
                "bytes": total,
                "deleted": counts.get("deleted", 0),
                "bytes_freed": counts.get("bytes freed", 0),
            }
        )
        return
    if found:
        shown = [(g.path.relative_to(root) if g.path.is_relative_to(root) else g.path) for g in found]
        rows = [(path, f"{g.bytes / 1e6:.1f}", g.reason) for path, g in zip(shown, found, strict=True)]
        print_table(("not needed", "MB", "why it is there"), rows, numeric=(1,))
        print()
    summary = f"{len(found)} not needed, {total / 1e6:.1f} MB"
    if outcome:
        summary += f": {counts.get('deleted', 0)} deleted, {counts.get('bytes freed', 0) / 1e6:.1f} MB freed"
        if counts.get("kept"):
            summary += f", {counts['kept']} kept, as they are in use by now"
    elif found:
        summary += "; delete with: maskledger gc --delete"
    print(summary)


def log(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DATE", help="From then on, e.g. 2026-11-23 (UTC).")
    ] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this one, e.g. ingest.")] = None,
    author: Annotated[str | None, typer.Option("--author", help="Only by this person.")] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Only what mentions this, e.g. a case, source or model.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Tell who did what, when, with which parameters and program version, and what came of it; newest first.

    Example: `maskledger log --since 2026-11-01 --action ingest`
    """
    from db import queries

    moment = _moment(since) if since else None
    with workspace_of(context) as ws, ws.catalog.reading() as session:
        rows = queries.log(session, since=moment, action=action, author=author, subject=subject, limit=limit)
        known = queries.actions(session)
    if as_json:
        print_json({"count": len(rows), "entries": [_entry_json(row) for row in rows]})
        return
    for row in rows:
        _print_entry(row)
    if not rows:
        print(f"nothing of the kind in the log; it knows: {', '.join(known) or 'nothing yet'}")


def _moment(text: str) -> Any:
    """A date, or date and time, in UTC unless it names its zone."""
    from datetime import UTC, datetime

    from curation.errors import UsageError

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--since '{text}' is no date; write e.g. 2026-11-23 or 2026-11-23T09:30") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _print_entry(row: "LogRow") -> None:
    event = row.event
    print(f"{event.created_at:%Y-%m-%d %H:%M:%S}  {event.author}  {event.action}  {event.subject}".rstrip())
    said = {key: value for key, value in event.parameters.items() if value not in (None, "")}
    if said:
        print(f"    {', '.join(f'{key}: {value}' for key, value in said.items())}")
    print(f"    {_run_text(row.run)}maskledger {event.program_version}")


def _run_text(run: "RunRow | None") -> str:
    """E.g. ``run 7 done in 12 s: 60 new, 1 refused · ``."""
    if run is None:
        return ""
    took = f" in {(run.finished_at - run.started_at).total_seconds():.0f} s" if run.finished_at else ""
    return f"run {run.id} {run.state}{took}{f': {run.message}' if run.message else ''} · "


def _entry_json(row: "LogRow") -> dict[str, Any]:
    event, run = row.event, row.run
    return {
        "time": event.created_at.isoformat(),
        "author": event.author,
        "action": event.action,
        "subject": event.subject,
        "parameters": event.parameters,
        "program_version": event.program_version,
        "run": {
            "id": run.id,
            "state": run.state,
            "message": run.message,
            "started_at": run.started_at.isoformat(),
            "finished_at": run.finished_at.isoformat() if run.finished_at else None,
            "refused": run.items.get("refused", 0),
            "noted": run.items.get("noted", 0),
        }
        if run
        else None,
    }


@catalog_app.command("copy")
def catalog_copy(
    context: typer.Context,
    to: Annotated[
        str,
        typer.Option("--to", metavar="URL", help="sqlite:///PATH or postgresql://USER@HOST/NAME, empty."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Copy the whole catalog into another, empty database, and compare the two row by row.

    All or nothing, and one state of the catalog, whoever works meanwhile. The store's files stay where they
    are. Example: `maskledger catalog copy --to postgresql://me@db.example.org/maskledger`
    """
    from app.progress import console_progress
    from app.settings import CONFIG_NAME, absolute_url
    from db.engine import database_url
    from pipelines.moving import copy_catalog

    url = absolute_url(to, Path.cwd())
    with workspace_of(context) as ws:
        rows = copy_catalog(ws.bench(progress=console_progress()), url)
        config = ws.root / CONFIG_NAME
    shown = database_url(url).render_as_string(hide_password=True)
    if as_json:
        print_json({"to": shown, "rows": sum(rows.values()), "tables": rows})
        return
    print(f"{shown}: {sum(rows.values())} rows in {len(rows)} tables copied, and every row compared: equal")
    print(
        f"To work on the copy from now on, set [catalog] url in {config}, or MASKLEDGER_DATABASE_URL, to it;"
    )
    print("what is written to the old catalog from now on is not in the copy.")


@source_app.command("add")
def source_add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The dataset's name, e.g. KiTS.")],
    licence: Annotated[str | None, typer.Option(help="E.g. 'CC BY-NC-SA 4.0'.")] = None,
    citation: Annotated[str | None, typer.Option(help="How to cite it.")] = None,
    image_root: Annotated[Path | None, typer.Option(help="Folder that holds its images.")] = None,
) -> None:
    """Make a source known, or complete what is known of it. `ingest` does it by itself, too."""
    from pipelines.moving import add_source

    with workspace_of(context) as ws:
        add_source(ws.bench(), name, licence=licence, citation=citation, image_root=image_root)
    print(f"{name}: known")


@source_app.command("list")
def source_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the sources with licence, image root and number of cases."""
    from db import queries

    with workspace_of(context) as ws, ws.catalog.reading() as session:
        rows = queries.sources(session)
    if as_json:
        print_json(
            {
                "sources": [
                    {"source": r.name, "cases": r.cases, "licence": r.licence, "image_root": r.image_root}
                    for r in rows
                ]
            }
        )
    elif not rows:
        print("no source yet; take one in with: maskledger ingest --source NAME --labels DIR")
    else:
        print_table(
            ("source", "cases", "licence", "images under"),
            [(r.name, r.cases, r.licence or "–", r.image_root or "–") for r in rows],
            numeric=(1,),
        )


@source_app.command("move")
def source_move(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A known source.")],
    new_root: Annotated[Path, typer.Argument(help="Where its images lie now.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also where none of its images is there yet.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say where a source's images lie now (a disk moved). Nothing is copied.

    Example: `maskledger source move KiTS /mnt/new/kits/images`
    """
    from pipelines.moving import move_source

    with workspace_of(context) as ws:
        moved = move_source(ws.bench(), name, new_root, force=force)
    if as_json:
        print_json(
            {"source": name, "image_root": str(moved.root), "found": moved.found, "images": moved.images}
        )
        return
    print(f"{name}: {moved.found} of {moved.images} images are under {moved.root}")
    for path in moved.absent:
        print(f"note: {moved.root / path}: not there", file=sys.stderr)
