"""Commands on frozen training sets."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import JobsOption, JsonOption, print_json, print_table, workspace_of

if TYPE_CHECKING:
    from db.datasets import DatasetVersionRow
    from pipelines.dataset_diff import DatasetDiff

# A list longer than this is cut in text; --json has all of it.
SHOWN = 20

dataset_app = typer.Typer(
    no_args_is_help=True, help="Frozen training sets: freeze, list, show, diff, export."
)


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
    licence: Annotated[
        list[str] | None,
        typer.Option(
            "--licence", metavar="PATTERN", help='Only cases of this licence, e.g. "CC BY*"; repeatable.'
        ),
    ] = None,
    exclude_licence: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude-licence", metavar="PATTERN", help='No cases of this licence, e.g. "*NC*"; repeatable.'
        ),
    ] = None,
    include_test: Annotated[bool, typer.Option(help="Also take cases of role test.")] = False,
    message: Annotated[str, typer.Option("--message", "-m", help="Why.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Fix a training set: the cases of a query, each at its newest version, with split and manifest hash.

    Frozen means frozen: later changes of masks do not touch it. Freezing the same again gives the same version.
    Splits and folds keep a patient's cases together, draw from every source and from strong and weak
    cases alike, and are the same for the same seed.

    The licence of a case, else of its source, is asked for by patterns, which become part of the frozen query.
    A case whose licence nobody stated is left out by `--licence` and kept by `--exclude-licence`.

    Example: `maskledger dataset freeze strong "strong" --val 0.2`

    Example: `maskledger dataset freeze open "complete" --folds 5 --licence "CC*" --exclude-licence "*NC*"`
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
                licences=tuple(licence or ()),
                without_licences=tuple(exclude_licence or ()),
            ),
        )
    if as_json:
        print_json(
            {
                "dataset": frozen.address,
                "query": frozen.query,
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
    """List all datasets and their versions; says which are tainted by a retraction or lost members to a purge."""
    from db import datasets

    with workspace_of(context) as ws, ws.catalog.reading() as session:
        rows = datasets.datasets(session)
    if as_json:
        print_json({"datasets": [version_json(row) for row in rows]})
    elif not rows:
        print('no dataset yet; make one with: maskledger dataset freeze NAME "strong" --val 0.2')
    else:
        print_table(
            ("dataset", "members", "origins", "query", "manifest", "by", "when (UTC)", "beware"),
            [
                (
                    row.address, row.members, ",".join(row.origins), row.query, row.manifest_hash[:12],
                    row.author, f"{row.created_at:%Y-%m-%d %H:%M}", _beware(row),
                )
                for row in rows
            ],
            numeric=(1,),
        )  # fmt: skip


def _beware(row: "DatasetVersionRow") -> str:
    purged = [f"{row.purged} purged"] if row.purged else []
    return ", ".join((["tainted"] if row.taints else []) + purged)


def version_json(row: "DatasetVersionRow") -> dict[str, object]:
    """A frozen dataset without its members, as JSON values."""
    return {
        "dataset": row.address,
        "query": row.query,
        "origins": list(row.origins),
        "val_share": row.val_share,
        "folds": row.folds,
        "seed": row.seed,
        "members": row.members,
        "purged": row.purged,
        "taints": [
            {
                "retraction": taint.retraction_id,
                "subject": taint.subject,
                "reason": taint.reason,
                "person": taint.person,
                "created_at": taint.created_at.isoformat(),
            }
            for taint in row.taints
        ],
        "manifest_hash": row.manifest_hash,
        "author": row.author,
        "message": row.message,
        "created_at": row.created_at.isoformat(),
    }


@dataset_app.command()
def show(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="NAME[@N]", help="Default the newest version.")],
    as_json: JsonOption = False,
) -> None:
    """Show one frozen dataset: query, origins, and every member with version, split, fold and licence.

    Says, too, whether something that it descends from was retracted, and how many members were purged.
    """
    from db import datasets, freezing

    with workspace_of(context) as ws, ws.catalog.reading() as session:
        version = datasets.dataset_version(session, dataset)
        members = freezing.frozen_members(session, version.id)
    if as_json:
        described = [
            {
                "case": member.address,
                "version": member.number,
                "patient": member.patient,
                "licence": member.licence,
                "split": member.split,
                "fold": member.fold,
                "purged": member.purged,
            }
            for member in members
        ]
        print_json(version_json(version) | {"members": described})
        return
    print(
        f"{version.address}  query: {version.query}  origins: {','.join(version.origins)}  seed: {version.seed}"
    )
    print(f"manifest {version.manifest_hash}")
    for taint in version.taints:
        print(f"tainted: {taint.sentence}")
    if version.purged:
        print(f"{version.purged} of {version.members} members were purged: nothing is left of them")
    print_table(
        ("case", "version", "split", "fold", "labels", "missing", "licence"),
        [
            (
                member.address, member.number, member.split, "–" if member.fold is None else member.fold,
                *(("–", "–") if member.purged else (len(member.states.annotated), len(member.states.missing()))),
                "purged" if member.purged else member.licence or "–",
            )
            for member in members
        ],
        numeric=(1, 4, 5),
    )  # fmt: skip


@dataset_app.command()
def diff(
    context: typer.Context,
    before: Annotated[str, typer.Argument(metavar="NAME[@N]", help="The earlier one.")],
    after: Annotated[str, typer.Argument(metavar="NAME[@N]", help="The later one, or another dataset.")],
    as_json: JsonOption = False,
) -> None:
    """Compare two frozen datasets: settings, members added and removed, at another version, moved in the split.

    Of a member at another version it says which classes changed status or origin; `maskledger diff` shows
    the voxels of one case.

    Example: `maskledger dataset diff all@1 all@2`
    """
    from pipelines.dataset_diff import diff_datasets

    with workspace_of(context) as ws:
        found = diff_datasets(ws.bench(), before, after)
    if as_json:
        print_json(_diff_json(found))
    else:
        _print_diff(found)


def _diff_json(found: "DatasetDiff") -> dict[str, object]:
    return {
        "before": found.before.address,
        "after": found.after.address,
        "same": found.same,
        "settings": {name: list(pair) for name, pair in found.settings.items()},
        "added": list(found.added),
        "removed": list(found.removed),
        "redrawn": [
            {
                "case": member.case,
                "version": [member.before, member.after],
                "same_voxels": member.same_voxels,
                "classes": {name: list(pair) for name, pair in member.classes.items()},
            }
            for member in found.redrawn
        ],
        "moved": [
            {
                "case": member.case,
                "split": [member.before[0], member.after[0]],
                "fold": [member.before[1], member.after[1]],
            }
            for member in found.moved
        ],
        "restated": [
            {"case": said.case, "what": said.what, "value": [said.before, said.after]}
            for said in found.restated
        ],
    }


def _print_diff(found: "DatasetDiff") -> None:
    print(
        f"{found.before.address} → {found.after.address}: "
        + (
            "the same training set"
            if found.same
            else f"{len(found.added)} added, {len(found.removed)} removed, {len(found.redrawn)} at another "
            f"version, {len(found.moved)} moved in the split; {found.before.members} → {found.after.members} members"
        )
    )
    for name, (a, b) in found.settings.items():
        print(f"{name}: {_setting(a)} → {_setting(b)}")
    _print_some("added", found.added)
    _print_some("removed", found.removed)
    _print_some("at another version", _redrawn_lines(found))
    _print_some(
        "moved",
        [f"{member.case}  {_place(*member.before)} → {_place(*member.after)}" for member in found.moved],
    )
    _print_some(
        "restated",
        [
            f"{said.case}  {said.what}: {said.before or 'none'} → {said.after or 'none'}"
            for said in found.restated
        ],
    )


def _redrawn_lines(found: "DatasetDiff") -> list[str]:
    return [
        f"{member.case}  @{member.before} → @{member.after}  "
        + (
            ", ".join(f"{name}: {a} → {b}" for name, (a, b) in member.classes.items())
            or ("the same voxels" if member.same_voxels else "redrawn by the same origins")
        )
        for member in found.redrawn
    ]


def _setting(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def _place(split: str, fold: int | None) -> str:
    return str(split) if fold is None else f"fold {fold}"


def _print_some(title: str, lines: Sequence[str]) -> None:
    if lines:
        print(f"\n{title}:")
    for line in lines[:SHOWN]:
        print(f"  {line}")
    if len(lines) > SHOWN:
        print(f"  … and {len(lines) - SHOWN} more; --json lists them all")


@dataset_app.command()
def export(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="NAME[@N]", help="Default the newest version.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder, e.g. Dataset501_Abdomen.")],
    format_: Annotated[
        str, typer.Option("--format", help="nnunet, monai, manifest or labels; see above.")
    ] = "nnunet",
    missing: Annotated[
        str,
        typer.Option("--missing", help="Background where classes are missing: background, ignore or refuse."),
    ] = "background",
    unresolved: Annotated[
        str, typer.Option("--unresolved", help="Voxels that carry no class: ignore or refuse.")
    ] = "ignore",
    copy: Annotated[bool, typer.Option("--copy", help="Copies where links would do.")] = False,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a frozen dataset into a new folder, whole or not at all; the same version twice is byte-identical.

    **nnunet**: `imagesTr`, `labelsTr`, `dataset.json` and the frozen split as `splits_final.json`. Name the folder
    `DatasetNNN_NAME` and put it into `nnUNet_raw`; check it with `nnUNetv2_plan_and_preprocess
    --verify_dataset_integrity`.

    **monai**: `imagesTr`, `labelsTr` and `datalist.json` for `monai.data.load_decathlon_datalist` and Auto3DSeg, with
    fold, known classes, missing classes and origins of every case.

    **manifest**: no masks, but a table as `manifest.parquet` and `manifest.csv`: a row per case with split, licence,
    citation, hashes, every class's status, origin, model and volume, and the lineage.

    **labels**: the masks alone, `NAME.nii.gz`.

    Masks hold 0 (background), 1 to 14 (the classes) and 15: ignore, nnU-Net's highest value + 1, where there is
    any. Classes of origins that the dataset leaves out are background. `--missing` says what background is in cases
    with missing classes: `background` as in the paper, `ignore` (all of it becomes 15) or `refuse`. `--unresolved` says
    what unresolved sides and ignored voxels are: `ignore` (15) or `refuse`.

    Images, and masks whose bytes need no change, are links where the file system can link (`--copy`: copies).
    `maskledger.json` says what was exported and how; `maskledger log` keeps where it went.

    Example: `maskledger dataset export strong@1 nnUNet_raw/Dataset501_Strong --format nnunet --missing ignore`
    """
    from app.progress import console_progress
    from pipelines.export import export as run_export
    from pipelines.exports.request import ExportRequest, Format, MissingPolicy, UnresolvedPolicy

    request = ExportRequest(
        dataset=dataset,
        folder=folder,
        format=Format(_one_of("--format", format_, [*Format])),
        missing=MissingPolicy(_one_of("--missing", missing, [*MissingPolicy])),
        unresolved=UnresolvedPolicy(_one_of("--unresolved", unresolved, [*UnresolvedPolicy])),
        copy=copy,
    )
    with workspace_of(context) as ws:
        done = run_export(ws.bench(jobs=jobs, progress=console_progress()), request)
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        print_json(
            {
                "dataset": done.address,
                "folder": str(done.folder),
                "format": request.format,
                "cases": done.cases,
                "links": done.linked,
                "notes": list(done.notes),
            }
        )
    else:
        links = f", {done.linked} files as links" if done.linked else ""
        print(f"{folder}: {done.cases} cases of {done.address} as {request.format}{links}")


def _one_of(option: str, word: str, words: Sequence[str]) -> str:
    from curation.errors import UsageError

    if word not in words:
        raise UsageError(f"{option} '{word}' is none of {', '.join(words)}")
    return word
