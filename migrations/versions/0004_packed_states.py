"""The states of a mask's classes as one number, and how many cases have which; names in order of code point."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Added without writing the tables anew: see migration 0002.
_COLUMNS = (
    ("mask_version", "states", "BIGINT DEFAULT 0 NOT NULL", "Packed class states: curation.class_states"),
    ("case", "states", "BIGINT", "Those of the newest version; NULL where there is none"),
)
_NAMES = (("source", 200), ("case", 300))

# Three bits a class, in the order of curation.class_states.STATES; frozen here as it was for this schema.
_PACKED = """
    SELECT CAST(coalesce(sum(
        CAST(CASE coalesce(a.origin, a.status)
            WHEN 'absent' THEN 1 WHEN 'out_of_field' THEN 2
            WHEN 'original' THEN 3 WHEN 'pseudo' THEN 4 WHEN 'corrected' THEN 5 ELSE 0
        END AS BIGINT) << (3 * (a.class_id - 1))
    ), 0) AS BIGINT)
    FROM annotation AS a WHERE a.version_id = mask_version.id
"""

# Whatever writes a case, the counts follow within the same statement.
_ADD_ONE = """
    INSERT INTO state_count (source_id, role, states, cases)
    SELECT NEW.source_id, NEW.role, NEW.states, 1 WHERE NEW.states IS NOT NULL
    ON CONFLICT (source_id, role, states) DO UPDATE SET cases = cases + 1;
"""
_TAKE_ONE = """
    UPDATE state_count SET cases = cases - 1
    WHERE source_id = OLD.source_id AND role = OLD.role AND states = OLD.states;
    DELETE FROM state_count
    WHERE source_id = OLD.source_id AND role = OLD.role AND states = OLD.states AND cases = 0;
"""
_SQLITE_TRIGGERS = (
    ("insert", "INSERT", _ADD_ONE),
    ("update", "UPDATE OF states, source_id, role", _TAKE_ONE + _ADD_ONE),
    ("delete", "DELETE", _TAKE_ONE),
)

# Once per statement, not per row: a COPY of a million cases changes a few thousand counts. In the order of their
# key, so that two such statements do not wait for each other crosswise.
_POSTGRESQL_FUNCTION = """
    CREATE FUNCTION count_case_states() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        moved record;
    BEGIN
        FOR moved IN EXECUTE
            'SELECT source_id, role, states, sum(n) AS n FROM ('
            || CASE WHEN TG_OP IN ('INSERT', 'UPDATE')
                THEN 'SELECT source_id, role, states, 1 AS n FROM added' ELSE '' END
            || CASE WHEN TG_OP = 'UPDATE' THEN ' UNION ALL ' ELSE '' END
            || CASE WHEN TG_OP IN ('UPDATE', 'DELETE')
                THEN 'SELECT source_id, role, states, -1 AS n FROM removed' ELSE '' END
            || ') AS moved WHERE states IS NOT NULL GROUP BY source_id, role, states HAVING sum(n) <> 0'
            || ' ORDER BY source_id, role, states'
        LOOP
            IF moved.n > 0 THEN
                INSERT INTO state_count AS known (source_id, role, states, cases)
                VALUES (moved.source_id, moved.role, moved.states, moved.n)
                ON CONFLICT (source_id, role, states) DO UPDATE SET cases = known.cases + EXCLUDED.cases;
            ELSE
                UPDATE state_count AS known SET cases = known.cases + moved.n
                WHERE known.source_id = moved.source_id AND known.role = moved.role
                    AND known.states = moved.states;
                DELETE FROM state_count AS known
                WHERE known.source_id = moved.source_id AND known.role = moved.role
                    AND known.states = moved.states AND known.cases = 0;
            END IF;
        END LOOP;
        RETURN NULL;
    END $$
"""
_POSTGRESQL_TRIGGERS = (
    ("insert", "INSERT", "NEW TABLE AS added"),
    ("update", "UPDATE", "OLD TABLE AS removed NEW TABLE AS added"),
    ("delete", "DELETE", "OLD TABLE AS removed"),
)


def upgrade() -> None:
    """Add columns, fill them from the annotations, and count."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for table, column, kind, comment in _COLUMNS:
        op.execute(f'ALTER TABLE "{table}" ADD COLUMN {column} {kind}')
        if postgresql:
            op.execute(f"COMMENT ON COLUMN \"{table}\".{column} IS '{comment}'")
    op.execute(f"UPDATE mask_version SET states = ({_PACKED})")
    op.execute(
        'UPDATE "case" SET states = (SELECT v.states FROM mask_version AS v WHERE v.id = newest_version_id)'
        " WHERE newest_version_id IS NOT NULL"
    )
    if postgresql:
        _collate_names(' COLLATE "C"')
    op.create_index(op.f("ix_case_source_id_states_name"), "case", ["source_id", "states", "name"])
    op.create_table(
        "state_count",
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column(
            "states", sa.BigInteger(), nullable=False, comment="Packed class states: curation.class_states"
        ),
        sa.Column("cases", sa.Integer(), nullable=False, comment="Cases whose newest version has them"),
        sa.CheckConstraint("role IN ('train', 'test')", name=op.f("ck_state_count_role")),
        sa.CheckConstraint("cases >= 0", name=op.f("ck_state_count_cases_not_negative")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_state_count_source_id_source")),
        sa.PrimaryKeyConstraint("source_id", "role", "states", name=op.f("pk_state_count")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO state_count (source_id, role, states, cases) SELECT source_id, role, states, count(*)"
        ' FROM "case" WHERE states IS NOT NULL GROUP BY source_id, role, states'
    )
    if postgresql:
        op.execute(_POSTGRESQL_FUNCTION)
        for name, event, tables in _POSTGRESQL_TRIGGERS:
            op.execute(
                f'CREATE TRIGGER case_states_{name} AFTER {event} ON "case" REFERENCING {tables}'
                " FOR EACH STATEMENT EXECUTE FUNCTION count_case_states()"
            )
    else:
        for name, event, body in _SQLITE_TRIGGERS:
            op.execute(f'CREATE TRIGGER case_states_{name} AFTER {event} ON "case" BEGIN {body} END')


def downgrade() -> None:
    """Take it all out again; the annotations say the same."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for name, *_ in _SQLITE_TRIGGERS:
        op.execute(f"DROP TRIGGER case_states_{name}" + (' ON "case"' if postgresql else ""))
    if postgresql:
        op.execute("DROP FUNCTION count_case_states()")
    op.drop_table("state_count")
    op.drop_index(op.f("ix_case_source_id_states_name"), "case")
    if postgresql:
        _collate_names("")
    for table, column, *_ in reversed(_COLUMNS):
        op.execute(f'ALTER TABLE "{table}" DROP COLUMN {column}')


def _collate_names(collation: str) -> None:
    """By code point, as SQLite's are: so an index gives cases in the order of their addresses."""
    for table, length in _NAMES:
        op.execute(f'ALTER TABLE "{table}" ALTER COLUMN name TYPE VARCHAR({length}){collation}')
