"""Label mappings: what the values of a source's masks mean here, and what its annotators looked for."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from curation.errors import LabelValueError, UsageError
from curation.labels import (
    BACKGROUND,
    BY_ID,
    CLASS_NAMES,
    GROUPS,
    IGNORE,
    UNRESOLVED_BY_NAME,
    UNRESOLVED_BY_VALUE,
    find_class,
)
from curation.rle import RunLengths

_RESERVED_WORDS = {"background": BACKGROUND, "ignore": IGNORE}
_TEXT_KEYS = ("name", "title", "source", "revision", "publisher", "licence", "citation")
_KEYS = (*_TEXT_KEYS, "notes", "protocol", "values", "files")
_FILE_KEYS = ("mask", "image")
_VALUE_OR_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_MAX_VALUE = 65535  # of a range in a mapping file; a label beyond it can still be named alone


class MappingError(UsageError):
    """A mapping is unknown, or its file is wrong."""


@dataclass(frozen=True)
class LabelMapping:
    """What the label values of one source mean.

    `values` takes each incoming label value to a stored voxel value: a class id, an unresolved pair (200,
    201), ignore (255) or background (0). A value that is not in it is refused. `protocol` holds the class ids
    that the annotators looked for, both sides of a pair where the file names a pair; None if nobody stated
    them. `file_patterns` ("mask", "image") say where a case's files lie, with `{case}` for its name.
    """

    name: str
    values: Mapping[int, int]
    protocol: frozenset[int] | None = None
    title: str = ""
    source: str | None = None
    revision: str | None = None
    publisher: str | None = None
    licence: str | None = None
    citation: str | None = None
    notes: tuple[str, ...] = ()
    file_patterns: Mapping[str, str] = field(default_factory=dict)


def builtin_names() -> list[str]:
    """Names of the mappings that come with maskledger."""
    names = (entry.name for entry in resources.files("curation.sources").iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def load_builtin(name: str) -> LabelMapping:
    """Load a mapping that comes with maskledger.

    Raises:
        MappingError: No such mapping; the message lists those there are.
    """
    names = builtin_names()
    if name not in names:
        near = difflib.get_close_matches(name.lower(), names, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise MappingError(
            f"unknown mapping '{name}': {hint}There are {', '.join(names)}; or give a FILE.toml of your own"
        )
    filename = f"{name}.toml"
    return parse_mapping(resources.files("curation.sources").joinpath(filename).read_text("utf-8"), filename)


def parse_mapping(text: str, filename: str) -> LabelMapping:
    """Read a mapping file.

    ``[values]`` takes label values (``3``) or ranges (``14-20``, which single values override) to words: a
    class name or alias, ``kidney`` or ``adrenal`` (no side known), ``background`` or ``ignore``. ``protocol``
    lists class words, pairs, or groups (``organ``). ``[files]`` may give patterns for mask and image.

    Raises:
        MappingError: What is wrong, in which line, and the nearest word that would be right.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"{filename}: {error}; a mapping file is TOML, e.g. 1 = \"liver\"") from error

    def refuse(key: str, found: str) -> MappingError:
        return MappingError(f"{filename}{_line_of(text, key)}: {found}")

    for key in table:
        if key not in _KEYS:
            raise refuse(key, f"unknown key '{key}'{_nearest(key, _KEYS)}")
    for key in _TEXT_KEYS:
        if not isinstance(table.get(key, ""), str):
            raise refuse(key, f"{key} = {table[key]!r} is not a text; put it in quotes")
    if not isinstance(table.get("values"), dict) or not table["values"]:
        raise refuse("[values]", "[values] is missing or empty; below it write lines like 1 = \"liver\"")
    files = table.get("files", {})
    for key, pattern in files.items():
        if key not in _FILE_KEYS:
            raise refuse(key, f"unknown key '{key}' in [files]{_nearest(key, _FILE_KEYS)}")
        if not isinstance(pattern, str) or pattern.count("{case}") != 1:
            raise refuse(key, f"{key} = {pattern!r} needs {{case}} once, where the case's name stands")
    return LabelMapping(
        name=table.get("name", filename.removesuffix(".toml")),
        values=_values(table["values"], refuse),
        protocol=_protocol(table["protocol"], refuse) if "protocol" in table else None,
        title=table.get("title", ""),
        source=table.get("source"),
        revision=table.get("revision"),
        publisher=table.get("publisher"),
        licence=table.get("licence"),
        citation=table.get("citation"),
        notes=tuple(str(note) for note in table.get("notes", ())),
        file_patterns=dict(files),
    )


def apply_mapping(runs: RunLengths, mapping: LabelMapping, filename: str) -> RunLengths:
    """Take a mask's own label values to stored ones.

    Returns:
        The same voxels as uint8: 0–14, 200–239, 255.

    Raises:
        LabelValueError: The mask has values that the mapping does not name.
    """
    voxels = runs.voxels()
    unknown = sorted(voxels.keys() - mapping.values.keys())
    if unknown:
        shown = ", ".join(f"{v} ({voxels[v]} voxels)" for v in unknown[:8])
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise LabelValueError(
            f"{filename}: label values {shown}{more} are not in mapping '{mapping.name}' "
            f"({_spans(mapping.values)}); use the mapping of this source, or a mapping file that names them"
        )
    return runs.remap({value: mapping.values[value] for value in voxels})


def _values(table: Mapping[str, Any], refuse: Any) -> dict[int, int]:
    singles: dict[int, int] = {}
    spread: dict[int, int] = {}
    for key, word in table.items():
        match = _VALUE_OR_RANGE.fullmatch(key)
        if not match:
            raise refuse(key, f"'{key}' is not a label value; write a whole number or a range like 14-20")
        low, high = int(match[1]), int(match[2] or match[1])
        if high < low or high - low > _MAX_VALUE:
            raise refuse(key, f"'{key}' is not a range from low to high of at most {_MAX_VALUE} values")
        target = _target(key, word, refuse)
        if low == 0 and target != BACKGROUND:
            raise refuse(key, f"0 is background and cannot mean '{word}'; save the mask with background 0")
        (spread if match[2] else singles).update(dict.fromkeys(range(low, high + 1), target))
    return {value: target for value, target in sorted((spread | singles).items()) if value != BACKGROUND}


def _target(key: str, word: Any, refuse: Any) -> int:
    if not isinstance(word, str):
        raise refuse(key, f"{key} = {word!r} is not a class name in quotes, e.g. {key} = \"liver\"")
    plain = word.strip().lower()
    if plain in _RESERVED_WORDS:
        return _RESERVED_WORDS[plain]
    if plain in UNRESOLVED_BY_NAME:
        return UNRESOLVED_BY_NAME[plain].value
    if found := find_class(word):
        return found.id
    words = (*CLASS_NAMES, *UNRESOLVED_BY_NAME, *_RESERVED_WORDS)
    raise refuse(key, f"unknown class '{word}'{_nearest(plain, words)}")


def _protocol(words: Any, refuse: Any) -> frozenset[int]:
    if not isinstance(words, list):
        raise refuse("protocol", f"protocol = {words!r} is not a list, e.g. [\"kidney\", \"tumor\"]")
    ids: set[int] = set()
    for word in words:
        if isinstance(word, str) and word.strip().lower() in GROUPS:
            ids.update(GROUPS[word.strip().lower()])
            continue
        target = _target("protocol", word, refuse)
        if target in UNRESOLVED_BY_VALUE:
            ids.update(UNRESOLVED_BY_VALUE[target].sides)
        elif target in BY_ID:
            ids.add(target)
        else:
            raise refuse("protocol", f"'{word}' is not a class that one can look for")
    return frozenset(ids)


def _line_of(text: str, key: str) -> str:
    """", line N" for the line that begins with the key, or nothing if there is none."""
    start = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*(=|$|#)")
    for number, line in enumerate(text.splitlines(), start=1):
        if start.match(line):
            return f", line {number}"
    return ""


def _nearest(word: str, words: Iterable[str]) -> str:
    known = tuple(words)
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}"


def _spans(values: Iterable[int]) -> str:
    """Values as spans, e.g. "1-14, 20"."""
    spans: list[list[int]] = []
    for value in sorted(values):
        if spans and value == spans[-1][1] + 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)
