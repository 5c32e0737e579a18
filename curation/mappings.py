"""Label mappings: what the values of a source's masks mean here, and what its annotators looked for."""

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import PurePath
from typing import Any

from curation.errors import LabelValueError, UsageError
from curation.labels import (
    BACKGROUND,
    BY_ID,
    CLASS_NAMES,
    GROUPS,
    IGNORE,
    ORGAN_IDS,
    UNRESOLVED,
    UNRESOLVED_BY_NAME,
    UNRESOLVED_BY_VALUE,
    find_class,
)
from curation.rle import RunLengths
from curation.toml_places import TomlPlaces

_RESERVED_WORDS = {"background": BACKGROUND, "ignore": IGNORE}
_TEXT_KEYS = ("name", "title", "source", "revision", "publisher", "licence", "citation", "order_from")
# What the catalog's columns hold.
_MAX_LENGTH = {"name": 200, "source": 200, "revision": 100, "licence": 200}
_KEYS = (*_TEXT_KEYS, "notes", "protocol", "values", "files", "parts")
_FILE_KEYS = ("mask", "image")
_PRIORITY = "priority"
_FEW = 3  # organs left out, named one by one where the others go without saying
_VALUE_OR_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
_TOML_LINE = re.compile(r"(?P<said>.*) \(at line (?P<line>\d+), column \d+\)")
_MAX_VALUE = 65535  # of a range in a mapping file; a label beyond it can still be named alone


class MappingError(UsageError):
    """A mapping is unknown, or its file is wrong."""


@dataclass(frozen=True)
class LabelMapping:
    """What the label values of one source mean.

    `values` takes each incoming label value to a stored voxel value: a class id, an unresolved pair (200,
    201), ignore (255) or background (0). A value that is not in it is refused. `protocol` holds the class ids
    that the annotators looked for, both sides of a pair where the file names a pair; None if nobody stated
    them. `file_patterns` ("mask", "image") say where a case's files lie, with `{case}` for its name. `order_from`
    is the publisher's document that the order of the values was read in. `parts`: where a case has one file per
    class, the name of each file, or a pattern of names with ``*``, by the value that its voxels get; of two files
    that claim a voxel, the one that comes earlier here has it.
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
    order_from: str | None = None
    notes: tuple[str, ...] = ()
    file_patterns: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[int, str] = field(default_factory=dict)


def builtin_names() -> list[str]:
    """Names of the mappings that come with maskledger."""
    names = (entry.name for entry in resources.files("curation.sources").iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def builtin_text(name: str) -> str:
    """The file of a mapping that comes with maskledger, as it is.

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
    return resources.files("curation.sources").joinpath(f"{name}.toml").read_text("utf-8")


def load_builtin(name: str) -> LabelMapping:
    """Load a mapping that comes with maskledger.

    Raises:
        MappingError: No such mapping; the message lists those there are.
    """
    return parse_mapping(builtin_text(name), f"{name}.toml")


def parse_mapping(text: str, filename: str) -> LabelMapping:
    """Read a mapping file.

    ``[values]`` takes label values (``3``) or ranges (``14-20``, which single values override) to words: a
    class name or alias, ``kidney`` or ``adrenal`` (no side known), ``background`` or ``ignore``. ``protocol``
    lists class words, pairs, or groups (``organ``); it may name classes that no value stands for, which are
    then known to be absent everywhere. ``[files]`` may give patterns for mask and image. ``[parts]`` takes values
    to names of files (``5 = "liver.nii.gz"``, ``1 = "lesion_*.nii.gz"``), of which a case may have a folder instead
    of one mask. Of two that claim a voxel, the one whose class stands earlier in its ``priority`` has it; what
    is not in it comes after, the lower value first.

    Raises:
        MappingError: What is wrong, in which line, and the nearest word that would be right.
    """
    return _MappingFile(text.removeprefix("\ufeff"), filename).mapping()


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
        remedy = "use the mapping of this source, or a mapping file that names them"
        if len(unknown) == len(voxels):
            remedy = f"not one value of this mask is, so it comes from another source or release; {remedy}"
        raise LabelValueError(
            f"{filename}: label values {shown}{more} are not in mapping '{mapping.name}' "
            f"({value_spans(mapping.values)}); {remedy}"
        )
    return runs.remap({value: mapping.values[value] for value in voxels})


def drawn_classes(mapping: LabelMapping, values: Collection[int] | None = None) -> frozenset[int]:
    """The class ids that the mapping's values, or some of them, can give a mask; both sides of a pair without one."""
    drawn: set[int] = set()
    for value in mapping.values if values is None else values:
        target = mapping.values.get(value, BACKGROUND)
        if target in UNRESOLVED_BY_VALUE:
            drawn.update(UNRESOLVED_BY_VALUE[target].sides)
        elif target in BY_ID:
            drawn.add(target)
    return frozenset(drawn)


def class_phrase(ids: Collection[int]) -> str:
    """Class ids in few words, e.g. "liver, kidney, tumor", or "organ but duodenum" where most organs are meant."""
    absent = sorted(set(ORGAN_IDS).difference(ids))
    if len(absent) > _FEW:
        return ", ".join(_words(ids))
    organs = f"organ but {', '.join(_words(absent))}" if absent else "organ"
    return "; ".join([organs, *_words(set(ids).difference(ORGAN_IDS))])


def _words(ids: Collection[int]) -> list[str]:
    """Class names in the order of their ids, a pair's one name where both of its sides are there."""
    words: list[str] = []
    for class_id in sorted(ids):
        pair = next((p for p in UNRESOLVED if class_id in p.sides and set(p.sides) <= set(ids)), None)
        word = pair.name if pair else BY_ID[class_id].name
        if word not in words:
            words.append(word)
    return words


def value_spans(values: Iterable[int]) -> str:
    """Values as spans, e.g. "1-14, 20"."""
    spans: list[list[int]] = []
    for value in sorted(values):
        if spans and value == spans[-1][1] + 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


class _MappingFile:
    """One mapping file under examination: its table, and where each key stands."""

    def __init__(self, text: str, filename: str) -> None:
        self._filename = filename
        self._places = TomlPlaces(text)
        self._table = self._read(text)

    def mapping(self) -> LabelMapping:
        """Everything in the file, checked.

        Raises:
            MappingError: The first thing that is wrong, with its line.
        """
        table = self._table
        for key in table:
            if key not in _KEYS:
                raise self._refused(f"unknown key '{key}'{_nearest(key, _KEYS)}", self._line(key))
        texts = {key: self._text(key) for key in _TEXT_KEYS if key in table}
        values = self._values()
        return LabelMapping(
            name=texts.pop("name", PurePath(self._filename).name.removesuffix(".toml")),
            values=values,
            parts=self._parts(values),
            protocol=self._protocol() if "protocol" in table else None,
            notes=self._notes(),
            file_patterns=self._files(),
            **texts,
        )

    def _read(self, text: str) -> dict[str, Any]:
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            if twice := self._places.twice():
                first, second = twice
                where = f" in [{second.table}]" if second.table else ""
                said = f"'{second.key}' stands twice{where}, first in line {first.line}; keep one of the two"
                raise self._refused(said, second.line) from error
            known = _TOML_LINE.fullmatch(str(error))
            said = f'{known["said"] if known else error}; a mapping file is TOML, e.g. 1 = "liver"'
            raise self._refused(said, int(known["line"]) if known else None) from error
        except RecursionError as error:
            raise self._refused("too many lists within lists; a mapping file has none", None) from error

    def _refused(self, found: str, line: int | None) -> MappingError:
        return MappingError(f"{self._filename}{f', line {line}' if line else ''}: {found}")

    def _line(self, key: str, table: str = "") -> int | None:
        line = next(iter(self._places.lines_of(key, table)), None)
        return line if line or table else self._places.line_of_table(key)

    def _text(self, key: str) -> str:
        text = self._table[key]
        if not isinstance(text, str):
            raise self._refused(f"{key} = {text!r} is not a text; put it in quotes", self._line(key))
        if not text.strip():
            raise self._refused(f"{key} is empty; write it, or leave the key out", self._line(key))
        if len(text) > _MAX_LENGTH.get(key, len(text)):
            said = f"{key} has {len(text)} characters; shorten it to {_MAX_LENGTH[key]} at most"
            raise self._refused(said, self._line(key))
        return text

    def _notes(self) -> tuple[str, ...]:
        notes = self._table.get("notes", [])
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            raise self._refused(
                'notes is not a list of texts, e.g. ["drawn on a tablet"]', self._line("notes")
            )
        return tuple(notes)

    def _files(self) -> dict[str, str]:
        files = self._table.get("files", {})
        if not isinstance(files, dict):
            said = f'files = {files!r} is not a table; write [files] and below it mask = "{{case}}.nii.gz"'
            raise self._refused(said, self._line("files"))
        for key, pattern in files.items():
            if key not in _FILE_KEYS:
                raise self._refused(
                    f"unknown key '{key}' in [files]{_nearest(key, _FILE_KEYS)}", self._line(key, "files")
                )
            if not isinstance(pattern, str) or pattern.count("{case}") != 1:
                raise self._refused(
                    f"{key} = {pattern!r} needs {{case}} once, where the case's name stands",
                    self._line(key, "files"),
                )
        return dict(files)

    def _parts(self, values: Mapping[int, int]) -> dict[int, str]:
        """Files by value, in order of priority."""
        parts = self._table.get("parts", {})
        if not isinstance(parts, dict):
            said = f'parts = {parts!r} is not a table; write [parts] and below it 1 = "liver.nii.gz"'
            raise self._refused(said, self._line("parts"))
        named: dict[int, str] = {}
        for key, name in parts.items():
            if key == _PRIORITY:
                continue
            line = self._line(key, "parts")
            if not key.isdecimal() or int(key) not in values or int(key) in named:
                raise self._refused(f"'{key}' in [parts] is not a value of [values], once", line)
            if (
                not isinstance(name, str)
                or not name.endswith((".nii.gz", ".nii"))
                or "/" in name
                or "\\" in name
            ):
                said = f'{key} = {name!r} is not the name of a NIfTI file, e.g. {key} = "liver.nii.gz"'
                raise self._refused(said, line)
            if name in named.values():
                raise self._refused(f"'{name}' stands twice in [parts]; keep one of the two", line)
            named[int(key)] = name
        rank = self._priority({values[number] for number in named})
        return {
            number: named[number]
            for number in sorted(named, key=lambda number: (rank.get(values[number], len(rank)), number))
        }

    def _priority(self, drawn: Collection[int]) -> dict[int, int]:
        """Stored values to their place in the ``priority`` of ``[parts]``; `drawn`: those that a file stands for."""
        words = self._table.get("parts", {}).get(_PRIORITY, [])
        example = 'a list of classes in quotes, e.g. priority = ["tumor", "pancreas"]'
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise self._refused(f"priority = {words!r} is not {example}", self._line(_PRIORITY, "parts"))
        rank: dict[int, int] = {}
        for word in words:
            line = self._places.line_of_word(word, _PRIORITY, "parts")
            target = self._target(word, line)
            if target in rank:
                raise self._refused(f"'{word}' stands twice in priority; keep one of the two", line)
            if target not in drawn:
                said = f"'{word}' in priority is what no file of [parts] is read as; name a class that has a file"
                raise self._refused(said, line)
            rank[target] = len(rank)
        return rank

    def _values(self) -> dict[int, int]:
        table = self._table.get("values")
        if not isinstance(table, dict) or not table:
            raise self._refused(
                '[values] is missing or empty; below it write lines like 1 = "liver"', self._line("values")
            )
        singles: dict[int, int] = {}
        spread: dict[int, int] = {}
        keys: dict[int, str] = {}  # value to the range that names it, to say which two overlap
        for key, low, high, target in self._entries(table):
            line = self._line(key, "values")
            if low == high and "-" not in key:
                if low in singles:
                    raise self._refused(
                        f"value {low} stands twice, here as '{key}'; keep one of the two", line
                    )
                singles[low] = target
                continue
            if len(spread) + high - low > _MAX_VALUE:
                said = f"with '{key}' the ranges name more than {_MAX_VALUE + 1} values; name what the masks hold"
                raise self._refused(said, line)
            for value in range(low, high + 1):
                if value in spread:
                    raise self._refused(
                        f"the ranges '{keys[value]}' and '{key}' both name {value}; a single value may override "
                        "a range, but ranges may not overlap",
                        line,
                    )
                spread[value], keys[value] = target, key
        values = {
            value: target for value, target in sorted((spread | singles).items()) if value != BACKGROUND
        }
        if not values:
            said = '[values] names no value but 0, the background; below it write lines like 1 = "liver"'
            raise self._refused(said, self._line("values"))
        return values

    def _entries(self, table: dict[str, Any]) -> Iterator[tuple[str, int, int, int]]:
        """Each line of ``[values]``: its key, lowest and highest value, and what they are stored as."""
        for key, word in table.items():
            line = self._line(key, "values")
            match = _VALUE_OR_RANGE.fullmatch(key)
            if not match or isinstance(word, dict):
                shown = f"{key}.{next(iter(word), '')}" if isinstance(word, dict) else key
                said = f"'{shown}' is not a label value; write a whole number or a range like 14-20"
                raise self._refused(said, line)
            low, high = int(match[1]), int(match[2] or match[1])
            if high < low or high - low > _MAX_VALUE:
                said = f"'{key}' is not a range from low to high of at most {_MAX_VALUE} values"
                raise self._refused(said, line)
            if not isinstance(word, str):
                said = f'{key} = {word!r} is not a class name in quotes, e.g. {key} = "liver"'
                raise self._refused(said, line)
            target = self._target(word, line)
            if low == 0 and target != BACKGROUND:
                said = f"0 is background and cannot mean '{word}'; save the mask with background 0"
                raise self._refused(said, line)
            yield key, low, high, target

    def _protocol(self) -> frozenset[int]:
        words = self._table["protocol"]
        example = 'a list, e.g. ["kidney", "tumor"]'
        if not isinstance(words, list):
            raise self._refused(f"protocol = {words!r} is not {example}", self._line("protocol"))
        ids: set[int] = set()
        for word in words:
            if not isinstance(word, str):
                said = f"protocol names {word!r}, which is no class name in quotes; it is {example}"
                raise self._refused(said, self._line("protocol"))
            if word.strip().lower() in GROUPS:
                ids.update(GROUPS[word.strip().lower()])
                continue
            line = self._places.line_of_word(word, "protocol")
            target = self._target(word, line)
            if target in UNRESOLVED_BY_VALUE:
                ids.update(UNRESOLVED_BY_VALUE[target].sides)
            elif target in BY_ID:
                ids.add(target)
            else:
                raise self._refused(f"'{word}' is not a class that one can look for", line)
        return frozenset(ids)

    def _target(self, word: str, line: int | None) -> int:
        plain = word.strip().lower()
        if plain in _RESERVED_WORDS:
            return _RESERVED_WORDS[plain]
        if plain in UNRESOLVED_BY_NAME:
            return UNRESOLVED_BY_NAME[plain].value
        if found := find_class(word):
            return found.id
        words = (*CLASS_NAMES, *UNRESOLVED_BY_NAME, *_RESERVED_WORDS)
        raise self._refused(f"unknown class '{word}'{_nearest(plain, words)}", line)


def _nearest(word: str, words: Iterable[str]) -> str:
    known = tuple(words)
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}"
