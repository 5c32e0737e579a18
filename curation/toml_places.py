"""Where in a TOML file something stands, so that a message about it can name the line."""

import re
from dataclasses import dataclass

_TABLE = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(=|\.)""")
_QUOTES = ('"""', "'''")


@dataclass(frozen=True)
class Place:
    """A key's line (from 1), and the table that it stands in ("" above the first one).

    `dotted`: the key is the first part of a dotted one, such as ``files`` of ``files.mask``, which may come again.
    """

    line: int
    table: str
    key: str
    dotted: bool = False


class TomlPlaces:
    """The lines of the keys of one TOML text. tomllib gives values alone, and stops at what it cannot read."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._tables: dict[str, int] = {}
        self.keys = self._find()
        self._by_key: dict[tuple[str, str], list[int]] = {}
        for place in self.keys:
            self._by_key.setdefault((place.table, place.key), []).append(place.line)

    def _find(self) -> tuple[Place, ...]:
        found: list[Place] = []
        table, open_quote, depth = "", "", 0
        for number, line in enumerate(self._lines, start=1):
            # Inside a text or a list over several lines nothing is a key, whatever it looks like.
            if not open_quote and not depth:
                if header := _TABLE.match(line):
                    table = header[1].strip("\"'")
                    self._tables.setdefault(table, number)
                    continue
                if key := _KEY.match(line):
                    *names, sign = key.groups()
                    name = next(name for name in names if name is not None)
                    found.append(Place(number, table, name, dotted=sign == "."))
            open_quote, depth = _still_open(line, open_quote, depth)
        return tuple(found)

    def lines_of(self, key: str, table: str = "") -> tuple[int, ...]:
        """The lines in which a table names a key: none, one, or more where it stands twice."""
        return tuple(self._by_key.get((table, key), ()))

    def twice(self) -> tuple[Place, Place] | None:
        """The first key that its table names twice, and its second place; None if no key does."""
        seen: dict[tuple[str, str], Place] = {}
        for place in self.keys:
            first = seen.setdefault((place.table, place.key), place)
            if first is not place and not (first.dotted and place.dotted):
                return first, place
        return None

    def line_of_table(self, table: str) -> int | None:
        """The line of a table's ``[header]``; None if it has none."""
        return self._tables.get(table)

    def line_of_word(self, word: str, key: str, table: str = "") -> int | None:
        """The line of a quoted word in what a table's key is set to; the key's own if it is not found there."""
        start = next(iter(self.lines_of(key, table)), None)
        if start is None:
            return None
        others = [place.line for place in self.keys if place.line > start]
        others += [line for line in self._tables.values() if line > start]
        for number in range(start, min(others, default=len(self._lines) + 1)):
            if any(f"{quote}{word}{quote}" in self._lines[number - 1] for quote in "\"'"):
                return number
        return start


def _still_open(line: str, open_quote: str, depth: int) -> tuple[str, int]:
    """Which multi-line quote, and how many brackets of a list, are open at the end of a line."""
    position = 0
    while position < len(line):
        if open_quote:
            end = line.find(open_quote, position)
            if end < 0:
                return open_quote, depth
            position, open_quote = end + len(open_quote), ""
            continue
        sign = line[position]
        if sign == "#":
            break
        if line[position : position + 3] in _QUOTES:
            open_quote = line[position : position + 3]
            position += 3
            continue
        if sign in "\"'":
            end = _end_of_text(line, position)
            if end < 0:  # never closed in its line: not TOML, and said by whoever reads it
                break
            position = end
        elif sign in "[{":
            depth += 1
        elif sign in "]}":
            depth = max(depth - 1, 0)
        position += 1
    return open_quote, depth


def _end_of_text(line: str, start: int) -> int:
    """Where a text in quotes that begins at `start` ends; -1 if it does not."""
    position = start + 1
    while position < len(line):
        if line[position] == "\\" and line[start] == '"':
            position += 2
            continue
        if line[position] == line[start]:
            return position
        position += 1
    return -1
