"""The grammar of the query language: text to tree, without recursion, within limits."""

import functools
import math
import re

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from curation.labels import GROUPS, find_class, resolve_class
from curation.query import (
    BOOLEAN_MEASURES,
    EVERYTHING_WORD,
    FIELDS,
    FLAGS,
    MEASURES,
    NUMBER_FIELDS,
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
    Saved,
    quote,
)
from curation.query_errors import (
    CLASS_WORDS,
    JOINTS,
    Refusal,
    known_operator,
    listed,
    name_length,
    nothing_after,
    refuse_character,
    refuse_class,
    refuse_field,
    refuse_measure,
    refuse_phrase,
    refuse_token,
    refuse_unknown,
    saved_name,
    shortened,
)

# What a tree may grow to. SQLite's parser gives up where conditions nest deeper than about 27 levels, and a
# chain `a or b or c` counts one level per term towards another limit of 1000, several where a word stands
# for several conditions (measured with the compiled queries, see db/filters.py).
MAX_LENGTH = 20_000
MAX_DEPTH = 20
MAX_CONDITIONS = 200
# Nothing that is compared with text is longer; SQLite refuses to compare patterns of 50,000 bytes.
MAX_TEXT = 1000
# A measure that is looked up in several tables counts as that many conditions: SQLite's time for a case grows
# with the square of the tables that all conditions open (200 of `agreement` took 40 ms a case).
_TABLES_READ = {"confidence": 2, "agreement": 5}
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
    | SAVED                             -> saved
    | words                             -> phrase
    | words OPERATOR value              -> comparison
    | words "(" words ")"               -> measure
    | words "(" words ")" OPERATOR value -> measure
words: WORD+
value: NUMBER | STRING | WORD+

_AND.2: /and(?![\w.\/*@-])/i
_OR.2: /or(?![\w.\/*@-])/i
_NOT.2: /not(?![\w.\/*@-])/i
SAVED: /@[^\s()"=<>!,;&|]*/
WORD: /[^\W\d][\w.\/*@-]*/
NUMBER: /[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?/i
STRING: /"(\\.|[^"\\])*"/s
OPERATOR: /[=<>!]+/
%ignore /\s+/
"""

_LONGEST_CLASS_NAME = 1 + max(word.count(" ") for word in CLASS_WORDS)


def parse_text(text: str) -> Node:
    """Read a query; see `curation.query.parse`."""
    try:
        if len(text) > MAX_LENGTH:
            raise Refusal(
                f"the query is {len(text)} characters long",
                f"only {MAX_LENGTH} are read; use wildcards, or freeze a dataset and ask it",
                MAX_LENGTH,
            )
        node = _parse(text)
        check_size(node)
    except Refusal as refusal:
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
        refuse_character(text, error.pos_in_stream or 0)
    except UnexpectedToken as error:
        refuse_token(text, error)
    return node


def check_size(node: Node) -> None:
    """Refuse a tree too deep or too wide for a database; iterative, for it may be too deep to recurse.

    Raises:
        Refusal: It is; at position 0, for the whole of it is.
    """
    conditions = 0
    todo = [(node, 1)]
    while todo:
        current, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise Refusal(f"the query nests deeper than {MAX_DEPTH} levels", "take it apart", 0)
        match current:
            case And(terms) | Or(terms):
                todo.extend((term, depth + 1) for term in terms)
            case Not(term):
                todo.append((term, depth + 1))
            case HasClass(_, "every", class_ids):
                conditions += len(class_ids)  # becomes one condition for each
            case Measure(name) if name in _TABLES_READ:
                conditions += _TABLES_READ[name]
            case _:
                conditions += 1
    if conditions > MAX_CONDITIONS:
        raise Refusal(
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

    def saved(self, children: list[Token]) -> Node:
        (token,) = children
        return Saved(saved_name(token[1:], token.start_pos), token.start_pos or 0)

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
            refuse_phrase(words)
        nothing_after(words, 1)
        return Flag(first) if first in FLAGS else Everything()

    def comparison(self, children: list) -> Node:
        words, operator, value = children
        name = " ".join(words).lower()
        if name not in FIELDS:
            refuse_field(name, words)
        op = known_operator(operator)
        if name in NUMBER_FIELDS:
            return Field(name, op, _number(name, value))
        if op in ORDER_OPERATORS:
            raise Refusal(
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
            refuse_measure(name, words, of)
        class_id = _one_class(of, f"a measure is of one class: {name}(liver)")
        if name in BOOLEAN_MEASURES:
            if comparison:
                raise Refusal(
                    f"'{name}' is compared, but it is true or false,",
                    f"write {name}(…) or not {name}(…)",
                    comparison[0].start_pos,
                    JOINTS,
                )
            return Measure(name, class_id, "=", True)
        if not comparison:
            raise Refusal(
                f"'{name}' is not compared",
                f"it needs a number: {name}({' '.join(of)}) > 1",
                of[-1].end_pos,
                OPERATORS,
            )
        operator, value = comparison
        return Measure(name, class_id, known_operator(operator), _number(name, value))


def _class_predicate(predicate: str, words: list[Token]) -> HasClass:
    """Words: the predicate, then a class, or a quantifier and a group."""
    if len(words) == 1:
        raise Refusal(
            f"'{words[0]}' is followed by no class",
            f"write {predicate} liver, or {predicate} any organ",
            words[0].end_pos,
            CLASS_WORDS,
        )
    quantifier = words[1].lower()
    if quantifier not in QUANTIFIERS:
        class_id = _one_class(words[1:], f"write {predicate} any …, or {predicate} every …")
        return HasClass(predicate, "one", (class_id,), " ".join(words[1:]))
    if len(words) == 2:
        raise Refusal(
            f"'{words[1]}' is followed by no group",
            f"groups are {listed(GROUPS)}",
            words[1].end_pos,
            tuple(GROUPS),
        )
    group = words[2].lower()
    if group not in GROUPS:
        stop = name_length(words[2:])
        name = " ".join(words[2 : 2 + stop])
        if find_class(name):
            raise Refusal(
                f"'{shortened(name)}' is one class, not a group,",
                f"leave out '{words[1]}'; groups are {listed(GROUPS)}",
                words[2].start_pos,
                tuple(GROUPS),
            )
        refuse_unknown("group", name, words[2], tuple(GROUPS), f"groups are {listed(GROUPS)}")
    nothing_after(words, 3)
    return HasClass(predicate, quantifier, GROUPS[group], group)


def _one_class(words: list[Token], if_group: str) -> int:
    """The class that the words name, all of them; `if_group` is the remedy where they name a group."""
    lengths = range(min(len(words), _LONGEST_CLASS_NAME), 0, -1)
    length = next((n for n in lengths if find_class(" ".join(words[:n]))), 0)
    if not length:
        refuse_class(words, if_group)
    nothing_after(words, length)
    return resolve_class(" ".join(words[:length])).id


def _number(name: str, value: list[Token]) -> float:
    token = value[0]
    if token.type != "NUMBER":
        raise Refusal(
            f"'{shortened(token)}' is not a number",
            f"'{name}' is compared with a number, such as 3 or 0.5",
            token.start_pos,
            ("a number",),
        )
    number = float(token)
    if not math.isfinite(number) or abs(number) > MAX_NUMBER:
        raise Refusal(
            f"{shortened(token)} is too large",
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
        refuse_unknown(name, answer, token, words, f"a {name} is {listed(words)}")
    return answer


def _text(name: str, value: list[Token]) -> str | Pattern:
    token = value[0]
    if token.type != "STRING":
        written = " ".join(value)
        quoted = quote(tuple(written.split("*")))
        raise Refusal(
            f"'{shortened(written)}' stands without quotes",
            f"text stands in double quotes: {name} = {shortened(quoted)}",
            token.start_pos,
            ("a string",),
        )
    if len(token) - 2 > MAX_TEXT:
        raise Refusal(
            f"the text is {len(token) - 2} characters long",
            f"texts in the catalog are shorter than {MAX_TEXT}; use * as a wildcard",
            token.start_pos,
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
                raise Refusal(
                    f"unknown escape '\\{letter}'",
                    'only \\" \\* and \\\\ are escapes; a backslash itself is \\\\',
                    (token.start_pos or 0) + position,
                )
        parts[-1] += letter
    return parts[0] if len(parts) == 1 else Pattern(tuple(parts))
