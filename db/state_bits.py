"""Questions about classes asked of packed states (`curation.class_states`), as SQL: a few bit operations a case.

Shifted by 0, 1 and 2, a number of packed states has the lowest, middle and highest bits of all its classes at the
same places, so that all of them are asked at once.
"""

from collections.abc import Collection
from functools import reduce
from operator import add

from sqlalchemy import BigInteger, ColumnElement, Integer, cast, literal

from curation.class_states import BITS, STATES
from curation.status import Origin, Status

States = ColumnElement[int]


def some_drawn(states: States, class_ids: Collection[int]) -> ColumnElement[bool]:
    """Whether at least one of the classes is annotated."""
    return _drawn(states).bitwise_and(_places(class_ids)) != _number(0)


def some_are(states: States, state: Status | Origin, class_ids: Collection[int]) -> ColumnElement[bool]:
    """Whether at least one of the classes has this status (not `annotated`) or, drawn, this origin."""
    place = STATES.index(state)
    ones = [_bit(states, i) for i in range(BITS) if place >> i & 1]
    zeros = [_bit(states, i) for i in range(BITS) if not place >> i & 1]
    there = reduce(_with, ones, _places(class_ids))
    without: States = there.bitwise_and(reduce(_or, zeros).bitwise_not())
    return without != _number(0)


def drawn_classes(states: States, class_ids: Collection[int]) -> States:
    """How many of the classes are annotated."""
    drawn = _drawn(states)
    return cast(
        reduce(add, (_bit(drawn, BITS * (c - 1)).bitwise_and(_number(1)) for c in class_ids)), Integer
    )


def _drawn(states: States) -> States:
    """With the lowest bit of every drawn class set; the others' lowest bits are not."""
    # The origins are 3, 4 and 5 of the states: the highest bit, or both others.
    assert STATES[3:] == tuple(Origin)
    both: States = states.bitwise_and(_bit(states, 1))
    return _or(_bit(states, 2), both)


def _bit(states: States, i: int) -> States:
    """The bits i places up, moved down. PostgreSQL shifts by plain integers alone."""
    moved: States = states.bitwise_rshift(literal(i, Integer)) if i else states
    return moved


def _or(one: States, other: States) -> States:
    joined: States = one.bitwise_or(other)
    return joined


def _with(one: States, other: States) -> States:
    met: States = one.bitwise_and(other)
    return met


def _places(class_ids: Collection[int]) -> States:
    """A number with the lowest bit of each of these classes set."""
    return _number(sum(1 << BITS * (c - 1) for c in class_ids))


def _number(value: int) -> States:
    return literal(value, BigInteger)
