"""What a prediction was made on, how sure it was voxel by voxel, and its memory over time."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# On SQLite and on PostgreSQL.
_TYPES = {str: ("VARCHAR(64)", "VARCHAR(64)"), float: ("DOUBLE", "DOUBLE PRECISION")}
# Added without writing the tables anew: see migration 0002.
_COLUMNS = (
    ("prediction", "image_hash", str, "BLAKE3 of the bytes of the image it was made on"),
    ("prediction", "probability_hash", str,
     "SHA-256 of the stored map of its probabilities, in percent; NULL where none was kept"),
    ("prediction", "memory_area_mb_s", float, "Area under the memory-time curve, MB s"),
    ("evaluation", "memory_area_mb_s", float, "Area under the memory-time curve, MB s"),
)  # fmt: skip


def upgrade() -> None:
    """Add the columns; predictions made before say nothing of these."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for table, column, kind, comment in _COLUMNS:
        op.execute(f"ALTER TABLE {table} ADD COLUMN {column} {_TYPES[kind][postgresql]}")
        if postgresql:
            op.execute(f"COMMENT ON COLUMN {table}.{column} IS '{comment}'")


def downgrade() -> None:
    """Take the columns away."""
    for table, column, *_ in reversed(_COLUMNS):
        op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
