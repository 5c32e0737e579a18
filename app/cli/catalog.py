"""Commands on the catalog: make one, take files in, ask what is there, look at one case."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import (
    CaseArgument,
    JobsOption,
    JsonOption,
    MappingOption,
    finish,
    load_mapping,
    print_json,
    print_table,
    workspace_of,
)

QueryArgument = Annotated[
    str, typer.Argument(metavar="QUERY", help='E.g. "missing pancreas and has tumor"; empty: all cases.')
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel="Catalog")(init)
    for command in (ingest, census, cases, show, quality):
        app.command(rich_help_panel="Catalog")(command)


def init(context: typer.Context) -> None:
    """Make a workspace (maskledger.toml, catalog, store), or bring an old catalog up to date.

    Example: `maskledger --workspace abdomen init`
    """
    from app.workspace import create_workspace

    root, new = create_workspace(Path(context.obj.workspace) if context.obj.workspace else None)
    print(f"{root}: {'new workspace' if new else 'workspace is up to date'}")


def ingest(
    context: typer.Context,
    source: Annotated[str, typer.Option("--source", help="Name of the dataset, e.g. KiTS.")],
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="DIR", help="Folder of masks, or one file.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="Folder of images, or one file.")
    ] = None,
    mapping: MappingOption = "flare23",
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision", help="State of the source's labels, e.g. 2019; default the mapping's name."
        ),
    ] = None,
    case_list: Annotated[
        Path | None,
        typer.Option(
            "--cases",
            metavar="CSV",
            help="Column case; further patient, role, licence, classes (looked for), anything else is metadata.",
        ),
    ] = None,
    role: Annotated[str | None, typer.Option("--role", help="train or test; new cases are train.")] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Why.")] = "",
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take masks and images of one source into the catalog; the files are read, never written.

    NAME.nii.gz and NAME_0000.nii.gz are mask and image of NAME; where all files are called alike
    (NAME/segmentation.nii.gz), the folder is the name. A second ingest changes nothing; a changed file, or the
    same names under another --revision, become new versions in which what models and people added is kept; a
    bad file is refused with its reason while the others go on (exit code 1).

    Examples: `maskledger ingest --source KiTS --labels kits19 --mapping kits19`,
    `maskledger ingest --source KiTS --revision 2023 --labels kits23 --mapping kits23`
    """
    from app.progress import console_progress
    from curation.errors import UsageError
    from db.models import Role
    from pipelines.ingest import IngestRequest
    from pipelines.ingest import ingest as run_ingest

    if role is not None and role not in set(Role):
        raise UsageError(f"--role '{role}' is neither 'train' nor 'test'; use one of them")
    request = IngestRequest(
        source=source,
        mapping=load_mapping(mapping),
        revision=revision,
        labels=labels,
        images=images,
        cases=case_list,
        role=Role(role) if role else None,
        message=message,
    )
    with workspace_of(context) as ws:
        outcome = run_ingest(ws.bench(jobs=jobs, progress=console_progress()), request)
    finish(outcome, source, as_json)


def census(context: typer.Context, query: QueryArgument = "", as_json: JsonOption = False) -> None:
    """Count the cases by number of labels, and per class by status and origin, at their newest versions.

    Example: `maskledger census 'source = "KiTS"'`
    """
    with workspace_of(context) as ws:
        found = ws.census(query)
    if as_json:
        print_json(
            {
                "cases": found.cases,
                "labels_per_case": {str(n): cases for n, cases in sorted(found.labels_per_case.items())},
                "classes": found.classes,
            }
        )
        return
    print(f"{found.cases} cases\n")
    print_table(
        ("labels", "cases"),
        [(n, cases) for n, cases in sorted(found.labels_per_case.items())],
        numeric=(0, 1),
    )
    print()
    columns = ("annotated", "absent", "missing", "out_of_field", "original", "pseudo", "corrected")
    print_table(
        ("class", *columns),
        [(name, *(counts[column] for column in columns)) for name, counts in found.classes.items()],
        numeric=tuple(range(1, 8)),
    )


def cases(
    context: typer.Context,
    query: QueryArgument = "",
    count: Annotated[bool, typer.Option("--count", help="Print the number alone.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row per case.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the cases that a query finds, at their newest versions.

    `missing pancreas` · `(strong or organs >= 12) and source = "KiTS"` · `pseudo liver and volume(liver) < 800` ·
    `original any organ and missing every adrenal` · `labels = 13` · `case = "FLARE23_0*"` · `role = test` · `flagged`
    """
    from db import queries

    with workspace_of(context) as ws:
        if count:
            with ws.catalog.reading() as session:
                print(queries.count(session, query))
            return
        rows = ws.cases(query)
    if as_json:
        print_json(
            {
                "count": len(rows),
                "cases": [
                    {
                        "case": r.address, "version": r.version, "labels": r.labels, "organs": r.organs,
                        "role": r.role, "patient": r.patient, "licence": r.licence, "classes": r.classes,
                    }
                    for r in rows
                ],
            }
        )  # fmt: skip
    elif as_csv:
        from app.case_csv import write_cases

        write_cases(rows, sys.stdout)
    else:
        print_table(
            ("case", "version", "labels", "organs", "role", "missing"),
            [(r.address, r.version, r.labels, r.organs, r.role, _missing_text(r.classes)) for r in rows],
            numeric=(1, 2, 3),
        )
        print(f"\n{len(rows)} cases")


def _missing_text(classes: dict[str, dict[str, str | None]]) -> str:
    missing = [name for name, answer in classes.items() if answer["status"] == "missing"]
    if len(missing) <= 4:
        return ", ".join(missing) or "–"
    return f"{len(missing)} classes: {', '.join(missing[:3])} …"


def show(context: typer.Context, case: CaseArgument, as_json: JsonOption = False) -> None:
    """Show one case: every class with status, origin and census, its image, conflicts, findings, decisions, versions.

    Example: `maskledger show KiTS/case_00000`
    """
    from app.cli.case_text import case_json, print_case
    from db import queries, reviewing
    from db.image_state import image_facts

    with workspace_of(context) as ws, ws.catalog.reading() as session:
        ref = queries.resolve(session, case)
        image = image_facts(session, ref.case_id)
        detail = queries.version_detail(session, ref.version_id)
        versions = queries.history(session, ref.case_id)
        decisions = reviewing.decisions_that_hold(session, ref.version_id)
    if as_json:
        print_json(case_json(ref, detail, versions, decisions, image))
    else:
        print_case(ref, detail, versions, decisions, image)


def quality(context: typer.Context, query: QueryArgument = "", as_json: JsonOption = False) -> None:
    """List the open findings of the queried cases: what the checks of masks and images noticed.

    Example: `maskledger quality flagged`
    """
    from db import queries
    from db.models import FindingState

    with workspace_of(context) as ws, ws.catalog.reading() as session:
        refs = queries.case_refs(session, query)
        by_version = queries.findings(session, [ref.version_id for ref in refs])
    rows = [(ref, f) for ref in refs for f in by_version[ref.version_id] if f.state is FindingState.OPEN]
    if as_json:
        print_json(
            {
                "count": len(rows),
                "findings": [
                    {
                        "case": ref.address, "version": ref.number, "class": f.class_name, "check": f.check,
                        "severity": f.severity, "value": f.value, "limit": f.limit, "message": f.message,
                    }
                    for ref, f in rows
                ],
            }
        )  # fmt: skip
        return
    for ref, f in rows:
        print(f"{f.severity:7}  {ref.address}@{ref.number}  {f.check}: {f.message}")
    print(f"{len(rows)} open findings in {len(refs)} cases")
