"""A student in one file: both networks' weights and settings, for machines without a catalog."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from curation.errors import kind_and_first_line
from pipelines.exported_file import FACTS_MEMBER, ExportedFacts, read_facts
from pipelines.training.jobs import Job, Reporter, TrainingError
from pipelines.training.saved import UnreadableError, read_saved
from pipelines.training.student import STAGES, StageName
from pipelines.training.worker import MODEL_FILE
from pipelines.whole_files import write_whole


def export_student(job: Job, reporter: Reporter) -> None:
    """Write the job's student to the one file that the job names.

    Raises:
        TrainingError: The model's folder is not whole, or not what the catalog knows by its weights' hash.
    """
    assert job.model_dir is not None, "the worker reads model.json before it comes here"
    if job.export is None:
        raise TrainingError("the job says no file to export to; give `export`")
    folder, facts = job.model_dir, dict(job.export.facts)
    digest = hashlib.sha256()
    saved: dict[StageName, dict[str, Any]] = {}
    try:
        for name in STAGES:
            data = (folder / f"{name}.pt").read_bytes()
            digest.update(data)
            saved[name] = read_saved(io.BytesIO(data))
        facts["margin_mm"] = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))["margin_mm"]
    except (OSError, ValueError, KeyError, UnreadableError) as error:
        raise TrainingError(f"{folder}: not a whole student ({error}); train it again") from error
    if digest.hexdigest() != facts["weights_hash"]:
        raise TrainingError(
            f"{folder}: the weights are not those that were registered ({digest.hexdigest()[:12]} instead of "
            f"{str(facts['weights_hash'])[:12]}); restore the folder or train it again"
        )
    stages = {name: {"stage": saved[name]["stage"], "weights": saved[name]["weights"]} for name in STAGES}
    said = ExportedFacts.model_validate({**facts, "checksum": checksum(stages)})
    stream = io.BytesIO()
    torch.save({"stages": stages}, stream)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(FACTS_MEMBER, said.model_dump_json(indent=1))
    write_whole(job.export.file, stream.getvalue())
    reporter.done(file=str(job.export.file), bytes=stream.tell(), checksum=said.checksum)


def read_exported(file: Path) -> tuple[ExportedFacts, Mapping[StageName, dict[str, Any]]]:
    """Read an exported student and hold its weights against its checksum.

    Returns:
        Its facts, and per stage what `train_student` writes: ``stage`` (settings) and ``weights``.

    Raises:
        ModelFileError: See `read_facts`.
        TrainingError: The weights are damaged.
    """
    facts = read_facts(file)
    try:
        stages = torch.load(file, map_location="cpu", weights_only=True)["stages"]
        found = checksum(stages)
    except Exception as error:
        # A damaged zip or pickle makes torch raise nearly anything.
        reason = kind_and_first_line(error)
        raise TrainingError(
            f"{file}: the weights cannot be read ({reason}); copy or export it again"
        ) from error
    if found != facts.checksum:
        raise TrainingError(
            f"{file}: the weights are damaged (checksum {found[:12]} instead of {facts.checksum[:12]}); "
            "copy or export it again"
        )
    return facts, stages


def checksum(stages: Mapping[Any, Mapping[str, Any]]) -> str:
    """SHA-256 over settings and weights of both stages, however torch packs them."""
    digest = hashlib.sha256()
    for name in STAGES:
        saved = stages[name]
        digest.update(json.dumps([name, saved["stage"]], sort_keys=True).encode())
        for key, tensor in sorted(saved["weights"].items()):
            digest.update(json.dumps([key, str(tensor.dtype), list(tensor.shape)]).encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
