"""Commands on source mappings: which come along, and what one of them says."""

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.common import JsonOption, load_mapping, mapping_text, print_json, print_table

if TYPE_CHECKING:
    from curation.mappings import LabelMapping

_NOT_STATED = "not stated"
_LABEL_WIDTH = 12
_LINE_WIDTH = 110


def register(source_app: typer.Typer) -> None:
    """Add the commands of this module to the group `source`."""
    source_app.command("mappings")(mappings)
    source_app.command("show-mapping")(show_mapping)


def mappings(as_json: JsonOption = False) -> None:
    """List the public datasets whose label values come along, for `--mapping`.

    Classes are what a mask of the dataset can hold, looked for is the protocol: without voxels such a class is
    absent, any other is missing. `organ` means all 13. No workspace is needed.

    Example: `maskledger source mappings`
    """
    from curation.mappings import builtin_names, class_phrase, drawn_classes, load_builtin

    known = [load_builtin(name) for name in builtin_names()]
    if as_json:
        print_json({"mappings": [_facts(mapping) for mapping in known]})
        return
    print_table(
        ("mapping", "what it is", "classes", "looked for", "licence"),
        [
            (
                mapping.name,
                mapping.title,
                class_phrase(drawn_classes(mapping)),
                _NOT_STATED if mapping.protocol is None else class_phrase(mapping.protocol),
                mapping.licence or _NOT_STATED,
            )
            for mapping in known
        ],
    )
    print("\nValues, notes and sources of one: maskledger source show-mapping NAME")


def show_mapping(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE.toml", help="One of `source mappings`, or a file.")
    ],
    as_toml: Annotated[
        bool, typer.Option("--toml", help="Print the file itself, to start your own from.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show one source mapping: values, protocol, licence, citation, known traps, and where the order was read.

    A file of your own is checked on the way: what is wrong in it is told with its line. No workspace is needed.

    Examples: `maskledger source show-mapping kits19`,
    `maskledger source show-mapping btcv --toml > ours.toml`
    """
    from curation.mappings import builtin_text

    mapping = load_mapping(name)
    if as_json:
        print_json(_facts(mapping))
    elif as_toml:
        text = mapping_text(name) if name.endswith(".toml") else builtin_text(name)
        print(text, end="")
    else:
        _print(mapping)


def _facts(mapping: "LabelMapping") -> dict[str, Any]:
    from curation.labels import BY_ID

    protocol = None if mapping.protocol is None else [BY_ID[c].name for c in sorted(mapping.protocol)]
    return {
        "name": mapping.name,
        "title": mapping.title,
        "source": mapping.source,
        "revision": mapping.revision,
        "publisher": mapping.publisher,
        "licence": mapping.licence,
        "citation": mapping.citation,
        "order_from": mapping.order_from,
        "protocol": protocol,
        "values": {str(value): _word(target) for value, target in mapping.values.items()},
        "files": dict(mapping.file_patterns),
        "parts": [{"value": value, "file": name} for value, name in mapping.parts.items()],
        "notes": list(mapping.notes),
    }


def _word(target: int) -> str:
    """A stored value as a mapping file would write it."""
    from curation.labels import UNRESOLVED_BY_VALUE, value_name

    return UNRESOLVED_BY_VALUE[target].name if target in UNRESOLVED_BY_VALUE else value_name(target)


def _print(mapping: "LabelMapping") -> None:
    from curation.labels import value_name
    from curation.mappings import class_phrase, value_spans

    print(f"{mapping.name}: {mapping.title}" if mapping.title else mapping.name)
    protocol = (
        f"{_NOT_STATED}: a class without voxels is missing, never absent"
        if mapping.protocol is None
        else class_phrase(mapping.protocol) or "nothing"
    )
    patterns = ", ".join(f"{what} {pattern}" for what, pattern in mapping.file_patterns.items())
    parts = ", ".join(mapping.parts.values())
    source = ", revision ".join(part for part in (mapping.source, mapping.revision) if part)
    for label, text in (
        ("source", source),
        ("publisher", mapping.publisher),
        ("licence", mapping.licence or _NOT_STATED),
        ("cite", mapping.citation),
        ("order from", mapping.order_from),
        ("files", patterns),
        ("parts", f"{parts}; of two that claim a voxel, the earlier one has it" if parts else None),
        ("looked for", protocol),
    ):
        if text:
            _print_wrapped(label.ljust(_LABEL_WIDTH), text)
    print()
    by_target: dict[int, list[int]] = {}
    for value, target in mapping.values.items():
        by_target.setdefault(target, []).append(value)
    print_table(
        ("value", "read as"),
        [(value_spans(values), value_name(target)) for target, values in by_target.items()],
    )
    if mapping.notes:
        print()
    for note in mapping.notes:
        _print_wrapped("- ", note)


def _print_wrapped(head: str, text: str) -> None:
    print(
        textwrap.fill(
            text,
            _LINE_WIDTH,
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
