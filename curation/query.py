"""The query language: what can be asked of a catalog, as a tree; text to tree and back."""

import re
from dataclasses import dataclass, field

from curation.errors import UsageError
from curation.labels import BY_ID, GROUPS

# Predicate word -> what it says of a class in a case.
PREDICATES: tuple[str, ...] = (
    "has",
    "missing",
    "absent",
    "out_of_field",
    "original",
    "pseudo",
    "corrected",
    "accepted",
    "rejected",
)
QUANTIFIERS: tuple[str, ...] = ("any", "every")
FLAGS: tuple[str, ...] = ("complete", "strong", "weak", "unlabeled", "flagged", "stale")
EVERYTHING_WORD = "all"
# volume in ml, mean_hu in HU, confidence and agreement 0 to 1, the others counts.
NUMBER_MEASURES: tuple[str, ...] = ("volume", "voxels", "components", "mean_hu", "confidence", "agreement")
BOOLEAN_MEASURES: tuple[str, ...] = ("touches_border",)
MEASURES: tuple[str, ...] = NUMBER_MEASURES + BOOLEAN_MEASURES
TEXT_FIELDS: tuple[str, ...] = ("case", "source", "revision", "patient", "licence", "finding")
# Fields with a closed set of answers, which are words of the language.
WORD_FIELDS: dict[str, tuple[str, ...]] = {"role": ("train", "test")}
# Axes are the patient's (RAS+); spacing in mm, shape in voxels.
NUMBER_FIELDS: tuple[str, ...] = (
    "labels",
    "organs",
    "version",
    "slices",
    "spacing.x",
    "spacing.y",
    "spacing.z",
    "shape.x",
    "shape.y",
    "shape.z",
)
FIELDS: tuple[str, ...] = TEXT_FIELDS + tuple(WORD_FIELDS) + NUMBER_FIELDS
ORDER_OPERATORS: tuple[str, ...] = ("<", "<=", ">", ">=")
OPERATORS: tuple[str, ...] = ("=", "!=", *ORDER_OPERATORS)
# What a query can be saved as; upper and lower case are the same in it, as in every word of the language.
SAVED_NAME = re.compile(r"[\w.-]{1,100}")


class QueryError(UsageError):
    """A query cannot be understood. The message names column, what was found and what would be right.

    Attributes:
        query: The whole text.
        position: Offset of the offending character, from 0; ``len(query)`` for the end.
        expected: Words that would have been right there; may be empty.
        suggestion: The nearest of them, None if none is near.
    """

    def __init__(
        self,
        problem: str,
        remedy: str,
        *,
        query: str,
        position: int,
        expected: tuple[str, ...] = (),
        suggestion: str | None = None,
    ) -> None:
        self.query, self.position, self.expected, self.suggestion = query, position, expected, suggestion
        self.line = query.count("\n", 0, position) + 1
        self.column = position - (query.rfind("\n", 0, position) + 1) + 1
        where = f"line {self.line}, column {self.column}" if "\n" in query else f"column {self.column}"
        super().__init__(f"{problem} at {where}: {remedy}")

    def caret(self, width: int = 100) -> str:
        """The line of the query that is wrong and, below it, a ``^`` under the column.

        A line longer than `width` characters is cut around the column.
        """
        line = self.query.split("\n")[self.line - 1].replace("\t", " ")
        at = self.column - 1
        first = max(0, min(at - width // 2, len(line) - width)) if len(line) > width else 0
        return f"{line[first : first + width]}\n{' ' * (at - first)}^"


@dataclass(frozen=True)
class Pattern:
    """Text with wildcards: the literal `parts` with anything between them; ``"a*b"`` is ``("a", "b")``.

    A pattern has at least two parts; text without a wildcard is a plain `str`. Two wildcards side by side are
    the same as one, and become it.
    """

    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        first, *between, last = self.parts
        object.__setattr__(self, "parts", (first, *filter(None, between), last))

    def like(self) -> str:
        r"""For SQL's case-sensitive LIKE, with ``\`` as the escape character."""
        return "%".join(
            part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for part in self.parts
        )

    def glob(self) -> str:
        """For SQLite's GLOB, whose LIKE does not distinguish upper and lower case."""
        return "*".join(
            "".join(f"[{letter}]" if letter in "*?[" else letter for letter in part) for part in self.parts
        )


@dataclass(frozen=True)
class Everything:
    """Every case: the empty query, or the word ``all``."""


@dataclass(frozen=True)
class And:
    """All terms hold. An And within an And is the same as one longer And, and becomes it."""

    terms: tuple["Node", ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", _flattened(self.terms, And))


@dataclass(frozen=True)
class Or:
    """At least one term holds. Flattens as And does."""

    terms: tuple["Node", ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", _flattened(self.terms, Or))


@dataclass(frozen=True)
class Not:
    """The term does not hold (two-valued: what cannot be measured does not hold)."""

    term: "Node"


@dataclass(frozen=True)
class HasClass:
    """A class predicate.

    Attributes:
        predicate: One of `PREDICATES`; ``has`` means annotated.
        quantifier: ``one`` class, or ``any`` / ``every`` of a group.
        class_ids: One id, or those of the group in the label table's order.
        written: The class or group as the user wrote it.
    """

    predicate: str
    quantifier: str
    class_ids: tuple[int, ...]
    written: str = field(default="", compare=False)


@dataclass(frozen=True)
class Measure:
    """A measure of one annotated class, compared; a class that is not annotated compares false.

    `value` is a number, or True (with ``=``) for `BOOLEAN_MEASURES`, which stand alone.
    """

    name: str
    class_id: int
    op: str
    value: float | bool


@dataclass(frozen=True)
class Field:
    """A property of the case or its version, compared.

    `value` is a number for `NUMBER_FIELDS`, a `str` or `Pattern` (with ``=`` or ``!=``) for `TEXT_FIELDS`, a
    lower-case word for `WORD_FIELDS`. ``case`` compares the name, or the address where the text
    has a ``/``; ``finding`` holds where an open finding of that check exists.
    """

    name: str
    op: str
    value: float | str | Pattern


@dataclass(frozen=True)
class Flag:
    """A word of `FLAGS` that stands alone."""

    name: str


@dataclass(frozen=True)
class Saved:
    """A saved query, written ``@name``; `curation.query_saved.expand` puts its tree in this place.

    Attributes:
        name: In lower case.
        position: Where it stands in the text that it was read from.
    """

    name: str
    position: int = field(default=0, compare=False)


Node = Everything | And | Or | Not | HasClass | Measure | Field | Flag | Saved


def _flattened(terms: tuple[Node, ...], kind: type[And] | type[Or]) -> tuple[Node, ...]:
    flat: list[Node] = []
    for term in terms:
        if isinstance(term, kind):
            flat.extend(term.terms)
        else:
            flat.append(term)
    if len(flat) < 2:
        raise ValueError(f"{kind.__name__} joins two terms or more, not {len(flat)}")
    return tuple(flat)


def parse(text: str) -> Node:
    """Read a query.

    Args:
        text: The query; empty text asks for every case.

    Raises:
        QueryError: The text is no query; says where, what was expected, and the nearest word.
    """
    # lark costs 60 ms to import, which a command line that only prints its help must not pay.
    from curation.query_grammar import parse_text

    return parse_text(text)


def format_query(node: Node) -> str:
    """Print a tree as text that `parse` reads back to the same tree, in canonical words."""
    match node:
        case Everything():
            return EVERYTHING_WORD
        case And(terms):
            return " and ".join(_within(term, (Or,)) for term in terms)
        case Or(terms):
            return " or ".join(_within(term, ()) for term in terms)
        case Not(term):
            return f"not {_within(term, (And, Or))}"
        case HasClass(predicate, "one", (class_id,)):
            return f"{predicate} {BY_ID[class_id].name}"
        case HasClass(predicate, quantifier, class_ids):
            group = next(name for name, ids in GROUPS.items() if ids == class_ids)
            return f"{predicate} {quantifier} {group}"
        case Measure(name, class_id, _, bool()):
            return f"{name}({BY_ID[class_id].name})"
        case Measure(name, class_id, op, value):
            return f"{name}({BY_ID[class_id].name}) {op} {value!r}"
        case Field(name, op, str(text)):
            return f"{name} {op} {text if name in WORD_FIELDS else quote((text,))}"
        case Field(name, op, Pattern(parts)):
            return f"{name} {op} {quote(parts)}"
        case Field(name, op, value):
            return f"{name} {op} {value!r}"
        case Flag(name):
            return name
        case Saved(name):
            return f"@{name}"


def _within(node: Node, weaker: tuple[type, ...]) -> str:
    return f"({format_query(node)})" if isinstance(node, weaker) else format_query(node)


def quote(parts: tuple[str, ...]) -> str:
    """Write literal parts with wildcards between them as a string of the language."""
    escaped = (part.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*") for part in parts)
    return f'"{"*".join(escaped)}"'
