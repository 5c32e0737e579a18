"""Purging: a case's rows are emptied, its patient's name is taken out of every text, a tombstone stays."""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Table, Text, cast, delete, or_, select, update
from sqlalchemy.orm import Session

from db.batches import batches
from db.models import (
    Annotation,
    Case,
    Conflict,
    DatasetVersion,
    Decision,
    Evaluation,
    Event,
    FindingRow,
    Image,
    MaskVersion,
    Member,
    Model,
    Prediction,
    PredictionClass,
    PredictionPart,
    ReservedVoxels,
    Retraction,
    Run,
    RunItem,
    SavedQuery,
    Tombstone,
)
from db.purged import PENDING
from db.writes.insert import insert_all, table_of

GONE = "(purged)"
# A shorter text is too likely to stand for something else: it goes where it stands alone or in quotes.
SHORTEST_ANYWHERE = 4
# Where a person's or a file's name may have been written down, apart from the rows that are emptied.
_TEXTS = (
    (Event, ("subject", "parameters")),
    (Run, ("key", "parameters", "message", "progress")),
    (RunItem, ("subject", "reason")),
    (DatasetVersion, ("query", "message")),
    (SavedQuery, ("query", "message")),
    (MaskVersion, ("message", "incoming_path")),
    (Prediction, ("incoming_path",)),
    (Decision, ("reason",)),
    # Of other cases: a check that compares cases names the other one.
    (FindingRow, ("message", "reason")),
    (Retraction, ("reason",)),
    (Tombstone, ("reason",)),
    (Model, ("metrics", "curves")),
)
_FORMS_PER_STATEMENT = 50


def bury(
    session: Session,
    case_ids: Sequence[int],
    *,
    patient_digest: str,
    reason: str,
    person: str,
    deleted: Mapping[int, tuple[int, int]],
) -> int:
    """Leave a tombstone for each case that has none yet; returns how many.

    Args:
        session: A writing session.
        case_ids: The cases.
        patient_digest: `db.purged.patient_digest` of the patient.
        reason: Why; without the patient's name.
        person: Who says so.
        deleted: Case id to number and bytes of the stored files that go with it.
    """
    buried = set(session.scalars(select(Tombstone.case_id).where(Tombstone.case_id.in_(case_ids))))
    new = [case_id for case_id in case_ids if case_id not in buried]
    insert_all(
        session, Tombstone,
        [
            {
                "case_id": case_id, "patient_digest": patient_digest, "reason": reason, "person": person,
                "files": deleted[case_id][0], "bytes": deleted[case_id][1],
            }
            for case_id in new
        ],
    )  # fmt: skip
    return len(new)


def empty_cases(session: Session, case_ids: Sequence[int], addresses: Collection[str], run_id: int) -> None:
    """Take everything out of the rows of cases but their names and the chain of their versions.

    Args:
        session: A writing session.
        case_ids: The cases.
        addresses: ``SOURCE/NAME`` of them.
        run_id: The run that purges. A retraction of a prediction of the cases is said of this run from now on,
            because what it has tainted stays tainted.
    """
    session.execute(select(Case.id).where(Case.id.in_(case_ids)).order_by(Case.id).with_for_update())
    versions = select(MaskVersion.id).where(MaskVersion.case_id.in_(case_ids))
    predictions = select(Prediction.id).where(Prediction.case_id.in_(case_ids))
    session.execute(
        update(Retraction)
        .where(Retraction.prediction_id.in_(predictions))
        .values(prediction_id=None, run_id=run_id)
    )
    for statement in (
        delete(Evaluation).where(Evaluation.case_id.in_(case_ids)),
        *(
            delete(of_version).where(of_version.version_id.in_(versions))
            for of_version in (Annotation, ReservedVoxels, Conflict, FindingRow)
        ),
        delete(Decision).where(Decision.case_id.in_(case_ids)),
        delete(Image).where(Image.case_id.in_(case_ids)),
        delete(PredictionClass).where(PredictionClass.prediction_id.in_(predictions)),
        delete(PredictionPart).where(
            or_(PredictionPart.prediction_id.in_(predictions), PredictionPart.part_id.in_(predictions))
        ),
        delete(Prediction).where(Prediction.case_id.in_(case_ids)),
        delete(RunItem).where(or_(RunItem.case_id.in_(case_ids), RunItem.subject.in_(addresses))),
        update(MaskVersion)
        .where(MaskVersion.case_id.in_(case_ids))
        .values(
            file_hash=None, voxel_hash=None, incoming_hash=None, incoming_path=None, message="", states=0
        ),
        update(Member).where(Member.case_id.in_(case_ids)).values(patient=None),
        update(Case)
        .where(Case.id.in_(case_ids))
        .values(
            newest_version_id=None,
            states=None,
            patient=GONE,
            licence=None,
            extra={},
            looked_for=None,
            image_path=None,
        ),
    ):
        session.execute(statement.execution_options(synchronize_session=False))
    _forget_comparisons(session, addresses)


def _forget_comparisons(session: Session, addresses: Collection[str]) -> None:
    """Delete what a check found in other cases by comparing them with these."""
    named = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, addresses))})(?!\w)")
    for batch in batches(sorted(addresses), _FORMS_PER_STATEMENT):
        mentions = or_(*(FindingRow.message.contains(address, autoescape=True) for address in batch))
        rows = session.execute(select(FindingRow.id, FindingRow.message).where(mentions)).all()
        gone = [row.id for row in rows if named.search(row.message)]
        session.execute(
            delete(FindingRow).where(FindingRow.id.in_(gone)),
            execution_options={"synchronize_session": False},
        )


def set_pending(session: Session, run_id: int, hashes: Sequence[str]) -> None:
    """Keep, or with none forget, which stored files a purge has still to delete."""
    parameters = session.scalars(select(Run.parameters).where(Run.id == run_id)).one()
    rest = {key: value for key, value in parameters.items() if key != PENDING}
    values = rest | ({PENDING: list(hashes)} if hashes else {})
    session.execute(update(Run).where(Run.id == run_id).values(parameters=values))


def scrubber(texts: Collection[str]) -> Callable[[str], str]:
    """A function that puts `GONE` for each of the texts, wherever it stands as a word or a path of its own."""
    ordered = sorted(filter(None, texts), key=len, reverse=True)
    anywhere = [re.escape(text) for text in ordered if len(text) >= SHORTEST_ANYWHERE]
    found = re.compile(rf"(?<!\w)(?:{'|'.join(anywhere)})(?!\w)") if anywhere else None
    short = [text for text in ordered if len(text) < SHORTEST_ANYWHERE]

    def scrub(value: str) -> str:
        if found is not None:
            value = found.sub(GONE, value)
        if value in short:
            return GONE
        for text in short:
            value = value.replace(f'"{text}"', f'"{GONE}"')
        return value

    return scrub


def forget_texts(session: Session, texts: Collection[str]) -> int:
    """Take texts out of all that was written down of runs, events and datasets; returns the rows changed."""
    scrub = scrubber(texts)
    # As JSON columns hold them, too: with escapes.
    forms = sorted({form for text in texts if text for form in (text, json.dumps(text)[1:-1])})
    changed = 0
    for model, names in _TEXTS:
        table = table_of(model)
        for name in names:
            changed += _forget(session, table, table.c[name], forms, scrub)
    return changed


def _forget(
    session: Session, table: Table, column: Column[Any], forms: Sequence[str], scrub: Callable[[str], str]
) -> int:
    (key,) = table.primary_key.columns
    found: dict[int, Any] = {}
    for batch in batches(forms, _FORMS_PER_STATEMENT):
        named = or_(*(cast(column, Text).contains(form, autoescape=True) for form in batch))
        found |= {row[0]: row[1] for row in session.execute(select(key, column).where(named))}
    clean = {row: _scrubbed(value, scrub) for row, value in found.items()}
    changed = {row: value for row, value in clean.items() if value != found[row]}
    for row, value in changed.items():
        session.execute(update(table).where(key == row).values({column.name: value}))
    return len(changed)


def _scrubbed(value: Any, scrub: Callable[[str], str]) -> Any:
    """A JSON value with every text in it scrubbed, names of fields too."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {scrub(key): _scrubbed(item, scrub) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item, scrub) for item in value]
    return value
