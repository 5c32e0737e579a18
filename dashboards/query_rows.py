"""Rows that somebody filled in, as a query: trees of the language's own words, printed by the language itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from curation.labels import BY_NAME, CLASS_NAMES, GROUPS
from curation.query import (
    BOOLEAN_MEASURES,
    NUMBER_FIELDS,
    QUANTIFIERS,
    WORD_FIELDS,
    And,
    Field,
    Flag,
    HasClass,
    Measure,
    Node,
    Not,
    Or,
    Pattern,
    Saved,
    format_query,
)


class Kind(StrEnum):
    """What a row asks about."""

    CLASS = "a class"
    MEASURE = "a measure"
    FIELD = "a property"
    FLAG = "a state"
    SAVED = "a saved query"


# Whom a predicate is asked of: one class, or any or every one of a group.
SUBJECTS: tuple[str, ...] = (*CLASS_NAMES, *(f"{q} {group}" for q in QUANTIFIERS for group in GROUPS))


@dataclass(frozen=True)
class Row:
    """One condition, as far as its kind needs it.

    Attributes:
        kind: What it asks about.
        word: The predicate, measure, field, flag, or the saved query's name.
        subject: One of `SUBJECTS` for a class, a class's name for a measure.
        op: One of `curation.query.OPERATORS`.
        value: Number, or text in which ``*`` stands for anything.
        negated: It must not hold.
        alternative: It begins a new alternative (or) instead of going on with the last one (and).
    """

    kind: Kind
    word: str
    subject: str = ""
    op: str = "="
    value: float | str = ""
    negated: bool = False
    alternative: bool = False


def query_of_rows(rows: Sequence[Row]) -> str:
    """The text of the rows: alternatives of conditions that hold together; empty of none."""
    alternatives: list[list[Node]] = []
    for row in rows:
        if row.alternative or not alternatives:
            alternatives.append([])
        node = _node(row)
        alternatives[-1].append(Not(node) if row.negated else node)
    joined = [terms[0] if len(terms) == 1 else And(tuple(terms)) for terms in alternatives]
    if not joined:
        return ""
    return format_query(joined[0] if len(joined) == 1 else Or(tuple(joined)))


def _node(row: Row) -> Node:
    match row.kind:
        case Kind.CLASS:
            first, _, group = row.subject.partition(" ")
            if group:
                return HasClass(row.word, first, GROUPS[group])
            return HasClass(row.word, "one", (BY_NAME[row.subject].id,))
        case Kind.MEASURE:
            class_id = BY_NAME[row.subject].id
            if row.word in BOOLEAN_MEASURES:
                return Measure(row.word, class_id, "=", True)
            return Measure(row.word, class_id, row.op, _number(row.value))
        case Kind.FIELD:
            if row.word in NUMBER_FIELDS:
                return Field(row.word, row.op, _number(row.value))
            text = str(row.value)
            if row.word in WORD_FIELDS or "*" not in text:
                return Field(row.word, row.op, text)
            return Field(row.word, row.op, Pattern(tuple(text.split("*"))))
        case Kind.FLAG:
            return Flag(row.word)
        case Kind.SAVED:
            return Saved(row.word.lower())


def _number(value: float | str) -> float:
    """As somebody would write it: 12 and not 12.0."""
    number = float(value or 0)
    return int(number) if number.is_integer() else number
