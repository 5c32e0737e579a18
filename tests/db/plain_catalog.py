"""Random catalogs, as rows and as plain Python, and a plain reading of the query language over the latter."""

import operator
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from curation.class_states import pack
from curation.labels import CLASS_IDS
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
)
from curation.status import Evidence, Origin, Severity, Status
from db.models import (
    Annotation,
    Case,
    Dataset,
    DatasetVersion,
    Decision,
    FindingRow,
    FindingState,
    MaskVersion,
    Member,
    Model,
    ModelKind,
    Prediction,
    PredictionClass,
    Retraction,
    Role,
    Run,
    Source,
    SourceRevision,
    Split,
    Verdict,
    VersionKind,
)
from db.snapshots import FIRST, AsOf, OfDataset, Snapshot
from db.writes.purging import empty_cases

START = datetime(2024, 1, 1, tzinfo=UTC)
NAMES = ("case_00", "case_01", "Case_01", "b%x", "b_x", "c[1]", "c*d", "e\\f", "ü")
CHECKS = ("organ_in_pieces", "touches_border", "left_right_swap")


@dataclass
class PlainVersion:
    id: int
    number: int
    time: datetime
    shape: dict[str, int]
    spacing: dict[str, float]
    revision: str | None
    kind: VersionKind
    annotations: dict[int, dict[str, Any]]
    findings: list[tuple[str, Severity, FindingState]]


@dataclass
class PlainPrediction:
    id: int
    model: int
    classes: dict[int, dict[str, float | None]]


@dataclass
class PlainCase:
    id: int
    source: str
    name: str
    role: str
    patient: str
    licence: str
    versions: list[PlainVersion]
    predictions: list[PlainPrediction]
    decisions: list[tuple[int, str | None, Verdict]] = field(default_factory=list)  # oldest first
    retracted: set[tuple[str, int]] = field(default_factory=set)  # ("model" | "prediction" | "revision", id)


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip


def holds(node: Node, case: PlainCase, version: PlainVersion) -> bool:
    """Whether a query holds for a version of a case, read word by word from the language's description."""
    rows = version.annotations
    match node:
        case Everything():
            return True
        case And(terms):
            return all(holds(term, case, version) for term in terms)
        case Or(terms):
            return any(holds(term, case, version) for term in terms)
        case Not(term):
            return not holds(term, case, version)
        case HasClass(predicate, quantifier, class_ids):
            each = [_class_holds(predicate, class_id, case, version) for class_id in class_ids]
            return all(each) if quantifier == "every" else any(each)
        case Measure(name, class_id, op, value):
            if rows[class_id]["status"] != "annotated":
                return False
            measured = _measured(name, class_id, case, rows[class_id])
            return measured is not None and COMPARE[op](measured, value)
        case Field("finding", op, value):
            names = [check for check, _, state in version.findings if state is FindingState.OPEN]
            return any(_fits(name, value) for name in names) == (op == "=")
        case Field(name, op, value):
            known = _field_value(name, case, version, value)
            return COMPARE[op](known, value) if name in NUMBER_FIELDS else _fits(known, value) == (op == "=")
        case Flag(name):
            return flag_holds(name, case, version)


def _class_holds(predicate: str, class_id: int, case: PlainCase, version: PlainVersion) -> bool:
    row = version.annotations[class_id]
    if predicate == "has":
        return row["status"] == "annotated"
    if predicate in {"original", "pseudo", "corrected"}:
        return row["origin"] == predicate
    if predicate == "accepted":
        said = [v for c, h, v in case.decisions if c == class_id and h is not None and h == row["class_hash"]]
        return said[-1:] == [Verdict.ACCEPTED]
    if predicate == "rejected":
        return [v for c, _, v in case.decisions if c == class_id][-1:] == [Verdict.REJECTED]
    return row["status"] == predicate


def _measured(name: str, class_id: int, case: PlainCase, row: dict[str, Any]) -> Any:
    if name in {"confidence", "agreement"}:
        if row["prediction_id"] is not None:
            (from_model,) = (p for p in case.predictions if p.id == row["prediction_id"])
        elif name == "agreement" and case.predictions:
            from_model = case.predictions[-1]
        else:
            return None
        return from_model.classes.get(class_id, {}).get(name)
    return row["volume_ml" if name == "volume" else name]


def _field_value(name: str, case: PlainCase, version: PlainVersion, asked: Any) -> Any:
    drawn_ids = [c for c, row in version.annotations.items() if row["status"] == "annotated"]
    if name == "case":
        text = "".join(asked.parts) if isinstance(asked, Pattern) else asked
        return f"{case.source}/{case.name}" if "/" in text else case.name
    if name == "revision":
        known = [v.revision for v in case.versions if v.number <= version.number and v.revision]
        return known[-1] if known else ""
    if name.startswith(("shape.", "spacing.")):
        return getattr(version, name.split(".")[0])[name[-1]]
    return {
        "source": case.source,
        "patient": case.patient,
        "licence": case.licence,
        "role": case.role,
        "labels": len(drawn_ids),
        "organs": sum(c <= 13 for c in drawn_ids),
        "version": version.number,
        "slices": version.shape["z"],
    }[name]


def _fits(text: str, value: str | Pattern) -> bool:
    if isinstance(value, str):
        return text == value
    return re.fullmatch(".*".join(map(re.escape, value.parts)), text, re.DOTALL) is not None


def flag_holds(name: str, case: PlainCase, version: PlainVersion) -> bool:
    rows = version.annotations
    organs = [rows[c] for c in range(1, 14)]
    complete = all(row["status"] != "missing" for row in organs)
    strong = (
        complete
        and all(row["origin"] != "pseudo" for row in organs)
        and any(row["status"] == "annotated" for row in organs)
    )
    labelled = any(row["status"] == "annotated" for row in rows.values())
    return {
        "complete": complete,
        "strong": strong,
        "weak": labelled and not strong,
        "unlabeled": not labelled,
        "flagged": any(s is not Severity.INFO and t is FindingState.OPEN for _, s, t in version.findings),
        "stale": any(_is_stale(row, case, version) for row in rows.values()),
    }[name]


def _is_stale(row: dict[str, Any], case: PlainCase, version: PlainVersion) -> bool:
    if row["status"] != "annotated":
        return False

    def gone(prediction: PlainPrediction) -> bool:
        return bool({("model", prediction.model), ("prediction", prediction.id)} & case.retracted)

    drawn = row["drawn_version_id"]
    for old in case.predictions:
        if old.id == row["prediction_id"]:
            again = any(p.model == old.model and p.id > old.id and not gone(p) for p in case.predictions)
            revised = any(
                v.kind is VersionKind.INGESTED and drawn is not None and drawn < v.id <= version.id
                for v in case.versions
            )
            return again or revised or gone(old)
    if row["origin"] != "original":
        return False
    of = {v.id: v.revision for v in case.versions}.get(drawn)
    return ("revision", {"2019": 1, "2023": 2}.get(of or "", 0)) in case.retracted


def random_catalog(session: Session, seed: int) -> tuple[list[PlainCase], dict[int, int]]:
    """Fill a catalog with up to 8 cases, and say what was filled in.

    Returns:
        The cases, and the members (case id to version id) of dataset version 1.
    """
    r = random.Random(seed)
    now = {"created_at": START}
    session.execute(
        insert(Source), [{"id": i, "name": n, "licence": li, **now} for i, (n, li) in _SOURCES.items()]
    )
    session.execute(
        insert(SourceRevision),
        [
            {"id": i, "source_id": 1, "name": name, "mapping_name": "m", "mapping": {}, **now}
            for i, name in enumerate(("2019", "2023"), 1)
        ],
    )
    session.execute(
        insert(Model), [{"id": i, "name": f"m{i}", "kind": ModelKind.EXTERNAL, **now} for i in (1, 2)]
    )
    retracted = _random_retractions(session, r)
    keys = r.sample([(s, n) for s in _SOURCES for n in NAMES], r.randint(0, 8))
    cases = [_random_case(session, r, i, *key) for i, key in enumerate(keys, 1)]
    for case in cases:
        case.retracted |= retracted
        for prediction in case.predictions:
            if r.random() < 0.1:
                _retract(session, "prediction", prediction.id)
                case.retracted.add(("prediction", prediction.id))
    members = {c.id: r.choice(c.versions).id for c in cases if r.random() < 0.6}
    session.execute(insert(Dataset), [{"id": 1, "name": "d", **now}])
    session.execute(
        insert(DatasetVersion),
        [{"id": 1, "dataset_id": 1, "number": 1, "query": "", "origins": [], "seed": 0, "manifest_hash": "",
          "author": "me", **now}],
    )  # fmt: skip
    if members:
        session.execute(
            insert(Member),
            [
                {"dataset_version_id": 1, "case_id": c, "version_id": v, "split": Split.TRAIN}
                for c, v in members.items()
            ],
        )
    return cases, members


def _random_retractions(session: Session, r: random.Random) -> set[tuple[str, int]]:
    found = {(what, i) for what in ("model", "revision") for i in (1, 2) if r.random() < 0.15}
    for what, i in sorted(found):
        _retract(session, what, i)
    return found


def _retract(session: Session, what: str, which: int) -> None:
    row = {f"{what}_id": which, "include_accepted": False, "reason": "r", "person": "me"}
    session.execute(insert(Retraction), [row])


_SOURCES = {1: ("KiTS", "CC BY-NC"), 2: ("kits", None)}


def _random_case(session: Session, r: random.Random, case_id: int, source_id: int, name: str) -> PlainCase:
    source, source_licence = _SOURCES[source_id]
    role, patient = r.choice(list(Role)), r.choice(["p1", "P1", f"{source}/{name}"])
    licence = r.choice([None, "CC0"])
    session.execute(
        insert(Case),
        [
            {
                "id": case_id,
                "source_id": source_id,
                "name": name,
                "role": role,
                "patient": patient,
                "licence": licence,
            }
        ],
    )
    predictions = [_random_prediction(session, r, case_id, i) for i in range(r.randint(0, 3))]
    versions = [
        _random_version(session, r, case_id, number, [p.id for p in predictions])
        for number in range(1, r.randint(1, 3) + 1)
    ]
    newest = {"newest_version_id": versions[-1].id, "states": _packed(versions[-1])}
    session.execute(update(Case).where(Case.id == case_id).values(newest))
    decisions = []
    for i in range(r.randint(0, 6)):
        c, verdict = r.randint(1, 3), r.choice(list(Verdict))
        class_hash = r.choice([None, "h1", "h2"])
        session.execute(
            insert(Decision),
            [{"id": 100 * case_id + i, "case_id": case_id, "class_id": c, "class_hash": class_hash,
              "verdict": verdict, "reason": "r", "person": "me"}],
        )  # fmt: skip
        decisions.append((c, class_hash, verdict))
    return PlainCase(
        case_id,
        source,
        name,
        role.value,
        patient,
        licence or source_licence or "",
        versions,
        predictions,
        decisions,
    )


def change_catalog(session: Session, r: random.Random, cases: list[PlainCase]) -> None:
    """Write to a catalog of `random_catalog` as the program does, and say in `cases` what is changed by it."""
    purging = Run(stage="purge", author="me", program_version="")
    session.add(purging)
    session.flush()
    for case in list(cases):
        match r.choice(["version", "image", "role", "prediction", "said again", "purge", "nothing"]):
            case "version":
                predictions = [p.id for p in case.predictions]
                newest = _random_version(session, r, case.id, len(case.versions) + 1, predictions)
                case.versions.append(newest)
                moved = {"newest_version_id": newest.id, "states": _packed(newest)}
                session.execute(update(Case).where(Case.id == case.id).values(moved))
            case "image":
                _look_at_image(session, r, case)
            case "role":
                case.role = r.choice(list(Role)).value
                session.execute(update(Case).where(Case.id == case.id).values(role=case.role))
            case "prediction":
                case.predictions.append(_random_prediction(session, r, case.id, len(case.predictions)))
            case "said again":
                for prediction in case.predictions:
                    _say_again(session, r, prediction)
            case "purge":
                empty_cases(session, [case.id], [f"{case.source}/{case.name}"], run_id=purging.id)
                cases.remove(case)


def _look_at_image(session: Session, r: random.Random, case: PlainCase) -> None:
    """Give the classes of every version other mean values; of the newest alone queries have to follow."""
    for version in case.versions:
        for class_id, row in version.annotations.items():
            if row["status"] is Status.ANNOTATED:
                row["mean_hu"] = r.choice([None, -10.0, 40.0])
                of_it = (Annotation.version_id == version.id, Annotation.class_id == class_id)
                session.execute(update(Annotation).where(*of_it).values(mean_hu=row["mean_hu"]))


def _say_again(session: Session, r: random.Random, prediction: PlainPrediction) -> None:
    for class_id, said in prediction.classes.items():
        said["agreement"] = r.choice([None, 0.25, 1.0])
        of_it = (PredictionClass.prediction_id == prediction.id, PredictionClass.class_id == class_id)
        session.execute(update(PredictionClass).where(*of_it).values(said))


def _random_prediction(session: Session, r: random.Random, case_id: int, i: int) -> PlainPrediction:
    classes: dict[int, dict[str, float | None]] = {
        c: {"confidence": r.choice([None, 0.25, 0.5]), "agreement": r.choice([None, 0.25, 0.5, 1.0])}
        for c in CLASS_IDS
        if r.random() < 0.8
    }
    plain = PlainPrediction(100 * case_id + i, r.choice([1, 2]), classes)
    row = {"id": plain.id, "case_id": case_id, "model_id": plain.model, "file_hash": "", "voxel_hash": ""}
    session.execute(insert(Prediction), [row])
    if classes:
        session.execute(
            insert(PredictionClass),
            [
                {"prediction_id": plain.id, "class_id": c, "voxels": 1, "volume_ml": 1.0, **said}
                for c, said in classes.items()
            ],
        )
    return plain


def _random_version(
    session: Session, r: random.Random, case_id: int, number: int, prediction_ids: list[int]
) -> PlainVersion:
    plain = PlainVersion(
        id=100 * case_id + number,
        number=number,
        time=START + timedelta(hours=case_id + 10 * number),
        shape={axis: r.randint(1, 4) for axis in "xyz"},
        spacing={axis: r.choice([0.5, 1.0, 2.5]) for axis in "xyz"},
        revision=r.choice([None, "2019", "2023"]),
        kind=r.choice([VersionKind.INGESTED, VersionKind.COMPLEMENTED]),
        annotations=_random_annotations(r, prediction_ids, 100 * case_id, number),
        findings=[
            (r.choice(CHECKS), r.choice(list(Severity)), r.choice(list(FindingState)))
            for _ in range(r.randint(0, 2))
        ],
    )
    session.execute(
        insert(MaskVersion),
        [
            {
                "id": plain.id, "case_id": case_id, "number": number, "kind": plain.kind, "author": "me",
                "parent_id": plain.id - 1 if number > 1 else None, "orientation": "RAS", "affine": [],
                "states": _packed(plain),
                "revision_id": {None: None, "2019": 1, "2023": 2}[plain.revision], "created_at": plain.time,
                **{f"shape_{a}": plain.shape[a] for a in "xyz"},
                **{f"spacing_{a}": plain.spacing[a] for a in "xyz"},
            }
        ],
    )  # fmt: skip
    session.execute(
        insert(Annotation),
        [{"version_id": plain.id, "class_id": c, **row} for c, row in plain.annotations.items()],
    )
    for check, severity, state in plain.findings:
        decided = state is not FindingState.OPEN
        session.execute(
            insert(FindingRow),
            [{"version_id": plain.id, "check": check, "severity": severity, "state": state, "value": 1.0,
              "limit": 0.0, "message": "m", "person": "me" if decided else None,
              "decided_at": START if decided else None}],
        )  # fmt: skip
    return plain


def _packed(version: PlainVersion) -> int:
    return pack({c: row["origin"] or row["status"] for c, row in version.annotations.items()})


def _random_annotations(
    r: random.Random, prediction_ids: list[int], first_id: int, number: int
) -> dict[int, dict[str, Any]]:
    # Mostly one status per version, or hardly any case would ever be complete, strong or unlabeled.
    usual, stray = r.choice(list(Status)), r.choice([0.0, 0.1, 0.7])
    rows = {}
    for class_id in CLASS_IDS:
        status = r.choice(list(Status)) if r.random() < stray else usual
        is_drawn = status is Status.ANNOTATED
        origin = (
            r.choice([o for o in Origin if prediction_ids or o is not Origin.PSEUDO]) if is_drawn else None
        )
        voxels = r.randint(1, 4) if is_drawn else 0
        rows[class_id] = {
            "status": status,
            "origin": origin,
            "evidence": Evidence.VOXELS if is_drawn else Evidence.DEFAULT,
            "prediction_id": r.choice(prediction_ids) if origin is Origin.PSEUDO else None,
            "author": "me" if origin is Origin.CORRECTED else None,
            "voxels": voxels,
            "volume_ml": voxels / 2,
            "components": r.choice([None, 1, 2]) if is_drawn else None,
            "mean_hu": r.choice([None, -10.0, 40.0]) if is_drawn else None,
            "touches_border": is_drawn and r.random() < 0.5,
            "class_hash": r.choice(["h1", "h2"]) if is_drawn else None,
            "drawn_version_id": first_id + r.randint(1, number) if is_drawn else None,
        }
    return rows


def versions_of(case: PlainCase, snapshot: Snapshot, members: dict[int, int]) -> list[PlainVersion]:
    """The version (or none) that a snapshot has of a case."""
    match snapshot:
        case OfDataset():
            return [v for v in case.versions if v.id == members.get(case.id)]
        case AsOf(time):
            return [v for v in case.versions if v.time <= time][-1:]
    return case.versions[:1] if snapshot == FIRST else case.versions[-1:]
