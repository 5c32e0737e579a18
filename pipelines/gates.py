"""Gates: which classes and voxels of a prediction are too doubtful to be taken into a mask. No torch here."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from curation.errors import CurationError, UsageError
from curation.labels import BY_ID, CLASS_IDS, resolve_class
from curation.probability import threshold_percent
from curation.rle import RunLengths
from curation.volumes import Geometry, decode_mask
from db.offers import OfferedPrediction, Said
from db.store import Store


@dataclass(frozen=True)
class Gates:
    """What a prediction has to reach; nothing by default, as in the paper.

    Attributes:
        min_confidence: Class id to the mean probability, 0 to 1, below which the class is left as it is.
        uncertain_below: Probability below which a voxel that would be filled becomes one to ignore.
    """

    min_confidence: Mapping[int, float] = field(default_factory=dict)
    uncertain_below: float | None = None

    def __post_init__(self) -> None:
        if self.uncertain_below is not None:
            threshold_percent(self.uncertain_below)

    @property
    def parameters(self) -> dict[str, object]:
        """What a run books of them; nothing where there are none."""
        said: dict[str, object] = {}
        if self.min_confidence:
            said["min_confidence"] = {BY_ID[c].name: p for c, p in sorted(self.min_confidence.items())}
        if self.uncertain_below is not None:
            said["uncertain_below"] = self.uncertain_below
        return said


def parse_min_confidence(texts: Sequence[str]) -> dict[int, float]:
    """Read ``0.8`` (every class) and ``pancreas=0.8``; a class's own holds, whatever the order.

    Raises:
        UsageError: No number from 0 to 1, an unknown class, or one named twice.
    """
    of_all: float | None = None
    own: dict[int, float] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:  # written so that NaN fails too
            raise UsageError(
                f"--min-confidence '{text}': '{number}' is no probability; give 0 to 1, e.g. 0.8 or pancreas=0.8"
            )
        if not equals:
            if of_all is not None:
                raise UsageError(f"--min-confidence '{text}': given twice for every class; give it once")
            of_all = value
            continue
        class_id = resolve_class(name).id
        if class_id in own:
            raise UsageError(
                f"--min-confidence '{text}': {BY_ID[class_id].name} is named twice; name it once"
            )
        own[class_id] = value
    return (dict.fromkeys(CLASS_IDS, of_all) if of_all is not None else {}) | own


def doubtful_classes(
    gates: Gates, said: Mapping[int, Said], offered: Collection[int], prediction: str
) -> dict[int, float]:
    """Those of the offered classes that the prediction draws with less than the least confidence.

    Args:
        gates: What is asked for.
        said: What the prediction says of its classes.
        offered: Classes that would be taken from it.
        prediction: How errors call it.

    Returns:
        Class id to its mean probability.

    Raises:
        CurationError: The prediction draws such a class and says no probability of any.
    """
    drawn = {
        c: said[c].confidence for c in offered if c in gates.min_confidence and c in said and said[c].voxels
    }
    if drawn and all(one.confidence is None for one in said.values()):
        raise CurationError(
            f"{prediction} says nothing of its confidence (imported and combined ones do not); leave "
            "--min-confidence out, or predict with a model that was trained here"
        )
    return {c: p or 0.0 for c, p in drawn.items() if (p or 0.0) < gates.min_confidence[c]}


def read_map(store: Store, prediction: OfferedPrediction, geometry: Geometry, name: str) -> RunLengths:
    """The map of a prediction's probabilities, in percent.

    Raises:
        CurationError: It has none, or one on another grid.
        StoredFileError: It is lost or damaged.
    """
    if prediction.probability_hash is None:
        raise CurationError(
            f"{name} keeps no map of its probabilities, which --uncertain-below needs; predict again with "
            "`maskledger predict MODEL QUERY --probabilities`"
        )
    grid, of_map = decode_mask(store.get(prediction.probability_hash), f"probabilities of {name}")
    if difference := grid.difference(geometry):
        raise CurationError(f"the probabilities of {name} do not lie on the grid of its mask: {difference}")
    return of_map
