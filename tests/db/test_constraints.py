"""Every CHECK and UNIQUE of the migrated schema refuses the row it forbids, on both databases.

Alembic's own comparison does not notice a missing CHECK, so each is tried out.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import CheckConstraint, UniqueConstraint, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.catalog import Catalog
from db.engine import for_writing
from db.models import Base

NOW = datetime(2023, 8, 23, tzinfo=UTC)
HASH = "a" * 64

# Rows that are allowed, one or two per table, in an order in which they can be inserted.
WORLD: dict[str, list[dict[str, Any]]] = {
    "source": [{"id": 1, "name": "KiTS"}],
    "source_revision": [{"id": 1, "source_id": 1, "name": "2019", "mapping_name": "kits19", "mapping": {}}],
    "case": [
        {"id": 1, "source_id": 1, "name": "case_00000", "patient": "p"},
        {"id": 2, "source_id": 1, "name": "case_00001", "patient": "p"},
    ],
    "state_count": [{"source_id": 1, "role": "test", "states": 3, "cases": 1}],
    "newest_measure": [
        {
            "class_id": 3, "case_id": 1, "source_id": 1, "role": "test", "states": 3, "voxels": 5,
            "volume_ml": 0.1, "touches_border": False,
        }
    ],
    "image": [
        {
            "case_id": 1, "file_bytes": 9, "modified_ns": 9, "voxel_hash": HASH, "histogram_hash": HASH,
            "shape_x": 4, "shape_y": 5, "shape_z": 6, "spacing_x": 1.0, "spacing_y": 1.0, "spacing_z": 1.0,
            "orientation": "RAS", "low": -1024.0, "high": 1000.0, "is_hu": True, "note": "",
        }
    ],
    "saved_query": [{"id": 1, "name": "todo", "query": "weak", "author": "me"}],
    "run": [{"id": 1, "stage": "ingest", "author": "me", "program_version": "1"}],
    "mask_version": [
        {
            "id": 10 * case_id, "case_id": case_id, "number": 1, "kind": "ingested", "author": "me",
            "shape_x": 4, "shape_y": 5, "shape_z": 6, "spacing_x": 1.0, "spacing_y": 1.0, "spacing_z": 1.0,
            "orientation": "RAS", "affine": [0.0] * 16,
        }
        for case_id in (1, 2)
    ],
    "dataset": [{"id": 1, "name": "strong"}],
    "dataset_version": [
        {
            "id": 1, "dataset_id": 1, "number": 1, "query": "strong", "origins": ["original"], "seed": 0,
            "manifest_hash": HASH, "author": "me",
        }
    ],
    "model": [{"id": 1, "name": "teacher", "kind": "teacher"}],
    "prediction": [
        {"id": n, "case_id": 1, "model_id": 1, "file_hash": HASH, "voxel_hash": HASH} for n in (1, 2)
    ],
    "prediction_part": [{"prediction_id": 2, "part_id": 1}],
    "prediction_class": [{"prediction_id": 1, "class_id": 1, "voxels": 0, "volume_ml": 0.0}],
    "annotation": [{"version_id": 10, "class_id": 1, "status": "missing", "evidence": "default"}],
    "reserved_voxels": [{"version_id": 10, "value": 200, "voxels": 5, "volume_ml": 0.1}],
    "conflict": [
        {"version_id": 10, "kept": 14, "offered": 4, "displaced": False, "voxels": 5, "ml": 0.1}
    ],
    "finding": [
        {
            "id": 1, "version_id": 10, "class_id": 1, "check": "touches_border", "severity": "info",
            "value": 1.0, "limit": 0.0, "message": "m",
        }
    ],
    "decision": [
        {"id": 1, "case_id": 1, "class_id": 1, "verdict": "accepted", "reason": "r", "person": "me"}
    ],
    "run_item": [{"id": 1, "run_id": 1, "subject": "a.nii.gz", "state": "done"}],
    "member": [{"dataset_version_id": 1, "case_id": 1, "version_id": 10, "split": "train"}],
    "evaluation": [
        {
            "id": 1, "model_id": 1, "prediction_id": 1, "reference_version_id": 10, "case_id": 1,
            "class_id": 1, "protocol": "flare23", "implementation": "ours", "dsc": 0.5, "nsd": 0.5,
        }
    ],
    "retraction": [{"id": 1, "model_id": 1, "include_accepted": False, "reason": "r", "person": "me"}],
    "taint": [
        {"id": 1, "retraction_id": 1, "dataset_version_id": 1},
        {"id": 2, "retraction_id": 1, "model_id": 1},
    ],
    "tombstone": [
        {"case_id": 2, "patient_digest": HASH, "reason": "r", "person": "me", "files": 0, "bytes": 0}
    ],
    "event": [{"id": 1, "author": "me", "action": "ingest", "program_version": "1"}],
}  # fmt: skip

# An annotated class that is allowed; the rows below change one thing about it.
DRAWN = {
    "class_id": 2, "status": "annotated", "origin": "original", "evidence": "voxels", "voxels": 10,
    "volume_ml": 0.5, "class_hash": HASH, "components": 1, "largest_share": 1.0,
}  # fmt: skip
SECOND = {"id": 11, "number": 2, "parent_id": 10}  # a second version of case 1

# (constraint, table, what to change in the first row of WORLD so that it is forbidden)
FORBIDDEN: list[tuple[str, str, dict[str, Any]]] = [
    *(
        (f"ck_{table}_name_addressable", table, {"id": 9, "name": name})
        for table in ("source", "case", "dataset")
        for name in ("", "a/b", "a@1")
    ),
    ("ck_case_role", "case", {"id": 9, "name": "n", "role": "validation"}),
    ("ck_mask_version_kind", "mask_version", SECOND | {"kind": "guessed"}),
    ("ck_mask_version_number_from_one", "mask_version", SECOND | {"number": 0}),
    ("ck_mask_version_first_has_no_parent", "mask_version", SECOND | {"parent_id": None}),
    ("ck_mask_version_file_has_voxels", "mask_version", SECOND | {"file_hash": HASH}),
    ("ck_mask_version_file_has_voxels", "mask_version", SECOND | {"voxel_hash": HASH}),
    *(("ck_mask_version_shape_positive", "mask_version", SECOND | {f"shape_{a}": 0}) for a in "xyz"),
    *(("ck_mask_version_spacing_positive", "mask_version", SECOND | {f"spacing_{a}": 0.0}) for a in "xyz"),
    ("ck_annotation_class_in_table", "annotation", {"class_id": 0}),
    ("ck_annotation_class_in_table", "annotation", {"class_id": 15}),
    ("ck_annotation_status", "annotation", {"class_id": 2, "status": "ANNOTATED"}),
    ("ck_annotation_origin", "annotation", DRAWN | {"origin": "guessed"}),
    ("ck_annotation_evidence", "annotation", {"class_id": 2, "evidence": "hearsay"}),
    ("ck_annotation_annotated_has_voxels", "annotation", DRAWN | {"voxels": 0}),
    ("ck_annotation_annotated_has_voxels", "annotation", {"class_id": 2, "voxels": 1}),
    ("ck_annotation_annotated_by_voxels", "annotation", DRAWN | {"evidence": "protocol"}),
    ("ck_annotation_annotated_by_voxels", "annotation", {"class_id": 2, "evidence": "voxels"}),
    ("ck_annotation_annotated_has_hash", "annotation", DRAWN | {"class_hash": None}),
    ("ck_annotation_annotated_has_hash", "annotation", {"class_id": 2, "class_hash": HASH}),
    ("ck_annotation_drawn_by_someone", "annotation", DRAWN | {"origin": None}),
    ("ck_annotation_drawn_by_someone", "annotation", {"class_id": 2, "origin": "original"}),
    ("ck_annotation_pseudo_has_prediction", "annotation", DRAWN | {"origin": "pseudo"}),
    ("ck_annotation_pseudo_has_prediction", "annotation", DRAWN | {"prediction_id": 1}),
    ("ck_annotation_pseudo_has_prediction", "annotation", {"class_id": 2, "prediction_id": 1}),
    ("ck_annotation_corrected_has_author", "annotation", DRAWN | {"origin": "corrected"}),
    ("ck_annotation_corrected_has_author", "annotation", DRAWN | {"author": "me"}),
    ("ck_annotation_volume_not_negative", "annotation", DRAWN | {"volume_ml": -0.5}),
    ("ck_annotation_pieces_in_range", "annotation", DRAWN | {"components": 0}),
    ("ck_annotation_pieces_in_range", "annotation", DRAWN | {"largest_share": 0.0}),
    ("ck_annotation_pieces_in_range", "annotation", DRAWN | {"largest_share": 1.1}),
    *(("ck_reserved_voxels_value_reserved", "reserved_voxels", {"value": v}) for v in (14, 199, 240, 254)),
    ("ck_reserved_voxels_voxels_positive", "reserved_voxels", {"value": 201, "voxels": 0}),
    ("ck_conflict_voxels_positive", "conflict", {"offered": 5, "voxels": 0}),
    ("ck_conflict_values_stored", "conflict", {"offered": 256}),
    ("ck_conflict_values_stored", "conflict", {"kept": -1}),
    ("ck_conflict_kept_something_else", "conflict", {"kept": 4}),
    ("ck_model_kind", "model", {"id": 9, "name": "n", "kind": "oracle"}),
    ("ck_prediction_class_class_in_table", "prediction_class", {"class_id": 15}),
    ("ck_prediction_class_volume_not_negative", "prediction_class", {"class_id": 2, "voxels": -1}),
    ("ck_prediction_class_volume_not_negative", "prediction_class", {"class_id": 2, "volume_ml": -1.0}),
    *(
        (f"ck_prediction_class_{column}_in_range", "prediction_class", {"class_id": 2, column: value})
        for column in ("confidence", "tta_disagreement", "agreement")
        for value in (-0.1, 1.1)
    ),
    ("ck_decision_class_in_table", "decision", {"id": 9, "class_id": 15}),
    ("ck_decision_verdict", "decision", {"id": 9, "verdict": "maybe"}),
    ("ck_finding_class_in_table", "finding", {"id": 9, "class_id": 15}),
    ("ck_finding_severity", "finding", {"id": 9, "severity": "grave"}),
    ("ck_finding_state", "finding", {"id": 9, "state": "lost", "person": "me", "decided_at": NOW}),
    ("ck_finding_decided_unless_open", "finding", {"id": 9, "person": "me", "decided_at": NOW}),
    ("ck_finding_decided_unless_open", "finding", {"id": 9, "state": "dismissed"}),
    ("ck_finding_decided_by_someone", "finding", {"id": 9, "state": "dismissed", "decided_at": NOW}),
    ("ck_run_state", "run", {"id": 9, "state": "asleep", "finished_at": NOW}),
    ("ck_run_finished_unless_running", "run", {"id": 9, "state": "done"}),
    ("ck_run_finished_unless_running", "run", {"id": 9, "finished_at": NOW}),
    ("ck_run_item_state", "run_item", {"id": 9, "state": "skipped"}),
    ("ck_dataset_version_number_from_one", "dataset_version", {"id": 9, "number": 0}),
    (
        "ck_dataset_version_share_or_folds",
        "dataset_version",
        {"id": 9, "number": 2, "val_share": 0.2, "folds": 5},
    ),
    ("ck_dataset_version_val_share_in_range", "dataset_version", {"id": 9, "number": 2, "val_share": 1.0}),
    ("ck_dataset_version_val_share_in_range", "dataset_version", {"id": 9, "number": 2, "val_share": -0.1}),
    ("ck_dataset_version_folds_from_two", "dataset_version", {"id": 9, "number": 2, "folds": 1}),
    ("ck_member_split", "member", {"case_id": 2, "version_id": 20, "split": "test"}),
    ("ck_member_fold_from_zero", "member", {"case_id": 2, "version_id": 20, "fold": -1}),
    ("ck_evaluation_class_in_table", "evaluation", {"id": 9, "class_id": 15}),
    ("ck_evaluation_protocol_known", "evaluation", {"id": 9, "class_id": 2, "protocol": "ours"}),
    ("ck_evaluation_scores_in_range", "evaluation", {"id": 9, "class_id": 2, "dsc": 1.1}),
    ("ck_evaluation_scores_in_range", "evaluation", {"id": 9, "class_id": 2, "nsd": -0.1}),
    ("ck_prediction_part_part_of_another", "prediction_part", {"prediction_id": 1}),
    ("ck_retraction_of_one_thing", "retraction", {"id": 9, "run_id": 1}),
    ("ck_retraction_of_one_thing", "retraction", {"id": 9, "model_id": None}),
    ("ck_taint_of_one_thing", "taint", {"id": 9, "model_id": 1}),
    ("ck_taint_of_one_thing", "taint", {"id": 9, "dataset_version_id": None}),
    ("ck_tombstone_deleted_not_negative", "tombstone", {"case_id": 1, "files": -1}),
    ("ck_tombstone_deleted_not_negative", "tombstone", {"case_id": 1, "bytes": -1}),
    ("uq_taint_retraction_id_dataset_version_id", "taint", {"id": 9}),
    ("uq_taint_retraction_id_model_id", "taint", {"id": 9, "dataset_version_id": None, "model_id": 1}),
    ("uq_source_name", "source", {"id": 9}),
    ("uq_source_revision_source_id_name", "source_revision", {"id": 9}),
    ("uq_case_source_id_name", "case", {"id": 9}),
    ("uq_mask_version_case_id_number", "mask_version", {"id": 11}),
    ("uq_model_name", "model", {"id": 9}),
    ("uq_dataset_name", "dataset", {"id": 9}),
    ("uq_dataset_version_dataset_id_number", "dataset_version", {"id": 9}),
    ("uq_evaluation_model_id_case_id_class_id_protocol", "evaluation", {"id": 9}),
    # References that name a row of another case.
    ("fk_mask_version_case_id_mask_version", "mask_version", SECOND | {"parent_id": 20}),
    ("fk_case_id_mask_version", "case", {"id": 9, "name": "n", "newest_version_id": 10}),
    ("fk_member_case_id_mask_version", "member", {"case_id": 2, "version_id": 10}),
    # References to nothing.
    ("fk_case_source_id_source", "case", {"id": 9, "name": "n", "source_id": 99}),
    ("fk_annotation_version_id_mask_version", "annotation", {"version_id": 99}),
    (
        "fk_annotation_prediction_id_prediction",
        "annotation",
        DRAWN | {"origin": "pseudo", "prediction_id": 99},
    ),
    ("ck_image_shape_positive", "image", {"shape_z": 0}),
    ("ck_image_spacing_positive", "image", {"spacing_x": 0.0}),
    ("ck_image_low_below_high", "image", {"low": 2000.0}),
    ("ck_image_note_says_why", "image", {"is_hu": False}),
    ("ck_saved_query_name_addressable", "saved_query", {"name": "a@b"}),
    ("uq_saved_query_name", "saved_query", {"id": 2}),
    ("ck_state_count_role", "state_count", {"role": "validation"}),
    ("ck_newest_measure_role", "newest_measure", {"role": "validation"}),
    ("ck_state_count_cases_not_negative", "state_count", {"states": 4, "cases": -1}),
]

# Only there to be referred to: (case_id, id) is unique because id is.
_CANNOT_BE_BROKEN_ALONE = {"uq_mask_version_case_id_id"}


def _insert(session: Session, table: str, row: dict[str, Any]) -> None:
    session.execute(insert(Base.metadata.tables[table]).values(**row))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, make_database_url: Callable[..., str]) -> Iterator[Catalog]:
    """A migrated catalog with the rows of WORLD, shared because every test here undoes what it does."""
    url = make_database_url(request.param, migrated=True)
    catalog = Catalog.open(url)
    with catalog.writing() as session:
        for table, rows in WORLD.items():
            for row in rows:
                _insert(session, table, row)
    yield catalog
    catalog.close()


@pytest.mark.parametrize(("constraint", "table", "change"), FORBIDDEN)
def test_a_forbidden_row_is_refused(
    world: Catalog, constraint: str, table: str, change: dict[str, Any]
) -> None:
    with pytest.raises(IntegrityError) as refusal, world.writing() as session:
        _insert(session, table, WORLD[table][0] | change)
    assert _names(str(refusal.value.orig), constraint, world)


def _names(message: str, constraint: str, catalog: Catalog) -> bool:
    """Whether the database says that it was this constraint; SQLite names CHECKs only."""
    if catalog.engine.dialect.name == "postgresql" or constraint.startswith("ck_"):
        return constraint in message
    if constraint.startswith("uq_"):
        unique = next(c for t in Base.metadata.tables.values() for c in t.constraints if c.name == constraint)
        assert isinstance(unique, UniqueConstraint)
        return message == "UNIQUE constraint failed: " + ", ".join(str(column) for column in unique.columns)
    return message == "FOREIGN KEY constraint failed"


def test_what_the_forbidden_rows_vary_is_allowed(world: Catalog) -> None:
    with Session(for_writing(world.engine)) as session:
        _insert(session, "annotation", WORLD["annotation"][0] | DRAWN)
        _insert(session, "mask_version", WORLD["mask_version"][0] | SECOND)
        session.rollback()


def test_every_check_and_unique_of_the_models_is_tried() -> None:
    named = {
        str(constraint.name)
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint | UniqueConstraint)
    }
    assert named - _CANNOT_BE_BROKEN_ALONE == {name for name, _, _ in FORBIDDEN if name[:2] in {"ck", "uq"}}
