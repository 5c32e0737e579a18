"""The first schema: sources, cases, versions and annotations; models, predictions, datasets, runs, scores."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "dataset",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.CheckConstraint(
            "name <> '' AND name NOT LIKE '%/%' AND name NOT LIKE '%@%'",
            name=op.f("ck_dataset_name_addressable"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
        sa.UniqueConstraint("name", name=op.f("uq_dataset_name")),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("program_version", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_index(op.f("ix_event_created_at"), "event", ["created_at"])

    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=60), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=True, comment="NULL: never resumed"),
        sa.Column(
            "state",
            sa.Enum(
                "running",
                "done",
                "failed",
                "interrupted",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("program_version", sa.String(length=100), nullable=False),
        sa.Column("total", sa.Integer(), nullable=True, comment="Items to do; NULL where unknown"),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False, comment="The latest progress event"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True, comment="UTC"),
        sa.CheckConstraint(
            "(state = 'running') = (finished_at IS NULL)", name=op.f("ck_run_finished_unless_running")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index(op.f("ix_run_stage_key"), "run", ["stage", "key"])

    op.create_table(
        "source",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("licence", sa.String(length=200), nullable=True),
        sa.Column("citation", sa.Text(), nullable=True),
        sa.Column("image_root", sa.Text(), nullable=True, comment="Folder that image paths are relative to"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.CheckConstraint(
            "name <> '' AND name NOT LIKE '%/%' AND name NOT LIKE '%@%'",
            name=op.f("ck_source_name_addressable"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("name", name=op.f("uq_source_name")),
    )
    op.create_table(
        "case",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column(
            "patient",
            sa.String(length=600),
            nullable=False,
            comment="Identity across sources; default SOURCE/NAME",
        ),
        sa.Column(
            "role",
            sa.Enum("train", "test", name="role", native_enum=False, create_constraint=True, length=16),
            nullable=False,
        ),
        sa.Column(
            "licence", sa.String(length=200), nullable=True, comment="NULL: the source's licence holds"
        ),
        sa.Column("extra", sa.JSON(), nullable=False, comment="Further columns of --cases"),
        sa.Column(
            "looked_for", sa.JSON(), nullable=True, comment="Class ids; NULL: the revision's protocol holds"
        ),
        sa.Column("image_path", sa.Text(), nullable=True, comment="Relative to the source's image_root"),
        sa.Column("newest_version_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.CheckConstraint(
            "name <> '' AND name NOT LIKE '%/%' AND name NOT LIKE '%@%'",
            name=op.f("ck_case_name_addressable"),
        ),
        sa.ForeignKeyConstraint(
            ["id", "newest_version_id"],
            ["mask_version.case_id", "mask_version.id"],
            name=op.f("fk_case_id_mask_version"),
            use_alter=True,
        ),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_case_source_id_source")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case")),
        sa.UniqueConstraint("source_id", "name", name=op.f("uq_case_source_id_name")),
    )
    op.create_index(op.f("ix_case_name"), "case", ["name"])
    op.create_index(op.f("ix_case_newest_version_id"), "case", ["newest_version_id"])
    op.create_index(op.f("ix_case_patient"), "case", ["patient"])

    op.create_table(
        "dataset_version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column(
            "origins", sa.JSON(), nullable=False, comment="Origins whose classes count; others are missing"
        ),
        sa.Column(
            "val_share", sa.Double(), nullable=True, comment="Share of the members, 0 to 1; NULL with folds"
        ),
        sa.Column("folds", sa.Integer(), nullable=True, comment="NULL without cross validation"),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column(
            "manifest_hash", sa.String(length=64), nullable=False, comment="SHA-256 of the canonical manifest"
        ),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.CheckConstraint("folds >= 2", name=op.f("ck_dataset_version_folds_from_two")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_dataset_version_number_from_one")),
        sa.CheckConstraint(
            "val_share >= 0 AND val_share < 1", name=op.f("ck_dataset_version_val_share_in_range")
        ),
        sa.CheckConstraint(
            "val_share IS NULL OR folds IS NULL", name=op.f("ck_dataset_version_share_or_folds")
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name=op.f("fk_dataset_version_dataset_id_dataset")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset_version")),
        sa.UniqueConstraint("dataset_id", "number", name=op.f("uq_dataset_version_dataset_id_number")),
    )
    op.create_table(
        "source_revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("mapping_name", sa.String(length=200), nullable=False),
        sa.Column(
            "mapping", sa.JSON(), nullable=False, comment="Incoming label value to class or reserved name"
        ),
        sa.Column("protocol", sa.JSON(), nullable=True, comment="Class ids looked for; NULL if nobody said"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.ForeignKeyConstraint(
            ["source_id"], ["source.id"], name=op.f("fk_source_revision_source_id_source")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_revision")),
        sa.UniqueConstraint("source_id", "name", name=op.f("uq_source_revision_source_id_name")),
    )
    op.create_table(
        "mask_version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column(
            "kind",
            sa.Enum(
                "ingested",
                "complemented",
                "corrected",
                "reviewed",
                "reverted",
                "retracted",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column(
            "incoming_hash", sa.String(length=64), nullable=True, comment="SHA-256 of the bytes that came in"
        ),
        sa.Column("file_hash", sa.String(length=64), nullable=True, comment="SHA-256 of the stored bytes"),
        sa.Column(
            "voxel_hash", sa.String(length=64), nullable=True, comment="BLAKE3 of voxels, shape, affine"
        ),
        sa.Column("revision_id", sa.Integer(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("shape_x", sa.Integer(), nullable=False, comment="Voxels, right-left"),
        sa.Column("shape_y", sa.Integer(), nullable=False, comment="Voxels, posterior-anterior"),
        sa.Column("shape_z", sa.Integer(), nullable=False, comment="Voxels, inferior-superior: slices"),
        sa.Column("spacing_x", sa.Double(), nullable=False, comment="mm"),
        sa.Column("spacing_y", sa.Double(), nullable=False, comment="mm"),
        sa.Column("spacing_z", sa.Double(), nullable=False, comment="mm"),
        sa.Column(
            "orientation", sa.String(length=3), nullable=False, comment="Axis codes of the file, e.g. IPL"
        ),
        sa.Column("affine", sa.JSON(), nullable=False, comment="Voxel to RAS+ mm, 16 numbers, row by row"),
        sa.CheckConstraint(
            "(file_hash IS NULL) = (voxel_hash IS NULL)", name=op.f("ck_mask_version_file_has_voxels")
        ),
        sa.CheckConstraint(
            "(number = 1) = (parent_id IS NULL)", name=op.f("ck_mask_version_first_has_no_parent")
        ),
        sa.CheckConstraint("number >= 1", name=op.f("ck_mask_version_number_from_one")),
        sa.CheckConstraint(
            "shape_x > 0 AND shape_y > 0 AND shape_z > 0", name=op.f("ck_mask_version_shape_positive")
        ),
        sa.CheckConstraint(
            "spacing_x > 0 AND spacing_y > 0 AND spacing_z > 0", name=op.f("ck_mask_version_spacing_positive")
        ),
        sa.ForeignKeyConstraint(
            ["case_id", "parent_id"],
            ["mask_version.case_id", "mask_version.id"],
            name=op.f("fk_mask_version_case_id_mask_version"),
        ),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_mask_version_case_id_case")),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["source_revision.id"], name=op.f("fk_mask_version_revision_id_source_revision")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_mask_version_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mask_version")),
        sa.UniqueConstraint("case_id", "id", name=op.f("uq_mask_version_case_id_id")),
        sa.UniqueConstraint("case_id", "number", name=op.f("uq_mask_version_case_id_number")),
    )
    op.create_index(op.f("ix_mask_version_created_at"), "mask_version", ["created_at"])
    op.create_index(op.f("ix_mask_version_voxel_hash"), "mask_version", ["voxel_hash"])

    op.create_table(
        "model",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "teacher",
                "student",
                "external",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("dataset_version_id", sa.Integer(), nullable=True),
        sa.Column("profile", sa.JSON(), nullable=True, comment="The settings it was trained with"),
        sa.Column("origins", sa.JSON(), nullable=True, comment="Origins of the labels it was trained on"),
        sa.Column("code_version", sa.String(length=100), nullable=True),
        sa.Column("weights_path", sa.Text(), nullable=True, comment="Folder, relative to the workspace"),
        sa.Column("weights_hash", sa.String(length=64), nullable=True, comment="SHA-256"),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("curves", sa.JSON(), nullable=False, comment="One object per epoch"),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.ForeignKeyConstraint(
            ["dataset_version_id"],
            ["dataset_version.id"],
            name=op.f("fk_model_dataset_version_id_dataset_version"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_model_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        sa.UniqueConstraint("name", name=op.f("uq_model_name")),
    )
    op.create_table(
        "run_item",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False, comment="File or case"),
        sa.Column(
            "state",
            sa.Enum(
                "done", "refused", "noted", name="state", native_enum=False, create_constraint=True, length=16
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True, comment="Wall time, s"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_run_item_case_id_case")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_item_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_item")),
    )
    op.create_index(op.f("ix_run_item_run_id_state"), "run_item", ["run_id", "state"])

    op.create_table(
        "conflict",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("kept", sa.SmallInteger(), nullable=False, comment="Voxel value that stayed"),
        sa.Column("offered", sa.SmallInteger(), nullable=False, comment="Class id turned away"),
        sa.Column("voxels", sa.Integer(), nullable=False),
        sa.Column("ml", sa.Double(), nullable=False, comment="Millilitres"),
        sa.CheckConstraint("kept > 0 AND kept <> offered", name=op.f("ck_conflict_kept_something_else")),
        sa.CheckConstraint("offered BETWEEN 1 AND 14", name=op.f("ck_conflict_offered_in_table")),
        sa.CheckConstraint("voxels > 0", name=op.f("ck_conflict_voxels_positive")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["mask_version.id"], name=op.f("fk_conflict_version_id_mask_version")
        ),
        sa.PrimaryKeyConstraint("version_id", "kept", "offered", name=op.f("pk_conflict")),
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("class_id", sa.SmallInteger(), nullable=False),
        sa.Column("class_hash", sa.String(length=64), nullable=True, comment="NULL: the class had no voxels"),
        sa.Column(
            "verdict",
            sa.Enum(
                "accepted",
                "rejected",
                "absent",
                name="verdict",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=True, comment="Whose pseudo label was judged"),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.CheckConstraint("class_id BETWEEN 1 AND 14", name=op.f("ck_decision_class_in_table")),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_decision_case_id_case")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_decision_model_id_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
    )
    op.create_index(
        op.f("ix_decision_case_id_class_id_class_hash"), "decision", ["case_id", "class_id", "class_hash"]
    )

    op.create_table(
        "finding",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("class_id", sa.SmallInteger(), nullable=True, comment="NULL: the whole mask"),
        sa.Column("check", sa.String(length=60), nullable=False),
        sa.Column(
            "severity",
            sa.Enum(
                "info",
                "warning",
                "error",
                name="severity",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("limit", sa.Double(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "open",
                "dismissed",
                "fixed",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("person", sa.String(length=200), nullable=True, comment="Who dismissed or fixed it"),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True, comment="UTC"),
        sa.CheckConstraint(
            "(state = 'open') = (decided_at IS NULL)", name=op.f("ck_finding_decided_unless_open")
        ),
        sa.CheckConstraint(
            "(person IS NULL) = (decided_at IS NULL)", name=op.f("ck_finding_decided_by_someone")
        ),
        sa.CheckConstraint("class_id BETWEEN 1 AND 14", name=op.f("ck_finding_class_in_table")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["mask_version.id"], name=op.f("fk_finding_version_id_mask_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_finding")),
    )
    op.create_index(op.f("ix_finding_check"), "finding", ["check"])
    op.create_index(op.f("ix_finding_version_id_state"), "finding", ["version_id", "state"])

    op.create_table(
        "member",
        sa.Column("dataset_version_id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column(
            "split",
            sa.Enum("train", "val", name="split", native_enum=False, create_constraint=True, length=16),
            nullable=False,
        ),
        sa.Column("fold", sa.Integer(), nullable=True, comment="The fold that validates on it, from 0"),
        sa.CheckConstraint("fold >= 0", name=op.f("ck_member_fold_from_zero")),
        sa.ForeignKeyConstraint(
            ["case_id", "version_id"],
            ["mask_version.case_id", "mask_version.id"],
            name=op.f("fk_member_case_id_mask_version"),
        ),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_member_case_id_case")),
        sa.ForeignKeyConstraint(
            ["dataset_version_id"],
            ["dataset_version.id"],
            name=op.f("fk_member_dataset_version_id_dataset_version"),
        ),
        sa.PrimaryKeyConstraint("dataset_version_id", "case_id", name=op.f("pk_member")),
    )
    op.create_index(op.f("ix_member_version_id"), "member", ["version_id"])

    op.create_table(
        "prediction",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column(
            "incoming_hash", sa.String(length=64), nullable=True, comment="SHA-256 of the bytes that came in"
        ),
        sa.Column("file_hash", sa.String(length=64), nullable=False, comment="SHA-256 of the stored bytes"),
        sa.Column("voxel_hash", sa.String(length=64), nullable=False),
        sa.Column(
            "compared_version_id", sa.Integer(), nullable=True, comment="What agreement was measured against"
        ),
        sa.Column("seconds", sa.Double(), nullable=True, comment="Wall time of the prediction, s"),
        sa.Column("peak_memory_mb", sa.Double(), nullable=True, comment="MB"),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_prediction_case_id_case")),
        sa.ForeignKeyConstraint(
            ["compared_version_id"],
            ["mask_version.id"],
            name=op.f("fk_prediction_compared_version_id_mask_version"),
        ),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_prediction_model_id_model")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_prediction_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prediction")),
    )
    op.create_index(op.f("ix_prediction_case_id_model_id_id"), "prediction", ["case_id", "model_id", "id"])

    op.create_table(
        "reserved_voxels",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("value", sa.SmallInteger(), nullable=False),
        sa.Column("voxels", sa.Integer(), nullable=False),
        sa.Column("volume_ml", sa.Double(), nullable=False, comment="Millilitres"),
        sa.CheckConstraint(
            "value BETWEEN 200 AND 239 OR value = 255", name=op.f("ck_reserved_voxels_value_reserved")
        ),
        sa.CheckConstraint("voxels > 0", name=op.f("ck_reserved_voxels_voxels_positive")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["mask_version.id"], name=op.f("fk_reserved_voxels_version_id_mask_version")
        ),
        sa.PrimaryKeyConstraint("version_id", "value", name=op.f("pk_reserved_voxels")),
    )
    op.create_table(
        "annotation",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("class_id", sa.SmallInteger(), nullable=False, comment="curation.labels"),
        sa.Column(
            "status",
            sa.Enum(
                "annotated",
                "absent",
                "missing",
                "out_of_field",
                name="status",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column(
            "origin",
            sa.Enum(
                "original",
                "pseudo",
                "corrected",
                name="origin",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=True,
            comment="NULL unless annotated",
        ),
        sa.Column(
            "evidence",
            sa.Enum(
                "voxels",
                "protocol",
                "reviewer",
                "default",
                "unresolved side",
                name="evidence",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("prediction_id", sa.Integer(), nullable=True),
        sa.Column(
            "author", sa.String(length=200), nullable=True, comment="Who corrected it; NULL unless corrected"
        ),
        sa.Column("voxels", sa.Integer(), nullable=False),
        sa.Column("volume_ml", sa.Double(), nullable=False, comment="Millilitres"),
        sa.Column(
            "bbox",
            sa.JSON(),
            nullable=True,
            comment="Voxels of the file's axes: [x0, y0, z0, x1, y1, z1), half open",
        ),
        sa.Column("centroid", sa.JSON(), nullable=True, comment="RAS+ mm: [x, y, z]"),
        sa.Column(
            "components", sa.Integer(), nullable=True, comment="26-connected pieces; NULL where not counted"
        ),
        sa.Column("largest_share", sa.Double(), nullable=True, comment="Share of the largest piece, 0 to 1"),
        sa.Column("touches_border", sa.Boolean(), nullable=False),
        sa.Column("mean_hu", sa.Double(), nullable=True, comment="Hounsfield units"),
        sa.Column("std_hu", sa.Double(), nullable=True, comment="Hounsfield units"),
        sa.Column(
            "class_hash", sa.String(length=64), nullable=True, comment="BLAKE3 of the class's run lengths"
        ),
        sa.CheckConstraint(
            "(origin IS NOT NULL AND origin = 'corrected') = (author IS NOT NULL)",
            name=op.f("ck_annotation_corrected_has_author"),
        ),
        sa.CheckConstraint(
            "(origin IS NOT NULL AND origin = 'pseudo') = (prediction_id IS NOT NULL)",
            name=op.f("ck_annotation_pseudo_has_prediction"),
        ),
        sa.CheckConstraint(
            "(status = 'annotated') = (class_hash IS NOT NULL)", name=op.f("ck_annotation_annotated_has_hash")
        ),
        sa.CheckConstraint(
            "(status = 'annotated') = (evidence = 'voxels')", name=op.f("ck_annotation_annotated_by_voxels")
        ),
        sa.CheckConstraint(
            "(status = 'annotated') = (origin IS NOT NULL)", name=op.f("ck_annotation_drawn_by_someone")
        ),
        sa.CheckConstraint(
            "(status = 'annotated') = (voxels > 0)", name=op.f("ck_annotation_annotated_has_voxels")
        ),
        sa.CheckConstraint("class_id BETWEEN 1 AND 14", name=op.f("ck_annotation_class_in_table")),
        sa.CheckConstraint(
            "components >= 1 AND largest_share > 0 AND largest_share <= 1",
            name=op.f("ck_annotation_pieces_in_range"),
        ),
        sa.CheckConstraint("voxels >= 0 AND volume_ml >= 0", name=op.f("ck_annotation_volume_not_negative")),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["prediction.id"], name=op.f("fk_annotation_prediction_id_prediction")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["mask_version.id"], name=op.f("fk_annotation_version_id_mask_version")
        ),
        sa.PrimaryKeyConstraint("version_id", "class_id", name=op.f("pk_annotation")),
    )
    op.create_index(
        op.f("ix_annotation_class_id_status_version_id"), "annotation", ["class_id", "status", "version_id"]
    )
    op.create_index(op.f("ix_annotation_prediction_id"), "annotation", ["prediction_id"])

    op.create_table(
        "evaluation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("prediction_id", sa.Integer(), nullable=False),
        sa.Column("reference_version_id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("class_id", sa.SmallInteger(), nullable=False),
        sa.Column("protocol", sa.String(length=20), nullable=False, comment="flare23 or known"),
        sa.Column("implementation", sa.String(length=60), nullable=False),
        sa.Column("dsc", sa.Double(), nullable=False, comment="0 to 1, 4 digits"),
        sa.Column("nsd", sa.Double(), nullable=False, comment="0 to 1, 4 digits"),
        sa.Column("seconds", sa.Double(), nullable=True, comment="Wall time of the prediction, s"),
        sa.Column("peak_memory_mb", sa.Double(), nullable=True, comment="MB"),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.CheckConstraint("protocol IN ('flare23', 'known')", name=op.f("ck_evaluation_protocol_known")),
        sa.CheckConstraint("class_id BETWEEN 1 AND 14", name=op.f("ck_evaluation_class_in_table")),
        sa.CheckConstraint(
            "dsc BETWEEN 0 AND 1 AND nsd BETWEEN 0 AND 1", name=op.f("ck_evaluation_scores_in_range")
        ),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_evaluation_case_id_case")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_evaluation_model_id_model")),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["prediction.id"], name=op.f("fk_evaluation_prediction_id_prediction")
        ),
        sa.ForeignKeyConstraint(
            ["reference_version_id"],
            ["mask_version.id"],
            name=op.f("fk_evaluation_reference_version_id_mask_version"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_evaluation_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
        sa.UniqueConstraint(
            "model_id",
            "case_id",
            "class_id",
            "protocol",
            name=op.f("uq_evaluation_model_id_case_id_class_id_protocol"),
        ),
    )
    op.create_table(
        "prediction_class",
        sa.Column("prediction_id", sa.Integer(), nullable=False),
        sa.Column("class_id", sa.SmallInteger(), nullable=False),
        sa.Column("voxels", sa.Integer(), nullable=False),
        sa.Column("volume_ml", sa.Double(), nullable=False, comment="Millilitres"),
        sa.Column(
            "confidence", sa.Double(), nullable=True, comment="Mean probability over its voxels, 0 to 1"
        ),
        sa.Column(
            "tta_disagreement",
            sa.Double(),
            nullable=True,
            comment="Share of its voxels that mirrored passes dispute, 0 to 1",
        ),
        sa.Column(
            "agreement",
            sa.Double(),
            nullable=True,
            comment="Dice with the annotated class of compared_version_id, 0 to 1",
        ),
        sa.CheckConstraint("agreement BETWEEN 0 AND 1", name=op.f("ck_prediction_class_agreement_in_range")),
        sa.CheckConstraint("class_id BETWEEN 1 AND 14", name=op.f("ck_prediction_class_class_in_table")),
        sa.CheckConstraint(
            "confidence BETWEEN 0 AND 1", name=op.f("ck_prediction_class_confidence_in_range")
        ),
        sa.CheckConstraint(
            "tta_disagreement BETWEEN 0 AND 1", name=op.f("ck_prediction_class_tta_disagreement_in_range")
        ),
        sa.CheckConstraint(
            "voxels >= 0 AND volume_ml >= 0", name=op.f("ck_prediction_class_volume_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["prediction.id"], name=op.f("fk_prediction_class_prediction_id_prediction")
        ),
        sa.PrimaryKeyConstraint("prediction_id", "class_id", name=op.f("pk_prediction_class")),
    )

    # case and mask_version refer to each other. SQLite takes a reference to a table that comes later, and
    # has it from the CREATE TABLE above; PostgreSQL left it out there (use_alter).
    if op.get_bind().dialect.name == "postgresql":
        op.create_foreign_key(
            op.f("fk_case_id_mask_version"),
            "case",
            "mask_version",
            ["id", "newest_version_id"],
            ["case_id", "id"],
        )


def downgrade() -> None:
    """Drop all tables, and with them everything the catalog knows."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("fk_case_id_mask_version"), "case", type_="foreignkey")
    op.drop_table("prediction_class")
    op.drop_table("evaluation")
    op.drop_table("annotation")
    op.drop_table("reserved_voxels")
    op.drop_table("prediction")
    op.drop_table("member")
    op.drop_table("finding")
    op.drop_table("decision")
    op.drop_table("conflict")
    op.drop_table("run_item")
    op.drop_table("model")
    op.drop_table("mask_version")
    op.drop_table("source_revision")
    op.drop_table("dataset_version")
    op.drop_table("case")
    op.drop_table("source")
    op.drop_table("run")
    op.drop_table("event")
    op.drop_table("dataset")
