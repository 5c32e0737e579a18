"""Freeze: a query's cases become a training set that stays what it is: members, versions, split, manifest hash."""

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from curation.errors import UsageError
from curation.labels import BY_ID, ORGAN_IDS
from curation.status import Origin, Status
from db import case_files, datasets, writes
from db.case_files import CaseFile
from db.models import Role, Split
from db.writes import MemberValues
from pipelines.runs import Workbench

ALL_ORIGINS = (Origin.ORIGINAL, Origin.PSEUDO, Origin.CORRECTED)


@dataclass(frozen=True)
class FreezeRequest:
    """What to freeze and how to split it: a validation share or k folds, never both."""

    name: str
    query: str
    origins: tuple[Origin, ...] = ALL_ORIGINS
    val_share: float | None = None
    folds: int | None = None
    seed: int = 0
    include_test: bool = False
    message: str = ""


@dataclass(frozen=True)
class Frozen:
    """The dataset version that now stands for the request, and what was left out of it."""

    address: str
    manifest_hash: str
    members: int
    train: int
    val: int
    left_out: dict[str, int]


def freeze(bench: Workbench, request: FreezeRequest) -> Frozen:
    """Fix the newest versions of the queried cases as a new version of a dataset.

    Test cases are left out unless asked for, as are cases without any annotated class. The same
    request on an unchanged catalog gives the version that is already there.

    Raises:
        UsageError: The query finds no case to train on, or the split cannot be made.
    """
    _check(request)
    with bench.catalog.reading() as session:
        cases = case_files.queried(session, request.query)
    left_out: dict[str, int] = defaultdict(int)
    kept = []
    for case in cases:
        if case.role is Role.TEST and not request.include_test:
            left_out["test cases"] += 1
        elif not case.annotated:
            left_out["cases with no annotated class"] += 1
        else:
            kept.append(case)
    if not kept:
        raise UsageError(
            f"'{request.query}' finds {len(cases)} cases and none to freeze"
            + "".join(f"; {n} {reason} left out" for reason, n in left_out.items())
        )
    members = _split(kept, request)
    manifest = manifest_lines(kept, members, request)
    digest = hashlib.sha256("\n".join(manifest).encode()).hexdigest()
    with bench.catalog.writing() as session:
        number = writes.freeze_dataset(
            session,
            name=request.name,
            query=request.query,
            members=[members[case.case_id] for case in kept],
            origins=[str(origin) for origin in request.origins],
            val_share=request.val_share,
            folds=request.folds,
            seed=request.seed,
            manifest_hash=digest,
            author=bench.author,
            message=request.message,
        )
        writes.add_event(
            session, author=bench.author, action="dataset freeze", subject=f"{request.name}@{number}",
            parameters={"query": request.query, "manifest_hash": digest}, program_version=bench.program_version,
        )  # fmt: skip
    val = sum(member.split is Split.VAL for member in members.values())
    return Frozen(f"{request.name}@{number}", digest, len(members), len(members) - val, val, dict(left_out))


def _check(request: FreezeRequest) -> None:
    if not request.name or any(sign in request.name for sign in "/@"):
        raise UsageError(f"dataset name '{request.name}' may not be empty or contain '/' or '@'; rename it")
    if request.val_share is not None and request.folds is not None:
        raise UsageError("--val and --folds exclude each other; give one of them")
    if request.val_share is not None and not 0 <= request.val_share < 1:
        raise UsageError(f"--val {request.val_share}: the validation share must be at least 0 and below 1")
    if request.folds is not None and request.folds < 2:
        raise UsageError(f"--folds {request.folds}: at least 2 folds are needed")
    if not request.origins:
        raise UsageError("--origins is empty; name original, pseudo, corrected, or all")


def is_strong(case: CaseFile) -> bool:
    """The paper's strong label: complete, no organ pseudo, at least one organ annotated."""
    organs = [case.annotations[c] for c in ORGAN_IDS]
    return all(
        row.status is not Status.MISSING and row.origin is not Origin.PSEUDO for row in organs
    ) and any(row.status is Status.ANNOTATED for row in organs)


def _split(cases: Sequence[CaseFile], request: FreezeRequest) -> dict[int, MemberValues]:
    """Assign splits and folds: grouped by patient, stratified by source and strong or weak, seeded.

    Every stratum gives its share, rounded so that the whole comes out right (largest remainder).
    """
    patients: dict[str, list[CaseFile]] = defaultdict(list)
    for case in cases:
        patients[case.patient].append(case)
    strata: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for patient, group in sorted(patients.items()):
        source = group[0].address.partition("/")[0]
        strata[source, any(is_strong(case) for case in group)].append(patient)
    shuffle = random.Random(request.seed)
    for stratum in sorted(strata):
        shuffle.shuffle(strata[stratum])
    fold_of = _folds(strata, request.folds) if request.folds else {}
    validation = _validation(strata, request.val_share) if request.val_share else set()
    if request.folds and request.folds > len(patients):
        raise UsageError(f"--folds {request.folds}: only {len(patients)} patients to spread; use fewer folds")
    members = {}
    for patient, group in patients.items():
        fold = fold_of.get(patient)
        in_validation = patient in validation or fold == 0
        for case in group:
            members[case.case_id] = MemberValues(
                case.case_id, case.version_id, Split.VAL if in_validation else Split.TRAIN, fold
            )
    return members


def _validation(strata: dict[tuple[str, bool], list[str]], share: float) -> set[str]:
    total = sum(map(len, strata.values()))
    # At least one patient validates where a share is asked for, and at least one trains.
    wanted = min(max(1, round(share * total)), total - 1)
    exact = {stratum: wanted * len(patients) / total for stratum, patients in strata.items()}
    taken = {stratum: int(value) for stratum, value in exact.items()}
    by_remainder = sorted(strata, key=lambda stratum: (taken[stratum] - exact[stratum], stratum))
    for stratum in by_remainder[: wanted - sum(taken.values())]:
        taken[stratum] += 1
    return {patient for stratum, n in taken.items() for patient in strata[stratum][:n]}


def _folds(strata: dict[tuple[str, bool], list[str]], folds: int) -> dict[str, int]:
    # Dealt out like cards across strata, so that fold sizes differ by one patient at most.
    in_order = [patient for stratum in sorted(strata) for patient in strata[stratum]]
    return {patient: position % folds for position, patient in enumerate(in_order)}


def manifest_lines(
    cases: Sequence[CaseFile], members: dict[int, MemberValues], request: FreezeRequest
) -> list[str]:
    """What the manifest hash covers: the request, then one canonical JSON line per member, by address."""

    def line(record: dict[str, Any]) -> str:
        return json.dumps(record, sort_keys=True, separators=(",", ":"))

    head = line(
        {
            "query": request.query,
            "origins": sorted(map(str, request.origins)),
            "val_share": request.val_share,
            "folds": request.folds,
            "seed": request.seed,
        }
    )
    rows = []
    for case in sorted(cases, key=lambda c: c.address):
        member = members[case.case_id]
        classes = {
            BY_ID[c].name: [str(row.status), str(row.origin) if row.origin else None]
            for c, row in case.annotations.items()
        }
        rows.append(
            line(
                {
                    "case": case.address,
                    "version": case.number,
                    "voxel_hash": case.voxel_hash,
                    "patient": case.patient,
                    "split": str(member.split),
                    "fold": member.fold,
                    "classes": classes,
                }
            )
        )
    return [head, *rows]


def frozen_members(
    bench: Workbench, address: str
) -> tuple[datasets.DatasetVersionRow, list[tuple[CaseFile, MemberValues]]]:
    """A frozen dataset and its members with their pinned versions, in order of address.

    Raises:
        UsageError: No such dataset or version.
    """
    with bench.catalog.reading() as session:
        version = datasets.dataset_version(session, address)
        members = datasets.member_values(session, version.id)
        cases = case_files.case_files(session, [member.version_id for member in members])
    pairs = sorted(zip(cases, members, strict=True), key=lambda pair: pair[0].address)
    return version, pairs
