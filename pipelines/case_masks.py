"""The masks of a case: as a version holds it, and as a training sees it."""

from collections.abc import Collection
from dataclasses import dataclass

from curation.labels import CLASS_IDS
from curation.rle import RunLengths
from curation.status import Origin, Status
from curation.volumes import Geometry, decode_mask
from db.case_files import CaseFile
from db.store import Store


@dataclass(frozen=True)
class MemberMask:
    """A mask as a training sees it. `missing`: classes that nobody drew or whose origin is left out."""

    geometry: Geometry
    runs: RunLengths
    missing: frozenset[int]


def stored_mask(store: Store, case: CaseFile) -> RunLengths:
    """The mask of a version; one without a mask has no voxel drawn."""
    if case.file_hash is None:
        return RunLengths.empty(case.geometry.shape)
    return decode_mask(store.get(case.file_hash), f"{case.address}@{case.number}")[1]


def missing_classes(case: CaseFile, origins: Collection[Origin]) -> frozenset[int]:
    """Ids of the classes of which a training on these origins knows nothing."""
    left_out = {c for c in case.annotated if (origin := case.annotations[c].origin) and origin not in origins}
    return case.missing | left_out


def member_mask(store: Store, case: CaseFile, origins: Collection[Origin]) -> MemberMask:
    """Read one member's mask; classes of other origins become background.

    Complement writes on background only, so leaving `pseudo` out gives back what was there before; only where it
    was told to ignore uncertain voxels do these stay ignored.
    """
    missing = missing_classes(case, origins)
    if case.file_hash is None:
        return MemberMask(case.geometry, RunLengths.empty(case.geometry.shape), missing)
    dropped = [c for c in CLASS_IDS if c in missing and case.annotations[c].status is Status.ANNOTATED]
    return MemberMask(*read_mask(store, case.file_hash, case.address, dropped), missing)


def read_mask(
    store: Store, file_hash: str, address: str, dropped: Collection[int]
) -> tuple[Geometry, RunLengths]:
    """Read a stored mask with some of its classes turned into background."""
    geometry, runs = decode_mask(store.get(file_hash), address)
    return geometry, runs.without(dropped) if dropped else runs
