"""What descends from something found bad: predictions, versions, datasets, models, scores, down to the last one.

Found set by set: the database looks for labels, only models and datasets (there are few) are named one by one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Select,
    Subquery,
    and_,
    cast,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    union,
)
from sqlalchemy.orm import Session, aliased

from curation.labels import CLASS_IDS
from curation.status import Evidence, Origin, Status
from db.models import (
    Annotation,
    Case,
    Dataset,
    DatasetVersion,
    Evaluation,
    MaskVersion,
    Member,
    Model,
    Prediction,
    PredictionPart,
    ReservedVoxels,
    Source,
    VersionKind,
)
from db.retractions import Subject, SubjectKind

Condition = ColumnElement[bool]


@dataclass(frozen=True)
class LabelledVersion:
    """A version that carries such labels; `newest`: its case has none after it."""

    version_id: int
    case_id: int
    address: str
    number: int
    newest: bool
    classes: frozenset[int]


@dataclass(frozen=True)
class Named:
    """A dataset version (``NAME@N``) or a model."""

    id: int
    name: str


@dataclass(frozen=True)
class EvaluationRef:
    """Scores of one model on one case under one protocol, as many as have something to do with it."""

    model: str
    case: str
    protocol: str
    classes: int


@dataclass(frozen=True)
class Descent:
    """All that descends from one thing.

    Attributes:
        predictions: Its own ones and those combined from them, by model.
        versions: Those that carry its own labels.
        datasets: Frozen with its labels, or with labels of the models below.
        models: Trained on these datasets, or by the run itself; not the model that is retracted itself.
        later_predictions: Made by these models, and combined from theirs, by model.
        later_versions: Those that carry labels of these models.
        evaluations: Of its predictions or these models, or measured against such labels.
    """

    predictions: dict[str, int]
    versions: tuple[LabelledVersion, ...] = field(repr=False)
    datasets: tuple[Named, ...]
    models: tuple[Named, ...]
    later_predictions: dict[str, int]
    later_versions: tuple[LabelledVersion, ...] = field(repr=False)
    evaluations: tuple[EvaluationRef, ...] = field(repr=False)


@dataclass(frozen=True)
class _Root:
    """Where labels come from: predictions that fulfil a condition, classes drawn in certain versions, or both."""

    predictions: Condition | None = None
    drawn_in: Condition | None = None
    origin: Origin | None = None


# The version in which a class was drawn; `_Root.drawn_in` is about it.
_Drawn = aliased(MaskVersion, name="drawn")


def descent(session: Session, subject: Subject) -> Descent:
    """Follow a thing to all that descends from it."""
    own = _root(subject)
    itself = {subject.id} if subject.kind is SubjectKind.MODEL else set()
    datasets = _datasets_with(session, own)
    models: set[int] = set()
    found = (_trained_on(session, datasets) | _trained_by(session, subject)) - itself
    while found:  # round by round, until the models of the last one have led to no other
        models |= found
        later_datasets = _datasets_with(session, _of_models(found)) - datasets
        datasets |= later_datasets
        found = _trained_on(session, later_datasets) - models - itself
    later = _of_models(models)
    versions = _versions(session, own)
    return Descent(
        predictions=_predictions(session, own),
        versions=versions,
        datasets=_dataset_names(session, datasets),
        models=_model_names(session, models),
        later_predictions=_predictions(session, later),
        later_versions=_with_other_labels(_versions(session, later), versions),
        evaluations=_evaluations(session, own, later, models | itself),
    )


def source_masks(session: Session, subject: Subject) -> dict[int, str]:
    """Newest version id to the stored mask that its source gave last, where that mask came with the subject.

    What has no owner of its own came with that mask: unresolved and ignored voxels, and classes that are absent
    because its protocol looked for them. Versions without any of these are left out.
    """
    drawn_in = _root(subject).drawn_in
    if drawn_in is None:
        return {}
    later = aliased(MaskVersion)
    since = exists().where(
        later.case_id == _Drawn.case_id,
        later.number > _Drawn.number,
        later.kind == VersionKind.INGESTED,
        later.file_hash.is_not(None),
    )
    reserved = exists().where(ReservedVoxels.version_id == Case.newest_version_id)
    looked_for = exists().where(
        Annotation.version_id == Case.newest_version_id,
        Annotation.status != Status.ANNOTATED,
        Annotation.evidence == Evidence.PROTOCOL,
    )
    rows = session.execute(
        select(Case.newest_version_id, _Drawn.file_hash)
        .join(_Drawn, _Drawn.case_id == Case.id)
        .where(drawn_in, _Drawn.kind == VersionKind.INGESTED, not_(since), or_(reserved, looked_for))
    )
    return {version_id: file_hash for version_id, file_hash in rows if version_id and file_hash}


def said_before(
    session: Session, version_ids: Sequence[int]
) -> dict[int, dict[int, tuple[Status, Evidence]]]:
    """Version id to class id to what a person had said (absent, not in the field) just before it was drawn."""
    before = aliased(Annotation)
    rows = session.execute(
        select(Annotation.version_id, Annotation.class_id, before.status, before.evidence)
        .join(_Drawn, _Drawn.id == Annotation.drawn_version_id)
        .join(before, (before.version_id == _Drawn.parent_id) & (before.class_id == Annotation.class_id))
        .where(Annotation.version_id.in_(version_ids), before.evidence == Evidence.REVIEWER)
    )
    found: dict[int, dict[int, tuple[Status, Evidence]]] = {}
    for version_id, class_id, status, evidence in rows:
        found.setdefault(version_id, {})[class_id] = (status, evidence)
    return found


def _root(subject: Subject) -> _Root:
    match subject.kind:
        case SubjectKind.MODEL:
            return _Root(Prediction.model_id == subject.id)
        case SubjectKind.PREDICTION:
            return _Root(Prediction.id == subject.id)
        case SubjectKind.RUN:
            read_anew = _Drawn.id.in_(_read_anew(subject.id))
            return _Root(Prediction.run_id == subject.id, or_(_Drawn.run_id == subject.id, read_anew))
        case SubjectKind.REVISION:
            return _Root(drawn_in=_Drawn.revision_id == subject.id, origin=Origin.ORIGINAL)


def _read_anew(run_id: int) -> Select[int]:
    """Ids of versions made of the very bytes that a run took in, by another mapping since."""
    brought, anew = aliased(MaskVersion), aliased(MaskVersion)
    return (
        select(anew.id)
        .join(brought, brought.case_id == anew.case_id)
        .where(
            brought.run_id == run_id,
            brought.kind == VersionKind.INGESTED,
            anew.kind == VersionKind.INGESTED,
            anew.number > brought.number,
            anew.revision_id == brought.revision_id,
            anew.incoming_hash == brought.incoming_hash,
        )
    )


def _of_models(model_ids: Collection[int]) -> _Root:
    return _Root(Prediction.model_id.in_(model_ids))


def _with_combined(condition: Condition) -> CTE:
    """Ids of the predictions that fulfil a condition, and of all combined from them, in any number of steps."""
    bad = select(Prediction.id).where(condition).cte(recursive=True)
    return bad.union(select(PredictionPart.prediction_id).where(PredictionPart.part_id == bad.c.id))


def _labels(root: _Root) -> Subquery:
    """The classes of all versions that stand on a root: version_id, class_id, origin; each once."""
    columns = (Annotation.version_id, Annotation.class_id, Annotation.origin)
    found: list[Select[int, int, Origin | None]] = []
    if root.predictions is not None:
        bad = _with_combined(root.predictions)
        found.append(select(*columns).where(Annotation.prediction_id.in_(select(bad.c.id))))
    if root.drawn_in is not None:
        carrying = aliased(MaskVersion)
        # Along the case's own versions: no index leads from a version to those that carry on its classes.
        drawn = (
            select(*columns)
            .select_from(_Drawn)
            .join(carrying, carrying.case_id == _Drawn.case_id)
            .join(Annotation, Annotation.version_id == carrying.id)
            .where(root.drawn_in, Annotation.drawn_version_id == _Drawn.id)
            # A revision that leaves the ground as it was renews the pseudo labels on it, which draws none of them.
            .where(or_(_Drawn.kind != VersionKind.INGESTED, Annotation.origin == Origin.ORIGINAL))
        )
        found.append(drawn.where(Annotation.origin == root.origin) if root.origin else drawn)
    return (found[0] if len(found) == 1 else union(*found)).subquery()


def _datasets_with(session: Session, root: _Root) -> set[int]:
    """Dataset versions of which a member's version has such a label, of an origin that counts there."""
    labels = _labels(root)
    rows = session.execute(
        select(Member.dataset_version_id, labels.c.origin)
        .join(labels, labels.c.version_id == Member.version_id)
        .distinct()
    ).all()
    ids = {dataset_version_id for dataset_version_id, _ in rows}
    counted = {
        row.id: row.origins
        for row in session.execute(
            select(DatasetVersion.id, DatasetVersion.origins).where(DatasetVersion.id.in_(ids))
        )
    }
    return {
        dataset_version_id for dataset_version_id, origin in rows if origin in counted[dataset_version_id]
    }


def _trained_on(session: Session, dataset_version_ids: Collection[int]) -> set[int]:
    return set(session.scalars(select(Model.id).where(Model.dataset_version_id.in_(dataset_version_ids))))


def _trained_by(session: Session, subject: Subject) -> set[int]:
    if subject.kind is not SubjectKind.RUN:
        return set()
    return set(session.scalars(select(Model.id).where(Model.run_id == subject.id)))


def _versions(session: Session, root: _Root) -> tuple[LabelledVersion, ...]:
    """The versions that carry labels of a root, by address and number."""
    labels = _labels(root)
    # A row per version: its classes as the bits of one number, because 100,000 cases have a million labels.
    carrying = (
        select(
            labels.c.version_id, func.sum(literal(1).op("<<")(cast(labels.c.class_id, Integer))).label("bits")
        )
        .group_by(labels.c.version_id)
        .subquery()
    )
    rows = session.execute(
        select(
            MaskVersion.id, MaskVersion.case_id, Source.name, Case.name, MaskVersion.number,
            Case.newest_version_id, carrying.c.bits,
        )
        .join(carrying, carrying.c.version_id == MaskVersion.id)
        .join(Case, Case.id == MaskVersion.case_id)
        .join(Source, Source.id == Case.source_id)
    )  # fmt: skip
    found = [
        LabelledVersion(version_id, case_id, f"{source}/{case}", number, newest == version_id, _classes(bits))
        for version_id, case_id, source, case, number, newest, bits in rows
    ]
    return tuple(sorted(found, key=lambda version: (version.address, version.number)))


@lru_cache(maxsize=1 << 14)
def _classes(bits: int) -> frozenset[int]:
    return frozenset(class_id for class_id in CLASS_IDS if bits >> class_id & 1)


def _with_other_labels(
    later: tuple[LabelledVersion, ...], own: tuple[LabelledVersion, ...]
) -> tuple[LabelledVersion, ...]:
    """What is not among the thing's own labels: a prediction may be combined from its own and a later one."""
    known = {version.version_id: version.classes for version in own}
    rest = (replace(v, classes=v.classes - known.get(v.version_id, frozenset())) for v in later)
    return tuple(version for version in rest if version.classes)


def _predictions(session: Session, root: _Root) -> dict[str, int]:
    """Predictions of a root and those combined from them, by model."""
    if root.predictions is None:
        return {}
    bad = _with_combined(root.predictions)
    rows = session.execute(
        select(Model.name, func.count())
        .join(Prediction, Prediction.model_id == Model.id)
        .join(bad, bad.c.id == Prediction.id)
        .group_by(Model.id, Model.name)
        .order_by(Model.id)
    )
    return dict(rows.all())


def _dataset_names(session: Session, ids: Collection[int]) -> tuple[Named, ...]:
    rows = session.execute(
        select(DatasetVersion.id, Dataset.name, DatasetVersion.number)
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .where(DatasetVersion.id.in_(ids))
        .order_by(Dataset.name, DatasetVersion.number)
    )
    return tuple(Named(dataset_version_id, f"{name}@{number}") for dataset_version_id, name, number in rows)


def _model_names(session: Session, ids: Collection[int]) -> tuple[Named, ...]:
    rows = session.execute(select(Model.id, Model.name).where(Model.id.in_(ids)).order_by(Model.id))
    return tuple(Named(*row) for row in rows)


def _evaluations(
    session: Session, own: _Root, later: _Root, model_ids: Collection[int]
) -> tuple[EvaluationRef, ...]:
    conditions: list[Condition] = [Evaluation.model_id.in_(model_ids)]
    if own.predictions is not None:
        conditions.append(Evaluation.prediction_id.in_(select(_with_combined(own.predictions).c.id)))
    for root in (own, later):
        labels = _labels(root)
        scored = select(Evaluation.id).join(
            labels,
            and_(
                labels.c.version_id == Evaluation.reference_version_id,
                labels.c.class_id == Evaluation.class_id,
            ),
        )
        conditions.append(Evaluation.id.in_(scored))
    rows = session.execute(
        select(Model.name, Source.name, Case.name, Evaluation.protocol, func.count())
        .join(Model, Model.id == Evaluation.model_id)
        .join(Case, Case.id == Evaluation.case_id)
        .join(Source, Source.id == Case.source_id)
        .where(or_(*conditions))
        .group_by(Model.id, Model.name, Source.name, Case.name, Evaluation.protocol)
    )
    return tuple(
        sorted(
            (
                EvaluationRef(model, f"{source}/{case}", protocol, n)
                for model, source, case, protocol, n in rows
            ),
            key=lambda ref: (ref.model, ref.case, ref.protocol),
        )
    )
