"""The command that lists what the checks noticed, what matters most first."""

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import JsonOption, QueryArgument, print_json, workspace_of

if TYPE_CHECKING:
    from db.queries import CaseRef, StoredFinding

Row = tuple["CaseRef", "StoredFinding"]


def quality(
    context: typer.Context,
    query: QueryArgument = "",
    severity: Annotated[
        list[str] | None,
        typer.Option("--severity", help="error, warning or info: these alone; may be given several times."),
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(
            "--check", metavar="NAME", help="A check, e.g. outside_protocol; may be given several times."
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="First compare all cases with each other again.")
    ] = False,
    list_all: Annotated[bool, typer.Option("--all", help="Every info in a line of its own, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the open findings of the queried cases: errors, then warnings, by case; infos are counted by check.

    `--all`, `--severity info` or `--check NAME` list infos one by one; `--json` has all of them always. What each
    check looks at stands in docs/findings.md; `review dismiss` settles one. `--compare` first compares all cases with
    each other again, which `ingest`, `source rederive` and `complement` do at their end.

    Examples: `maskledger quality`, `maskledger quality 'source = "KiTS"' --check outside_protocol`
    """
    from curation.errors import UsageError
    from curation.status import Severity
    from db import queries
    from db.models import FindingState

    order = {level: at for at, level in enumerate((Severity.ERROR, Severity.WARNING, Severity.INFO))}
    for word in severity or ():
        if word not in order:
            raise UsageError(f"--severity '{word}' is none of {', '.join(order)}; use one of them")
    if compare:
        from app.progress import console_progress
        from pipelines.comparing import compare as compare_cases

        with workspace_of(context) as ws:
            compare_cases(ws.bench(progress=console_progress(quiet=as_json)))
    with workspace_of(context) as ws, ws.catalog.reading() as session:
        refs = queries.case_refs(session, query)
        by_version = queries.findings(session, [ref.version_id for ref in refs])
    found = [(ref, f) for ref in refs for f in by_version[ref.version_id] if f.state is FindingState.OPEN]
    rows = [
        (ref, f) for ref, f in found
        if (not severity or f.severity in severity) and (not check or f.check in check)
    ]  # fmt: skip
    rows.sort(key=lambda row: order[row[1].severity])  # stable: by case as they were
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
    summed_up = (
        [] if list_all or severity or check else [row for row in rows if row[1].severity is Severity.INFO]
    )
    for ref, f in rows[: len(rows) - len(summed_up)]:
        print(f"{f.severity:7}  {ref.address}@{ref.number}  {f.check}: {f.message}")
    _print_by_check(summed_up)
    counts = Counter(f.severity for _, f in rows)
    told = ", ".join(_many(counts[level], level) for level in order)
    hint = " (--all lists them)" if summed_up else ""
    print(f"{_many(len(rows), 'open finding')} in {_many(len(refs), 'case')}: {told}{hint}")
    if unknown := sorted(set(check or ()).difference(f.check for _, f in found)):
        there = ", ".join(sorted({f.check for _, f in found})) or "none"
        print(f"no open finding of {', '.join(unknown)}; the open ones are of: {there}", file=sys.stderr)


def _print_by_check(infos: list[Row]) -> None:
    """One line for each check instead of one for each finding."""
    findings = Counter(f.check for _, f in infos)
    cases = Counter(name for name, _ in {(f.check, ref.case_id) for ref, f in infos})
    for name, many in sorted(findings.items()):
        print(f"{'info':7}  {name}: {_many(many, 'finding')} in {_many(cases[name], 'case')}")


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
