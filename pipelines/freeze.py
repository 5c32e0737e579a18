"""Freeze: a query's cases become a training set that stays what it is: members, versions, split, manifest hash."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from curation.errors import UsageError
from curation.status import Origin
from db import case_files, datasets, freezing, writes
from db.case_files import CaseFile
from db.freezing import Candidate
from db.models import Role, Split
from db.saved_queries import spelled_out
from db.writes import MemberValues
from pipelines import splitting
from pipelines.runs import Workbench

ALL_ORIGINS = (Origin.ORIGINAL, Origin.PSEUDO, Origin.CORRECTED)


@dataclass(frozen=True)
class FreezeRequest:
    """What to freeze and how to split it: a validation share or k folds, never both.

    `licences` and `without_licences` are patterns of the query language, such as ``CC BY*``.
    """

    name: str
    query: str
    origins: tuple[Origin, ...] = ALL_ORIGINS
    val_share: float | None = None
    folds: int | None = None
    seed: int = 0
    include_test: bool = False
    message: str = ""
    licences: tuple[str, ...] = ()
    without_licences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Frozen:
    """The dataset version that now stands for the request, and what was left out of it."""

    address: str
    query: str
    manifest_hash: str
    members: int
    train: int
    val: int
    left_out: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """What a freeze would fix.

    Attributes:
        request: As asked, its query spelled out and with the licences in it.
        asked: The query spelled out, without the licences.
        cases: The members to be, in order of address; `members` likewise, with their side of the split.
        left_out: Reason to number of cases.
    """

    request: FreezeRequest
    asked: str
    cases: list[Candidate]
    members: list[MemberValues]
    left_out: dict[str, int]

    @property
    def val(self) -> int:
        """How many members are for validation."""
        return sum(member.split is Split.VAL for member in self.members)


def freeze(bench: Workbench, request: FreezeRequest, *, checked: Plan | None = None) -> Frozen:
    """Fix the newest versions of the queried cases as a new version of a dataset.

    Test cases are left out unless asked for, as are cases without any annotated class and, where licences are
    asked for, cases of others or of none stated. The same request on an unchanged catalog gives the version
    that is already there.

    Args:
        bench: Catalog and author.
        request: What to freeze.
        checked: What somebody looked at before; nothing else is frozen then.

    Raises:
        UsageError: The query finds no case to train on, or the split cannot be made; or the members would be
            others than those of `checked`.
    """
    planned = plan(bench, request)
    if checked is not None and planned.members != checked.members:
        raise UsageError(
            f"the members changed since they were checked: {len(checked.members)} then, {len(planned.members)} now "
            "(other versions, patients, licences or sides of the split count, too); check again"
        )
    typed, request, members = request.query, planned.request, planned.members
    digest = hashlib.sha256()
    for line in manifest_lines(planned.cases, members, request):
        digest.update(line.encode())
    with bench.catalog.writing() as session:
        number = writes.freeze_dataset(
            session,
            name=request.name,
            query=request.query,
            members=members,
            origins=[str(origin) for origin in request.origins],
            val_share=request.val_share,
            folds=request.folds,
            seed=request.seed,
            manifest_hash=digest.hexdigest(),
            author=bench.author,
            message=request.message,
        )
        writes.add_event(
            session, author=bench.author, action="dataset freeze", subject=f"{request.name}@{number}",
            parameters={
                "query": request.query, "manifest_hash": digest.hexdigest(),
                **({"typed": typed} if planned.asked != typed else {}),
            },
            program_version=bench.program_version,
        )  # fmt: skip
    val = planned.val
    return Frozen(
        f"{request.name}@{number}", request.query, digest.hexdigest(), len(members), len(members) - val, val,
        planned.left_out,
    )  # fmt: skip


def plan(bench: Workbench, request: FreezeRequest) -> Plan:
    """Work out what `freeze` would fix now, without fixing it.

    Raises:
        UsageError: As `freeze` does.
    """
    _check(request)
    left_out: dict[str, int] = defaultdict(int)
    with bench.catalog.reading() as session:
        # Frozen is what was asked, whatever @NAME stands for later.
        asked = replace(request, query=spelled_out(session, request.query))
        request = replace(asked, query=licensed(asked))
        cases = freezing.candidates(session, request.query)
        if request.query != asked.query:
            left_out |= _unlicensed(
                freezing.licences(session, asked.query), freezing.licences(session, request.query)
            )
    kept = []
    for case in cases:
        if case.role is Role.TEST and not request.include_test:
            left_out["test cases"] += 1
        elif not case.states.annotated:
            left_out["cases with no annotated class"] += 1
        else:
            kept.append(case)
    if not kept:
        raise UsageError(
            f"'{request.query}' finds {len(cases)} cases and none to freeze"
            + "".join(f"; {n} {reason} left out" for reason, n in left_out.items())
        )
    return Plan(request, asked.query, kept, split(kept, request), dict(left_out))


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


def licensed(request: FreezeRequest) -> str:
    """The query with the licences asked for written into it, so that the frozen text says it all."""
    terms = [f"({request.query})"] if request.query.strip() else []
    if request.licences:
        wanted = " or ".join(map(_with_licence, request.licences))
        terms.append(f"({wanted})" if len(request.licences) > 1 else wanted)
    terms += [f"licence != {_quoted(pattern)}" for pattern in request.without_licences]
    return " and ".join(terms) if request.licences or request.without_licences else request.query


def _with_licence(pattern: str) -> str:
    # Anything at all would take the empty text too, which is the licence that nobody stated.
    anything = pattern and not pattern.strip("*")
    return 'licence != ""' if anything else f"licence = {_quoted(pattern)}"


def _quoted(pattern: str) -> str:
    escaped = pattern.replace('"', '\\"')
    return f'"{escaped}"'


def _unlicensed(found: dict[str | None, int], kept: dict[str | None, int]) -> dict[str, int]:
    """Which cases the licences asked for left out, by licence."""
    gone: dict[str, int] = defaultdict(int)
    for licence, n in found.items():
        if n > kept.get(licence, 0):
            said = f"cases of licence '{licence}'" if licence else "cases of no known licence"
            gone[said] += n - kept.get(licence, 0)
    return dict(sorted(gone.items()))


def split(cases: Sequence[Candidate], request: FreezeRequest) -> list[MemberValues]:
    """Each case with its side of the split: by patient, stratified by source and by strong or weak.

    A patient with cases in several sources counts for that of the first; one with a strong case is strong.
    """
    of_patient: dict[str, list[Candidate]] = defaultdict(list)
    for case in cases:
        of_patient[case.patient].append(case)
    stratum_of = {
        patient: (min(case.source for case in group), any(case.states.is_strong for case in group))
        for patient, group in of_patient.items()
    }
    strata = splitting.shuffled(stratum_of, request.seed)
    fold_of = splitting.folds(strata, request.folds) if request.folds else {}
    held_out = splitting.validation(strata, request.val_share) if request.val_share else set()
    members = []
    for case in cases:
        fold = fold_of.get(case.patient)
        side = Split.VAL if case.patient in held_out or fold == 0 else Split.TRAIN
        members.append(
            MemberValues(case.case_id, case.version_id, side, fold, case.patient, case.licence or None)
        )
    return members


def manifest_lines(
    cases: Sequence[Candidate], members: Iterable[MemberValues], request: FreezeRequest
) -> Iterator[str]:
    """What the manifest hash covers: the request, then one canonical JSON line per member, in the order given."""
    encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

    def line(record: dict[str, Any]) -> str:
        return encode(record) + "\n"

    yield line(
        {
            "query": request.query,
            "origins": sorted(map(str, request.origins)),
            "val_share": request.val_share,
            "folds": request.folds,
            "seed": request.seed,
        }
    )
    for case, member in zip(cases, members, strict=True):
        yield line(
            {
                "case": case.address,
                "version": case.number,
                "voxel_hash": case.voxel_hash,
                "patient": member.patient,
                "licence": member.licence,
                "split": member.split.value,
                "fold": member.fold,
                "classes": case.states.text,
            }
        )


def frozen_members(
    bench: Workbench, address: str
) -> tuple[datasets.DatasetVersionRow, list[tuple[CaseFile, MemberValues]]]:
    """A frozen dataset and its members with their pinned versions, in order of address.

    Purged members are not among them: their files are gone, on purpose.

    Raises:
        UsageError: No such dataset or version.
    """
    with bench.catalog.reading() as session:
        version = datasets.dataset_version(session, address)
        members = datasets.member_values(session, version.id)
        cases = case_files.case_files(session, [member.version_id for member in members])
    pairs = sorted(zip(cases, members, strict=True), key=lambda pair: pair[0].address)
    return version, pairs
