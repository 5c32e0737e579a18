"""Which classes a student's network leaves open where nobody looked for them: docs/decisions/0016-what-is-missing.md.

Class ids alone: the books answer with it before a training, and the training with what lies at its input.
"""

from collections.abc import Collection, Iterable

from curation.labels import ORGAN_IDS, SIDED_PAIRS
from pipelines.profiles import Missing


def open_classes(drawn: Collection[int], *, coarse: bool, sides_swap: bool) -> frozenset[int]:
    """Class ids that a network can learn, and so leaves open in a case that misses them.

    What nobody drew anywhere cannot be learned. Left open, nothing would keep the network from calling background so:
    this class stays background.

    Args:
        drawn: In any training case.
        coarse: The network says only organ or not. For it, missing tumors are no matter: they lie in or at organs.
        sides_swap: Training flips along x, so that a right kidney teaches a left one, too.
    """
    learned = frozenset(drawn)
    if sides_swap:
        learned |= {side for pair in SIDED_PAIRS if learned & set(pair) for side in pair}
    return learned & frozenset(ORGAN_IDS) if coarse else learned


def leaves_background_out(setting: Missing, *, coarse: bool) -> bool:
    """Whether the background of a case that misses open classes says nothing to the network."""
    return setting == "ignore" or (setting == "marginal" and coarse)


def learns_no_background(
    setting: Missing, left_open: Collection[int], missing: Iterable[Collection[int]], *, coarse: bool
) -> bool:
    """Whether no training case would say where nothing is; `missing`: class ids per training case."""
    return leaves_background_out(setting, coarse=coarse) and all(
        not frozenset(left_open).isdisjoint(of_case) for of_case in missing
    )
