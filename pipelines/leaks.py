"""Leaks: what a training set to be would show to both sides of its split, or of the cases kept for testing."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from curation.later_checks import DUPLICATE_MASK
from curation.status import Severity
from db import cohort, freezing
from db.freezing import Candidate
from db.models import Role
from db.writes import MemberValues
from pipelines.freeze import Plan
from pipelines.runs import Workbench

TEST = "test"


@dataclass(frozen=True)
class Leak:
    """Cases that should stand on one side and do not; `sentence` says which, and what to do."""

    kind: str
    sentence: str
    cases: tuple[str, ...]


def leaks(bench: Workbench, plan: Plan) -> list[Leak]:
    """Look for patients, masks and images that a split tears apart, or that are for testing, too.

    A freeze keeps the cases of one `patient` together, so it is copies under other patients' names, and test
    cases, that leak. Images are compared by their hashes, masks by theirs; copies along other axes are known from the
    findings of the comparison of all cases, where that has been made.
    """
    side_of = {
        case.case_id: _side(case, member) for case, member in zip(plan.cases, plan.members, strict=True)
    }
    with bench.catalog.reading() as session:
        tests = [c for c in freezing.candidates(session, "role = test") if c.case_id not in side_of]
        images = cohort.same_images(session)
        turned = cohort.open_findings(session, DUPLICATE_MASK)
    sides = side_of | {case.case_id: TEST for case in tests}
    everyone = [*plan.cases, *tests]
    found = list(_torn("patient", _grouped(everyone, lambda c: c.patient), sides))
    masks = _grouped(everyone, lambda c: c.voxel_hash)
    found += _torn("mask", masks, sides)
    by_address = {case.address: case for case in everyone}
    copies: dict[Hashable, list[Candidate]] = {
        number: [by_address[copy.case.address] for _, copy in group if copy.case.address in by_address]
        for number, group in enumerate(images)
    }
    found += _torn("image", copies, sides)
    # Masks that are equal along other axes have other hashes; only the comparison of all cases has seen them.
    known = {case.version_id: case for case in plan.cases if len(masks.get(case.voxel_hash, ())) == 1}
    found += [
        Leak(
            "perhaps one mask on two sides",
            f"{known[version_id].address}: {message}",
            (known[version_id].address,),
        )
        for version_id, severity, message in turned
        if version_id in known and severity is not Severity.INFO
    ]
    return found


def _side(case: Candidate, member: MemberValues) -> str:
    if case.role is Role.TEST:
        return TEST
    return member.split.value if member.fold is None else f"fold {member.fold}"


def _grouped(
    cases: Iterable[Candidate], key: Callable[[Candidate], Hashable]
) -> dict[Hashable, list[Candidate]]:
    groups: dict[Hashable, list[Candidate]] = defaultdict(list)
    for case in cases:
        value = key(case)
        if value is not None:
            groups[value].append(case)
    return groups


def _torn(
    kind: str, groups: Mapping[Hashable, Sequence[Candidate]], sides: Mapping[int, str]
) -> Iterable[Leak]:
    """A leak for each group whose members stand on several sides, one of them not the test cases'."""
    for group in groups.values():
        by_side: dict[str, list[str]] = defaultdict(list)
        for case in group:
            by_side[sides[case.case_id]].append(case.address)
        if len(by_side) < 2:
            continue
        where = "; ".join(f"{side}: {_listed(names)}" for side, names in sorted(by_side.items()))
        remedy = (
            "leave it out of the query, or give its cases one role with `ingest --cases`"
            if TEST in by_side
            else "give the cases one `patient` with `ingest --cases`, then no split tears them apart"
        )
        yield Leak(
            f"one {kind} on two sides",
            f"The same {kind} stands on several sides ({where}); {remedy}.",
            tuple(case.address for case in group),
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
