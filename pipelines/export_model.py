"""Export a registered student to one file, which predicts where there is no catalog."""

from pathlib import Path

from curation.errors import UsageError
from curation.labels import BY_ID, CLASS_IDS
from db import queries
from db.lineage import model_origins
from db.models import ModelKind
from pipelines.children import run_child
from pipelines.exported_file import FORMAT, FORMAT_VERSION, SUFFIX, ExportedFacts, read_facts
from pipelines.predict import trained_model
from pipelines.runs import Workbench, run
from pipelines.scratch import scratch_folder


def export_model(bench: Workbench, name: str, file: Path) -> ExportedFacts:
    """Write a student and what is known of it to `file`, which appears whole or not at all.

    Raises:
        UsageError: Not a student that was trained here, or a path that is taken or does not end in .pt.
        ChildFailedError: The weights are not there, or not those that were registered.
    """
    model = trained_model(bench, name)
    if model.kind is not ModelKind.STUDENT:
        raise UsageError(
            f"model '{name}' is a {model.kind}; only students are exported: train one with `maskledger retrain`"
        )
    if file.suffix != SUFFIX:
        raise UsageError(f"{file}: `predict` knows an exported model by its ending; give a name in {SUFFIX}")
    if file.exists():
        raise UsageError(f"{file}: exists already; give a new file")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file.parent}: no such folder; make it first")
    with bench.catalog.reading() as session:
        row = queries.known_model(session, name)
        origin = model_origins(session)[name]
    facts = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": name,
        "profile": model.profile.model_dump(mode="json"),
        "classes": {str(c): BY_ID[c].name for c in CLASS_IDS},
        "dataset": origin.dataset,
        "manifest_hash": origin.manifest_hash,
        "code_version": row.code_version,
        "weights_hash": row.weights_hash,
        "doubts": list(row.doubts),
    }
    with run(bench, "models export", {"model": name, "file": str(file.absolute())}, key=name) as booking:
        with scratch_folder() as work_dir:
            job = {
                "task": "student_export",
                "work_dir": str(work_dir),
                "model_dir": str(model.folder.absolute()),
                "profile": facts["profile"],
                "device": "cpu",
                "seed": 0,
                "cases": [],
                "export": {"file": str(file.absolute()), "facts": facts},
            }
            for _ in run_child(job, work_dir):
                pass  # a problem arrives as ChildFailedError
        booking.outcome.count("exported")
    return read_facts(file)
