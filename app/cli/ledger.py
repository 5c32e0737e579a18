"""Commands on the versions of a case's mask: list them, take one out, compare two, ask who drew what."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import CaseArgument, JsonOption, print_json, print_table, workspace_of
from curation.labels import is_reserved, value_name

if TYPE_CHECKING:
    from pipelines.blame import Traced
    from pipelines.changes import Comparison, ValueDiff

ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (history, diff, blame, checkout):
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


def diff(
    context: typer.Context,
    first: Annotated[
        str, typer.Argument(metavar="CASE@N", help="The version before; alone: compare its parent with it.")
    ],
    second: Annotated[
        str | None, typer.Argument(metavar="CASE@M", help="The version after, of the same case.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Draw the most changed classes, too.")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare two versions of a case: per class voxels and ml gained and lost, Dice, status and origin.

    Example: `maskledger diff KiTS/case_00023@1 KiTS/case_00023@2 --png case_00023.png`
    """
    from pipelines.changes import compare, draw

    with workspace_of(context) as ws:
        bench = ws.bench()
        compared = compare(bench, first, second)
        drawn_without = draw(compared, png, replace=force) if png else None
    if drawn_without:
        print(f"note: {drawn_without}", file=sys.stderr)
    if as_json:
        print_json(
            {
                "from": compared.before.address,
                "to": compared.after.address,
                "classes": {value_name(v): _diff_json(one) for v, one in compared.classes.items()},
                "reserved": {
                    value_name(v): {"value": v, **_diff_json(one)} for v, one in compared.reserved.items()
                },
            }
        )
    else:
        _print_diff(compared)
        if png:
            print(f"\n{png}: drawn")


def _diff_json(one: "ValueDiff") -> dict[str, Any]:
    found = {
        "gained_voxels": one.voxels.gained,
        "lost_voxels": one.voxels.lost,
        "gained_ml": one.gained_ml,
        "lost_ml": one.lost_ml,
        "dice": one.voxels.dice,
    }
    if one.status == (None, None):  # a reserved value
        return found
    return found | {"origin": one.origin, "status": one.status, "by": one.by}


def _print_diff(compared: "Comparison") -> None:
    for word, side in (("from", compared.before), ("to", compared.after)):
        row = side.row
        made = f"{row.kind} {row.revision}" if row.revision else row.kind
        why = f": {row.message}" if row.message else ""
        print(f"{word:5}{side.address}  {made}, {row.author}, {row.created_at:%Y-%m-%d %H:%M}{why}")
    rows = [*compared.classes.values(), *compared.reserved.values()]
    if not rows:
        print("\nnothing differs: every class has the same voxels, status and origin")
        return
    print()
    print_table(
        ("class", "before", "after", "gained", "lost", "gained ml", "lost ml", "Dice"),
        [
            (
                value_name(one.value), _state(one, 0), _state(one, 1), one.voxels.gained, one.voxels.lost,
                f"{one.gained_ml:.2f}", f"{one.lost_ml:.2f}", f"{one.voxels.dice:.4f}",
            )
            for one in rows
        ],
        numeric=(3, 4, 5, 6, 7),
    )  # fmt: skip


def _state(one: "ValueDiff", side: int) -> str:
    """Who drew a class, or why it is not drawn."""
    words: Sequence[str | None] = (one.origin[side], one.by[side])
    return " ".join(filter(None, words)) or one.status[side] or "–"


def blame(
    context: typer.Context,
    case: CaseArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Label map of who drew which voxel, NAME.nii.gz, with legend."
        ),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Tell which version, and so which source, model or person, put each voxel of a mask there.

    A voxel belongs to the version in which it took its present class and has kept it since. With --out the label
    map has NAME.legend.csv, NAME.label.txt (ITK-SNAP) and NAME.ctbl (3D Slicer) beside it.

    Example: `maskledger blame KiTS/case_00023 --out who.nii.gz`
    """
    from pipelines.blame import trace, write_label_map

    with workspace_of(context) as ws:
        traced = trace(ws.bench(), case)
        written = write_label_map(traced, out, replace=force) if out else []
    if as_json:
        print_json(_blame_json(traced))
        return
    _print_blame(traced)
    if written:
        print(f"\n{out}: written, with {', '.join(path.name for path in written[1:])}")


def _blame_json(traced: "Traced") -> dict[str, Any]:
    classes: dict[str, list[dict[str, Any]]] = {}
    reserved: dict[str, list[dict[str, Any]]] = {}
    for share in traced.shares:
        group = reserved if is_reserved(share.value) else classes
        group.setdefault(value_name(share.value), []).append(
            {
                "value": share.hand.value, "version": share.hand.version, "voxels": share.voxels,
                "ml": share.ml, "share": share.share,
            }
        )  # fmt: skip
    return {
        "case": traced.address,
        "version": traced.number,
        "legend": [
            {
                "value": h.value, "color": h.color, "version": h.version, "kind": h.kind, "origin": h.origin,
                "who": h.who, "run": h.run, "author": h.author, "when": h.when.isoformat(),
                "message": h.message, "voxels": h.voxels, "ml": h.ml,
            }
            for h in traced.hands
        ],
        "classes": classes,
        "reserved": reserved,
    }  # fmt: skip


def _print_blame(traced: "Traced") -> None:
    print(f"{traced.address}@{traced.number}")
    if not traced.shares:
        print("nothing is drawn")
        return
    print_table(
        ("class", "version", "kind", "origin", "drawn by", "run", "voxels", "ml", "share", "value"),
        [
            (
                value_name(s.value), s.hand.version, s.hand.kind, s.hand.origin, s.hand.who,
                s.hand.run or "–", s.voxels, f"{s.ml:.2f}", f"{100 * s.share:.1f} %", s.hand.value,
            )
            for s in traced.shares
        ],
        numeric=(1, 5, 6, 7, 8, 9),
    )  # fmt: skip


def checkout(
    context: typer.Context,
    case: CaseArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="New file, NAME.nii.gz; with --for a new folder.")
    ],
    tool: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="TOOL", help="itksnap or slicer: image, mask and label names in a folder."
        ),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a version's mask to a file, exactly as it is stored (default the newest version).

    With --for a folder for an annotation tool: image and mask on exactly the same grid, and names and colors of
    the labels; and it says how to open it and how to take the correction back.

    Example: `maskledger checkout KiTS/case_00000@1 case_00000.nii.gz`

    Example: `maskledger checkout KiTS/case_00000 to_correct --for itksnap`
    """
    from curation.errors import UsageError
    from pipelines.checkout import Tool, checkout_for
    from pipelines.checkout import checkout as run_checkout

    if tool is None:
        with workspace_of(context) as ws:
            address = run_checkout(ws.bench(), case, file, replace=force)
        if as_json:
            print_json({"case": address, "mask": str(file)})
        else:
            print(f"{file}: {address}")
        return
    if tool not in set(Tool):
        raise UsageError(f"--for '{tool}' is neither 'itksnap' nor 'slicer'; use one of them")
    if force:
        raise UsageError("--force replaces a file; --for writes a new folder, so give a new name")
    with workspace_of(context) as ws:
        written = checkout_for(ws.bench(), case, file, Tool(tool))
    if written.note:
        print(f"note: {written.note}", file=sys.stderr)
    if as_json:
        print_json(
            {
                "case": written.address, "image": str(written.image) if written.image else None,
                "mask": str(written.mask), "labels": str(written.labels), "open": written.open_with,
                "take_back": written.take_back,
            }
        )  # fmt: skip
        return
    print(f"{file}: {written.address}")
    print(f"open:      {written.open_with}")
    print(f"take back: {written.take_back}")
