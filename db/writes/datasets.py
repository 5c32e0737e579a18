"""Frozen training sets."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.errors import CurationError, UsageError
from db.models import Dataset, DatasetVersion, Member, Split, Tombstone
from db.writes.insert import insert_all, insert_if_absent, insert_returning_id


@dataclass(frozen=True)
class MemberValues:
    """One case of a dataset, pinned to a version. `fold` counts from 0; None without cross validation.

    `patient` and `licence` are what they were when it was frozen; None where nobody stated a licence.
    """

    case_id: int
    version_id: int
    split: Split
    fold: int | None = None
    patient: str | None = None
    licence: str | None = None


def freeze_dataset(
    session: Session,
    name: str,
    query: str,
    members: Sequence[MemberValues],
    *,
    origins: Sequence[str],
    seed: int,
    manifest_hash: str,
    author: str,
    message: str = "",
    val_share: float | None = None,
    folds: int | None = None,
) -> int:
    """Add the next version of a dataset, unless its newest has the same manifest.

    Args:
        session: A writing session.
        name: The dataset's name; made if it is new.
        query: What chose the members.
        members: Which version of which case, in which split.
        origins: Origins whose classes count; others are to be treated as missing.
        seed: What the split was drawn with.
        manifest_hash: SHA-256 of the canonical manifest: the same hash is the same dataset.
        author: Who froze it.
        message: Why.
        val_share: Share of the members that validate, 0 to 1; None with `folds`.
        folds: Number of folds; None without cross validation.

    Returns:
        The number of the version that now stands for these members.

    Raises:
        UsageError: The name holds ``/`` or ``@``, or there are no members.
        CurationError: A member was purged since it was looked up.
    """
    if not name or "/" in name or "@" in name:
        raise UsageError(f"dataset name '{name}' may not be empty or contain '/' or '@'; rename it")
    if not members:
        raise UsageError(f"dataset '{name}' would be empty: no case answers '{query}'; ask for others")
    purged = set(session.scalars(select(Tombstone.case_id)))
    if any(member.case_id in purged for member in members):
        raise CurationError(
            f"a case of '{query}' was purged while dataset '{name}' was being frozen; freeze it again"
        )
    insert_if_absent(session, Dataset, {"name": name}, ["name"])
    # Locked, so that two freezes of one name do not both take the next number.
    dataset_id = session.scalars(select(Dataset.id).where(Dataset.name == name).with_for_update()).one()
    newest = session.execute(
        select(DatasetVersion.number, DatasetVersion.manifest_hash)
        .where(DatasetVersion.dataset_id == dataset_id)
        .order_by(DatasetVersion.number.desc())
        .limit(1)
    ).first()
    if newest is not None and newest.manifest_hash == manifest_hash:
        return int(newest.number)
    number = int(newest.number) + 1 if newest is not None else 1
    version_id = insert_returning_id(
        session,
        DatasetVersion,
        {
            "dataset_id": dataset_id,
            "number": number,
            "query": query,
            "origins": list(origins),
            "val_share": val_share,
            "folds": folds,
            "seed": seed,
            "manifest_hash": manifest_hash,
            "author": author,
            "message": message,
        },
    )
    insert_all(session, Member, [{"dataset_version_id": version_id, **vars(m)} for m in members])
    return number
