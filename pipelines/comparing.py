"""Checks that compare cases: unusual volumes, permuted classes, duplicates, patients on both sides of a split."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from curation.class_order import DrawnOrgans, permuted_classes
from curation.errors import CurationError
from curation.labels import CLASS_IDS, ORGAN_IDS
from curation.later_checks import (
    CLASS_ORDER_PERMUTED,
    DUPLICATE_IMAGE,
    DUPLICATE_MASK,
    IMAGE_IN_TWO_SOURCES,
    PATIENT_IN_TWO_SPLITS,
    UNUSUAL_VOLUME,
)
from curation.status import Finding
from curation.twins import Copy, duplicate_images, duplicate_masks, grouped, patients_in_two_splits
from curation.unusual_volume import DrawnVolumes, unusual_volumes
from curation.volumes import decode_mask
from db import cohort, writes
from db.batches import batches
from db.cohort import DrawnClass, StoredMask
from db.store import Store
from pipelines.runs import Booking, Outcome, Workbench, map_cases, run

COMPARING = (
    UNUSUAL_VOLUME,
    CLASS_ORDER_PERMUTED,
    DUPLICATE_MASK,
    DUPLICATE_IMAGE,
    IMAGE_IN_TWO_SOURCES,
    PATIENT_IN_TWO_SPLITS,
)
_VERSIONS_PER_WRITE = 1000
# Comparing reads all of the catalog. Of more cases a stage that adds a few does not wait for it.
_AT_ONCE = 50_000
_KINDS = 128  # more kinds of numbers than a signature is made of

# Version id to what was found in it.
Found = dict[int, list[Finding]]


def compare(bench: Workbench) -> Outcome:
    """Compare all cases as a run of its own, and book what came of it."""
    with run(bench, "compare", {}) as booking:
        _compare(bench, booking)
        return booking.outcome


def compare_at_the_end(bench: Workbench, booking: Booking) -> None:
    """Compare all cases as the last step of a run that may have changed some; a large catalog is left for later."""
    booking.flush()
    with bench.catalog.reading() as session:
        cases = cohort.cases(session)
    if cases <= _AT_ONCE:
        _compare(bench, booking)
    else:
        booking.note(
            "cases compared",
            f"{cases} cases are too many to be compared with each other each time; do it when it suits: "
            "maskledger quality --compare",
        )


def _compare(bench: Workbench, booking: Booking) -> None:
    """Compare the newest versions of all cases, and file the findings; says so in a note where any changed.

    Findings of the same checks that hold no more go; what a
    person dismissed stays dismissed while the same is found.
    """
    bench.progress.start("compare cases", 4)
    found: Found = defaultdict(list)
    with bench.catalog.reading() as session:
        signatures = _Signatures(session)
        organs: dict[int, DrawnClass] = {}
        for class_id in CLASS_IDS:
            drawn = cohort.drawn_class(session, class_id)
            signatures.add(class_id, drawn)
            _add(found, _volumes(class_id, drawn))
            if class_id in ORGAN_IDS:
                organs[class_id] = drawn
        bench.progress.step(1, "volumes")
        _add(found, _class_orders(organs))
        bench.progress.step(2, "order of classes")
        masks = cohort.stored_masks(session, signatures.shared())
        images = cohort.same_images(session)
        roles = cohort.patients_of_several_roles(session)
        splits = cohort.patients_in_several_splits(session)
        before = cohort.versions_with_findings(session, COMPARING)
    _add(found, _mask_twins(bench, masks, signatures))
    bench.progress.step(3, "masks")
    _add(found, _image_twins(images))
    _add(found, _torn_patients(roles, splits))
    _file(booking, found, before)
    bench.progress.step(4, "images and patients")
    bench.progress.finish()


def _add(found: Found, more: Mapping[int, Sequence[Finding]]) -> None:
    for version_id, findings in more.items():
        found[version_id].extend(findings)


def _volumes(class_id: int, drawn: DrawnClass) -> Found:
    volumes = DrawnVolumes(drawn.volume_ml, ~drawn.touches_border, drawn.by_hand)
    return {
        int(drawn.version_id[entry]): [finding]
        for entry, finding in unusual_volumes(class_id, volumes).items()
    }


def _class_orders(organs: Mapping[int, DrawnClass]) -> Found:
    """Source by source, because each has its own order of label values."""
    found: Found = {}
    for source_id in np.unique(np.concatenate([drawn.source_id for drawn in organs.values()])).tolist():
        of_source = {class_id: drawn.source_id == source_id for class_id, drawn in organs.items()}
        versions = np.unique(
            np.concatenate([drawn.version_id[of_source[class_id]] for class_id, drawn in organs.items()])
        )
        centroid_mm = np.full((len(versions), len(ORGAN_IDS), 3), np.nan)
        volume_ml = np.full((len(versions), len(ORGAN_IDS)), np.nan)
        for place, class_id in enumerate(ORGAN_IDS):
            drawn, here = organs[class_id], of_source[class_id]
            case = np.searchsorted(versions, drawn.version_id[here])
            centroid_mm[case, place] = drawn.centroid_mm[here]
            volume_ml[case, place] = drawn.volume_ml[here]
        # A class whose place nobody measured says nothing.
        volume_ml[np.isnan(centroid_mm).any(axis=2)] = np.nan
        for case, finding in permuted_classes(DrawnOrgans(centroid_mm, volume_ml)).items():
            found[int(versions[case])] = [finding]
    return found


class _Signatures:
    """A number for every newest version that equal masks share, whichever way their axes run.

    It is made of the shape along the patient's axes and, of every class, of its voxels and its bounding box's
    extent along those axes. Those that share one are looked at voxel by voxel.
    """

    def __init__(self, session: Session) -> None:
        self._grids = cohort.newest_grids(session)
        self._version_id = self._grids.version_id
        self._number = np.zeros(len(self._version_id), np.uint64)
        self._drawn = np.zeros(len(self._version_id), np.bool_)
        for axis in range(3):
            self._number += _mixed(self._grids.shape[:, axis], axis)

    def add(self, class_id: int, drawn: DrawnClass) -> None:
        """Count in one class; a version has it once."""
        place = np.searchsorted(self._version_id, drawn.version_id)
        extent = np.take_along_axis(drawn.extent, self._grids.file_axis[place], axis=1)
        for kind, numbers in enumerate((drawn.voxels, *extent.T)):
            self._number[place] += _mixed(numbers, 4 * class_id + kind)
        self._drawn[place] = True

    def shared(self) -> list[int]:
        """Versions with something drawn whose signature another one has, too."""
        number, version_id = self._number[self._drawn], self._version_id[self._drawn]
        _, of_number, count = np.unique(number, return_inverse=True, return_counts=True)
        shared: list[int] = version_id[count[of_number] > 1].tolist()
        return shared

    def of(self, version_id: int) -> int:
        """The signature of a version."""
        return int(self._number[np.searchsorted(self._version_id, version_id)])


def _mixed(numbers: NDArray[np.int64], kind: int) -> NDArray[np.uint64]:
    """Numbers of one kind spread over 64 bits (the finalizer of MurmurHash3), so that their sums tell them apart."""
    h = numbers.astype(np.uint64) * np.uint64(_KINDS) + np.uint64(kind + 1)
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = (h ^ (h >> np.uint64(33))) * np.uint64(multiplier)
    return h ^ (h >> np.uint64(33))


@dataclass(frozen=True)
class _TurnJob:
    mask: StoredMask
    store: Store


def _turned(job: _TurnJob) -> tuple[str, str]:
    """The mask's voxel hash, and a hash of its voxels turned to RAS; of a mask that cannot be read the former twice."""
    try:
        geometry, runs = decode_mask(job.store.get(job.mask.file_hash), job.mask.case.address)
    except (CurationError, OSError):
        return job.mask.voxel_hash, job.mask.voxel_hash  # for `verify` to tell
    digest = blake3(repr(geometry.shape_ras).encode())
    digest.update(np.ascontiguousarray(geometry.to_ras(runs.to_array())).data)
    return job.mask.voxel_hash, digest.hexdigest()


def _mask_twins(bench: Workbench, masks: Sequence[StoredMask], signatures: _Signatures) -> Found:
    """Equal masks; of those with one signature but other bytes, every one is turned to RAS once."""
    by_signature: dict[int, dict[str, StoredMask]] = defaultdict(dict)
    for mask in masks:
        by_signature[signatures.of(mask.version_id)].setdefault(mask.voxel_hash, mask)
    jobs = [
        _TurnJob(mask, bench.store)
        for different in by_signature.values()
        if len(different) > 1
        for mask in different.values()
    ]
    # Threads: inflating and hashing leave the interpreter to others, and a worker process takes longer to start
    # than a thousand small masks to turn.
    with ThreadPoolExecutor(bench.jobs) as threads:
        workers = replace(bench, executor=bench.executor or threads)
        in_ras = dict(map_cases(workers, _turned, jobs, len(jobs)))
    groups: dict[str, list[Copy]] = defaultdict(list)
    version_of = {}
    for mask in masks:
        groups[in_ras.get(mask.voxel_hash, mask.voxel_hash)].append(Copy(mask.case, mask.voxel_hash))
        version_of[mask.case.address] = mask.version_id
    return {version_of[address]: [finding] for address, finding in duplicate_masks(grouped(groups)).items()}


def _image_twins(images: Sequence[Sequence[tuple[int, Copy]]]) -> Found:
    version_of = {copy.case.address: version_id for group in images for version_id, copy in group}
    found = duplicate_images([copy for _, copy in group] for group in images)
    return {version_of[address]: findings for address, findings in found.items()}


def _torn_patients(
    roles: Sequence[tuple[int, cohort.Known]], splits: Sequence[tuple[int, str, str, cohort.Known]]
) -> Found:
    version_of = {case.address: version_id for version_id, case in roles}
    version_of |= {case.address: version_id for version_id, _, _, case in splits}
    found = patients_in_two_splits(
        (case for _, case in roles), ((dataset, side, case) for _, dataset, side, case in splits)
    )
    return {version_of[address]: [finding] for address, finding in found.items()}


def _file(booking: Booking, found: Found, before: Sequence[int]) -> None:
    """Make the catalog's findings those that were found."""
    versions = sorted({*found, *before})
    changed: dict[int, int] = {}
    for batch in batches(versions, _VERSIONS_PER_WRITE):
        booking.add(partial(_refile, batch, found, changed))
    booking.flush()
    if sum(changed.values()):
        counts = Counter(finding.check for findings in found.values() for finding in findings)
        said = ", ".join(f"{n} {check}" for check, n in sorted(counts.items())) or "none are left"
        booking.note(
            "cases compared", f"cases compared with each other: {said}; list them with `maskledger quality`"
        )
        booking.flush()


def _refile(versions: Sequence[int], found: Found, changed: dict[int, int], session: Session) -> None:
    # By its first version, so that a write that is repeated is counted once.
    changed[versions[0]] = writes.refile(session, COMPARING, versions, found)
