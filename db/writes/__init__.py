"""Everything that changes the catalog; each function takes a session of `Catalog.writing()` first."""

from db.writes.cases import NewCase, add_cases, ensure_case, ensure_revision, ensure_source, move_source
from db.writes.datasets import MemberValues, freeze_dataset
from db.writes.findings import refile, settle_as_in
from db.writes.models import (
    NewEvaluation,
    PredictionClassValues,
    add_evaluations,
    add_model,
    add_prediction,
    ensure_model,
)
from db.writes.revisions import change_revision
from db.writes.runs import (
    add_event,
    add_run_item,
    begin_batch,
    finish_run,
    start_run,
    started_run,
    update_progress,
)
from db.writes.saved_queries import SavedAs, delete_query, save_query
from db.writes.versions import (
    AnnotationValues,
    ConflictValues,
    NewVersion,
    StaleParentError,
    VersionRef,
    WrittenMeanwhileError,
    add_decision,
    add_version,
    decide_finding,
    lock_case,
)

__all__ = [
    "AnnotationValues",
    "ConflictValues",
    "MemberValues",
    "NewCase",
    "NewEvaluation",
    "NewVersion",
    "PredictionClassValues",
    "SavedAs",
    "StaleParentError",
    "VersionRef",
    "WrittenMeanwhileError",
    "add_cases",
    "add_decision",
    "add_evaluations",
    "add_event",
    "add_model",
    "add_prediction",
    "add_run_item",
    "add_version",
    "begin_batch",
    "change_revision",
    "decide_finding",
    "delete_query",
    "ensure_case",
    "ensure_model",
    "ensure_revision",
    "ensure_source",
    "finish_run",
    "freeze_dataset",
    "lock_case",
    "move_source",
    "refile",
    "save_query",
    "settle_as_in",
    "start_run",
    "started_run",
    "update_progress",
]
