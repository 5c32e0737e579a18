"""A list of cases as a page shows it."""

from collections.abc import Callable, Iterable

from dashboards.components.markup import Html, case_link, joined, squares, table, tag
from dashboards.components.times import stamp
from db.queries import CaseRow

COLUMNS = (
    "Case",
    "Classes",
    "Labels",
    "Version",
    "Role",
    "Slices",
    "Spacing x × y × z (mm)",
    "Changed (UTC)",
    "",
)


def case_table(rows: Iterable[CaseRow], within: Callable[[int], dict[str, str]] | None = None) -> Html:
    """One row per case, with a link to its page and a square per class.

    `within` gives of a row's number (from 0) what its link says of the list that it stands in.
    """
    cells = (
        (
            case_link(row.address, within=within(number) if within else None),
            squares(row.classes),
            row.labels,
            row.version,
            row.role.value,
            row.slices,
            " × ".join(f"{mm:.2f}" for mm in row.spacing_mm),
            stamp(row.changed),
            joined(_tags(row)),
        )
        for number, row in enumerate(rows)
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
