"""A list of cases as a page shows it."""

from collections.abc import Callable, Collection, Iterable
from html import escape

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


def case_table(
    rows: Iterable[CaseRow],
    *,
    within: Callable[[int], dict[str, str]] | None = None,
    picked: Collection[int] | None = None,
    versions: bool = False,
) -> Html:
    """One row per case, with a link to its page and a square per class.

    Args:
        rows: The cases.
        within: Gives of a row's number (from 0) what its link says of the list that it stands in.
        picked: Ids of those with a tick in their box; None for a list without boxes.
        versions: The links name the rows' versions, where these are not the newest.
    """
    cells = (
        (
            *(() if picked is None else (_box(row, row.id in picked),)),
            case_link(
                row.address,
                row.version if versions else None,
                row.address,
                within(number) if within else None,
            ),
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
    if picked is None:
        return table(COLUMNS, cells, numeric=(2, 3, 5, 6), label="Cases")
    return table(("", *COLUMNS), cells, numeric=(3, 4, 6, 7), label="Cases")


def _box(row: CaseRow, ticked: bool) -> Html:
    # `components.picking` hears of a change.
    return Html(
        f'<input type="checkbox" class="ml-pick" data-case="{row.id}" '
        f'aria-label="{escape("Pick " + row.address)}"{" checked" if ticked else ""}>'
    )


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
