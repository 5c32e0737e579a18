"""Whether models can be compared on some cases: who was trained on what, and who has seen a case before."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from sqlalchemy.orm import Session

from db import case_files, datasets, descent, queries
from db.case_files import CaseFile
from db.models import ModelKind, Split
from db.queries import DatasetVersionRow, ModelRow
from db.retractions import model_subject
from db.writes import MemberValues
from pipelines.compare import Comparison

_NAMED = 5
# Percentile intervals of fewer cases hold the true difference clearly less often than they say.
_FEW = 10


@dataclass(frozen=True)
class TrainedOn:
    """A model and what it was trained on; no dataset and no members for one that was not trained here."""

    model: ModelRow
    dataset: DatasetVersionRow | None = None
    members: tuple[MemberValues, ...] = ()

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.name

    def split(self, side: Split) -> list[MemberValues]:
        """The members on one side of its split."""
        return [member for member in self.members if member.split is side]


@dataclass(frozen=True)
class Seen:
    """A case that a model has met in its training, or, with `patient`, another case of its patient.

    `verb` says how, e.g. ``was trained on``; `dataset` is where.
    """

    case: CaseFile
    model: str
    verb: str
    dataset: str
    patient: bool

    @property
    def reason(self) -> str:
        """In words."""
        return f"{self.model} {self.verb} {'its patient' if self.patient else 'it'} ({self.dataset})"


def trained_on(session: Session, model: ModelRow) -> TrainedOn:
    """Look up what a model was trained on."""
    if model.dataset is None or model.dataset_version_id is None:
        return TrainedOn(model)
    dataset = datasets.dataset_version(session, model.dataset)
    return TrainedOn(model, dataset, tuple(datasets.member_values(session, dataset.id)))


def cautions(session: Session, comparison: Comparison) -> list[str]:
    """What a reader of a comparison has to know before its numbers, each a sentence, the worst first.

    Cases that a model has seen in training are named, not taken out: that is an ablation's business.
    """
    models = [trained_on(session, queries.known_model(session, name)) for name in comparison.models]
    # All models were scored against the same versions.
    versions = {row.case_id: row.reference_version_id for row in comparison.scores[comparison.models[0]]}
    cases = case_files.case_files(session, list(versions.values()))
    end = "they count here all the same, and `maskledger ablation` leaves them out"
    return [*seen_lines(seen(session, models, cases), end), *doubts(models, cases)]


def seen(session: Session, models: Sequence[TrainedOn], cases: Collection[CaseFile]) -> list[Seen]:
    """Which cases stand on the training side of a model's split, or share a patient with one that does.

    A student also knows what its teacher has seen: a model whose predictions are labels of its members, down
    to the last one.
    """
    found = []
    compared = {one.name for one in models}
    for one in models:
        found += _met(one, Split.TRAIN, cases, "was trained on")
    for row in queries.models(session):
        if row.name in compared or row.dataset is None:
            continue
        teacher = trained_on(session, row)
        if met := _met(teacher, Split.TRAIN, cases, f"learned from {row.name}, which was trained on"):
            pupils = {m.name for m in descent.descent(session, model_subject(session, row.name)).models}
            found += [replace(one, model=name) for name in sorted(compared & pupils) for one in met]
    return found


def _met(by: TrainedOn, side: Split, cases: Collection[CaseFile], verb: str) -> list[Seen]:
    """Which cases, or whose patients, stand on one side of a model's split; booked on this model."""
    members = by.split(side)
    ids = {member.case_id for member in members}
    patients = {member.patient for member in members if member.patient is not None}
    dataset = by.dataset.address if by.dataset else ""
    return [
        Seen(case, by.name, verb, dataset, patient=case.case_id not in ids)
        for case in cases
        if case.case_id in ids or case.patient in patients
    ]


def seen_lines(found: Sequence[Seen], end: str) -> list[str]:
    """A sentence per model and way of having seen cases, which names the first few; `end` is what follows of it."""
    groups: dict[tuple[str, str, str, bool], list[str]] = {}
    for one in found:
        groups.setdefault((one.model, one.verb, one.dataset, one.patient), []).append(one.case.address)
    lines = []
    for (model, verb, dataset, patient), addresses in groups.items():
        whom = f"{'the patients of ' if patient else ''}{len(addresses)} of these cases ({dataset})"
        more = f" and {len(addresses) - _NAMED} more" if len(addresses) > _NAMED else ""
        lines.append(f"{model} {verb} {whom}: {', '.join(addresses[:_NAMED])}{more}; {end}")
    return lines


def doubts(models: Sequence[TrainedOn], cases: Collection[CaseFile]) -> list[str]:
    """What makes a comparison unequal although no case was seen, each a sentence."""
    said = []
    for one in models:
        said += [f"{one.name} is tainted: {sentence}" for sentence in one.model.tainted]
        if one.dataset is None:
            said.append(f"nobody knows what {one.name} was trained on; it may have seen these cases")
        validated = _met(one, Split.VAL, cases, "was validated on")
        said += seen_lines(validated, "its checkpoint may have been chosen by them, which flatters it")
    students = [one for one in models if one.model.kind is ModelKind.STUDENT and one.dataset is not None]
    for first, other in combinations(students, 2):
        said += _unequal(first, other)
    if len(cases) < _FEW:
        number = "1 case is" if len(cases) == 1 else f"{len(cases)} cases are"
        said.append(f"only {number} compared; the intervals of fewer than {_FEW} are too narrow")
    patients = len({case.patient for case in cases})
    if patients < len(cases):
        said.append(
            f"{len(cases)} cases are of {patients} patients; the intervals take cases as independent and are too narrow"
        )
    return said


def _unequal(first: TrainedOn, other: TrainedOn) -> list[str]:
    """Where two students differ in more than in the labels that they learned."""
    pair = f"{first.name} and {other.name}"
    said = []
    sides = [{member.case_id: member.split for member in one.members} for one in (first, other)]
    alone = [len(sides[0].keys() - sides[1].keys()), len(sides[1].keys() - sides[0].keys())]
    where = [one.dataset.address if one.dataset else "" for one in (first, other)]
    if any(alone):
        said.append(
            f"{pair} were not trained on the same cases: {alone[0]} only in {where[0]}, {alone[1]} only in {where[1]}"
        )
    moved = sum(sides[1].get(case_id, side) is not side for case_id, side in sides[0].items())
    if moved:
        said.append(f"{pair} were split differently: {moved} cases train one and validate the other")
    profiles = [one.model.profile or {} for one in (first, other)]
    if any(profiles[0].get(key) != profiles[1].get(key) for key in (ModelKind.STUDENT, "predict")):
        names = " and ".join(str(profile.get("name")) for profile in profiles)
        said.append(f"{pair} have different settings (profiles {names})")
    if first.model.seed != other.model.seed:
        said.append(f"{pair} were trained with different seeds ({first.model.seed} and {other.model.seed})")
    if first.model.code_version != other.model.code_version:
        said.append(
            f"{pair} were trained by different programs ({first.model.code_version} and {other.model.code_version})"
        )
    return said
