"""The command that reads a source's cases anew when its mapping or protocol changed."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import JobsOption, JsonOption, finish, load_mapping, print_json, print_table, workspace_of

if TYPE_CHECKING:
    from pipelines.rederive import ClassChange, Plan


def register(source_app: typer.Typer) -> None:
    """Add the command of this module to the group `source`."""
    source_app.command("rederive")(rederive)


def rederive(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A known source, e.g. KiTS.")],
    revision: Annotated[
        str | None, typer.Option("--revision", help="Which of its revisions, where there are several.")
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            "--mapping",
            help="What its label values and protocol are from now on: one of `source mappings`, or FILE.toml; "
            "default what the revision has.",
        ),
    ] = None,
    case_list: Annotated[
        Path | None,
        typer.Option(
            "--cases", metavar="CSV", help="Case list as for ingest; `classes`: what was looked for per case."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only tell which cases would change and how; nothing is written."),
    ] = False,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a source's masks anew by another mapping or protocol, from the files kept when they came in.

    For a mapping that was wrong, or a protocol that became known. The user's files are not needed. A case gets a
    new version where voxels, a status or its evidence change; pseudo labels, corrections and people's decisions
    are kept as they are when a later revision comes in. What came in under a later revision since stays as it is.

    Afterwards the revision has the new mapping. Stopped on the way, the same command does what is left. Cases that
    the mapping does not fit are refused (exit code 1); until they fit, the revision keeps its mapping.

    Examples: `maskledger source rederive KiTS --revision 2019 --mapping ours.toml --dry-run`,
    `maskledger source rederive FLARE23 --cases cases.csv`
    """
    from app.progress import console_progress
    from pipelines.rederive import RederiveRequest, plan
    from pipelines.rederive import rederive as run_rederive

    request = RederiveRequest(source, revision, load_mapping(mapping) if mapping else None, case_list)
    with workspace_of(context) as ws:
        bench = ws.bench(jobs=jobs, progress=console_progress(quiet=as_json))
        if not dry_run:
            finish(run_rederive(bench, request), f"rederive {source}", as_json)
            return
        found = plan(bench, request)
    for line in found.refused:
        print(f"refused: {line}", file=sys.stderr)
    if as_json:
        print_json(_facts(found))
    else:
        _print(found)
    if found.refused:
        raise typer.Exit(1)


def _facts(found: "Plan") -> dict[str, Any]:
    return {
        "dry_run": True,
        "source": found.source,
        "revision": found.revision,
        "mapping": found.mapping,
        "cases": found.cases,
        "on_a_later_revision": found.later,
        "purged": found.purged,
        "count": len(found.changes),
        "changes": [
            {
                "case": change.address,
                "classes": {
                    name: {
                        "before": _state(one.before),
                        "after": _state(one.after),
                        "gained_voxels": one.gained,
                        "lost_voxels": one.lost,
                        "outside_protocol": one.outside,
                    }
                    for name, one in change.classes.items()
                },
            }
            for change in found.changes
        ],
        "refused": found.refused,
    }


def _state(said: tuple[Any, Any, Any] | None) -> dict[str, str | None] | None:
    if said is None:
        return None
    status, origin, evidence = said
    return {"status": str(status), "origin": str(origin) if origin else None, "evidence": str(evidence)}


def _print(found: "Plan") -> None:
    print(
        f"{found.source}, revision {found.revision}, read by '{found.mapping}': {len(found.changes)} of "
        f"{found.cases} cases would change"
    )
    if found.later:
        print(f"{found.later} more stand on a later revision and stay as they are")
    if found.purged:
        print(f"{found.purged} purged: nothing of them is left to be read")
    if not found.changes:
        return
    cases: Counter[tuple[str, str]] = Counter()
    gained: Counter[tuple[str, str]] = Counter()
    lost: Counter[tuple[str, str]] = Counter()
    for change in found.changes:
        for name, one in change.classes.items():
            row = (name, _words(one))
            cases[row] += 1
            gained[row] += one.gained
            lost[row] += one.lost
    print()
    print_table(
        ("class", "what it becomes", "cases", "gained", "lost"),
        [(*row, f"{n:,}", f"{gained[row]:,}", f"{lost[row]:,}") for row, n in sorted(cases.items())],
        numeric=(2, 3, 4),
    )
    print("\ngained and lost are voxels; a new version for each of:")
    for change in found.changes:
        print(f"  {change.address}: {', '.join(change.classes)}")


def _words(change: "ClassChange") -> str:
    """E.g. ``missing → absent (protocol)``."""
    if change.before is None or change.after is None:
        return "no class: unresolved or ignored"
    before, after = (_word(said) for said in (change.before, change.after))
    told = f"{before} → {after}" if before != after else before
    if before == after and (change.gained or change.lost):
        told += ", drawn differently"
    if change.outside is not None:
        told += f", {'outside' if change.outside else 'now inside'} the protocol"
    return told


def _word(said: tuple[Any, Any, Any]) -> str:
    status, origin, evidence = said
    return f"{status} ({(origin or evidence).replace('_', ' ')})"
