"""The `--cases` CSV: what a curator knows of each case that no file says (patient, role, licence, protocol)."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from curation.errors import UsageError
from curation.labels import ORGAN_IDS, UNRESOLVED_BY_NAME, UnknownClassError, resolve_class
from curation.plain_text import plain_text
from db.models import Role

KNOWN_COLUMNS = ("case", "patient", "role", "licence", "classes")
# What the catalog's columns hold.
_MAX_LENGTH = {"patient": 600, "licence": 200}
_ROLES = {str(role): role for role in Role}
_SHOWN = 5


@dataclass(frozen=True)
class CaseFacts:
    """One row, and its line: None where the column is absent or empty; further columns become metadata."""

    patient: str | None = None
    role: Role | None = None
    licence: str | None = None
    looked_for: tuple[int, ...] | None = None
    extra: dict[str, str] = field(default_factory=dict)
    line: int = 0


def read_case_list(path: Path, source: str) -> dict[str, CaseFacts]:
    """Read the CSV; the header names its columns, `case` is the only one required.

    A case is a name or the address ``SOURCE/NAME``. `classes` lists the classes that were looked for, separated by
    blanks, commas or semicolons; `organs` stands for all 13.

    Raises:
        UsageError: The file is absent, not UTF-8, lacks the column `case`, or a line cannot be used;
            the message names the line.
    """
    try:
        text = plain_text(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file; give the CSV with the column 'case'") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; give the CSV with the column 'case'") from error
    rows = _rows(text, path)
    _, first = next(rows, (1, []))
    columns = _columns(first, path)
    facts: dict[str, CaseFacts] = {}
    for line, values in rows:
        where = f"{path}, line {line}"
        if not "".join(values).strip():
            continue
        if len(values) != len(columns):
            raise UsageError(
                f"{where}: has {len(values)} values, but the header names {len(columns)} columns; leave empty what is "
                "not known, and put quotes around a value that holds a comma"
            )
        row = dict(zip(columns, values, strict=True))
        if row.pop("", "").strip():
            raise UsageError(f"{where}: has a value in a column without a name; name the column or empty it")
        of_source, _, name = row["case"].strip().rpartition("/")
        if not name:
            raise UsageError(f"{where}: the column 'case' is empty; name the case or delete the line")
        if of_source not in ("", source):
            raise UsageError(f"{where}: case '{of_source}/{name}' is not of source {source}; delete the line")
        if name in facts:
            raise UsageError(
                f"{where}: case '{name}' stands there twice, first in line {facts[name].line}; keep one line per case"
            )
        facts[name] = _row_facts(row, where, line)
    return facts


def unknown_cases(listed: dict[str, CaseFacts], unknown: set[str]) -> str:
    """How many cases of a list are unknown, and the first of them with their lines."""
    names = sorted(unknown, key=lambda name: listed[name].line)
    shown = ", ".join(f"{name} (line {listed[name].line})" for name in names[:_SHOWN])
    return f"{len(names)} case{'' if len(names) == 1 else 's'}: {shown}{' …' if len(names) > _SHOWN else ''}"


def _rows(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of the CSV, each with the line that it begins in: a value in quotes may hold lines of its own."""
    reader = csv.reader(io.StringIO(text), strict=True)
    line = 1
    try:
        for values in reader:
            yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        found, remedy = str(error), "write quotes within a value twice"
        if "field larger" in found:
            found, remedy = f"a value has more than {csv.field_size_limit():,} characters", "shorten it"
        elif "unexpected end" in found:
            found = "a quote is never closed"
        raise UsageError(f"{path}, line {line}: {found}; {remedy}") from error


def _columns(header: list[str], path: Path) -> list[str]:
    """The names of the columns; ours are known whatever their case."""
    columns = [name.strip() for name in header]
    columns = [name.lower() if name.lower() in KNOWN_COLUMNS else name for name in columns]
    if "case" not in columns:
        found = f"no column 'case' among {columns}" if columns else "empty, without a column 'case'"
        remedy = (
            "separate the columns by commas"
            if ";" in "".join(columns) or "\t" in "".join(columns)
            else "add it"
        )
        raise UsageError(f"{path}, line 1: {found}; {remedy}")
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise UsageError(f"{path}, line 1: column '{twice[0]}' stands there twice; keep one of the two")
    return columns


def _row_facts(row: dict[str, str], where: str, line: int) -> CaseFacts:
    def text(column: str) -> str | None:
        said = row.get(column, "").strip() or None
        if said and len(said) > _MAX_LENGTH.get(column, len(said)):
            raise UsageError(
                f"{where}: {column} has {len(said)} characters; shorten it to {_MAX_LENGTH[column]} at most"
            )
        return said

    role = text("role")
    if role is not None and role not in _ROLES:
        raise UsageError(f"{where}: role '{role}' is neither 'train' nor 'test'; use one of them")
    return CaseFacts(
        patient=text("patient"),
        role=_ROLES[role] if role else None,
        licence=text("licence"),
        looked_for=_looked_for(text("classes"), where),
        extra={column: value for column, value in row.items() if column not in KNOWN_COLUMNS},
        line=line,
    )


def _looked_for(text: str | None, where: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return _class_ids(text)
    except UnknownClassError as error:
        raise UsageError(f"{where}: column 'classes': {error}") from error


@lru_cache(maxsize=1000)  # long lists repeat a few protocols
def _class_ids(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for word in text.replace(",", " ").replace(";", " ").split():
        if word.lower() in {"organs", "organ"}:
            found.update(ORGAN_IDS)
        elif pair := UNRESOLVED_BY_NAME.get(word.lower()):
            found.update(pair.sides)
        else:
            found.add(resolve_class(word).id)
    return tuple(sorted(found))
