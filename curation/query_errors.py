"""What is wrong with a query, in words: the place, what stands there, what was expected, the nearest word."""

import difflib
from collections.abc import Iterable
from typing import NoReturn

from lark import Token
from lark.exceptions import UnexpectedToken

from curation.labels import CLASS_NAMES, CLASSES, GROUPS, find_class
from curation.query import (
    EVERYTHING_WORD,
    FIELDS,
    FLAGS,
    MEASURES,
    NUMBER_FIELDS,
    NUMBER_MEASURES,
    OPERATORS,
    PREDICATES,
    QUANTIFIERS,
    SAVED_NAME,
    WORD_FIELDS,
)

_CHARACTER_REMEDIES = {
    "&": "write 'and'",
    "|": "write 'or'",
    ",": "join conditions with 'and' or 'or'",
    ";": "join conditions with 'and' or 'or'",
    "'": "strings stand in double quotes",
    "“": "strings stand in plain double quotes",
    "”": "strings stand in plain double quotes",
    "\\": "a backslash escapes only within a string",
    "-": "a number is written without a blank after its sign",
    "+": "a number is written without a blank after its sign",
    "[": "group with ( and )",
    "{": "group with ( and )",
}
_OPERATOR_TYPOS = {"==": "=", "===": "=", "<>": "!=", "=!": "!=", "=<": "<=", "=>": ">=", "!==": "!="}
_FIRST_WORDS = (*PREDICATES, *FLAGS, *FIELDS, *MEASURES, EVERYTHING_WORD)
# What begins a condition or a group of classes, so never stands within a class's name.
_NO_CLASS_WORDS = frozenset((*_FIRST_WORDS, *QUANTIFIERS))
CLASS_WORDS = tuple(word for c in CLASSES for word in (c.name, c.name.replace("_", " "), *c.aliases))
JOINTS = ("and", "or")


class Refusal(Exception):
    """What a `QueryError` will say, raised where the query's whole text is not at hand."""

    def __init__(
        self,
        problem: str,
        remedy: str,
        position: int | None,
        expected: tuple[str, ...] = (),
        suggestion: str | None = None,
    ) -> None:
        super().__init__(problem)
        # lark leaves positions open for tokens that nobody read from a text; ours are all read.
        self.problem, self.remedy, self.position = problem, remedy, position or 0
        self.expected, self.suggestion = expected, suggestion


def refuse_phrase(words: list[Token]) -> NoReturn:
    """Say why words that start with neither predicate nor flag are no condition."""
    first = words[0].lower()
    at = words[0].start_pos
    if first in FIELDS:
        example = '"…"' if first not in NUMBER_FIELDS else "1"
        raise Refusal(
            f"'{first}' is not compared",
            f"it needs a comparison, such as {first} = {WORD_FIELDS.get(first, (example,))[0]}",
            words[0].end_pos,
            OPERATORS,
        )
    if first in MEASURES:
        example = f"{first}(liver)" + (" > 1" if first in NUMBER_MEASURES else "")
        raise Refusal(f"'{first}' is of no class", f"write {example}", words[0].end_pos, ("(",))
    name = " ".join(words[: name_length(words)])
    if first in QUANTIFIERS or name.lower() in GROUPS or find_class(name):
        subject = f"any {name}" if name.lower() in GROUPS else name
        raise Refusal(
            f"'{shortened(name)}' has no predicate",
            f"write missing {shortened(subject)} or has {shortened(subject)}",
            at,
            PREDICATES,
        )
    near = nearest(name, CLASS_WORDS)
    if near and not nearest(first, _FIRST_WORDS):
        problem = f"unknown word '{shortened(name)}'"
        raise Refusal(problem, f"did you mean 'missing {near}'?", at, PREDICATES, f"missing {near}")
    starts = f"a condition begins with {listed((*PREDICATES, *FLAGS))}, a measure or a field"
    refuse_unknown("word", words[0], words[0], _FIRST_WORDS, starts)


def refuse_field(name: str, words: list[Token]) -> NoReturn:
    """Say why what stands before an operator is no field."""
    first, last = words[0].lower(), words[-1].lower()
    at = words[0].start_pos
    if len(words) > 1 and (last in FIELDS or last in MEASURES):
        nothing_after(words, len(words) - 1)
    if name in MEASURES:
        raise Refusal(f"'{name}' is of no class", f"write {name}(liver)", words[0].end_pos, ("(",))
    if first in PREDICATES or name in FLAGS or name == EVERYTHING_WORD:
        raise Refusal(
            f"'{shortened(name)}' is compared, but it is true or false,",
            "leave out the comparison",
            words[-1].end_pos,
            JOINTS,
        )
    if find_class(name):
        raise Refusal(f"'{name}' is a class, not a field,", f"write volume({name}) or has {name}", at, FIELDS)
    refuse_unknown("field", name, words[0], (*FIELDS, *MEASURES), f"fields are {listed(FIELDS)}")


def refuse_measure(name: str, words: list[Token], of: list[Token]) -> NoReturn:
    """Say why what stands before a parenthesis is no measure."""
    if len(words) > 1 and words[-1].lower() in MEASURES:
        nothing_after(words, len(words) - 1)
    if name in PREDICATES:
        raise Refusal(
            f"'{name}' takes no parentheses", f"write {name} {shortened(' '.join(of))}",
            words[-1].end_pos, CLASS_WORDS,
        )  # fmt: skip
    if name in FIELDS or name in FLAGS:
        problem = f"'{name}' is of a case, not of a class,"
        raise Refusal(problem, "leave out the parentheses", words[-1].end_pos, OPERATORS)
    refuse_unknown("measure", name, words[0], MEASURES, f"measures are {listed(MEASURES)}")


def refuse_class(words: list[Token], if_group: str) -> NoReturn:
    """Say why the words name no class; `if_group` is the remedy (… for the words) where they name a group."""
    name = " ".join(words[: name_length(words)])
    if words[0].lower() in QUANTIFIERS or name.lower() in GROUPS:
        raise Refusal(
            f"'{shortened(name)}' stands for a group, not for one class,",
            if_group.replace("…", name),
            words[0].start_pos,
            CLASS_WORDS,
        )
    if words[0].lower() == EVERYTHING_WORD:
        problem, remedy = f"unknown class '{words[0]}'", "did you mean 'every'?"
        raise Refusal(problem, remedy, words[0].start_pos, QUANTIFIERS, "every")
    refuse_unknown("class", name, words[0], CLASS_WORDS, f"classes are {listed(CLASS_NAMES)}")


def refuse_character(text: str, position: int) -> NoReturn:
    """Say why a character begins nothing of the language."""
    letter = text[position]
    if letter == '"':
        raise Refusal("unclosed string", 'a closing " is missing', position, ('"',))
    raise Refusal(
        f"unexpected '{letter}'" if letter.isprintable() else f"unexpected {letter!r}",
        _CHARACTER_REMEDIES.get(letter, "outside of strings stand only words, numbers, ( ) and operators"),
        position,
    )


def refuse_token(text: str, error: UnexpectedToken) -> NoReturn:
    """Say what was expected where the grammar could not go on."""
    token, stack, expected = error.token, error.state.value_stack, error.expected
    at_end = token.type == "$END"
    position = len(text) if at_end else token.start_pos
    problem = "the query ends" if at_end else f"unexpected '{shortened(token)}'"
    unclosed: list[Token] = []
    for seen in stack:
        if getattr(seen, "type", None) == "LPAR":
            unclosed.append(seen)
        elif getattr(seen, "type", None) == "RPAR":
            unclosed.pop()

    if stack and getattr(stack[-1], "type", None) == "OPERATOR":
        wants = _wanted_value(stack)
    elif "_NOT" in expected:
        wants = "a condition, such as missing liver or labels > 5"
        if token.startswith("!"):
            wants = "'not'"
    elif expected == {"WORD"}:
        wants = "a class"
    elif at_end and unclosed:
        raise Refusal("unclosed '('", "a closing ) is missing", unclosed[-1].start_pos, (")",))
    elif expected == {"RPAR"}:
        name = " ".join(stack[-3]).lower()
        if name in PREDICATES and token.type in ("_AND", "_OR"):
            each = f"{name} {' '.join(stack[-1])} {token.lower()} {name} …"
            raise Refusal(f"'{name}' takes one class", f"write {each}", unclosed[-1].start_pos, CLASS_WORDS)
        wants = "')'"
    elif token.type == "RPAR":
        wants = "'and', 'or' or the end of the query; no '(' is open"
    else:
        wants = "'and', 'or' or ')'" if unclosed else "'and', 'or' or the end of the query"
    raise Refusal(problem, f"expected {wants}", position, (wants,))


def _wanted_value(stack: list) -> str:
    """What may follow the operator on top of the parser's stack; first refuses a wrong left side of it."""
    *_, compared, operator = stack
    known_operator(operator)
    if not isinstance(compared, list):  # the ')' of a measure
        return "a number"
    name = " ".join(compared).lower()
    if name not in FIELDS:
        refuse_field(name, compared)
    if name in NUMBER_FIELDS:
        return "a number"
    return listed(WORD_FIELDS[name]) if name in WORD_FIELDS else "a string in double quotes"


def refuse_unknown(kind: str, found: str, at: Token, expected: tuple[str, ...], otherwise: str) -> NoReturn:
    """Offer the nearest of the expected words, or what there is if none is near."""
    near = nearest(found, expected)
    remedy = f"did you mean '{near}'?" if near else otherwise
    raise Refusal(f"unknown {kind} '{shortened(found)}'", remedy, at.start_pos, expected, near)


def nothing_after(words: list[Token], length: int) -> None:
    """Refuse more words than the first `length`, which are a whole condition."""
    if len(words) > length:
        raise Refusal(
            f"unexpected '{shortened(words[length])}'",
            "expected 'and', 'or' or the end of the query",
            words[length].start_pos,
            JOINTS,
        )


def known_operator(token: Token) -> str:
    """The operator that the token is."""
    if token in OPERATORS:
        return str(token)
    near = _OPERATOR_TYPOS.get(token)
    remedy = f"did you mean '{near}'?" if near else f"operators are {listed(OPERATORS)}"
    raise Refusal(f"unknown operator '{shortened(token)}'", remedy, token.start_pos, OPERATORS, near)


def saved_name(written: str, position: int | None) -> str:
    """The name of a saved query as it is kept.

    Raises:
        Refusal: It cannot be one.
    """
    name = written.lower()
    if not SAVED_NAME.fullmatch(name):
        found = f"'@{shortened(written)}' names no saved query" if written else "'@' is followed by no name"
        raise Refusal(found, "a name is made of letters, digits, _ . and -, 100 at most: @todo", position)
    return name


def name_length(words: list[Token]) -> int:
    """How many of the words were meant as a name: up to the next one that begins something else."""
    return next((n for n, word in enumerate(words) if n and word.lower() in _NO_CLASS_WORDS), len(words))


def nearest(word: str, choices: tuple[str, ...]) -> str | None:
    """The choice that looks most like the word; None where none looks like it."""
    near = difflib.get_close_matches(shortened(word).lower(), choices, n=1)
    return near[0] if near else None


def shortened(text: str) -> str:
    """The text, cut to what a message can hold."""
    return text if len(text) <= 40 else f"{text[:39]}…"


def listed(words: Iterable[str]) -> str:
    """The words as a sentence lists them: "a, b or c"."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
