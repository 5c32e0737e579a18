"""Cases that are one: the same mask or image under several names, one patient on both sides of a split."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from curation.later_checks import (
    DUPLICATE_IMAGE,
    DUPLICATE_MASK,
    IMAGE_IN_TWO_SOURCES,
    PATIENT_IN_TWO_SPLITS,
)
from curation.status import Finding, Severity

_SHOWN = 3


@dataclass(frozen=True)
class Known:
    """A case as it is told from others. `patient` is its own address unless somebody said otherwise."""

    address: str
    source: str
    patient: str
    role: str


@dataclass(frozen=True)
class Copy:
    """A case's mask or image in a group of equal ones; `exact` names its very voxels in the file's own order."""

    case: Known
    exact: str


def duplicate_masks(groups: Iterable[Sequence[Copy]]) -> dict[str, Finding]:
    """Findings by address for groups of cases with one mask, perhaps along other axes."""
    found = {}
    for group in groups:
        for copy, others in _each(group):
            found[copy.case.address] = Finding(
                DUPLICATE_MASK,
                _severity(copy.case, others),
                None,
                float(len(others)),
                0.0,
                f"The mask is that of {_names(others)}{_turned(copy, others)}, voxel by voxel; "
                f"{_advice(copy, others)}.",
            )
    return found


def duplicate_images(groups: Iterable[Sequence[Copy]]) -> dict[str, list[Finding]]:
    """Findings by address for groups of cases with one image: of the own source, and of others."""
    found = defaultdict(list)
    for group in groups:
        for copy, others in _each(group):
            same = [other for other in others if other.case.source == copy.case.source]
            elsewhere = [other for other in others if other.case.source != copy.case.source]
            for check, twins in ((DUPLICATE_IMAGE, same), (IMAGE_IN_TWO_SOURCES, elsewhere)):
                if twins:
                    found[copy.case.address].append(
                        Finding(
                            check,
                            _severity(copy.case, twins),
                            None,
                            float(len(twins)),
                            0.0,
                            f"The image is that of {_names(twins)}{_turned(copy, twins)}; {_advice(copy, twins)}.",
                        )
                    )
    return dict(found)


def patients_in_two_splits(
    cases: Iterable[Known], splits: Iterable[tuple[str, str, Known]]
) -> dict[str, Finding]:
    """Findings by address for patients who are to be trained on and tested on.

    Args:
        cases: All cases that share a patient with another one.
        splits: Of frozen datasets: their name, the side on which a member stands (train, val), the member.
    """
    sides: dict[tuple[str, str], dict[str, list[Known]]] = defaultdict(lambda: defaultdict(list))
    for case in cases:
        sides["", case.patient][case.role].append(case)
    for dataset, split, case in splits:
        sides[dataset, case.patient][split].append(case)
    found: dict[str, Finding] = {}
    for (dataset, patient), by_side in sorted(sides.items()):
        if len(by_side) < 2:
            continue
        for side, members in by_side.items():
            others = [(other, c) for other, there in by_side.items() if other != side for c in there]
            where = f"in {dataset} it is in '{side}'" if dataset else f"its role is '{side}'"
            shown = _listed([f"{c.address} ('{other}')" for other, c in others])
            for case in members:
                found.setdefault(
                    case.address,
                    Finding(
                        PATIENT_IN_TWO_SPLITS,
                        Severity.ERROR,
                        None,
                        float(len(others)),
                        0.0,
                        f"The patient '{patient}' stands on both sides of a split: {where}, and {shown} "
                        f"{'is' if len(others) == 1 else 'are'} on the other side; "
                        + (
                            "freeze the dataset again, which keeps patients together."
                            if dataset
                            else "give both one role with `ingest --cases`, or say that they are two patients."
                        ),
                    ),
                )
    return found


def grouped(copies: Mapping[str, Sequence[Copy]]) -> list[Sequence[Copy]]:
    """Those of the groups that have two members at least."""
    return [group for group in copies.values() if len(group) > 1]


def _each(group: Sequence[Copy]) -> Iterable[tuple[Copy, list[Copy]]]:
    ordered = sorted(group, key=lambda copy: copy.case.address)
    return ((copy, [other for other in ordered if other is not copy]) for copy in ordered)


def _severity(case: Known, others: Sequence[Copy]) -> Severity:
    """A test case that is trained on is an error; of one patient in one role it is merely worth knowing."""
    if any(other.case.role != case.role for other in others):
        return Severity.ERROR
    if all(other.case.patient == case.patient for other in others):
        return Severity.INFO
    return Severity.WARNING


def _advice(copy: Copy, others: Sequence[Copy]) -> str:
    if any(other.case.role != copy.case.role for other in others):
        return "one is for training and one for testing: give both one role with `ingest --cases`"
    if all(other.case.patient == copy.case.patient for other in others):
        return "all are of one patient, so that no split tears them apart"
    return "if it is one patient, say so with `ingest --cases`, so that no split tears them apart"


def _turned(copy: Copy, others: Sequence[Copy]) -> str:
    return "" if any(other.exact == copy.exact for other in others) else " along other axes"


def _names(others: Sequence[Copy]) -> str:
    return _listed([other.case.address for other in others])


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN
    shown = list(texts[:_SHOWN]) + ([f"{more} more"] if more > 0 else [])
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
