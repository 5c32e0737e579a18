"""The grammar of the query language, and errors that point at the place and name the nearest word."""

import difflib
import functools
import math
import re
from collections.abc import Iterable
from typing import NoReturn

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from curation.labels import CLASS_NAMES, CLASSES, GROUPS, find_class, resolve_class
from curation.query import (
    BOOLEAN_MEASURES,
    EVERYTHING_WORD,
    FIELDS,
    FLAGS,
    MEASURES,
    NUMBER_FIELDS,
    NUMBER_MEASURES,
    OPERATORS,
    ORDER_OPERATORS,
    PREDICATES,
    QUANTIFIERS,
    WORD_FIELDS,
    And,
    Everything,
    Field,
    Flag,
    HasClass,
    Measure,
    Node,
    Not,
    Or,
    Pattern,
    QueryError,
    quote,
)

# What a tree may grow to: databases limit how deep an expression may nest (SQLite: 1000, and
# `a or b or c` nests once per term), and whatever walks the tree recurses.
MAX_LENGTH = 20_000
MAX_DEPTH = 50
MAX_CONDITIONS = 400
# Beyond this a number is no longer exact in a database's double precision.
MAX_NUMBER = 2**53

# The grammar knows only shapes; which words are predicates, fields or classes is decided on
# the way up, where the position is at hand and the message can be about the word.
GRAMMAR = r"""
start: [either]
?either: both (_OR both)*
?both: negated (_AND negated)*
?negated: _NOT negated                  -> nothing_of
    | "(" either ")"
    | words                             -> phrase
    | words OPERATOR value              -> comparison
    | words "(" words ")"               -> measure
    | words "(" words ")" OPERATOR value -> measure
words: WORD+
value: NUMBER | STRING | WORD+

_AND.2: /and(?![\w.\/*@-])/i
_OR.2: /or(?![\w.\/*@-])/i
_NOT.2: /not(?![\w.\/*@-])/i
WORD: /[^\W\d][\w.\/*@-]*/
NUMBER: /[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?/i
STRING: /"(\\.|[^"\\])*"/s
OPERATOR: /[=<>!]+/
%ignore /\s+/
"""

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
_CLASS_WORDS = tuple(
    word for c in CLASSES for word in (c.name, c.name.replace("_", " "), *c.aliases)
)
_LONGEST_CLASS_NAME = 1 + max(word.count(" ") for word in _CLASS_WORDS)
_JOINTS = ("and", "or")


class _Refusal(Exception):
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


def parse_text(text: str) -> Node:
    """Read a query; see `curation.query.parse`."""
    try:
        if len(text) > MAX_LENGTH:
            raise _Refusal(
                f"the query is {len(text)} characters long",
                f"only {MAX_LENGTH} are read; use wildcards, or freeze a dataset and ask it",
                MAX_LENGTH,
            )
        node = _parse(text)
        _check_size(node)
    except _Refusal as refusal:
        raise QueryError(
            refusal.problem,
            refusal.remedy,
            query=text,
            position=refusal.position,
            expected=refusal.expected,
            suggestion=refusal.suggestion,
        ) from None
    return node


@functools.cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", lexer="basic", transformer=_TreeBuilder())


def _parse(text: str) -> Node:
    try:
        # With LALR the transformer runs while parsing, without recursion: nesting costs no stack.
        node: Node = _parser().parse(text)  # type: ignore[assignment]
    except UnexpectedCharacters as error:
        _refuse_character(text, error.pos_in_stream or 0)
    except UnexpectedToken as error:
        _refuse_token(text, error)
    return node


def _check_size(node: Node) -> None:
    """Refuse a tree too deep or too wide for a database; iterative, for it may be too deep to recurse."""
    conditions = 0
    todo = [(node, 1)]
    while todo:
        current, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise _Refusal(f"the query nests deeper than {MAX_DEPTH} levels", "take it apart", 0)
        match current:
            case And(terms) | Or(terms):
                todo.extend((term, depth + 1) for term in terms)
            case Not(term):
                todo.append((term, depth + 1))
            case _:
                conditions += 1
    if conditions > MAX_CONDITIONS:
        raise _Refusal(
            f"the query has {conditions} conditions",
            f"at most {MAX_CONDITIONS} are asked at once; use wildcards, or freeze a dataset and ask it",
            0,
        )


class _TreeBuilder(Transformer):
    """Turns what the grammar recognises into nodes, as soon as it is recognised."""

    def start(self, children: list[Node | None]) -> Node:
        return children[0] or Everything()

    def either(self, children: list[Node]) -> Node:
        return Or(tuple(children))

    def both(self, children: list[Node]) -> Node:
        return And(tuple(children))

    def nothing_of(self, children: list[Node]) -> Node:
        return Not(children[0])

    def words(self, children: list[Token]) -> list[Token]:
        return children

    def value(self, children: list[Token]) -> list[Token]:
        return children

    def phrase(self, children: list[list[Token]]) -> Node:
        (words,) = children
        first = words[0].lower()
        if first in PREDICATES:
            return _class_predicate(first, words)
        if first not in FLAGS and first != EVERYTHING_WORD:
            _refuse_phrase(words)
        _nothing_after(words, 1)
        return Flag(first) if first in FLAGS else Everything()

    def comparison(self, children: list) -> Node:
        words, operator, value = children
        name = " ".join(words).lower()
        if name not in FIELDS:
            _refuse_field(name, words)
        op = _operator(operator)
        if name in NUMBER_FIELDS:
            return Field(name, op, _number(name, value))
        if op in ORDER_OPERATORS:
            raise _Refusal(
                f"'{operator}' compares '{name}', which is text and has no order,",
                "use = or !=, with * as a wildcard",
                operator.start_pos,
                ("=", "!="),
            )
        if name in WORD_FIELDS:
            return Field(name, op, _closed_word(name, value))
        return Field(name, op, _text(name, value))

    def measure(self, children: list) -> Node:
        words, of, *comparison = children
        name = " ".join(words).lower()
        if name not in MEASURES:
            _refuse_measure(name, words, of)
        class_id = _one_class(of, f"a measure is of one class: {name}(liver)")
        if name in BOOLEAN_MEASURES:
            if comparison:
                raise _Refusal(
                    f"'{name}' is compared, but it is true or false,",
                    f"write {name}(…) or not {name}(…)",
                    comparison[0].start_pos,
                    _JOINTS,
                )
            return Measure(name, class_id, "=", True)
        if not comparison:
            raise _Refusal(
                f"'{name}' is not compared",
                f"it needs a number: {name}({' '.join(of)}) > 1",
                of[-1].end_pos,
                OPERATORS,
            )
        operator, value = comparison
        return Measure(name, class_id, _operator(operator), _number(name, value))


def _class_predicate(predicate: str, words: list[Token]) -> HasClass:
    """Words: the predicate, then a class, or a quantifier and a group."""
    if len(words) == 1:
        raise _Refusal(
            f"'{words[0]}' is followed by no class",
            f"write {predicate} liver, or {predicate} any organ",
            words[0].end_pos,
            _CLASS_WORDS,
        )
    quantifier = words[1].lower()
    if quantifier not in QUANTIFIERS:
        class_id = _one_class(words[1:], f"write {predicate} any …, or {predicate} every …")
        return HasClass(predicate, "one", (class_id,), " ".join(words[1:]))
    if len(words) == 2:
        raise _Refusal(
            f"'{words[1]}' is followed by no group",
            f"groups are {_listed(GROUPS)}",
            words[1].end_pos,
            tuple(GROUPS),
        )
    group = words[2].lower()
    if group not in GROUPS:
        stop = _name_length(words[2:])
        name = " ".join(words[2 : 2 + stop])
        if find_class(name):
            raise _Refusal(
                f"'{_shortened(name)}' is one class, not a group,",
                f"leave out '{words[1]}'; groups are {_listed(GROUPS)}",
                words[2].start_pos,
                tuple(GROUPS),
            )
        _refuse_unknown("group", name, words[2], tuple(GROUPS), f"groups are {_listed(GROUPS)}")
    _nothing_after(words, 3)
    return HasClass(predicate, quantifier, GROUPS[group], group)


def _one_class(words: list[Token], if_group: str) -> int:
    """The class that the words name, all of them; `if_group` is the remedy where they name a group."""
    lengths = range(min(len(words), _LONGEST_CLASS_NAME), 0, -1)
    length = next((n for n in lengths if find_class(" ".join(words[:n]))), 0)
    if not length:
        _refuse_class(words, if_group)
    _nothing_after(words, length)
    return resolve_class(" ".join(words[:length])).id


def _refuse_class(words: list[Token], if_group: str) -> NoReturn:
    name = " ".join(words[: _name_length(words)])
    if words[0].lower() in QUANTIFIERS or name.lower() in GROUPS:
        raise _Refusal(
            f"'{_shortened(name)}' stands for a group, not for one class,",
            if_group.replace("…", name),
            words[0].start_pos,
            _CLASS_WORDS,
        )
    if words[0].lower() == EVERYTHING_WORD:
        problem, remedy = f"unknown class '{words[0]}'", "did you mean 'every'?"
        raise _Refusal(problem, remedy, words[0].start_pos, QUANTIFIERS, "every")
    _refuse_unknown("class", name, words[0], _CLASS_WORDS, f"classes are {_listed(CLASS_NAMES)}")


def _name_length(words: list[Token]) -> int:
    """How many of the words were meant as a name: up to the next one that begins something else."""
    return next((n for n, word in enumerate(words) if n and word.lower() in _NO_CLASS_WORDS), len(words))


def _nothing_after(words: list[Token], length: int) -> None:
    if len(words) > length:
        raise _Refusal(
            f"unexpected '{_shortened(words[length])}'",
            "expected 'and', 'or' or the end of the query",
            words[length].start_pos,
            _JOINTS,
        )


def _operator(token: Token) -> str:
    if token in OPERATORS:
        return str(token)
    near = _OPERATOR_TYPOS.get(token)
    remedy = f"did you mean '{near}'?" if near else f"operators are {_listed(OPERATORS)}"
    raise _Refusal(f"unknown operator '{_shortened(token)}'", remedy, token.start_pos, OPERATORS, near)


def _number(name: str, value: list[Token]) -> float:
    token = value[0]
    if token.type != "NUMBER":
        raise _Refusal(
            f"'{_shortened(token)}' is not a number",
            f"'{name}' is compared with a number, such as 3 or 0.5",
            token.start_pos,
            ("a number",),
        )
    number = float(token)
    if not math.isfinite(number) or abs(number) > MAX_NUMBER:
        raise _Refusal(
            f"{_shortened(token)} is too large",
            f"numbers go up to {MAX_NUMBER}",
            token.start_pos,
            ("a number",),
        )
    return int(number) if number.is_integer() and re.fullmatch(r"[+-]?\d+", token, re.ASCII) else number


def _closed_word(name: str, value: list[Token]) -> str:
    token = value[0]
    words = WORD_FIELDS[name]
    answer = token[1:-1] if token.type == "STRING" else " ".join(value).lower()
    if answer not in words:
        _refuse_unknown(name, answer, token, words, f"a {name} is {_listed(words)}")
    return answer


def _text(name: str, value: list[Token]) -> str | Pattern:
    token = value[0]
    if token.type != "STRING":
        written = " ".join(value)
        quoted = quote(tuple(written.split("*")))
        raise _Refusal(
            f"'{_shortened(written)}' stands without quotes",
            f"text stands in double quotes: {name} = {_shortened(quoted)}",
            token.start_pos,
            ("a string",),
        )
    parts = [""]
    letters = iter(enumerate(token[1:-1], start=1))
    for position, letter in letters:
        if letter == "*":
            parts.append("")
            continue
        if letter == "\\":
            _, letter = next(letters)
            if letter not in '"*\\':
                raise _Refusal(
                    f"unknown escape '\\{letter}'",
                    'only \\" \\* and \\\\ are escapes; a backslash itself is \\\\',
                    (token.start_pos or 0) + position,
                )
        parts[-1] += letter
    return parts[0] if len(parts) == 1 else Pattern(tuple(parts))


def _refuse_phrase(words: list[Token]) -> NoReturn:
    """Say why words that start with neither predicate nor flag are no condition."""
    first = words[0].lower()
    at = words[0].start_pos
    if first in FIELDS:
        example = '"…"' if first not in NUMBER_FIELDS else "1"
        raise _Refusal(
            f"'{first}' is not compared",
            f"it needs a comparison, such as {first} = {WORD_FIELDS.get(first, (example,))[0]}",
            words[0].end_pos,
            OPERATORS,
        )
    if first in MEASURES:
        example = f"{first}(liver)" + (" > 1" if first in NUMBER_MEASURES else "")
        raise _Refusal(f"'{first}' is of no class", f"write {example}", words[0].end_pos, ("(",))
    name = " ".join(words[: _name_length(words)])
    if first in QUANTIFIERS or name.lower() in GROUPS or find_class(name):
        subject = f"any {name}" if name.lower() in GROUPS else name
        raise _Refusal(
            f"'{_shortened(name)}' has no predicate",
            f"write missing {_shortened(subject)} or has {_shortened(subject)}",
            at,
            PREDICATES,
        )
    near = _nearest(name, _CLASS_WORDS)
    if near and not _nearest(first, _FIRST_WORDS):
        problem = f"unknown word '{_shortened(name)}'"
        raise _Refusal(problem, f"did you mean 'missing {near}'?", at, PREDICATES, f"missing {near}")
    starts = f"a condition begins with {_listed((*PREDICATES, *FLAGS))}, a measure or a field"
    _refuse_unknown("word", words[0], words[0], _FIRST_WORDS, starts)


def _refuse_field(name: str, words: list[Token]) -> NoReturn:
    """Say why what stands before an operator is no field."""
    first, last = words[0].lower(), words[-1].lower()
    at = words[0].start_pos
    if len(words) > 1 and (last in FIELDS or last in MEASURES):
        _nothing_after(words, len(words) - 1)
    if name in MEASURES:
        raise _Refusal(f"'{name}' is of no class", f"write {name}(liver)", words[0].end_pos, ("(",))
    if first in PREDICATES or name in FLAGS or name == EVERYTHING_WORD:
        raise _Refusal(
            f"'{_shortened(name)}' is compared, but it is true or false,",
            "leave out the comparison",
            words[-1].end_pos,
            _JOINTS,
        )
    if find_class(name):
        raise _Refusal(
            f"'{name}' is a class, not a field,", f"write volume({name}) or has {name}", at, FIELDS
        )
    _refuse_unknown("field", name, words[0], (*FIELDS, *MEASURES), f"fields are {_listed(FIELDS)}")


def _refuse_measure(name: str, words: list[Token], of: list[Token]) -> NoReturn:
    """Say why what stands before a parenthesis is no measure."""
    if len(words) > 1 and words[-1].lower() in MEASURES:
        _nothing_after(words, len(words) - 1)
    if name in PREDICATES:
        raise _Refusal(
            f"'{name}' takes no parentheses", f"write {name} {_shortened(' '.join(of))}",
            words[-1].end_pos, _CLASS_WORDS,
        )  # fmt: skip
    if name in FIELDS or name in FLAGS:
        problem = f"'{name}' is of a case, not of a class,"
        raise _Refusal(problem, "leave out the parentheses", words[-1].end_pos, OPERATORS)
    _refuse_unknown("measure", name, words[0], MEASURES, f"measures are {_listed(MEASURES)}")


def _refuse_character(text: str, position: int) -> NoReturn:
    """Say why a character begins nothing of the language."""
    letter = text[position]
    if letter == '"':
        raise _Refusal("unclosed string", 'a closing " is missing', position, ('"',))
    raise _Refusal(
        f"unexpected '{letter}'" if letter.isprintable() else f"unexpected {letter!r}",
        _CHARACTER_REMEDIES.get(letter, "outside of strings stand only words, numbers, ( ) and operators"),
        position,
    )


def _refuse_token(text: str, error: UnexpectedToken) -> NoReturn:
    """Say what was expected where the grammar could not go on."""
    token, stack, expected = error.token, error.state.value_stack, error.expected
    at_end = token.type == "$END"
    position = len(text) if at_end else token.start_pos
    problem = "the query ends" if at_end else f"unexpected '{_shortened(token)}'"
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
        raise _Refusal("unclosed '('", "a closing ) is missing", unclosed[-1].start_pos, (")",))
    elif expected == {"RPAR"}:
        name = " ".join(stack[-3]).lower()
        if name in PREDICATES and token.type in ("_AND", "_OR"):
            each = f"{name} {' '.join(stack[-1])} {token.lower()} {name} …"
            raise _Refusal(f"'{name}' takes one class", f"write {each}", unclosed[-1].start_pos, _CLASS_WORDS)
        wants = "')'"
    elif token.type == "RPAR":
        wants = "'and', 'or' or the end of the query; no '(' is open"
    else:
        wants = "'and', 'or' or ')'" if unclosed else "'and', 'or' or the end of the query"
    raise _Refusal(problem, f"expected {wants}", position, (wants,))


def _wanted_value(stack: list) -> str:
    """What may follow the operator on top of the parser's stack; first refuses a wrong left side of it."""
    *_, compared, operator = stack
    _operator(operator)
    if not isinstance(compared, list):  # the ')' of a measure
        return "a number"
    name = " ".join(compared).lower()
    if name not in FIELDS:
        _refuse_field(name, compared)
    if name in NUMBER_FIELDS:
        return "a number"
    return _listed(WORD_FIELDS[name]) if name in WORD_FIELDS else "a string in double quotes"


def _refuse_unknown(kind: str, found: str, at: Token, expected: tuple[str, ...], otherwise: str) -> NoReturn:
    near = _nearest(found, expected)
    remedy = f"did you mean '{near}'?" if near else otherwise
    raise _Refusal(f"unknown {kind} '{_shortened(found)}'", remedy, at.start_pos, expected, near)


def _nearest(word: str, choices: tuple[str, ...]) -> str | None:
    near = difflib.get_close_matches(_shortened(word).lower(), choices, n=1)
    return near[0] if near else None


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
