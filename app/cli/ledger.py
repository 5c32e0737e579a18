"""Commands on the versions of a case's mask: list them, take one out, compare two, ask who drew what."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import CaseArgument, JsonOption, print_json, print_table, workspace_of


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (history, checkout):
        app.command(rich_help_panel="Versions")(command)


def history(context: typer.Context, case: CaseArgument, as_json: JsonOption = False) -> None:
    """List every version of a case's mask: what made it from which one, who, when, why, and its voxel hash.

    Example: `maskledger history FLARE23/FLARE23_0001`
    """
    from db import queries

    with workspace_of(context) as ws, ws.catalog.reading() as session:
        found = queries.resolve(session, case)
        rows = queries.history(session, found.case_id)
    if as_json:
        print_json(
            {
                "case": found.address,
                "versions": [
                    {
                        "version": r.number, "parent": r.parent, "kind": r.kind, "labels": r.labels,
                        "author": r.author, "message": r.message, "revision": r.revision, "run": r.run_id,
                        "restores": r.restores, "created_at": r.created_at.isoformat(),
                        "incoming_hash": r.incoming_hash, "file_hash": r.file_hash,
                        "voxel_hash": r.voxel_hash,
                    }
                    for r in rows
                ],
            }
        )  # fmt: skip
        return
    print(found.address)
    print_table(
        ("version", "from", "kind", "labels", "by", "when (UTC)", "revision", "run", "voxels", "message"),
        [
            (
                r.number, r.parent or "–", f"{r.kind} to {r.restores}" if r.restores else r.kind, r.labels,
                r.author, f"{r.created_at:%Y-%m-%d %H:%M}", r.revision or "–", r.run_id or "–",
                (r.voxel_hash or "no mask")[:12], r.message,
            )
            for r in rows
        ],
        numeric=(0, 1, 3, 7),
    )  # fmt: skip


def checkout(
    context: typer.Context,
    case: CaseArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="New file, NAME.nii.gz.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a version's mask to a file, exactly as it is stored (default the newest version).

    Example: `maskledger checkout KiTS/case_00000@1 case_00000.nii.gz`
    """
    from pipelines.checkout import checkout as run_checkout

    with workspace_of(context) as ws:
        address = run_checkout(ws.bench(), case, file, replace=force)
    print(f"{file}: {address}")
