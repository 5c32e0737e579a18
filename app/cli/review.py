"""Commands of a review: what needs eyes most, and what a person says of it."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import CaseArgument, JsonOption, print_json, workspace_of

if TYPE_CHECKING:
    from pipelines.review import Reviewed
    from pipelines.worklist import Item

review_app = typer.Typer(
    no_args_is_help=True, help="Look at what needs eyes most; accept, reject, call absent, dismiss."
)
ClassesArgument = Annotated[
    list[str], typer.Argument(metavar="CLASS…", help="Names or aliases, e.g. liver IVC 'left kidney'.")
]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why; kept with the decision.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(review_app, name="review", rich_help_panel="Review and correction")


@review_app.command("list")
def review_list(
    context: typer.Context,
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help='E.g. "pseudo pancreas"; empty: all cases.')
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Rank what needs eyes most: open findings, doubtful, rare and stale classes; every point with its reason.

    A class that a person accepted is not in it, nor a dismissed finding. Points are added up; the weights are in
    `curation/worklist.py`.

    Example: `maskledger review list 'source = "KiTS"' --limit 10`
    """
    from pipelines.worklist import worklist

    with workspace_of(context) as ws:
        found = worklist(ws.bench(), query, limit=limit)
    if as_json:
        print_json({"count": found.total, "items": [_item_json(item) for item in found.items]})
        return
    for place, item in enumerate(found.items, 1):
        drawn = f" ({item.origin}{f', {item.model}' if item.model else ''})" if item.origin else ""
        what = item.class_name or "the whole mask"
        print(f"{place:3}. {item.points:5.1f}  {item.address}@{item.version}  {what}{drawn}")
        for reason in item.reasons:
            print(f"     {reason.points:+5.1f}  {reason.sentence}")
    print(f"{len(found.items)} of {found.total} that may want eyes")


def _item_json(item: "Item") -> dict[str, object]:
    return {
        "case": item.address,
        "version": item.version,
        "class": item.class_name,
        "origin": item.origin,
        "model": item.model,
        "points": item.points,
        "reasons": [
            {"points": r.points, "name": r.name, "reason": r.sentence, "value": r.value, "limit": r.limit}
            for r in item.reasons
        ],
        "confidence": item.candidate.confidence,
        "tta_disagreement": item.candidate.tta_disagreement,
        "agreement": item.candidate.agreement,
        "stale": bool(item.candidate.stale),
        "findings": [
            {"id": f.id, "check": f.check, "severity": f.severity, "value": f.value, "limit": f.limit}
            for f in item.findings
        ],
    }


@review_app.command("accept")
def review_accept(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="CASE CLASS…", help="SOURCE/NAME[@N] and classes; with --query the classes alone."
        ),
    ],
    reason: ReasonOption = "",
    query: Annotated[
        str | None, typer.Option("--query", "-q", help="Accept in all cases that this finds.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --query: only count.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Accept classes as they are drawn: from here on people alone change them.

    CASE@N names the version that you looked at: had a class changed since, nothing is booked.

    Example: `maskledger review accept KiTS/case_00000@2 liver spleen`

    Example: `maskledger review accept --query 'pseudo liver and agreement(liver) > 0.95' liver --reason "seen"`
    """
    from curation.errors import UsageError
    from pipelines.review import accept, accept_many

    with workspace_of(context) as ws:
        if query is None:
            if dry_run:
                raise UsageError("--dry-run counts what --query finds; give --query, or leave it out")
            _print_reviewed(accept(ws.bench(), words[0], words[1:], reason), "accepted", as_json)
            return
        done = accept_many(ws.bench(), query, words, reason, dry_run=dry_run)
    if as_json:
        print_json(
            {
                "dry_run": dry_run, "cases": done.cases, "accepted": done.accepted,
                "already": done.already, "not_drawn": done.not_drawn,
            }
        )  # fmt: skip
        return
    verb = "would accept" if dry_run else "accepted"
    print(
        f"{verb} {done.accepted} drawings in {done.cases} cases; "
        f"{done.already} were accepted before, {done.not_drawn} are not drawn"
    )


@review_app.command("reject")
def review_reject(
    context: typer.Context,
    case: CaseArgument,
    classes: ClassesArgument,
    reason: ReasonOption,
    as_json: JsonOption = False,
) -> None:
    """Take classes out in a new version: they are missing, and the model that drew them does not refill them.

    Example: `maskledger review reject FLARE23/FLARE23_0001 pancreas --reason "is duodenum"`
    """
    from pipelines.review import reject

    with workspace_of(context) as ws:
        _print_reviewed(reject(ws.bench(), case, classes, reason), "rejected", as_json)


@review_app.command("absent")
def review_absent(
    context: typer.Context,
    case: CaseArgument,
    classes: ClassesArgument,
    reason: ReasonOption,
    out_of_field: Annotated[
        bool, typer.Option("--out-of-field", help="The scan does not reach it, so nobody can know.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say that classes are not in the patient; what was drawn of them is taken out in a new version.

    Example: `maskledger review absent FLARE23/FLARE23_0001 gallbladder --reason "cholecystectomy"`
    """
    from pipelines.review import absent

    said = "out of field" if out_of_field else "absent"
    with workspace_of(context) as ws:
        _print_reviewed(absent(ws.bench(), case, classes, reason, out_of_field=out_of_field), said, as_json)


@review_app.command("dismiss")
def review_dismiss(
    context: typer.Context,
    case: CaseArgument,
    reason: ReasonOption,
    check: Annotated[
        str | None, typer.Argument(metavar="FINDING", help="Name of the check, e.g. touches_border.")
    ] = None,
    class_word: Annotated[
        str | None, typer.Option("--class", "-c", help="The class that the finding is about.")
    ] = None,
    finding_id: Annotated[int | None, typer.Option("--id", help="The finding by its number instead.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say that a finding is no problem; it stays dismissed while the class is unchanged.

    Example: `maskledger review dismiss KiTS/case_00000 organ_in_pieces --class liver --reason "resected"`
    """
    from curation.errors import UsageError
    from pipelines.review import dismiss

    if (check is None) == (finding_id is None):
        raise UsageError("name the finding, or give its number with --id; `maskledger show CASE` lists them")
    with workspace_of(context) as ws:
        finding, was_open = dismiss(
            ws.bench(), case, reason, check=check, class_word=class_word, finding_id=finding_id
        )
    if as_json:
        print_json(
            {
                "id": finding.id, "check": finding.check, "class": finding.class_name,
                "dismissed": was_open,
            }
        )  # fmt: skip
        return
    of = finding.class_name or "the whole mask"
    said = "dismissed" if was_open else f"was {finding.state} before; nothing is booked"
    print(f"{case}: {finding.check} of {of} {said}")


def _print_reviewed(done: "Reviewed", what: str, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "case": done.address, "version": done.after, "new_version": done.after != done.before,
                "decided": list(done.decided), "already": list(done.already), "voxels_taken_out": dict(done.voxels),
            }
        )  # fmt: skip
        return
    if done.already:
        print(
            f"{done.address}@{done.before}: {', '.join(done.already)}: {what} before; nothing is booked of it"
        )
    if done.decided:
        taken = [f"{n} voxels of {name}" for name, n in done.voxels.items()]
        out = f"; taken out: {', '.join(taken)}" if taken else ""
        print(f"{done.address}@{done.after}: {what} {', '.join(done.decided)}{out}")
