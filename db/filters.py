"""From a query's syntax tree to SQL: bits of packed states, EXISTS for the rest, every value a bound parameter.

Logic is two-valued although SQL's is not: every condition compiles to EXISTS or to a column that is never
NULL, so that `not` turns false into true and nothing into NULL.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Double, Select, and_, exists, func, literal, not_, or_, select, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Boolean

from curation.labels import CLASS_IDS, ORGAN_IDS
from curation.query import (
    NUMBER_FIELDS,
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
    Saved,
)
from curation.status import Origin, Severity, Status
from db.models import (
    Annotation,
    Case,
    Decision,
    FindingRow,
    FindingState,
    MaskVersion,
    NewestMeasure,
    Prediction,
    PredictionClass,
    Retraction,
    Source,
    SourceRevision,
    Verdict,
    VersionKind,
)
from db.snapshots import Frame, MeasuresOf
from db.standing import class_is_accepted, class_is_stale
from db.state_bits import drawn_classes, some_are, some_drawn

Condition = ColumnElement[bool]

# Under names of their own, for the statement around may read the same tables. Made once, because aliasing a
# table takes a millisecond and a query may have 200 conditions; each stands in an EXISTS of its own.
_annotation, _said, _any_prediction = aliased(Annotation), aliased(PredictionClass), aliased(Prediction)
_version, _revision, _finding = aliased(MaskVersion), aliased(SourceRevision), aliased(FindingRow)
_measured, _source, _retraction = aliased(NewestMeasure), aliased(Source), aliased(Retraction)

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def compile_filter(node: Node, frame: Frame) -> Condition:
    """Compile a query over a snapshot.

    Args:
        node: From `db.saved_queries.resolved`.
        frame: From `db.snapshots.frame`; the condition is for a SELECT from its tables.
    """
    return _compiled(node, frame, {})


def asks_states_alone(node: Node) -> bool:
    """Whether a query asks for nothing but what `db.snapshots.counted` knows of the newest versions."""
    match node:
        case And(terms) | Or(terms):
            return all(asks_states_alone(term) for term in terms)
        case Not(term):
            return asks_states_alone(term)
        case HasClass(predicate):
            return predicate not in {"accepted", "rejected"}
        case Flag(name):
            return name not in {"flagged", "stale"}
        case Field(name):
            return name in {"labels", "organs", "source", "role"}
    return isinstance(node, Everything)


def asks_version(node: Node) -> bool:
    """Whether a query asks for what only the version's own row knows."""
    match node:
        case And(terms) | Or(terms):
            return any(asks_version(term) for term in terms)
        case Not(term):
            return asks_version(term)
        case Field(name):
            return name == "revision" or name in set(NUMBER_FIELDS) - {"labels", "organs"}
    return False


def measures_in(node: Node) -> frozenset[Measure]:
    """The measures that a query asks for, each once."""
    match node:
        case And(terms) | Or(terms):
            return frozenset[Measure]().union(*map(measures_in, terms))
        case Not(term):
            return measures_in(term)
    return frozenset([node] if isinstance(node, Measure) else [])


def class_measured(node: Node) -> int | None:
    """The class of the only class's measures that a query asks for, if it asks for nothing but states besides."""
    classes = {measure.class_id for measure in measures_in(node)}
    alone = len(classes) == 1 and asks_states_alone(with_measures(node, holds=False))
    return classes.pop() if alone else None


def with_measures(node: Node, *, holds: bool) -> Node:
    """What a query asks of a case all of whose measures are known to hold, or known not to."""
    match node:
        case And(terms):
            return And(tuple(with_measures(term, holds=holds) for term in terms))
        case Or(terms):
            return Or(tuple(with_measures(term, holds=holds) for term in terms))
        case Not(term):
            return Not(with_measures(term, holds=holds))
        case Measure():
            return Everything() if holds else Not(Everything())
    return node


def _compiled(node: Node, frame: Frame, known: dict[Node, Condition]) -> Condition:
    """`known` holds the conditions compiled before: some take milliseconds, and a query may repeat them."""
    match node:
        case And(terms):
            return and_(*(_compiled(term, frame, known) for term in dict.fromkeys(terms)))
        case Or(terms):
            return or_(*(_compiled(term, frame, known) for term in dict.fromkeys(terms)))
        case Not(term):
            return not_(_compiled(term, frame, known))
    if node not in known:
        known[node] = _condition(node, frame)
    return known[node]


def _condition(node: Node, frame: Frame) -> Condition:
    """A node without terms."""
    match node:
        case Everything():
            return true()
        case HasClass(predicate, "every", class_ids):
            return and_(*(_some_class(predicate, (class_id,), frame) for class_id in class_ids))
        case HasClass(predicate, _, class_ids):
            return _some_class(predicate, class_ids, frame)
        case Measure():
            return _measure(node, frame)
        case Field():
            return _field(node, frame)
        case Flag(name):
            return _FLAGS[name](frame)
        case Saved(name):
            raise ValueError(f"'@{name}' is not spelled out; use db.saved_queries.resolved")
    raise AssertionError(f"{node} has terms")


class _Matches(FunctionElement[bool]):
    """A text column against a wildcard pattern, case-sensitive on both databases.

    Its arguments are the column, the pattern for LIKE and the pattern for GLOB: SQLite's LIKE takes
    upper and lower case for the same.
    """

    name = "matches"
    type = Boolean()
    inherit_cache = True


@compiles(_Matches, "sqlite")
def _matches_sqlite(element: _Matches, compiler: SQLCompiler, **kw: Any) -> str:
    column, _, glob = element.clauses
    return f"({compiler.process(column, **kw)} GLOB {compiler.process(glob, **kw)})"


@compiles(_Matches)
def _matches_elsewhere(element: _Matches, compiler: SQLCompiler, **kw: Any) -> str:
    column, like, _ = element.clauses
    return f"({compiler.process(column, **kw)} LIKE {compiler.process(like, **kw)})"


def matches(column: Any, text: str | Pattern) -> Condition:
    """Whether a text column equals a text, or fits a pattern."""
    if isinstance(text, Pattern):
        return _Matches(column, literal(text.like()), literal(text.glob()))
    return column == literal(text)


def _of_version(a: type[Annotation], class_ids: Sequence[int], frame: Frame) -> Condition:
    which = a.class_id == class_ids[0] if len(class_ids) == 1 else a.class_id.in_(class_ids)
    return and_(a.version_id == frame.version_id, which)


def _some_class(predicate: str, class_ids: Sequence[int], frame: Frame) -> Condition:
    """Whether the predicate holds for at least one of the classes."""
    match predicate:
        case "has":
            return some_drawn(frame.states, class_ids)
        case "missing" | "absent" | "out_of_field":
            return some_are(frame.states, Status(predicate), class_ids)
        case "original" | "pseudo" | "corrected":
            return some_are(frame.states, Origin(predicate), class_ids)
        case "accepted":
            a = _annotation
            return exists().where(_of_version(a, class_ids, frame), class_is_accepted(a, Case.id))
        case "rejected":
            d, later = aliased(Decision), aliased(Decision)
            since = exists().where(later.case_id == d.case_id, later.class_id == d.class_id, later.id > d.id)
            return exists().where(
                d.case_id == Case.id, d.class_id.in_(class_ids), d.verdict == Verdict.REJECTED, not_(since)
            )
    raise AssertionError(f"the parser knows no predicate '{predicate}'")


def _compared(column: Any, op: str, value: float) -> Condition:
    # As a double: bound as the column's own integer, PostgreSQL would round 13.5 to 14.
    return _COMPARE[op](column, literal(float(value), Double()))


def _measure(node: Measure, frame: Frame) -> Condition:
    match frame.measures:
        case MeasuresOf.VERSION:
            return _measure_of_version(node, frame)
        case MeasuresOf.CASE:
            m = _measured
            return exists().where(m.class_id == node.class_id, m.case_id == Case.id, _measure_of_row(node, m))
        case MeasuresOf.ROW:
            return _measure_of_row(node, NewestMeasure)


def _measure_of_row(node: Measure, row: type[NewestMeasure]) -> Condition:
    if node.name == "touches_border":
        return row.touches_border.is_(True)
    column = row.volume_ml if node.name == "volume" else getattr(row, node.name)
    return and_(column.is_not(None), _compared(column, node.op, node.value))


def _measure_of_version(node: Measure, frame: Frame) -> Condition:
    a = _annotation
    drawn = and_(_of_version(a, (node.class_id,), frame), a.status == Status.ANNOTATED)
    if node.name == "touches_border":
        return exists().where(drawn, a.touches_border.is_(True))
    if node.name not in {"confidence", "agreement"}:
        column = a.volume_ml if node.name == "volume" else getattr(a, node.name)
        return exists().where(drawn, _compared(column, node.op, node.value))
    p = _said
    said = and_(p.class_id == a.class_id, _compared(getattr(p, node.name), node.op, node.value))
    from_model = exists().where(drawn, p.prediction_id == a.prediction_id, said)
    if node.name == "confidence":
        return from_model
    # What a person drew stands on no prediction: how far does the newest one agree with it?
    # Two levels within the statement, where SQLAlchemy does not correlate by itself.
    newest = (
        select(func.max(_any_prediction.id))
        .where(_any_prediction.case_id == Case.id)
        .correlate(Case)
        .scalar_subquery()
    )
    by_hand = exists().where(drawn, a.prediction_id.is_(None), p.prediction_id == newest, said)
    return or_(from_model, by_hand)


def _field(node: Field, frame: Frame) -> Condition:
    if isinstance(node.value, str | Pattern):
        found = _text_field(node.name, node.value, frame)
        return not_(found) if node.op == "!=" else found
    return _compared(_number_field(node.name, frame), node.op, node.value)


def _number_field(name: str, frame: Frame) -> Any:
    match name:
        case "labels":
            return drawn_classes(frame.states, CLASS_IDS)
        case "organs":
            return drawn_classes(frame.states, ORGAN_IDS)
        case "version":
            return MaskVersion.number
        case "slices":
            return MaskVersion.shape_z
    return getattr(MaskVersion, name.replace(".", "_"))  # spacing.x … shape.z


def _text_field(name: str, value: str | Pattern, frame: Frame) -> Condition:
    match name:
        case "case":
            return _addressed(value)
        case "source":
            # Not joined: a scan of a million rows would look the source up for each of them.
            return frame.source_id.in_(select(_source.id).where(matches(_source.name, value)))
        case "patient":
            return matches(Case.patient, value)
        case "role":
            return frame.role == value
        case "licence":  # one that nobody stated is the empty text
            return matches(func.coalesce(Case.licence, Source.licence, ""), value)
        case "revision":
            return matches(_revision_name(), value)
        case "finding":
            f = _finding
            return exists().where(
                f.version_id == frame.version_id, f.state == FindingState.OPEN, matches(f.check, value)
            )
    raise AssertionError(f"the parser knows no field '{name}'")


def _addressed(value: str | Pattern) -> Condition:
    """Text with a ``/`` is an address, without one a name."""
    parts = value.parts if isinstance(value, Pattern) else (value,)
    cut = next((i for i, part in enumerate(parts) if "/" in part), None)
    if cut is None:
        return matches(Case.name, value)
    before, _, after = parts[cut].partition("/")
    source, name = (*parts[:cut], before), (after, *parts[cut + 1 :])
    return and_(matches(Source.name, _text(source)), matches(Case.name, _text(name)))


def _text(parts: tuple[str, ...]) -> str | Pattern:
    return parts[0] if len(parts) == 1 else Pattern(parts)


def _revision_name() -> ColumnElement[str]:
    """The revision that a version's labels come from: a complemented one stands on what was ingested."""
    m, r = _version, _revision
    newest = (
        select(r.name)
        .join(m, m.revision_id == r.id)
        .where(m.case_id == Case.id, m.number <= MaskVersion.number)
        .order_by(m.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    return func.coalesce(newest, "")


def is_complete(frame: Frame) -> Condition:
    """No organ is missing."""
    return not_(_some_class("missing", ORGAN_IDS, frame))


def is_strong(frame: Frame) -> Condition:
    """The paper's strong label: complete, no organ pseudo, at least one organ annotated."""
    pseudo, drawn = (_some_class(predicate, ORGAN_IDS, frame) for predicate in ("pseudo", "has"))
    return and_(is_complete(frame), not_(pseudo), drawn)


def is_unlabeled(frame: Frame) -> Condition:
    """No class is annotated."""
    return not_(_some_class("has", CLASS_IDS, frame))


def is_weak(frame: Frame) -> Condition:
    """At least one class annotated, not strong."""
    return and_(_some_class("has", CLASS_IDS, frame), not_(is_strong(frame)))


def is_flagged(frame: Frame) -> Condition:
    """An open finding of severity warning or above."""
    f = _finding
    return exists().where(
        f.version_id == frame.version_id,
        f.state == FindingState.OPEN,
        f.severity.in_([Severity.WARNING, Severity.ERROR]),
    )


def is_stale(frame: Frame) -> Condition:
    """A class stands on a prediction or version that was since revised or retracted."""
    a = _annotation
    return exists().where(a.version_id == frame.version_id, class_is_stale(a))


def _flagged(frame: Frame) -> Condition:
    """As `is_flagged`, from the findings to their versions: a count of a million cases looks at those alone."""
    return frame.version_id.in_(severe_versions())


def severe_versions() -> Select[int]:
    """Versions with an open finding of severity warning or above."""
    f = _finding
    return select(f.version_id).where(
        f.state == FindingState.OPEN, f.severity.in_([Severity.WARNING, Severity.ERROR])
    )


def _stale(frame: Frame) -> Condition:
    """As `is_stale`, which looks at every class, asked only where there can be a reason.

    That is in cases that one model predicted more than once or that were ingested more than once; and, as soon
    as anything was retracted, in all.
    """
    p, again = _any_prediction, _version
    predicted_again = select(p.case_id).group_by(p.case_id, p.model_id).having(func.count() > 1)
    ingested_again = select(again.case_id).where(again.number > 1, again.kind == VersionKind.INGESTED)
    something_retracted = exists().where(_retraction.id.is_not(None))
    return and_(
        or_(something_retracted, Case.id.in_(predicted_again), Case.id.in_(ingested_again)), is_stale(frame)
    )


_FLAGS: dict[str, Callable[[Frame], Condition]] = {
    "complete": is_complete,
    "strong": is_strong,
    "weak": is_weak,
    "unlabeled": is_unlabeled,
    "flagged": _flagged,
    "stale": _stale,
}
