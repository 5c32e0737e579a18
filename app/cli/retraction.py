"""Commands for when something turns out to be bad or may not be kept: take labels back, delete a patient's data."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import CaseArgument, JobsOption, JsonOption, finish, print_json, workspace_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.descent import LabelledVersion
    from db.retractions import Subject
    from pipelines.purge import Purge
    from pipelines.retract import Consequences

# A list longer than this is for programs: --json has all of it.
SHOWN = 20

retract_app = typer.Typer(
    no_args_is_help=True,
    help="Take back what a model, a run, a prediction or a source revision has drawn.",
)

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="List what would happen; change nothing.")]
AcceptedOption = Annotated[
    bool, typer.Option("--include-accepted", help="Also take out classes that a person accepted.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(retract_app, name="retract", rich_help_panel="Versions")
    app.command(rich_help_panel="Upkeep")(purge)


@retract_app.command("model")
def retract_model(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A model.")],
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    include_accepted: AcceptedOption = False,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the labels of a model out of all newest versions; it fills nothing any more.

    Datasets and models that have learned from them are marked tainted; nothing is deleted.

    Example: `maskledger retract model teacher --reason "trained on test cases" --dry-run`
    """
    from db.retractions import model_subject

    _retract(context, partial(model_subject, name=name), reason, dry_run, include_accepted, jobs, as_json)


@retract_app.command("run")
def retract_run(
    context: typer.Context,
    run: Annotated[int, typer.Argument(metavar="ID", help="Its number, as `history` and `log` show it.")],
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    include_accepted: AcceptedOption = False,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take out what one run drew: an ingest from the wrong folder, a complement by mistake.

    The predictions that it made count no more; models that it trained are marked tainted.

    Example: `maskledger retract run 7 --reason "wrong folder"`
    """
    from db.retractions import run_subject

    _retract(context, partial(run_subject, run_id=run), reason, dry_run, include_accepted, jobs, as_json)


@retract_app.command("prediction")
def retract_prediction(
    context: typer.Context,
    case: CaseArgument,
    model: Annotated[str, typer.Option("--model", help="Whose newest prediction for the case is bad.")],
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    include_accepted: AcceptedOption = False,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take out what one prediction filled in one case.

    Example: `maskledger retract prediction KiTS/case_00000 --model teacher --reason "image was flipped"`
    """
    from db.retractions import prediction_subject

    find = partial(prediction_subject, case=case, model=model)
    _retract(context, find, reason, dry_run, include_accepted, jobs, as_json)


@retract_app.command("revision")
def retract_revision(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="The source, e.g. KiTS.")],
    revision: Annotated[str, typer.Argument(help="Its revision, e.g. 2019.")],
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    include_accepted: AcceptedOption = False,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take out the classes that a source drew in one of its revisions. They are missing then.

    What an older revision had drawn in their place does not come back by itself; `revert` brings it back.

    Example: `maskledger retract revision KiTS 2023 --reason "shifted by one slice" --dry-run`
    """
    from db.retractions import revision_subject

    find = partial(revision_subject, source=source, revision=revision)
    _retract(context, find, reason, dry_run, include_accepted, jobs, as_json)


def _retract(
    context: typer.Context,
    find: "Callable[[Session], Subject]",
    reason: str,
    dry_run: bool,
    include_accepted: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    from app.progress import console_progress
    from pipelines.retract import consequences
    from pipelines.retract import retract as run_retract

    with workspace_of(context) as ws:
        bench = ws.bench(jobs=jobs, progress=console_progress())
        if dry_run:
            found = consequences(bench, find, include_accepted=include_accepted)
        else:
            outcome = run_retract(bench, find, reason, include_accepted=include_accepted)
    if not dry_run:
        finish(outcome, "retract", as_json)
    elif as_json:
        print_json(_consequences_json(found))
    else:
        _print_consequences(found)


def _consequences_json(found: "Consequences") -> dict[str, Any]:
    descent = found.descent
    return {
        "retract": found.subject.title,
        "retracted_before": found.known,
        "predictions": descent.predictions,
        "versions": [_version_json(version) for version in descent.versions],
        "taken_out": _classes_json(found, found.taken_out),
        "left_in": _classes_json(found, found.left_in),
        "source_masks": len(found.source_masks),
        "datasets": [dataset.name for dataset in descent.datasets],
        "models": [model.name for model in descent.models],
        "later_predictions": descent.later_predictions,
        "later_versions": [_version_json(version) for version in descent.later_versions],
        "evaluations": [
            {"model": e.model, "case": e.case, "protocol": e.protocol, "classes": e.classes}
            for e in descent.evaluations
        ],
    }


def _version_json(version: "LabelledVersion") -> dict[str, Any]:
    return {
        "case": version.address,
        "version": version.number,
        "newest": version.newest,
        "classes": _names(version.classes),
    }


def _classes_json(found: "Consequences", classes: Mapping[int, frozenset[int]]) -> list[dict[str, Any]]:
    return [
        {"case": version.address, "version": version.number, "classes": _names(classes[version_id])}
        for version_id, version in found.newest.items()
        if version_id in classes
    ]


def _names(class_ids: Iterable[int]) -> list[str]:
    from curation.labels import BY_ID

    return [BY_ID[class_id].name for class_id in sorted(class_ids)]


def _print_consequences(found: "Consequences") -> None:
    descent = found.descent
    print(
        f"{found.subject.title}: {'retracted before; ' if found.known else ''}nothing is changed by a dry run"
    )
    _print_list("classes to be taken out of newest versions", _case_lines(found, found.taken_out))
    _print_list(
        "accepted classes that stay (--include-accepted takes them out, too)",
        _case_lines(found, found.left_in),
    )
    if found.source_masks:
        print(
            f"\n{len(found.source_masks)} newest versions lose what else came with the source's mask: "
            "unresolved and ignored voxels, absent by protocol"
        )
    _print_list("versions that carry its labels", _version_lines(descent.versions))
    _print_counts("predictions", descent.predictions)
    _print_list("datasets to be marked tainted", [dataset.name for dataset in descent.datasets])
    _print_list("models to be marked tainted", [model.name for model in descent.models])
    _print_counts("predictions of these models", descent.later_predictions)
    _print_list("versions that carry labels of these models", _version_lines(descent.later_versions))
    _print_list(
        "scores",
        [f"{e.model} on {e.case} ({e.protocol}): {e.classes} classes" for e in descent.evaluations],
    )


def purge(
    context: typer.Context,
    patient: Annotated[
        str, typer.Option("--patient", help="As `cases 'patient = \"…\"'` finds it; by default SOURCE/NAME.")
    ],
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete everything that is held of a patient, for ever: consent was withdrawn.

    Masks, predictions, copies under runs/ and all that the catalog says of the cases go; a tombstone stays
    and keeps them from being ingested again. Your own images, exports and backups are named, not touched.

    Example: `maskledger purge --patient P0042 --reason "consent withdrawn" --dry-run`
    """
    from app.progress import console_progress
    from pipelines.purge import look_up
    from pipelines.purge import purge as run_purge

    with workspace_of(context) as ws:
        bench = ws.bench(progress=console_progress())
        found = look_up(bench, patient)
        if dry_run:
            print_json(_purge_json(found)) if as_json else _print_purge(found)
            return
        if not yes:
            _ask(found, as_json)
        outcome = run_purge(bench, patient, reason)
    finish(outcome, "purge", as_json)


def _ask(found: "Purge", as_json: bool) -> None:
    """Let a person at a terminal type the patient's name; nobody else may leave --yes out."""
    from curation.errors import UsageError

    if as_json or not sys.stdin.isatty():
        raise UsageError("a purge cannot be undone: look at it with --dry-run, then say --yes")
    _print_purge(found)
    if typer.prompt("\nThis cannot be undone. Type the patient's name to delete all of it") != found.patient:
        raise UsageError("that is another name; nothing was deleted")


def _purge_json(found: "Purge") -> dict[str, Any]:
    return {
        "patient": found.patient,
        "cases": [{"case": case.address, "purged_before": case.purged} for case in found.cases],
        "files": len(found.stored),
        "bytes": sum(found.stored.values()),
        "kept_for_others": len(found.holdings.shared),
        "predictions": found.holdings.predictions,
        "copies": [str(path) for path in found.copies],
        "datasets": found.holdings.datasets,
        "models": found.holdings.models,
        "exports": found.holdings.exports,
        "own_files": [str(file) for file in found.holdings.files if file.exists()],
    }


def _print_purge(found: "Purge") -> None:
    mb = sum(found.stored.values()) / 1e6
    print(f"patient {found.patient}: {len(found.stored)} stored files of {mb:.1f} MB would be deleted")
    if found.holdings.shared:
        print(f"{len(found.holdings.shared)} more stay, because another case stands on the very same bytes")
    _print_list(
        "cases", [f"{case.address}{' (purged before)' if case.purged else ''}" for case in found.cases]
    )
    _print_counts("predictions", found.holdings.predictions)
    _print_list("copies under runs/ to be deleted", [str(path) for path in found.copies])
    _print_list("datasets that have them as members; they keep the address alone", found.holdings.datasets)
    _print_list("left to you", found.left_to_the_person)


def _case_lines(found: "Consequences", classes: Mapping[int, frozenset[int]]) -> list[str]:
    return [
        f"{one['case']}@{one['version']}: {', '.join(one['classes'])}"
        for one in _classes_json(found, classes)
    ]


def _version_lines(versions: "tuple[LabelledVersion, ...]") -> list[str]:
    return [
        f"{v.address}@{v.number}{' (newest)' if v.newest else ''}: {', '.join(_names(v.classes))}"
        for v in versions
    ]


def _print_counts(title: str, predictions: Mapping[str, int]) -> None:
    """How many predictions there are, by model."""
    if predictions:
        by_model = ", ".join(f"{n} of {model}" for model, n in predictions.items())
        print(f"\n{title}: {sum(predictions.values())} ({by_model})")


def _print_list(title: str, lines: Sequence[str]) -> None:
    """A heading with its count, and the first lines of a list; nothing where there is nothing to tell."""
    if not lines:
        return
    print(f"\n{title}: {len(lines)}")
    for line in lines[:SHOWN]:
        print(f"  {line}")
    if len(lines) > SHOWN:
        print(f"  … and {len(lines) - SHOWN} more; --json lists all")
