"""The worklist as a table, and how far a review is: per class, per person, and what was decided last."""

from collections import Counter
from collections.abc import Mapping, Sequence

from curation.labels import BY_ID, BY_NAME, CLASS_NAMES
from dashboards.components.markup import Html, case_link, class_cell, cut, joined, markup, table, tag
from dashboards.components.times import stamp
from dashboards.neighbours import in_worklist
from dashboards.ranked import Asked
from db.models import Verdict
from db.reviewing import DecisionRow, ReviewCount
from pipelines.worklist import Item, Place

_KINDS = {Verdict.ACCEPTED: "done", Verdict.REJECTED: "error", Verdict.ABSENT: "warning"}


def worklist_table(
    asked: Asked, first: int, places: Sequence[Place], items: Mapping[tuple[str, str | None], Item]
) -> Html:
    """One row per place of a ranking.

    Args:
        asked: What was ranked, for the links.
        first: Number of the first place, from 0.
        places: Consecutive places.
        items: The places' reasons, by address and class name; a place without is decided about by now.
    """
    rows = []
    for number, place in enumerate(places, first):
        class_id = place.candidate.class_id
        name = BY_ID[class_id].name if class_id else None
        item = items.get((place.address, name))
        rows.append(
            (
                f"{number + 1:,}",
                f"{place.points:.0f}",
                case_link(place.address, within=in_worklist(asked, number)),
                class_cell(name, item.origin.value if item and item.origin else "original")
                if name
                else "whole mask",
                cut(item.model or item.origin.value) if item and item.origin else None,
                _reasons(item) if item else tag("changed since it was ranked", "done"),
            )
        )
    return table(
        ("Place", "Points", "Case", "Class", "Drawn by", "Why"), rows, numeric=(0, 1), label="Worklist"
    )


def _reasons(item: Item) -> Html:
    lines = (
        Html(f'<div><span class="ml-points">+{reason.points:.0f}</span> {markup(reason.sentence)}</div>')
        for reason in item.reasons
    )
    return joined(lines, "")


def class_progress_table(waiting: Mapping[int | None, int], counts: Sequence[ReviewCount]) -> Html:
    """Per class how many drawings may want eyes, and how often people decided about it."""
    said: Counter[tuple[str, Verdict]] = Counter()
    for c in counts:
        said[c.class_name, c.verdict] += c.decisions
    rows: list[tuple[object, ...]] = [
        (
            class_cell(name),
            f"{waiting.get(BY_NAME[name].id, 0):,}",
            *(f"{said[name, verdict]:,}" for verdict in _KINDS),
        )
        for name in CLASS_NAMES
    ]
    rows.append(("whole masks", f"{waiting.get(None, 0):,}", None, None, None))
    columns = ("Class", "May want eyes", "Accepted", "Rejected", "Absent")
    return table(columns, rows, numeric=(1, 2, 3, 4), label="Review per class", compact=True)


def person_progress_table(counts: Sequence[ReviewCount]) -> Html:
    """Per person how much they decided, the busiest first."""
    people: dict[str, Counter[Verdict]] = {}
    for c in counts:
        people.setdefault(c.person, Counter())[c.verdict] += c.decisions
    last = {p: max(c.last for c in counts if c.person == p) for p in people}
    rows = [
        (person, *(f"{said[verdict]:,}" for verdict in _KINDS), stamp(last[person]))
        for person, said in sorted(people.items(), key=lambda one: -one[1].total())
    ]
    columns = ("Reviewer", "Accepted", "Rejected", "Absent", "Last (UTC)")
    return table(columns, rows, numeric=(1, 2, 3), label="Review per person", compact=True)


def standing_table(decisions: Sequence[DecisionRow]) -> Html:
    """Decisions that hold of one version, and whose drawing was judged."""
    return table(
        ("Class", "Verdict", "Of", "By", "When (UTC)", "Reason"),
        [
            (
                class_cell(d.class_name), tag(d.verdict.value, _KINDS[d.verdict]), d.model, cut(d.person),
                stamp(d.created_at), d.reason or None,
            )
            for d in decisions
        ],
        label="Decisions that hold",
        compact=True,
    )  # fmt: skip


def decisions_table(decisions: Sequence[tuple[str, DecisionRow]]) -> Html:
    """Decisions with their cases."""
    return table(
        ("Case", "Class", "Verdict", "By", "When (UTC)", "Reason"),
        [
            (
                case_link(address), class_cell(d.class_name), tag(d.verdict.value, _KINDS[d.verdict]), d.person,
                stamp(d.created_at), d.reason or None,
            )
            for address, d in decisions
        ],
        label="Latest decisions",
    )  # fmt: skip
