"""A list of cases as a page shows it and as CSV."""

import csv
import io
from collections.abc import Iterable

from curation.labels import CLASS_NAMES
from dashboards.components.markup import Html, case_link, joined, squares, table, tag
from dashboards.components.times import stamp
from db.queries import CaseRow

COLUMNS = ("Case", "Classes", "Labels", "Version", "Role", "Slices", "Spacing x × y × z (mm)", "Changed (UTC)", "")


def case_table(rows: Iterable[CaseRow]) -> Html:
    """One row per case, with a link to its page and a square per class."""
    cells = (
        (
            case_link(row.address),
            squares(row.classes),
            row.labels,
            row.version,
            row.role.value,
            row.slices,
            " × ".join(f"{mm:.2f}" for mm in row.spacing_mm),
            stamp(row.changed),
            joined(_tags(row)),
        )
        for row in rows
    )
    return table(COLUMNS, cells, numeric=(2, 3, 5, 6), label="Cases")


def _tags(row: CaseRow) -> list[Html]:
    tags = []
    if row.strong:
        tags.append(tag("strong", "done"))
    elif row.complete:
        tags.append(tag("complete"))
    if row.flagged:
        tags.append(tag("flagged", "warning"))
    if row.stale:
        tags.append(tag("stale", "warning"))
    return tags


def case_csv(rows: Iterable[CaseRow]) -> bytes:
    """The same columns as ``maskledger cases --csv``, UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "version", "labels", "organs", "role", "patient", "licence", *CLASS_NAMES])
    for row in rows:
        states = [row.classes[name]["origin"] or row.classes[name]["status"] for name in CLASS_NAMES]
        facts = [row.address, row.version, row.labels, row.organs, row.role.value, row.patient, row.licence or ""]
        writer.writerow([*facts, *states])
    return text.getvalue().encode()
