"""Is the catalog itself sound? What no constraint can say of its rows, one query per rule."""

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, case, cast, func, or_, select, union_all
from sqlalchemy.orm import Session, aliased

from curation.class_states import BITS, STATES
from curation.labels import BY_ID, CLASS_IDS
from curation.status import Origin, Status
from db.models import (
    Annotation,
    Case,
    MaskVersion,
    Member,
    Model,
    NewestMeasure,
    Prediction,
    PredictionClass,
    Source,
    StateCount,
    Tombstone,
)

REMEDY = "restore the catalog from a backup"


def contradictions(session: Session) -> list[str]:
    """What is wrong with the rows, one sentence each; nothing in a sound catalog.

    Rows whose data were purged have lost their hashes and their newest version on purpose.
    """
    return [f"{line}; {REMEDY}" for rule in _RULES for line in rule(session)]


def _classes_complete(session: Session) -> Iterator[str]:
    """Every version says of every class what is known."""
    counted = (
        select(Annotation.version_id, func.count().label("rows")).group_by(Annotation.version_id).subquery()
    )
    rows = func.coalesce(counted.c.rows, 0)
    statement = (
        _of_version(rows.label("rows"))
        .outerjoin(counted, counted.c.version_id == MaskVersion.id)
        .where(rows != len(CLASS_IDS), _kept(MaskVersion.case_id))
    )
    for row in session.execute(statement):
        yield f"{_address(row)}: has {row.rows} annotation rows instead of {len(CLASS_IDS)}"


def _newest_is_highest(session: Session) -> Iterator[str]:
    """A case's newest version is the one with the highest number, and every case has one."""
    highest = (
        select(MaskVersion.case_id, func.max(MaskVersion.number).label("number"))
        .group_by(MaskVersion.case_id)
        .subquery()
    )
    newest = aliased(MaskVersion)
    statement = (
        select(
            Source.name.label("source"), Case.name.label("case"), highest.c.number, newest.number.label("newest")
        )
        .join(Source, Source.id == Case.source_id)
        .outerjoin(highest, highest.c.case_id == Case.id)
        .outerjoin(newest, newest.id == Case.newest_version_id)
        .where(
            or_(newest.number.is_(None), newest.number != highest.c.number, newest.case_id != Case.id),
            _kept(Case.id),
        )
    )  # fmt: skip
    for row in session.execute(statement):
        newest_is = f"@{row.newest}" if row.newest else "none"
        highest_is = f"@{row.number}" if row.number else "none"
        yield f"{row.source}/{row.case}: its newest version is {newest_is}, its highest {highest_is}"


def _chain_without_gaps(session: Session) -> Iterator[str]:
    """Version n stands on version n - 1 of the same case, down to 1."""
    parent = aliased(MaskVersion)
    statement = (
        _of_version(parent.number.label("parent"))
        .outerjoin(parent, parent.id == MaskVersion.parent_id)
        .where(
            MaskVersion.number > 1,
            or_(
                parent.number.is_(None),
                parent.number != MaskVersion.number - 1,
                parent.case_id != MaskVersion.case_id,
            ),
        )
    )
    for row in session.execute(statement):
        yield f"{_address(row)}: stands on version {row.parent or 'none'}, not on {row.number - 1} of its case"


def _drawn_by_known(session: Session) -> Iterator[str]:
    """A pseudo class has a prediction for the very case; every class was drawn in a version of it."""
    drawn = aliased(MaskVersion)
    elsewhere = (
        _of_version(Annotation.class_id)
        .join(Annotation, Annotation.version_id == MaskVersion.id)
        .outerjoin(drawn, drawn.id == Annotation.drawn_version_id)
        .where(
            Annotation.status == Status.ANNOTATED,
            or_(
                drawn.id.is_(None),
                drawn.case_id != MaskVersion.case_id,
                drawn.number > MaskVersion.number,
            ),
        )
    )
    for row in session.execute(elsewhere):
        yield f"{_address(row)}: {BY_ID[row.class_id].name} was drawn in no version of this case up to it"
    unpredicted = (
        _of_version(Annotation.class_id)
        .join(Annotation, Annotation.version_id == MaskVersion.id)
        .outerjoin(Prediction, Prediction.id == Annotation.prediction_id)
        .where(
            Annotation.origin == Origin.PSEUDO,
            or_(Prediction.id.is_(None), Prediction.case_id != MaskVersion.case_id),
            _kept(MaskVersion.case_id),
        )
    )
    for row in session.execute(unpredicted):
        yield f"{_address(row)}: {BY_ID[row.class_id].name} is pseudo without a prediction for this case"


def _restored_is_own(session: Session) -> Iterator[str]:
    """What a version brings back is an earlier version of the same case."""
    restored = aliased(MaskVersion)
    statement = (
        _of_version()
        .outerjoin(restored, restored.id == MaskVersion.restores_id)
        .where(
            MaskVersion.restores_id.is_not(None),
            or_(
                restored.id.is_(None),
                restored.case_id != MaskVersion.case_id,
                restored.number >= MaskVersion.number,
            ),
        )
    )
    for row in session.execute(statement):
        yield f"{_address(row)}: brings back a version that is no earlier one of this case"


def _members_exist(session: Session) -> Iterator[str]:
    """A frozen dataset's members are versions that there are."""
    statement = (
        select(Member.dataset_version_id, Member.case_id, Member.version_id)
        .outerjoin(
            MaskVersion, (MaskVersion.id == Member.version_id) & (MaskVersion.case_id == Member.case_id)
        )
        .where(MaskVersion.id.is_(None))
    )
    for row in session.execute(statement):
        yield (
            f"dataset version {row.dataset_version_id}: its member case {row.case_id} has no version "
            f"with id {row.version_id}"
        )


def _one_mask_per_file(session: Session) -> Iterator[str]:
    """One file is one mask: all rows that name it state the same voxel hash."""
    named = union_all(
        select(MaskVersion.file_hash, MaskVersion.voxel_hash).where(MaskVersion.file_hash.is_not(None)),
        select(Prediction.file_hash, Prediction.voxel_hash),
    ).subquery()
    statement = (
        select(named.c.file_hash)
        .group_by(named.c.file_hash)
        .having(func.min(named.c.voxel_hash) != func.max(named.c.voxel_hash))
    )
    for name in session.scalars(statement):
        rows = sorted({*session.scalars(_holders(name)), *session.scalars(_predictors(name))})
        yield f"{', '.join(rows)}: name the same file {name[:12]}… with different voxel hashes"


def _purged_is_gone(session: Session) -> Iterator[str]:
    """What was purged names no file any more."""
    hashed = or_(MaskVersion.file_hash.is_not(None), MaskVersion.incoming_hash.is_not(None))
    statement = _of_version().join(Tombstone, Tombstone.case_id == MaskVersion.case_id).where(hashed)
    for row in session.execute(statement):
        yield f"{_address(row)}: was purged, and yet names a file"
    predicted = (
        select(Source.name.label("source"), Case.name.label("case"), Model.name.label("model"))
        .select_from(Prediction)
        .join(Case, Case.id == Prediction.case_id)
        .join(Source, Source.id == Case.source_id)
        .join(Model, Model.id == Prediction.model_id)
        .join(Tombstone, Tombstone.case_id == Prediction.case_id)
        .order_by(Prediction.id)
    )
    for left in session.execute(predicted):
        yield f"{left.source}/{left.case}: was purged, and yet {left.model} has a prediction for it"


def _states_as_annotated(session: Session) -> Iterator[str]:
    """A version's packed class states say what its annotation rows say."""
    statement = _of_version().where(MaskVersion.states != packed_states(MaskVersion.id))
    for row in session.execute(statement):
        yield f"{_address(row)}: its packed class states are not what its annotations say"


def _states_of_newest(session: Session) -> Iterator[str]:
    """A case has the class states of its last version."""
    later = aliased(MaskVersion)
    since = select(later.id).where(later.case_id == Case.id, later.number > MaskVersion.number).exists()
    statement = _of_version().where(
        Case.states.is_distinct_from(MaskVersion.states), ~since, _kept(MaskVersion.case_id)
    )
    for row in session.execute(statement):
        yield f"{row.source}/{row.case}: its class states are not those of version {row.number}"


def _states_counted(session: Session) -> Iterator[str]:
    """The counted class states are those of the cases."""
    key = ("source_id", "role", "states")
    there = (
        select(Case.source_id, Case.role, Case.states, func.count().label("cases"), func.count().label("n"))
        .where(Case.states.is_not(None))
        .group_by(Case.source_id, Case.role, Case.states)
    )
    counted = select(
        StateCount.source_id, StateCount.role, StateCount.states, StateCount.cases * 0, -StateCount.cases
    )
    both = union_all(there, counted).subquery()
    statement = (
        select(
            Source.name, both.c.role, both.c.states,
            func.sum(both.c.cases).label("cases"), func.sum(both.c.n).label("missed"),
        )
        .join(Source, Source.id == both.c.source_id)
        .group_by(Source.name, *(both.c[column] for column in key))
        .having(func.sum(both.c.n) != 0)
        .order_by(Source.name, both.c.role, both.c.states)
    )  # fmt: skip
    for row in session.execute(statement):
        yield (
            f"{row.name}: {row.cases} {row.role} cases have the class states {row.states}, "
            f"but {row.cases - row.missed} are counted"
        )


def _measures_of_newest(session: Session) -> Iterator[str]:
    """The measures that queries look at are those of every case's newest version, and no others."""
    m, a, said, any_prediction = NewestMeasure, Annotation, PredictionClass, aliased(Prediction)
    newest_prediction = (
        select(func.max(any_prediction.id)).where(any_prediction.case_id == Case.id).scalar_subquery()
    )
    by_model = a.prediction_id.is_not(None)
    kept_as = (
        (m.states, Case.states),
        (m.source_id, Case.source_id),
        (m.role, Case.role),
        *((getattr(m, name), getattr(a, name)) for name in _MEASURED),
        (m.confidence, case((by_model, said.confidence))),
        (m.agreement, said.agreement),
    )
    drawn = (
        select(Source.name.label("source"), Case.name.label("case"), a.class_id)
        .select_from(Case)
        .join(Source, Source.id == Case.source_id)
        .join(a, and_(a.version_id == Case.newest_version_id, a.status == Status.ANNOTATED))
        .outerjoin(
            said,
            and_(
                said.class_id == a.class_id,
                said.prediction_id == func.coalesce(a.prediction_id, newest_prediction),
            ),
        )
        .outerjoin(m, and_(m.class_id == a.class_id, m.case_id == Case.id))
        .where(or_(m.case_id.is_(None), *(kept.is_distinct_from(known) for kept, known in kept_as)))
        .order_by(Case.id, a.class_id)
    )
    for row in session.execute(drawn):
        yield f"{row.source}/{row.case}: the measures of {BY_ID[row.class_id].name} are not those of its version"
    still_drawn = (
        select(a.class_id)
        .join(Case, Case.newest_version_id == a.version_id)
        .where(Case.id == m.case_id, a.class_id == m.class_id, a.status == Status.ANNOTATED)
        .exists()
    )
    gone = (
        select(Source.name.label("source"), Case.name.label("case"), m.case_id, m.class_id)
        .outerjoin(Case, Case.id == m.case_id)
        .outerjoin(Source, Source.id == Case.source_id)
        .where(~still_drawn)
        .order_by(m.case_id, m.class_id)
    )
    for left in session.execute(gone):
        where = f"{left.source}/{left.case}" if left.case else f"case {left.case_id}"
        yield f"{where}: has measures of {BY_ID[left.class_id].name}, which its version does not have"


_RULES: tuple[Callable[[Session], Iterator[str]], ...] = (
    _classes_complete,
    _newest_is_highest,
    _chain_without_gaps,
    _drawn_by_known,
    _restored_is_own,
    _members_exist,
    _one_mask_per_file,
    _purged_is_gone,
    _states_as_annotated,
    _states_of_newest,
    _states_counted,
    _measures_of_newest,
)

_MEASURED = ("volume_ml", "voxels", "components", "touches_border", "mean_hu")


def packed_states(version_id: Any) -> ColumnElement[int]:
    """The 14 annotation rows of a version as one number, which `curation.class_states.unpack` reads."""
    a = aliased(Annotation)
    place = case(
        *(
            ((a.origin if isinstance(state, Origin) else a.status) == state, number)
            for number, state in enumerate(STATES)
        ),
        else_=0,
    )
    packed = cast(place, BigInteger).bitwise_lshift(BITS * (a.class_id - 1))
    whole = select(cast(func.coalesce(func.sum(packed), 0), BigInteger)).where(a.version_id == version_id)
    return whole.scalar_subquery()


def _of_version(*columns: Any) -> Select[*tuple[Any, ...]]:
    return (
        select(Source.name.label("source"), Case.name.label("case"), MaskVersion.number, *columns)
        .select_from(MaskVersion)
        .join(Case, Case.id == MaskVersion.case_id)
        .join(Source, Source.id == Case.source_id)
        .order_by(MaskVersion.id)
    )


def _address(row: Any) -> str:
    return f"{row.source}/{row.case}@{row.number}"


def _kept(case_id: Any) -> ColumnElement[bool]:
    """Not purged."""
    return case_id.not_in(select(Tombstone.case_id))


def _holders(file_hash: str) -> Select[str]:
    address = Source.name + "/" + Case.name
    return (
        select(address)
        .select_from(Source)
        .join(Case, Case.source_id == Source.id)
        .join(MaskVersion, MaskVersion.case_id == Case.id)
        .where(MaskVersion.file_hash == file_hash)
    )


def _predictors(file_hash: str) -> Select[str]:
    address = "prediction of " + Model.name + " for " + Source.name + "/" + Case.name
    return (
        select(address)
        .select_from(Source)
        .join(Case, Case.source_id == Source.id)
        .join(Prediction, Prediction.case_id == Case.id)
        .join(Model, Model.id == Prediction.model_id)
        .where(Prediction.file_hash == file_hash)
    )
