"""Score: two folders of masks against each other, by the FLARE23 protocol or on the known classes alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.errors import CurationError, UsageError
from curation.labels import BY_ID
from curation.mappings import LabelMapping, apply_mapping
from curation.metrics import PROTOCOLS, Score, score
from curation.one_line import one_line
from curation.volumes import decode_mask
from pipelines.files_of_users import file_bytes
from pipelines.folders import list_foreign, list_volumes, mask_names
from pipelines.runs import Workers, map_cases


@dataclass(frozen=True)
class PairJob:
    """Two mask files of one case."""

    case: str
    reference: Path
    prediction: Path
    mapping: LabelMapping
    protocol: str


@dataclass(frozen=True)
class ScoreRow:
    """One line of the result; dsc and nsd from 0 to 1, 4 digits."""

    case: str
    class_name: str
    dsc: float
    nsd: float


@dataclass(frozen=True)
class ScoredFolders:
    """Scores by case and class id, and one line for every file that could not be scored."""

    cases: dict[str, dict[int, Score]]
    refused: list[str]

    @property
    def rows(self) -> list[ScoreRow]:
        """One row per case and class, in that order."""
        return [
            ScoreRow(name, BY_ID[class_id].name, value.dsc, value.nsd)
            for name, scores in self.cases.items()
            for class_id, value in sorted(scores.items())
        ]


def score_folders(
    workers: Workers, references: Path, predictions: Path, mapping: LabelMapping, protocol: str = "flare23"
) -> ScoredFolders:
    """Score every reference that has a prediction of the same name.

    Under ``known`` a class counts where the reference has voxels of it: files say nothing of what was
    looked for.

    Raises:
        UsageError: A folder is absent or empty, no name is in both, or the protocol is unknown.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"unknown protocol '{protocol}'; use {' or '.join(PROTOCOLS)}")
    wanted = _by_name(references, "references")
    offered = _by_name(predictions, "predictions")
    names = sorted(wanted.keys() & offered.keys())
    if not names:
        raise UsageError(
            f"no file name is in both {references} (e.g. {next(iter(wanted))}) and {predictions} "
            f"(e.g. {next(iter(offered))}); name predictions like their references"
        )
    refused = [
        f"{wanted[name]}: no prediction named {name} in {predictions}"
        for name in sorted(wanted.keys() - offered.keys())
    ]
    refused += [
        f"{offered[name]}: no reference named {name} in {references}"
        for name in sorted(offered.keys() - wanted.keys())
    ]
    refused += [
        foreign.line
        for folder in dict.fromkeys((references, predictions))
        for foreign in list_foreign(folder)
        if not foreign.kind.may_be_else
    ]
    jobs = [PairJob(name, wanted[name], offered[name], mapping, protocol) for name in names]
    scored: dict[str, dict[int, Score]] = {}
    workers.progress.start("score", len(jobs))
    for done, (job, scores, problem) in enumerate(map_cases(workers, score_pair, jobs, len(jobs)), 1):
        if problem:
            refused.append(problem)
        scored[job.case] = scores
        workers.progress.step(done, job.case)
    workers.progress.finish()
    return ScoredFolders({name: scored[name] for name in names}, [*map(one_line, refused)])


def _by_name(folder: Path, what: str) -> dict[str, Path]:
    return {name: path for path, name in mask_names(list_volumes(folder, what)).items()}


def score_pair(job: PairJob) -> tuple[PairJob, dict[int, Score], str | None]:
    """Score one pair of files; returns the reason as text where they cannot be compared."""
    try:
        geometry, raw = decode_mask(file_bytes(job.reference), str(job.reference))
        reference = apply_mapping(raw, job.mapping, str(job.reference))
        predicted_geometry, raw = decode_mask(file_bytes(job.prediction), str(job.prediction))
        prediction = apply_mapping(raw, job.mapping, str(job.prediction))
        if difference := predicted_geometry.difference(geometry):
            raise CurationError(
                f"{job.prediction}: does not lie on the grid of {job.reference}: {difference}; "
                "resample it onto the reference's grid"
            )
        known: Sequence[int] | None = None
        if job.protocol == "known":
            known = [class_id for class_id in reference.voxels() if class_id in BY_ID]
        return job, score(reference, prediction, geometry, protocol=job.protocol, known=known), None
    except CurationError as error:
        return job, {}, str(error)
    except OSError as error:
        return job, {}, f"{error.filename}: {error.strerror}; check the file"
