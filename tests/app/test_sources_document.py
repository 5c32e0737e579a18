"""docs/sources.md tells the sources that come along, and its example of a file works."""

import re
from pathlib import Path

from curation.mappings import builtin_names, class_phrase, drawn_classes, load_builtin, parse_mapping

DOCUMENT = Path(__file__).parents[2] / "docs" / "sources.md"


def table_rows(heading: str) -> list[str]:
    """The rows of the table whose heading begins so."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(heading)) + 2
    end = next(number for number in range(start, len(lines)) if not lines[number].startswith("|"))
    return lines[start:end]


def test_the_table_of_sources_is_what_the_files_say():
    wanted = []
    for name in builtin_names():
        mapping = load_builtin(name)
        looked_for = "not stated" if mapping.protocol is None else class_phrase(mapping.protocol)
        classes, licence = class_phrase(drawn_classes(mapping)), mapping.licence or "not stated"
        wanted.append(f"| `{name}` | {mapping.title} | {classes} | {looked_for} | {licence} |")
    assert table_rows("| mapping | what it is |") == wanted


def test_the_table_of_orders_is_what_the_files_say():
    wanted = [f"| `{name}` | {load_builtin(name).order_from} |" for name in builtin_names()]
    assert table_rows("| mapping | order from |") == wanted


def test_the_example_of_a_file_reads_as_it_says():
    example = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    mapping = parse_mapping(example[1], "ward7.toml")
    assert mapping.values == {1: 1, 2: 201, 3: 6, 4: 0, 5: 0, 6: 0, 7: 13, 8: 0, 9: 0, 10: 255}
    assert mapping.protocol == {1, 5, 6, 7, 8}
    assert mapping.file_patterns == {"mask": "{case}_seg.nii.gz", "image": "{case}_ct.nii.gz"}
