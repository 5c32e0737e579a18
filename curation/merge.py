"""The three-way merge: base, ours, theirs and a policy become one mask and a ledger of every disagreement.

Complement, correction and revision of a source are the same function with different policies. It is decided once per
combination of values, of which a case has a few dozen, and then looked up for its thousands of stretches.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from curation.labels import BACKGROUND, CLASS_IDS, ORGAN_IDS, TUMOR_ID, is_reserved
from curation.rle import Joint, RunLengths, distinct, overlay
from curation.status import Origin

RESERVED = frozenset(value for value in range(256) if is_reserved(value))
EVERY_VALUE = frozenset(CLASS_IDS) | RESERVED
_TUMOR_IN_ORGANS = {TUMOR_ID: frozenset(ORGAN_IDS)}


@dataclass(frozen=True)
class Policy:
    """Who wins a voxel that both sides changed, each in its own way.

    Attributes:
        name: What it is called where it is reported.
        theirs_over: Origin of what stands in ours, to the values (classes, reserved) that then give way to
            theirs; what is not named stays.
        inside: Inner class to the classes that it lies in: the inner one wins, whoever drew it.
        protected: Values of ours that theirs never changes, not even where ours is as in base.
    """

    name: str
    theirs_over: Mapping[Origin, frozenset[int]] = field(default_factory=dict)
    inside: Mapping[int, frozenset[int]] = field(default_factory=dict)
    protected: frozenset[int] = frozenset()


# Section 2.2 of the two-stage paper: pseudo labels take background, and never what somebody drew.
COMPLEMENT = Policy("complement", protected=RESERVED)
# A person has looked at this very case: what they changed holds.
CORRECTION = Policy("correction", dict.fromkeys(Origin, EVERY_VALUE), _TUMOR_IN_ORGANS)
# The publisher's newer drawing replaces their older one and a model's guess, not a person's correction.
REVISION = Policy("revision", dict.fromkeys((Origin.ORIGINAL, Origin.PSEUDO), EVERY_VALUE), _TUMOR_IN_ORGANS)


@dataclass(frozen=True)
class Conflict:
    """Voxels on which the sides disagreed: `kept` stands now, `offered` was turned away; 0 is background.

    `displaced`: what was turned away stood in ours; else it was offered by theirs.
    """

    kept: int
    offered: int
    voxels: int
    displaced: bool = False


@dataclass(frozen=True)
class Merged:
    """A merged mask (uint8), its conflict ledger, and the voxels that each value newly has from theirs."""

    runs: RunLengths
    conflicts: tuple[Conflict, ...]
    filled: dict[int, int]


def merge(
    ours: RunLengths,
    theirs: RunLengths,
    policy: Policy,
    *,
    base: RunLengths | None = None,
    origins: Mapping[int, Origin] | None = None,
    take: Collection[int] | None = None,
    release: Collection[int] = (),
    locked: Collection[int] = (),
) -> Merged:
    """Merge what two sides made of one mask.

    A voxel that only one side changed is as that side has it. Where both changed it in different ways, the
    policy decides and the loser is booked.

    Args:
        ours: The case's present mask.
        theirs: What comes in: a prediction, a person's file, a newer revision; on the same grid.
        policy: Who wins.
        base: What both started from; None if theirs was made from nothing (a prediction).
        origins: Value to the origin that it has in ours; a value that is not named counts as original.
        take: Values of theirs that may come in; the others are as if theirs had not touched base. None: all.
        release: Classes of ours that are taken out first (a pseudo label to be redrawn); what is not drawn
            again is booked as displaced.
        locked: Classes that theirs can neither change nor extend (accepted by a person).

    Raises:
        GridError: The shapes differ.
    """
    joint = overlay(ours, theirs)
    code = joint.a.astype(np.int32) * 256 + joint.b
    of_base = np.zeros(1, np.uint8)
    if base is not None:
        joint, code, of_base = _with_base(joint, code, base)
    voxels = np.bincount(code, weights=joint.lengths)
    value_of = np.zeros(len(voxels), np.uint8)
    ledger: dict[tuple[int, int, bool], int] = {}
    filled: dict[int, int] = {}
    decide = _Decision(policy, origins or {}, take, frozenset(release), frozenset(locked))
    for found in np.flatnonzero(voxels).tolist():
        (place, pair), n = divmod(found, 65536), int(voxels[found])
        b, (o, t) = int(of_base[place]), divmod(pair, 256)
        value, offered, lost = decide(b, o, t)
        value_of[found] = value
        for turned_away, displaced in lost:
            key = (value, turned_away, displaced)
            ledger[key] = ledger.get(key, 0) + n
        if value != BACKGROUND and value == offered and (value != o or o in decide.release):
            filled[value] = filled.get(value, 0) + n
    return Merged(
        joint.runs(value_of[code]),
        tuple(Conflict(kept, away, n, displaced) for (kept, away, displaced), n in sorted(ledger.items())),
        dict(sorted(filled.items())),
    )


def _with_base(
    joint: Joint, code: NDArray[np.int32], base: RunLengths
) -> tuple[Joint, NDArray[np.int32], NDArray[np.uint8]]:
    """Walk the two sides' stretches together with base.

    Returns:
        The stretches; their codes, place of the value in base * 65536 + ours * 256 + theirs; the values of base
        by place. Counted by place, because the values themselves (200, 255) would make the table of codes huge.
    """
    both = overlay(joint.runs(code), base)
    values, place = distinct(both.b)
    return both, both.a.astype(np.int32) + place.astype(np.int32) * 65536, values


@dataclass(frozen=True)
class _Decision:
    """The policy for one merge, asked once per combination of values in base, ours and theirs."""

    policy: Policy
    origins: Mapping[int, Origin]
    take: Collection[int] | None
    release: frozenset[int]
    locked: frozenset[int]

    def __call__(self, b: int, o: int, t: int) -> tuple[int, int, list[tuple[int, bool]]]:
        """The value that stands, what theirs offers, and what was turned away: (value, displaced)."""
        offered = t if self.take is None or t in self.take or t == BACKGROUND else b
        # Of what ours has released nothing stands any more: the voxel is theirs, or as it was in base.
        ours = b if o in self.release else o
        value = self._winner(b, ours, offered)
        lost = []
        if offered not in (value, b):
            lost.append((offered, False))
        if o not in (value, b):
            lost.append((o, True))
        return value, offered, lost

    def _winner(self, b: int, stands: int, offered: int) -> int:
        if offered in (stands, b):
            return stands  # theirs wants nothing else
        if {stands, offered} & self.locked or stands in self.policy.protected:
            return stands
        if stands == b:
            return offered  # only theirs changed it
        if stands in self.policy.inside.get(offered, ()):
            return offered
        if offered in self.policy.inside.get(stands, ()):
            return stands
        # Where ours has erased what base had, a person did: no stage erases a class in part.
        origin = self.origins.get(stands, Origin.ORIGINAL) if stands else Origin.CORRECTED
        return offered if (stands or b) in self.policy.theirs_over.get(origin, ()) else stands
