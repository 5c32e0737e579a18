"""Indexes of versions by number, slices and slice spacing: a page in these orders sorts no million of cases."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COLUMNS = ("number", "shape_z", "spacing_z")


def upgrade() -> None:
    """Add the indexes; the id decides between equals."""
    for column in _COLUMNS:
        op.create_index(op.f(f"ix_mask_version_{column}_id"), "mask_version", [column, "id"])


def downgrade() -> None:
    """Take the indexes away."""
    for column in _COLUMNS:
        op.drop_index(op.f(f"ix_mask_version_{column}_id"), "mask_version")
