"""What a review needs to know: what may want eyes, what a person decided, and whose drawing a class is."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    exists,
    false,
    func,
    not_,
    null,
    or_,
    select,
)
from sqlalchemy.orm import Session, aliased

from curation.labels import BY_ID, BY_NAME, CLASS_IDS
from curation.query import Node
from curation.status import Evidence, Origin, Severity, Status
from curation.worklist import Candidate, OpenFinding, numbers
from db.batches import batches
from db.filters import compile_filter
from db.models import (
    Annotation,
    Case,
    Decision,
    FindingRow,
    FindingState,
    MaskVersion,
    Model,
    Prediction,
    PredictionClass,
    Source,
    Verdict,
)
from db.queries.counting import census
from db.saved_queries import resolved
from db.snapshots import NEWEST, frame
from db.standing import class_is_accepted, class_is_stale, is_retracted, may_be_stale

# Rows that are Python objects at a time.
_CHUNK = 10_000


@dataclass(frozen=True)
class Drawing:
    """An annotated class of a version; `model_id` and `model` are whose pseudo label it is, else None."""

    case_id: int
    version_id: int
    class_id: int
    class_hash: str
    origin: Origin
    model_id: int | None
    model: str | None


@dataclass(frozen=True)
class DecisionRow:
    """A decision. `model`: whose pseudo label was judged; None where it was no pseudo label."""

    class_name: str
    verdict: Verdict
    reason: str
    person: str
    model: str | None
    created_at: datetime


@dataclass(frozen=True)
class ReviewCount:
    """How often a person said something of a class, and when last."""

    class_name: str
    verdict: Verdict
    person: str
    decisions: int
    last: datetime


def review_counts(session: Session) -> list[ReviewCount]:
    """Who decided how often about which class; all decisions, also those that were revised since."""
    rows: Any = session.execute(
        select(
            Decision.class_id, Decision.verdict, Decision.person, func.count(), func.max(Decision.created_at)
        )
        .group_by(Decision.class_id, Decision.verdict, Decision.person)
        .order_by(Decision.class_id, Decision.verdict, Decision.person)
    )
    return [ReviewCount(BY_ID[class_id].name, *rest) for class_id, *rest in rows]


def latest_decisions(
    session: Session, *, person: str | None = None, limit: int = 20
) -> list[tuple[str, DecisionRow]]:
    """The last decisions of a person, or of all, with the addresses of their cases; the newest first."""
    statement = (
        select(
            Source.name, Case.name, Decision.class_id, Decision.verdict, Decision.reason, Decision.person,
            Model.name, Decision.created_at,
        )
        .join(Case, Case.id == Decision.case_id)
        .join(Source, Source.id == Case.source_id)
        .outerjoin(Model, Model.id == Decision.model_id)
        .order_by(Decision.id.desc())
        .limit(limit)
    )  # fmt: skip
    if person is not None:
        statement = statement.where(Decision.person == person)
    rows: Any = session.execute(statement)
    return [
        (f"{source}/{name}", DecisionRow(BY_ID[class_id].name, *rest))
        for source, name, class_id, *rest in rows
    ]


def addresses(session: Session, version_ids: Collection[int]) -> dict[int, str]:
    """Version id to ``SOURCE/NAME`` of its case, where the version is the newest still."""
    found: dict[int, str] = {}
    for batch in batches(sorted(version_ids)):
        rows: Any = session.execute(
            select(Case.newest_version_id, Source.name, Case.name)
            .join(Source, Source.id == Case.source_id)
            .where(Case.newest_version_id.in_(batch))
        )
        found |= {version_id: f"{source}/{name}" for version_id, source, name in rows}
    return found


@dataclass(frozen=True)
class Candidates:
    """Some of what may want eyes, as columns: a million of them are too many to be an object each.

    Attributes:
        version_ids: The version that each stands in.
        columns: A field of `Candidate` to its values, None where unknown; `drawn_in` and `cases` left out.
        drawn_in: Class id to the cases in which people drew the class.
        cases: How many cases the catalog has.
    """

    version_ids: Sequence[int]
    columns: Mapping[str, Sequence[Any]]
    drawn_in: dict[int, int]
    cases: int

    def numbers(self) -> dict[str, NDArray[np.float64]]:
        """The columns as numbers, all fields of `Candidate`: what `curation.worklist.score` takes."""
        known = {name: numbers(values) for name, values in self.columns.items()}
        drawn = np.full(max(CLASS_IDS) + 1, np.nan)
        for class_id, n in self.drawn_in.items():
            drawn[class_id] = n
        # Of the whole mask (no class) there is no such number; class 0 is the background.
        known["drawn_in"] = drawn[np.nan_to_num(known["class_id"]).astype(np.intp)]
        known["cases"] = np.full(len(self.version_ids), float(self.cases))
        return known

    def one(self, place: int) -> Candidate:
        """One of them as a candidate."""
        said = {name: values[place] for name, values in self.columns.items()}
        return Candidate(**said, drawn_in=self.drawn_in.get(said["class_id"]), cases=self.cases)


def candidates(
    session: Session,
    query: str,
    *,
    agreement_below: float,
    class_ids: Collection[int | None] | None = None,
) -> Iterator[Candidates]:
    """What may want eyes in the newest versions of the queried cases, chunk by chunk, unordered.

    A class is a candidate if it is a pseudo label, has an open finding (warning or error), disagrees with a
    prediction, or is stale; never if a person accepted it. A finding of the whole mask is one, too.

    Args:
        session: A reading session.
        query: Which cases.
        agreement_below: A drawn class with a prediction of less agreement (Dice) is a candidate.
        class_ids: Only these classes, None among them for whole masks; None: all.

    Raises:
        QueryError: The query cannot be read.
    """
    drawn_in, cases = drawn_by_people(session)
    known = _drawn_by_models(session)
    node = resolved(session, query)
    only = None if class_ids is None else sorted(c for c in class_ids if c is not None)
    statements = [_class_candidates(node, agreement_below, known, may_be_stale(session), only)]
    if class_ids is None or None in class_ids:
        statements.append(_mask_candidates(node))
    for statement in statements:
        # On the connection: a session would look at every row for objects to keep.
        rows: Any = session.connection().execute(statement, execution_options={"yield_per": _CHUNK})
        for chunk in rows.partitions():
            version_ids, *columns = zip(*chunk, strict=True)
            # Their order is that of the statements' columns.
            said = dict(zip(Candidate._fields[: len(columns)], columns, strict=True))
            yield Candidates(version_ids, said, drawn_in, cases)


def drawn_by_people(session: Session) -> tuple[dict[int, int], int]:
    """In how many cases each class is original or corrected, and how many cases there are."""
    counted = census(session)
    people = {
        BY_NAME[name].id: said[Origin.ORIGINAL] + said[Origin.CORRECTED]
        for name, said in counted.classes.items()
    }
    return people, counted.cases


# A model and a class as one number: both databases compare one faster, and more simply, than a pair.
_CLASSES_OF_A_MODEL = 16


def _drawn_by_models(session: Session) -> list[int]:
    """What models draw, in any case: model id times 16 plus class id.

    A model that draws a class nowhere does not know it (of an imported one nobody said what it can
    predict), and that it disagrees with every tumor means nothing.
    """
    rows = session.execute(
        select(Prediction.model_id, PredictionClass.class_id)
        .join(Prediction, Prediction.id == PredictionClass.prediction_id)
        .where(PredictionClass.voxels > 0)
        .distinct()
    )
    return sorted(model_id * _CLASSES_OF_A_MODEL + class_id for model_id, class_id in rows)


def _class_candidates(
    node: Node,
    agreement_below: float,
    known: list[int],
    case_may_be_stale: ColumnElement[bool],
    only: list[int] | None,
) -> Select[Any]:
    asked = frame(NEWEST)
    a, said = aliased(Annotation), aliased(PredictionClass)
    found, newest = _severe_findings(), _newest_predictions()
    model_draws = newest.c.model_id * _CLASSES_OF_A_MODEL + a.class_id
    # What a model drew is judged by its own prediction, what somebody else drew by the newest one.
    pseudo = a.prediction_id.is_not(None)
    stale = and_(case_may_be_stale, class_is_stale(a))
    accepted_in = select(Decision.case_id).where(Decision.verdict == Verdict.ACCEPTED)
    agreement = case((or_(pseudo, model_draws.in_(known)), said.agreement))
    return (
        select(
            a.version_id,
            a.class_id,
            pseudo,
            func.coalesce(found.c.errors, 0),
            func.coalesce(found.c.warnings, 0),
            case((pseudo, said.confidence)),
            case((pseudo, said.tta_disagreement)),
            agreement,
            stale,
        )
        .select_from(
            asked.tables.join(a, and_(a.version_id == asked.version_id, a.status == Status.ANNOTATED))
            .outerjoin(found, and_(found.c.version_id == a.version_id, found.c.class_id == a.class_id))
            .outerjoin(newest, newest.c.case_id == Case.id)
            .outerjoin(
                said,
                and_(
                    said.prediction_id == func.coalesce(a.prediction_id, newest.c.prediction_id),
                    said.class_id == a.class_id,
                ),
            )
        )
        .where(
            compile_filter(node, asked),
            or_(pseudo, found.c.version_id.is_not(None), agreement < agreement_below, stale),
            not_(and_(Case.id.in_(accepted_in), class_is_accepted(a, Case.id))),
            *([] if only is None else [a.class_id.in_(only)]),
        )
    )


def _mask_candidates(node: Node) -> Select[Any]:
    asked, found = frame(NEWEST), _severe_findings()
    return (
        select(
            asked.version_id,
            null(),
            false(),
            found.c.errors,
            found.c.warnings,
            null(),
            null(),
            null(),
            false(),
        )
        .select_from(
            asked.tables.join(found, and_(found.c.version_id == asked.version_id, found.c.class_id.is_(None)))
        )
        .where(compile_filter(node, asked))
    )


def _severe_findings() -> Any:
    """Open errors and warnings, counted per version and class."""
    f = aliased(FindingRow)

    def count(severity: Severity) -> Any:
        return func.sum(case((f.severity == severity, 1), else_=0))

    return (
        select(
            f.version_id,
            f.class_id,
            count(Severity.ERROR).label("errors"),
            count(Severity.WARNING).label("warnings"),
        )
        .where(f.state == FindingState.OPEN, f.severity.in_([Severity.ERROR, Severity.WARNING]))
        .group_by(f.version_id, f.class_id)
        .subquery()
    )


def _newest_predictions() -> Any:
    p, newest = aliased(Prediction), aliased(Prediction)
    of_case = (
        select(p.case_id, func.max(p.id).label("prediction_id"))
        .where(not_(is_retracted(p)))
        .group_by(p.case_id)
        .subquery()
    )
    return (
        select(of_case.c.case_id, of_case.c.prediction_id, newest.model_id)
        .join(newest, newest.id == of_case.c.prediction_id)
        .subquery()
    )


def open_findings(
    session: Session, version_ids: Collection[int]
) -> dict[tuple[int, int | None], list[OpenFinding]]:
    """Open findings by (version id, class id or None for the whole mask), in the order of their ids."""
    found: dict[tuple[int, int | None], list[OpenFinding]] = {}
    for batch in batches(sorted(version_ids)):
        rows = session.scalars(
            select(FindingRow)
            .where(
                FindingRow.version_id.in_(batch),
                FindingRow.state == FindingState.OPEN,
            )
            .order_by(FindingRow.id)
        )
        for f in rows:
            found.setdefault((f.version_id, f.class_id), []).append(
                OpenFinding(f.id, f.check, f.severity, f.message, f.value, f.limit)
            )
    return found


def drawings(session: Session, version_ids: Sequence[int], class_ids: Collection[int]) -> list[Drawing]:
    """The annotated ones of some classes in some versions, by version and class."""
    found = []
    for batch in batches(version_ids):
        rows: Any = session.execute(
            select(
                MaskVersion.case_id, Annotation.version_id, Annotation.class_id, Annotation.class_hash,
                Annotation.origin, Prediction.model_id, Model.name,
            )
            .join(MaskVersion, MaskVersion.id == Annotation.version_id)
            .outerjoin(Prediction, Prediction.id == Annotation.prediction_id)
            .outerjoin(Model, Model.id == Prediction.model_id)
            .where(
                Annotation.version_id.in_(batch),
                Annotation.class_id.in_(sorted(class_ids)),
                Annotation.status == Status.ANNOTATED,
            )
            .order_by(Annotation.version_id, Annotation.class_id)
        )  # fmt: skip
        found += [Drawing(*row) for row in rows]
    return found


def decisions_that_hold(session: Session, version_id: int) -> list[DecisionRow]:
    """What people decided that is true of a version now, by class and then the oldest first.

    Accepted: of exactly the drawing that is there. Absent: as long as nothing is drawn. Rejected: for good, because
    the model that was judged does not fill the class again; its last judgement per model.
    """
    d, later = aliased(Decision), aliased(Decision)
    since = and_(later.case_id == d.case_id, later.class_id == d.class_id, later.id > d.id)
    accepted = and_(
        d.verdict == Verdict.ACCEPTED,
        Annotation.class_hash == d.class_hash,
        not_(exists().where(since, later.class_hash == d.class_hash)),
    )
    absent = and_(
        d.verdict == Verdict.ABSENT,
        Annotation.status.in_([Status.ABSENT, Status.OUT_OF_FIELD]),
        Annotation.evidence == Evidence.REVIEWER,
        not_(exists().where(since, later.verdict == Verdict.ABSENT)),
    )
    same_model = func.coalesce(later.model_id, 0) == func.coalesce(d.model_id, 0)
    rejected = and_(
        d.verdict == Verdict.REJECTED,
        not_(exists().where(since, later.verdict == Verdict.REJECTED, same_model)),
        or_(d.model_id.is_not(None), Annotation.status == Status.MISSING),
    )
    rows: Any = session.execute(
        select(d.class_id, d.verdict, d.reason, d.person, Model.name, d.created_at)
        .join(MaskVersion, MaskVersion.case_id == d.case_id)
        .join(Annotation, and_(Annotation.version_id == MaskVersion.id, Annotation.class_id == d.class_id))
        .outerjoin(Model, Model.id == d.model_id)
        .where(MaskVersion.id == version_id, or_(accepted, absent, rejected))
        .order_by(d.class_id, d.id)
    )
    return [DecisionRow(BY_ID[class_id].name, *rest) for class_id, *rest in rows]


def newest_decision(session: Session, case_id: int) -> int:
    """Id of the last decision about a case; 0 where there is none."""
    return session.scalar(select(func.max(Decision.id)).where(Decision.case_id == case_id)) or 0


def decisions_after(session: Session, case_id: int, decision_id: int) -> list[DecisionRow]:
    """What people decided about a case after one of its decisions (0: ever), the oldest first."""
    rows: Any = session.execute(
        select(
            Decision.class_id,
            Decision.verdict,
            Decision.reason,
            Decision.person,
            Model.name,
            Decision.created_at,
        )
        .outerjoin(Model, Model.id == Decision.model_id)
        .where(Decision.case_id == case_id, Decision.id > decision_id)
        .order_by(Decision.id)
    )
    return [DecisionRow(BY_ID[class_id].name, *rest) for class_id, *rest in rows]


def revision_of(session: Session, version_id: int) -> int | None:
    """Id of the source revision that a version's labels stand on: the last one ingested up to it."""
    of, upto = aliased(MaskVersion), aliased(MaskVersion)
    return session.scalar(
        select(of.revision_id)
        .join(upto, and_(upto.case_id == of.case_id, of.number <= upto.number))
        .where(upto.id == version_id, of.revision_id.is_not(None))
        .order_by(of.number.desc())
        .limit(1)
    )
