"""The ledger: who drew a class when, what a merge turned away, retractions, taints and tombstones."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Table, column, type, what it refers to, comment. Both databases add such a column, with its reference, without
# writing the table anew; Alembic's batch mode would, and on SQLite lose the CHECK constraints.
_COLUMNS = (
    ("mask_version", "incoming_path", "TEXT", None, "Where the incoming bytes were read"),
    ("mask_version", "restores_id", "INTEGER", "mask_version", "Version whose state this one brings back"),
    ("annotation", "drawn_version_id", "INTEGER", "mask_version",
     "Version in which its owner drew it; NULL unless annotated"),
    ("prediction", "incoming_path", "TEXT", None, "Where the incoming bytes were read"),
    ("finding", "reason", "TEXT", None, "Why it was dismissed"),
    ("run", "batches", "INTEGER DEFAULT 0 NOT NULL", None,
     "Batches committed; tells whether one got through"),
    ("member", "patient", "VARCHAR(600)", None, "As it was when it was frozen"),
    ("member", "licence", "VARCHAR(200)", None, "As it was when it was frozen"),
)  # fmt: skip


def upgrade() -> None:
    """Add columns and tables; say of every annotated class in which version its owner drew it."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for table, column, kind, target, comment in _COLUMNS:
        refers = f" CONSTRAINT fk_{table}_{column}_{target} REFERENCES {target} (id)" if target else ""
        op.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}{refers}")
        if postgresql:
            op.execute(f"COMMENT ON COLUMN {table}.{column} IS '{comment}'")
    _fill_drawn_versions()
    _remake_conflict(
        sa.CheckConstraint(
            "kept BETWEEN 0 AND 255 AND offered BETWEEN 0 AND 255", name=op.f("ck_conflict_values_stored")
        ),
        sa.CheckConstraint("kept <> offered", name=op.f("ck_conflict_kept_something_else")),
        sa.Column(
            "displaced",
            sa.Boolean(),
            nullable=False,
            comment="True: it stood in the parent; false: it was offered to it",
        ),
    )
    op.create_table(
        "prediction_part",
        sa.Column("prediction_id", sa.Integer(), nullable=False),
        sa.Column("part_id", sa.Integer(), nullable=False),
        sa.CheckConstraint("part_id <> prediction_id", name=op.f("ck_prediction_part_part_of_another")),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["prediction.id"], name=op.f("fk_prediction_part_prediction_id_prediction")
        ),
        sa.ForeignKeyConstraint(
            ["part_id"], ["prediction.id"], name=op.f("fk_prediction_part_part_id_prediction")
        ),
        sa.PrimaryKeyConstraint("prediction_id", "part_id", name=op.f("pk_prediction_part")),
    )
    op.create_index(op.f("ix_prediction_part_part_id"), "prediction_part", ["part_id"])
    _create_retraction()
    _create_taint()
    op.create_table(
        "tombstone",
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column(
            "patient_digest",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of the patient's identity, which itself is gone",
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False, comment="Stored files deleted"),
        sa.Column("bytes", sa.BigInteger(), nullable=False, comment="Bytes of them"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.CheckConstraint("files >= 0 AND bytes >= 0", name=op.f("ck_tombstone_deleted_not_negative")),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_tombstone_case_id_case")),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_tombstone")),
    )
    op.create_index(op.f("ix_tombstone_patient_digest"), "tombstone", ["patient_digest"])


def downgrade() -> None:
    """Take it all out again; conflicts that the older schema cannot hold are lost."""
    for table in ("tombstone", "taint", "retraction", "prediction_part"):
        op.drop_table(table)
    _remake_conflict(
        sa.CheckConstraint("offered BETWEEN 1 AND 14", name=op.f("ck_conflict_offered_in_table")),
        sa.CheckConstraint("kept > 0 AND kept <> offered", name=op.f("ck_conflict_kept_something_else")),
    )
    for table, column, *_ in reversed(_COLUMNS):
        op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")


def _fill_drawn_versions() -> None:
    """Until now a class kept its owner from the version on in which it first had it."""
    op.execute(
        """
        UPDATE annotation SET drawn_version_id = (
            SELECT min(earlier.version_id) FROM annotation AS earlier
            JOIN mask_version AS earlier_version ON earlier_version.id = earlier.version_id
            JOIN mask_version AS this_version ON this_version.case_id = earlier_version.case_id
            WHERE this_version.id = annotation.version_id
              AND earlier.class_id = annotation.class_id
              AND earlier.origin = annotation.origin
              AND coalesce(earlier.prediction_id, 0) = coalesce(annotation.prediction_id, 0)
        ) WHERE status = 'annotated'
        """
    )


def _remake_conflict(*changed: sa.schema.SchemaItem) -> None:
    """Make the table anew with other constraints, and move over the rows that satisfy them."""
    op.execute("CREATE TABLE conflict_before AS SELECT * FROM conflict")
    op.drop_table("conflict")
    columns = [item for item in changed if isinstance(item, sa.Column)]
    constraints = [item for item in changed if not isinstance(item, sa.Column)]
    key = ("version_id", "kept", "offered", *(column.name for column in columns))
    op.create_table(
        "conflict",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column(
            "kept", sa.SmallInteger(), nullable=False,
            comment="Voxel value that stands" if columns else "Voxel value that stayed",
        ),
        sa.Column(
            "offered", sa.SmallInteger(), nullable=False,
            comment="Voxel value turned away" if columns else "Class id turned away",
        ),
        *columns,
        sa.Column("voxels", sa.Integer(), nullable=False),
        sa.Column("ml", sa.Double(), nullable=False, comment="Millilitres"),
        sa.CheckConstraint("voxels > 0", name=op.f("ck_conflict_voxels_positive")),
        *constraints,
        sa.ForeignKeyConstraint(
            ["version_id"], ["mask_version.id"], name=op.f("fk_conflict_version_id_mask_version")
        ),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_conflict")),
    )  # fmt: skip
    wanted = "" if columns else "WHERE kept > 0 AND offered BETWEEN 1 AND 14 AND NOT displaced"
    op.execute(
        f"INSERT INTO conflict ({', '.join(key)}, voxels, ml) "
        f"SELECT version_id, kept, offered{', false' if columns else ''}, voxels, ml "
        f"FROM conflict_before {wanted}"
    )
    op.drop_table("conflict_before")


def _create_retraction() -> None:
    things = (
        ("model", "model"),
        ("run", "run"),
        ("prediction", "prediction"),
        ("revision", "source_revision"),
    )
    op.create_table(
        "retraction",
        sa.Column("id", sa.Integer(), nullable=False),
        *(sa.Column(f"{thing}_id", sa.Integer(), nullable=True) for thing, _ in things),
        sa.Column(
            "include_accepted",
            sa.Boolean(),
            nullable=False,
            comment="Whether accepted classes were taken out, too",
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.CheckConstraint(
            "CASE WHEN model_id IS NULL THEN 0 ELSE 1 END + CASE WHEN run_id IS NULL THEN 0 ELSE 1 END"
            " + CASE WHEN prediction_id IS NULL THEN 0 ELSE 1 END"
            " + CASE WHEN revision_id IS NULL THEN 0 ELSE 1 END = 1",
            name=op.f("ck_retraction_of_one_thing"),
        ),
        *(
            sa.ForeignKeyConstraint(
                [f"{thing}_id"], [f"{table}.id"], name=op.f(f"fk_retraction_{thing}_id_{table}")
            )
            for thing, table in things
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retraction")),
    )
    for thing, _ in things:
        op.create_index(op.f(f"ix_retraction_{thing}_id"), "retraction", [f"{thing}_id"])


def _create_taint() -> None:
    op.create_table(
        "taint",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("retraction_id", sa.Integer(), nullable=False),
        sa.Column("dataset_version_id", sa.Integer(), nullable=True),
        sa.Column("model_id", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "(dataset_version_id IS NULL) <> (model_id IS NULL)", name=op.f("ck_taint_of_one_thing")
        ),
        sa.ForeignKeyConstraint(
            ["retraction_id"], ["retraction.id"], name=op.f("fk_taint_retraction_id_retraction")
        ),
        sa.ForeignKeyConstraint(
            ["dataset_version_id"],
            ["dataset_version.id"],
            name=op.f("fk_taint_dataset_version_id_dataset_version"),
        ),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_taint_model_id_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_taint")),
        sa.UniqueConstraint(
            "retraction_id", "dataset_version_id", name=op.f("uq_taint_retraction_id_dataset_version_id")
        ),
        sa.UniqueConstraint("retraction_id", "model_id", name=op.f("uq_taint_retraction_id_model_id")),
    )
    for column in ("dataset_version_id", "model_id"):
        op.create_index(op.f(f"ix_taint_{column}"), "taint", [column])
