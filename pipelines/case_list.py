"""The `--cases` CSV: what a curator knows of each case that no file says (patient, role, licence, protocol)."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from curation.errors import UsageError
from curation.labels import ORGAN_IDS, UNRESOLVED_BY_NAME, UnknownClassError, resolve_class
from db.models import Role

KNOWN_COLUMNS = ("case", "patient", "role", "licence", "classes")


@dataclass(frozen=True)
class CaseFacts:
    """One row: None where the column is absent or empty; further columns become metadata."""

    patient: str | None = None
    role: Role | None = None
    licence: str | None = None
    looked_for: tuple[int, ...] | None = None
    extra: dict[str, str] = field(default_factory=dict)


def read_case_list(path: Path) -> dict[str, CaseFacts]:
    """Read the CSV; the header names its columns, `case` is the only one required.

    `classes` lists the classes that were looked for, separated by blanks, commas or semicolons;
    `organs` stands for all 13.

    Raises:
        UsageError: The file is absent, not UTF-8, lacks the column `case`, or a line cannot be used;
            the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file; give the CSV with the column 'case'") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 (byte {error.start}); save it as CSV UTF-8") from error
    reader = csv.DictReader(io.StringIO(text))
    if "case" not in (reader.fieldnames or ()):
        raise UsageError(f"{path}: line 1: no column 'case' among {reader.fieldnames or []}; add it")
    facts: dict[str, CaseFacts] = {}
    for row in reader:
        where = f"{path}: line {reader.line_num}"
        name = (row["case"] or "").strip().rpartition("/")[2]
        if not name:
            raise UsageError(f"{where}: the column 'case' is empty; name the case or delete the line")
        if name in facts:
            raise UsageError(f"{where}: case '{name}' stands there twice; keep one line per case")
        facts[name] = _row_facts(row, where)
    return facts


def _row_facts(row: dict[str, str | None], where: str) -> CaseFacts:
    def text(column: str) -> str | None:
        return (row.get(column) or "").strip() or None

    role = text("role")
    if role is not None and role not in set(Role):
        raise UsageError(f"{where}: role '{role}' is neither 'train' nor 'test'; use one of them")
    extra = {
        column: value
        for column, value in row.items()
        if isinstance(column, str) and column not in KNOWN_COLUMNS and isinstance(value, str)
    }
    return CaseFacts(
        patient=text("patient"),
        role=Role(role) if role else None,
        licence=text("licence"),
        looked_for=_looked_for(text("classes"), where),
        extra=extra,
    )


def _looked_for(text: str | None, where: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    found: set[int] = set()
    for word in text.replace(",", " ").replace(";", " ").split():
        if word.lower() in {"organs", "organ"}:
            found.update(ORGAN_IDS)
        elif pair := UNRESOLVED_BY_NAME.get(word.lower()):
            found.update(pair.sides)
        else:
            try:
                found.add(resolve_class(word).id)
            except UnknownClassError as error:
                raise UsageError(f"{where}: column 'classes': {error}") from error
    return tuple(sorted(found))
