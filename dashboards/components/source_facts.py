"""Sources as tables: what their label values mean, what was looked for, under which licence they come, known traps."""

from collections.abc import Collection, Mapping, Sequence

from curation.labels import BY_ID, CLASSES, UNRESOLVED_BY_VALUE
from curation.mappings import LabelMapping, class_phrase, drawn_classes, value_spans
from curation.query import quote
from curation.status import Status
from dashboards.components.markup import Html, class_cell, joined, link, markup, query_link, table, tag
from dashboards.components.times import stamp
from dashboards.components.viewer import value_title
from db.queries import RevisionRow, SourceRow

NOT_STATED = "not stated"
_STATUSES = (Status.ANNOTATED, Status.ABSENT, Status.MISSING, Status.OUT_OF_FIELD)
# What a query asks for a status.
_ASKED = {
    Status.ANNOTATED: "has", Status.ABSENT: "absent", Status.MISSING: "missing", Status.OUT_OF_FIELD: "out_of_field",
}  # fmt: skip


def of_source(name: str) -> str:
    """The query that finds a source's cases, whatever characters its name has."""
    return f"source = {quote((name,))}"


def sources_table(sources: Sequence[SourceRow]) -> Html:
    """One row per source, with links to its page and to its cases."""
    return table(
        ("Source", "Revisions", "Licence", "Cases", "Images below"),
        [
            (
                link("sources", s.name, source=s.name),
                ", ".join(s.revisions) or None,
                s.licence or NOT_STATED,
                query_link(of_source(s.name), f"{s.cases:,}"),
                s.image_root,
            )
            for s in sources
        ],
        numeric=(3,),
        label="Sources",
    )


def census_table(source: str, classes: Mapping[str, Mapping[str, int]]) -> Html:
    """The 14 classes by status in one source; every number that is not 0 leads to its cases."""
    asked = of_source(source)
    return table(
        ("Class", *(status.value.replace("_", " ").capitalize() for status in _STATUSES)),
        [
            (
                class_cell(c.name),
                *(
                    query_link(f"{asked} and {_ASKED[status]} {c.name}", f"{classes[c.name][status]:,}")
                    if classes[c.name][status]
                    else "0"
                    for status in _STATUSES
                ),
            )
            for c in CLASSES
        ],
        numeric=(1, 2, 3, 4),
        label="Classes of the source by status",
    )


def source_facts_table(source: SourceRow) -> Html:
    """What is known of a source as a whole."""
    facts = [
        ("Cases", query_link(of_source(source.name), f"{source.cases:,}")),
        ("Licence", source.licence or NOT_STATED),
        ("Paper", source.citation or NOT_STATED),
        ("Images below", source.image_root or NOT_STATED),
    ]
    return table(("Fact", "What is known"), facts, label="Facts of the source")


def revision_facts_table(source: str, revision: RevisionRow, known: LabelMapping | None) -> Html:
    """What is known of a revision. `known`: the mapping of its name that comes along, if it reads the same values."""
    asked = f"{of_source(source)} and revision = {quote((revision.name,))}"
    facts: list[tuple[str, object]] = [
        ("Cases", query_link(asked, "those whose labels come from it")),
        ("Mapping", revision.mapping_name),
        ("Looked for", protocol_text(revision.protocol)),
        ("First taken in (UTC)", stamp(revision.created_at)),
    ]
    if known is not None:
        facts += [("What it is", known.title), ("Publisher", known.publisher), ("Paper", known.citation),
                  ("Licence as published", known.licence), ("Order of values from", known.order_from)]  # fmt: skip
    if revision.retracted:
        facts.append(("Beware", joined([tag("retracted", "error"), markup(revision.retracted)])))
    shown = [(name, fact) for name, fact in facts if fact]
    return table(("Fact", "What is known"), shown, label=f"Facts of revision {revision.name}")


def protocol_text(protocol: Collection[int] | None) -> str:
    """Which classes were looked for, and what that says of one without voxels."""
    if protocol is None:
        return f"{NOT_STATED}: a class without voxels is missing, never absent"
    return f"{class_phrase(protocol) or 'nothing'}; of these, a class without voxels is absent"


def values_table(values: Mapping[int, int], protocol: Collection[int] | None, label: str) -> Html:
    """Label values and what each is read as; those that are read as the same stand in one row."""
    by_target: dict[int, list[int]] = {}
    for value, target in sorted(values.items()):
        by_target.setdefault(target, []).append(value)
    return table(
        ("Label value", "Read as", "Looked for"),
        [
            (value_spans(values), _target(target), _looked_for(target, protocol))
            for target, values in by_target.items()
        ],
        label=label,
    )


def known_table(mappings: Sequence[LabelMapping]) -> Html:
    """The datasets that are known by name."""
    return table(
        ("Mapping", "What it is", "Classes", "Looked for", "Licence"),
        [
            (
                link("sources", m.name, tab="Known datasets", mapping=m.name),
                m.title,
                class_phrase(drawn_classes(m)),
                NOT_STATED if m.protocol is None else class_phrase(m.protocol),
                m.licence or NOT_STATED,
            )
            for m in mappings
        ],
        label="Known datasets",
    )


def mapping_facts_table(mapping: LabelMapping) -> Html:
    """What one of them says of itself."""
    files = ", ".join(f"{what} {pattern}" for what, pattern in mapping.file_patterns.items())
    parts = ", ".join(mapping.parts.values())
    facts = [
        ("What it is", mapping.title),
        ("Source", ", revision ".join(part for part in (mapping.source, mapping.revision) if part)),
        ("Publisher", mapping.publisher),
        ("Licence", mapping.licence or NOT_STATED),
        ("Paper", mapping.citation),
        ("Order of values from", mapping.order_from),
        ("Files", files),
        ("Parts", f"{parts}; of two that claim a voxel, the earlier one has it" if parts else None),
        ("Looked for", protocol_text(mapping.protocol)),
    ]
    shown = [(name, fact) for name, fact in facts if fact]
    return table(("Fact", "What is known"), shown, label="Facts of the mapping")


def notes_list(notes: Sequence[str]) -> Html:
    """Known traps, one each."""
    items = "".join(f"<li>{markup(note)}</li>" for note in notes)
    return Html(f'<ul class="ml-notes">{items}</ul>')


def _target(target: int) -> Html:
    if target in BY_ID:
        return class_cell(BY_ID[target].name)
    return Html(f'<span class="quiet">{markup(value_title(target))}</span>')


def _looked_for(target: int, protocol: Collection[int] | None) -> str | None:
    if target in UNRESOLVED_BY_VALUE:
        ids: tuple[int, ...] = UNRESOLVED_BY_VALUE[target].sides
    elif target in BY_ID:
        ids = (target,)
    else:
        return None
    if protocol is None:
        return NOT_STATED
    return "yes" if set(ids) <= set(protocol) else "no"
