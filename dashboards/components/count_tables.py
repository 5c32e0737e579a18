"""The overview's charts as tables whose numbers are links: for the keyboard, and for whoever wants the figures."""

from collections.abc import Mapping

from curation.labels import CLASS_NAMES
from curation.status import Origin, Status
from dashboards import chart_queries
from dashboards.components.markup import Html, class_cell, query_link, table
from dashboards.figures import STATUS_TITLES, ClassCounts


def labels_table(before: Mapping[int, int], after: Mapping[int, int], *, first: str, at: str) -> Html:
    """Cases by number of annotated classes; `first` and `at` name the snapshots of the two columns."""
    rows = [
        (number, *(_linked(counts.get(number, 0), chart_queries.of_labels(number), when)
                   for counts, when in ((before, first), (after, at))))
        for number in sorted({*before, *after})
    ]  # fmt: skip
    columns = ("Annotated classes", "Cases as ingested", f"Cases {at or 'now'}")
    return table(columns, rows, numeric=(0, 1, 2), label="Cases by number of annotated classes", compact=True)


def classes_table(classes: ClassCounts, *, at: str) -> Html:
    """Cases per class by status, and the annotated ones by origin."""
    standings = (*STATUS_TITLES, *Origin)
    rows = [
        (
            class_cell(name),
            *(_linked(classes[name][s], chart_queries.of_class(name, s), at) for s in standings),
        )
        for name in CLASS_NAMES
    ]
    titles = [STATUS_TITLES[s] if isinstance(s, Status) else f"of these {s.value}" for s in standings]
    columns = ("Class", *(title.capitalize() for title in titles))
    label = "Cases per class by status and origin"
    return table(columns, rows, numeric=range(1, len(columns)), label=label, compact=True)


def sources_table(coverage: Mapping[str, ClassCounts], *, at: str) -> Html:
    """Cases per class and source in which the class is annotated."""
    rows = [
        (
            class_cell(name),
            *(
                _linked(classes[name][Status.ANNOTATED], chart_queries.of_source(name, source), at)
                for source, classes in coverage.items()
            ),
        )
        for name in CLASS_NAMES
    ]
    columns = ("Class", *coverage)
    label = "Cases per class and source in which it is annotated"
    return table(columns, rows, numeric=range(1, len(columns)), label=label, compact=True)


def _linked(cases: int, query: str, at: str) -> Html | str:
    return query_link(query, f"{cases:,}", at) if cases else "0"
