"""What is known of one model: from what it was trained to how it scored, and whether its weights are still the same."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.errors import UsageError
from curation.metrics import PROTOCOLS
from db import queries
from db.models import ModelKind
from db.queries import DatasetVersionRow, ModelRow, RunRow
from pipelines.compare import Comparison, compare
from pipelines.runs import Workbench

# The files that a training hashes, in this order; written by teacher.py and student.py in pipelines/training.
_WEIGHTS = {ModelKind.TEACHER: ("weights.pt",), ModelKind.STUDENT: ("coarse.pt", "fine.pt")}


@dataclass(frozen=True)
class ModelPage:
    """A model with its dataset, its run and its scores.

    Attributes:
        weights: Folder of the weights; None for a model that was not trained here.
        scores: Protocol to its mean scores over all cases that it was scored on.
        damage: What is wrong with its weights; None if nothing is, or nobody looked.
    """

    model: ModelRow
    dataset: DatasetVersionRow | None
    run: RunRow | None
    weights: Path | None
    scores: dict[str, Comparison]
    damage: str | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """What the training measured, without the digest of what it was asked."""
        return {key: value for key, value in self.model.metrics.items() if key != "spec"}


def model_page(bench: Workbench, name: str, *, verify: bool = False, with_scores: bool = True) -> ModelPage:
    """Gather what the catalog knows of a model.

    Args:
        bench: An open workspace.
        name: The model's.
        verify: Hash its weights, too; what they lack is the page's `damage`.
        with_scores: Sum up its scores; False for who does so himself.

    Raises:
        UsageError: There is no such model, or its weights are to be verified and it has none.
    """
    with bench.catalog.reading() as session:
        row = queries.known_model(session, name)
        dataset = queries.dataset_version(session, row.dataset) if row.dataset else None
        run = queries.run_by_id(session, row.run_id) if row.run_id is not None else None
        scored = queries.scored_models(session).get(name, {}) if with_scores else {}
    weights = bench.root / row.weights_path if row.weights_path is not None else None
    damage = None
    if verify:
        if weights is None:
            raise UsageError(
                f"model '{name}' was not trained here and has no weights to verify; leave out --verify"
            )
        damage = weights_damage(row, weights)
    return ModelPage(
        row, dataset, run, weights,
        {p: compare(bench, [name], p, resamples=0) for p in PROTOCOLS if p in scored},
        damage,
    )  # fmt: skip


def weights_damage(model: ModelRow, folder: Path) -> str | None:
    """Compare the weights' files with the hash that the training left; None if they are the same."""
    digest = hashlib.sha256()
    for name in _WEIGHTS.get(model.kind, ()):
        file = folder / name
        try:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            return f"{file}: {error.strerror}; restore the folder from a backup or train again"
    if model.weights_hash is None:
        return f"{folder}: the catalog holds no hash of these weights; they cannot be verified"
    if digest.hexdigest() != model.weights_hash:
        return (
            f"{folder}: the weights of '{model.name}' have SHA-256 {digest.hexdigest()}, and it was registered with "
            f"{model.weights_hash}; restore them from a backup or train again"
        )
    return None
