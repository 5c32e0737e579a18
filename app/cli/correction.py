"""Commands that change a mask by hand: take a correction back, bring an earlier state back."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import CaseArgument, JsonOption, print_json, print_table, workspace_of
from app.cli.review import ReasonOption
from curation.labels import value_name

if TYPE_CHECKING:
    from pipelines.correct import Corrected

PANEL = "Review and correction"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (correct, revert):
        app.command(rich_help_panel=PANEL)(command)


def correct(
    context: typer.Context,
    case: CaseArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The corrected mask, .nii.gz or .nii.")],
    reason: ReasonOption,
    merge: Annotated[
        bool, typer.Option("--merge", help="Where CASE@N is no longer the newest: merge both changes.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take a mask back that was corrected in an annotation tool; only what was changed becomes yours.

    CASE@N names the version that you started from (`checkout` tells it): had somebody changed the case since,
    nothing is written unless --merge merges the two. Flipped or permuted axes are put right, any other grid is refused.
    A class that you erased is missing afterwards, and the model that drew it does not fill it again.

    Example: `maskledger correct KiTS/case_00000@2 to_correct/case_00000_mask.nii.gz --reason "cyst, no tumor"`
    """
    from pipelines.correct import correct as run_correct

    with workspace_of(context) as ws:
        done = run_correct(ws.bench(), case, file, reason, merge_newer=merge, dry_run=dry_run)
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        print_json(_corrected_json(done, dry_run))
    else:
        _print_corrected(done, dry_run)


def _corrected_json(done: "Corrected", dry_run: bool) -> dict[str, object]:
    return {
        "case": done.address,
        "base": done.base,
        "before": done.before,
        "version": done.after,
        "dry_run": dry_run,
        "classes": {
            value_name(c.value): {
                "gained_voxels": c.voxels.gained, "lost_voxels": c.voxels.lost, "gained_ml": c.gained_ml,
                "lost_ml": c.lost_ml, "dice": c.voxels.dice, "status": list(c.status), "origin": list(c.origin),
            }
            for c in done.changes
        },
        "corrected": list(done.corrected),
        "erased": done.erased,
        "no_longer_accepted": list(done.no_longer_accepted),
        "conflicts": [
            {
                "kept": value_name(c.kept), "offered": value_name(c.offered), "voxels": c.voxels,
                "ml": c.voxels * done.voxel_ml, "displaced": c.displaced,
            }
            for c in done.conflicts
        ],
        "notes": list(done.notes),
    }  # fmt: skip


def _print_corrected(done: "Corrected", dry_run: bool) -> None:
    if not done.changes:
        print(f"{done.address}@{done.before}: no voxel differs; nothing is written")
    else:
        head = f"{done.address}@{done.after}" if done.after else f"{done.address}@{done.before}"
        print(
            f"{head}: {'would be' if dry_run else 'is'} corrected: {', '.join(done.corrected) or 'no class'}"
        )
        print_table(
            ("class", "gained ml", "lost ml", "Dice", "before", "after"),
            [
                (
                    value_name(c.value), f"{c.gained_ml:.2f}", f"{c.lost_ml:.2f}", f"{c.voxels.dice:.3f}",
                    c.origin[0] or c.status[0] or "–", c.origin[1] or c.status[1] or "–",
                )
                for c in done.changes
            ],
            numeric=(1, 2, 3),
        )  # fmt: skip
    for name, model in done.erased.items():
        refill = f"; {model} does not fill it again" if model else ""
        print(
            f"{name} was erased altogether: it is missing now{refill}. If it is not in the patient: "
            f'maskledger review absent {done.address} {name} --reason "…"'
        )
    if done.no_longer_accepted:
        print(f"accepted as drawn before, so no longer: {', '.join(done.no_longer_accepted)}")
    if done.conflicts:
        print(f"changed by you and, since version {done.base}, by others:")
        print_table(
            ("kept", "turned away", "voxels", "ml"),
            [
                (value_name(c.kept), value_name(c.offered), c.voxels, f"{c.voxels * done.voxel_ml:.2f}")
                for c in done.conflicts
            ],
            numeric=(2, 3),
        )


def revert(
    context: typer.Context,
    case: Annotated[str, typer.Argument(metavar="CASE@N", help="The version to bring back.")],
    reason: ReasonOption,
    parent: Annotated[
        int | None,
        typer.Option(
            "--parent", min=1, help="The newest version as you know it; had another come, nothing is done."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring an earlier version back as a new one, with everything that was known of it.

    Example: `maskledger revert KiTS/case_00000@1 --reason "complemented from the wrong model"`
    """
    from pipelines.revert import revert as run_revert

    with workspace_of(context) as ws:
        done = run_revert(ws.bench(), case, reason, parent=parent)
    if as_json:
        print_json(
            {
                "case": done.address, "version": done.after, "restored": done.restored,
                "before": done.before, "stale": list(done.stale),
            }
        )  # fmt: skip
        return
    print(f"{done.address}@{done.after}: as version {done.restored} was, after version {done.before}")
    if done.stale:
        print(f"stale, because what they stand on was revised or retracted since: {', '.join(done.stale)}")
