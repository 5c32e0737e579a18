"""Revert: an earlier state of a case's mask becomes its newest version, with everything that was known of it."""

from dataclasses import dataclass

from curation.errors import UsageError
from curation.labels import BY_ID, CLASS_IDS
from db import queries, reviewing, standing, writes
from db.models import VersionKind
from db.writes import NewVersion, StaleParentError
from pipelines.annotate import examine
from pipelines.by_hand import Seen, lock_as_seen, require_as_seen, require_reason, seen_and_newest
from pipelines.case_masks import stored_mask
from pipelines.runs import Workbench


@dataclass(frozen=True)
class Reverted:
    """What a revert made: version `after` with the state of version `restored`, following `before`.

    `stale` names the classes that stand on something revised or retracted since.
    """

    address: str
    restored: int
    before: int
    after: int
    stale: tuple[str, ...]


def revert(
    bench: Workbench, address: str, reason: str, *, parent: int | None = None, seen: Seen | None = None
) -> Reverted:
    """Bring an earlier version's mask back, with who drew what and the findings that were dismissed then.

    Decisions need nothing: they hold for a class as it was drawn, and so again.

    Args:
        bench: Catalog, store and person.
        address: ``SOURCE/NAME@N``.
        reason: Why.
        parent: Number of the version that the person believes to be the newest; None: whichever is.
        seen: What the person had before their eyes, where somebody keeps account of it.

    Raises:
        UsageError: Unknown case or version, no version given, no reason, or N is what is there now.
        StaleParentError: `parent` is not the newest, the case is not as it was seen, or another writer came first.
        StoredFileError: The version's mask is not in the store.
    """
    require_reason(reason)
    if "@" not in address:
        raise UsageError(f"{address}: say which version to bring back, e.g. {address}@1")
    with bench.catalog.reading() as session:
        require_as_seen(session, address, CLASS_IDS, seen)
        wanted, newest = seen_and_newest(session, address)
        revision_id = reviewing.revision_of(session, wanted.version_id)
        history = {row.number: row for row in queries.history(session, wanted.case_id)}
    where = f"{wanted.address}@{wanted.number}"
    if parent is not None and parent != newest.number:
        raise StaleParentError(
            f"{wanted.address}: the newest version is {newest.number}, not {parent}, and nothing is written; look "
            f"at `maskledger diff {wanted.address}@{parent} {wanted.address}@{newest.number}` first"
        )
    if wanted.number in (newest.number, history[newest.number].restores):
        raise UsageError(
            f"{where}: is the present state (version {newest.number}); there is nothing to revert"
        )
    # Decoding shows that the stored file is there and can be read; its findings are those of today's checks.
    facts = examine(stored_mask(bench.store, wanted), wanted.geometry)
    new = NewVersion(
        kind=VersionKind.REVERTED,
        author=bench.author,
        message=reason,
        geometry=wanted.geometry,
        file_hash=wanted.file_hash,
        voxel_hash=wanted.voxel_hash,
        annotations=tuple(wanted.annotations.values()),
        reserved=facts.reserved,
        findings=facts.findings,
        revision_id=revision_id,
        restores_id=wanted.version_id,
    )
    with bench.catalog.writing() as session:
        lock_as_seen(session, newest.address, CLASS_IDS, seen)
        version = writes.add_version(session, newest.case_id, newest.version_id, new)
        writes.settle_as_in(session, version.id, wanted.version_id)
        writes.add_event(
            session, author=bench.author, action="revert", subject=wanted.address,
            parameters={"to": wanted.number, "version": version.number, "reason": reason},
            program_version=bench.program_version,
        )  # fmt: skip
        stale = standing.stale_classes(session, [version.id]).get(version.id, frozenset())
    names = tuple(BY_ID[class_id].name for class_id in sorted(stale))
    return Reverted(wanted.address, wanted.number, newest.number, version.number, names)
