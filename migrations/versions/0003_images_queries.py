"""Image facts of a case, and queries saved under a name."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two tables."""
    op.create_table(
        "image",
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("file_bytes", sa.BigInteger(), nullable=False, comment="Of the file; tells a changed one"),
        sa.Column("modified_ns", sa.BigInteger(), nullable=False, comment="Of the file, ns since 1970"),
        sa.Column(
            "voxel_hash", sa.String(length=64), nullable=False, comment="BLAKE3 of voxels, shape, affine"
        ),
        sa.Column(
            "histogram_hash",
            sa.String(length=64),
            nullable=False,
            comment="BLAKE3 of RAS shape and histogram: the same in every orientation",
        ),
        sa.Column("shape_x", sa.Integer(), nullable=False, comment="Voxels, right-left"),
        sa.Column("shape_y", sa.Integer(), nullable=False, comment="Voxels, posterior-anterior"),
        sa.Column("shape_z", sa.Integer(), nullable=False, comment="Voxels, inferior-superior: slices"),
        sa.Column("spacing_x", sa.Double(), nullable=False, comment="mm"),
        sa.Column("spacing_y", sa.Double(), nullable=False, comment="mm"),
        sa.Column("spacing_z", sa.Double(), nullable=False, comment="mm"),
        sa.Column("orientation", sa.String(length=3), nullable=False, comment="Axis codes of the file"),
        sa.Column("low", sa.Double(), nullable=False, comment="Smallest voxel, as scaled by the file"),
        sa.Column("high", sa.Double(), nullable=False, comment="Largest voxel, as scaled by the file"),
        sa.Column("is_hu", sa.Boolean(), nullable=False, comment="Whether it can be Hounsfield units"),
        sa.Column("note", sa.Text(), nullable=False, comment="Why it cannot; empty where it can"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.CheckConstraint(
            "shape_x > 0 AND shape_y > 0 AND shape_z > 0", name=op.f("ck_image_shape_positive")
        ),
        sa.CheckConstraint(
            "spacing_x > 0 AND spacing_y > 0 AND spacing_z > 0", name=op.f("ck_image_spacing_positive")
        ),
        sa.CheckConstraint("low <= high", name=op.f("ck_image_low_below_high")),
        sa.CheckConstraint("is_hu = (note = '')", name=op.f("ck_image_note_says_why")),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_image_case_id_case")),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_image")),
    )
    op.create_index(op.f("ix_image_voxel_hash"), "image", ["voxel_hash"])
    op.create_index(op.f("ix_image_histogram_hash"), "image", ["histogram_hash"])
    op.create_table(
        "saved_query",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("query", sa.Text(), nullable=False, comment="As it was written"),
        sa.Column("message", sa.Text(), nullable=False, comment="What it is for"),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC; of this text"),
        sa.CheckConstraint(
            "name <> '' AND name NOT LIKE '%/%' AND name NOT LIKE '%@%'",
            name=op.f("ck_saved_query_name_addressable"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_query")),
        sa.UniqueConstraint("name", name=op.f("uq_saved_query_name")),
    )


def downgrade() -> None:
    """Take both out again."""
    op.drop_table("saved_query")
    op.drop_table("image")
