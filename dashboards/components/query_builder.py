"""A builder of queries for those who do not know the language: rows of boxes that write its text."""

from collections.abc import Callable, Sequence

import streamlit as st

from curation.labels import BY_NAME, CLASS_NAMES
from curation.query import (
    BOOLEAN_MEASURES,
    FIELDS,
    FLAGS,
    MEASURES,
    NUMBER_FIELDS,
    OPERATORS,
    PREDICATES,
    WORD_FIELDS,
)
from dashboards.components.markup import code
from dashboards.query_rows import SUBJECTS, Kind, Row, query_of_rows

_ROWS = "builder rows"
_UNITS = {"volume": "ml", "mean_hu": "HU", "confidence": "0 to 1", "agreement": "Dice, 0 to 1",
          "spacing.x": "mm", "spacing.y": "mm", "spacing.z": "mm"}  # fmt: skip
_WIDTHS = [0.8, 0.9, 1.4, 1.6, 1.6, 0.8, 1.4, 0.5]


def query_builder(saved: Sequence[str], use: Callable[[str], None]) -> None:
    """Show the rows and the query that they make; its button hands the text to `use`."""
    numbers: list[int] = st.session_state.setdefault(_ROWS, [0])
    rows = [row for place, number in enumerate(numbers) if (row := _row(place, number, saved))]
    text = query_of_rows(rows)
    more, write, shown = st.columns([1, 1.2, 4], vertical_alignment="center")
    more.button("Add a condition", icon=":material/add:", on_click=_add, key="builder add", width="stretch")
    write.button(
        "Ask this", icon=":material/arrow_upward:", on_click=use, args=(text,), key="builder use",
        type="primary", disabled=not text, width="stretch",
    )  # fmt: skip
    shown.html(code(text or "nothing asked yet"))


def _row(place: int, number: int, saved: Sequence[str]) -> Row | None:
    """One row of boxes; None while it is not complete."""

    def key(what: str) -> str:
        return f"builder {what} {number}"

    joint, negation, kind_box, word_box, subject_box, op_box, value_box, away = st.columns(
        _WIDTHS, vertical_alignment="bottom", gap="small"
    )
    alternative = False
    if place:
        alternative = joint.selectbox("Joined by", ("and", "or"), key=key("joint")) == "or"
    negated = negation.toggle("not", key=key("not"))
    kinds = [kind for kind in Kind if kind is not Kind.SAVED or saved]
    kind = kind_box.selectbox("Asks about", kinds, key=key("kind"), format_func=str)
    words = {
        Kind.CLASS: PREDICATES, Kind.MEASURE: MEASURES, Kind.FIELD: FIELDS, Kind.FLAG: FLAGS,
        Kind.SAVED: tuple(f"@{name}" for name in saved),
    }[kind]  # fmt: skip
    word = word_box.selectbox("What", words, key=key(f"word {kind}"), format_func=_spoken)
    subject, op = "", "="
    answer: float | str = 0.0
    if kind is Kind.CLASS:
        subject = subject_box.selectbox("Of", SUBJECTS, key=key("subject"), format_func=_titled)
    if kind is Kind.MEASURE:
        subject = subject_box.selectbox("Of", CLASS_NAMES, key=key("class"), format_func=_titled)
    if (kind is Kind.MEASURE and word not in BOOLEAN_MEASURES) or word in NUMBER_FIELDS:
        op = op_box.selectbox("Is", OPERATORS, index=OPERATORS.index(">"), key=key("op"))
        unit = f" ({_UNITS[word]})" if word in _UNITS else ""
        answer = value_box.number_input(f"Value{unit}", value=0.0, key=key("number"), format="%g")
    elif kind is Kind.FIELD:
        op = op_box.selectbox("Is", OPERATORS[:2], key=key("equal"))
        if word in WORD_FIELDS:
            answer = value_box.selectbox("Value", WORD_FIELDS[word], key=key(f"answer {word}"))
        else:
            answer = value_box.text_input("Value, * for anything", key=key("text"), max_chars=200)
    away.button(
        "", icon=":material/close:", key=key("remove"), on_click=_remove, args=(number,),
        help="Take this condition away",
    )  # fmt: skip
    if kind is Kind.FIELD and answer == "":
        return None
    return Row(kind, word.removeprefix("@"), subject, op, answer, negated, alternative)


def _add() -> None:
    numbers = st.session_state[_ROWS]
    st.session_state[_ROWS] = [*numbers, max(numbers, default=-1) + 1]


def _remove(number: int) -> None:
    st.session_state[_ROWS] = [n for n in st.session_state[_ROWS] if n != number]


def _spoken(word: str) -> str:
    return word if word.startswith("@") else word.replace("_", " ")


def _titled(subject: str) -> str:
    return BY_NAME[subject].title if subject in BY_NAME else subject
