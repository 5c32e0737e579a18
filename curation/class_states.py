"""What stands of the 14 classes in one mask: one word each, the origin where drawn, else the status."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from curation.labels import CLASS_IDS, CLASS_NAMES, ORGAN_IDS
from curation.status import Origin, Status

# Three bits a class, 42 in all: a database packs the rows of one mask into one number, and 100,000 masks
# unpack to the few hundred combinations that there are. Missing is 0, so that no rows say what is true.
STATES: tuple[Status | Origin, ...] = (
    Status.MISSING,
    Status.ABSENT,
    Status.OUT_OF_FIELD,
    Origin.ORIGINAL,
    Origin.PSEUDO,
    Origin.CORRECTED,
)
BITS = 3
_PLACE = {state: place for place, state in enumerate(STATES)}


@dataclass(frozen=True)
class ClassStates:
    """What stands of each class; an annotated class is said by its origin, the others by their status.

    Thousands of masks share one of these, so what follows from the states is worked out once.
    """

    states: tuple[Status | Origin, ...]

    def of(self, class_id: int) -> Status | Origin:
        """What stands of one class."""
        return self.states[class_id - 1]

    @cached_property
    def annotated(self) -> frozenset[int]:
        """Ids of the classes that are drawn."""
        return frozenset(c for c in CLASS_IDS if isinstance(self.of(c), Origin))

    @cached_property
    def is_complete(self) -> bool:
        """No organ is missing."""
        return Status.MISSING not in (self.of(c) for c in ORGAN_IDS)

    @cached_property
    def is_strong(self) -> bool:
        """The paper's strong label: complete, no organ pseudo, at least one organ annotated."""
        organs = [self.of(c) for c in ORGAN_IDS]
        return (
            self.is_complete
            and Origin.PSEUDO not in organs
            and any(isinstance(state, Origin) for state in organs)
        )

    def left_out(self, origins: Collection[Origin]) -> frozenset[int]:
        """Ids of the classes that are drawn, but by an origin that does not count."""
        return frozenset(
            c for c in CLASS_IDS if isinstance(state := self.of(c), Origin) and state not in origins
        )

    def missing(self, origins: Collection[Origin] = tuple(Origin)) -> frozenset[int]:
        """Ids of the classes of which a training on these origins knows nothing."""
        undrawn = frozenset(c for c in CLASS_IDS if self.of(c) is Status.MISSING)
        return undrawn | self.left_out(origins)

    @cached_property
    def text(self) -> str:
        """All classes with their words, in the label table's order: ``liver original, right_kidney missing, …``."""
        return ", ".join(f"{name} {state}" for name, state in zip(CLASS_NAMES, self.states, strict=True))


def pack(states: Mapping[int, Status | Origin]) -> int:
    """The number that `unpack` reads; a class that is not named is missing.

    Args:
        states: Class id to its origin where drawn, else to its status.
    """
    return sum(_PLACE[state] << BITS * (class_id - 1) for class_id, state in states.items())


@lru_cache(maxsize=1 << 16)
def unpack(code: int) -> ClassStates:
    """The states that a number packs: class k in the bits from ``3 * (k - 1)``, as a place in `STATES`."""
    return ClassStates(tuple(STATES[code >> BITS * (c - 1) & (1 << BITS) - 1] for c in CLASS_IDS))
