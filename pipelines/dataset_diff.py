"""What changed from one frozen dataset to another: the request, and member by member."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from curation.labels import CLASS_NAMES
from db import datasets, freezing
from db.datasets import DatasetVersionRow
from db.freezing import FrozenMember
from db.models import Split
from pipelines.runs import Workbench

# What a freeze was asked for, as far as it shapes the dataset.
SETTINGS = ("query", "origins", "val_share", "folds", "seed")


@dataclass(frozen=True)
class Redrawn:
    """A member at another version. `classes`: name to what stood there before and what after, where that differs.

    A class that was only redrawn, by the same origin, is not among them; `maskledger diff` shows its voxels.
    """

    case: str
    before: int
    after: int
    same_voxels: bool
    classes: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Moved:
    """A member on another side of the split, or in another fold."""

    case: str
    before: tuple[Split, int | None]
    after: tuple[Split, int | None]


@dataclass(frozen=True)
class Restated:
    """A member of which something else is said: its `what` is "patient" or "licence"."""

    case: str
    what: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class DatasetDiff:
    """From `before` to `after`: settings by name (before, after), and members in order of address."""

    before: DatasetVersionRow
    after: DatasetVersionRow
    settings: dict[str, tuple[Any, Any]]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    redrawn: tuple[Redrawn, ...]
    moved: tuple[Moved, ...]
    restated: tuple[Restated, ...]

    @property
    def same(self) -> bool:
        """Whether both are the same training set."""
        return self.before.manifest_hash == self.after.manifest_hash


def diff_datasets(bench: Workbench, before: str, after: str) -> DatasetDiff:
    """Compare two versions of a dataset, or two datasets; each ``NAME@N``, or ``NAME`` for its newest.

    Raises:
        UsageError: No such dataset or version.
    """
    with bench.catalog.reading() as session:
        versions = [datasets.dataset_version(session, address) for address in (before, after)]
        old, new = ({m.case_id: m for m in freezing.frozen_members(session, v.id)} for v in versions)
    both = [(member, new[case_id]) for case_id, member in old.items() if case_id in new]
    settings = {name: (getattr(versions[0], name), getattr(versions[1], name)) for name in SETTINGS}
    return DatasetDiff(
        before=versions[0],
        after=versions[1],
        settings={name: pair for name, pair in settings.items() if pair[0] != pair[1]},
        added=tuple(member.address for case_id, member in new.items() if case_id not in old),
        removed=tuple(member.address for case_id, member in old.items() if case_id not in new),
        redrawn=tuple(_redrawn(a, b) for a, b in both if a.version_id != b.version_id),
        moved=tuple(
            Moved(a.address, (a.split, a.fold), (b.split, b.fold))
            for a, b in both
            if (a.split, a.fold) != (b.split, b.fold)
        ),
        restated=tuple(said for a, b in both for said in _restated(a, b)),
    )


def _redrawn(before: FrozenMember, after: FrozenMember) -> Redrawn:
    stood = zip(CLASS_NAMES, before.states.states, after.states.states, strict=True)
    return Redrawn(
        before.address,
        before.number,
        after.number,
        before.voxel_hash == after.voxel_hash,
        {name: (a.value, b.value) for name, a, b in stood if a is not b},
    )


def _restated(before: FrozenMember, after: FrozenMember) -> Iterator[Restated]:
    for what in ("patient", "licence"):
        a, b = getattr(before, what), getattr(after, what)
        if a != b:
            yield Restated(before.address, what, a, b)
