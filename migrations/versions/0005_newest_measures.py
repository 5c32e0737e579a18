"""The measures of the newest versions, class by class: a query for a measure is one scan of one class."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_CLASSES = range(1, 15)
_PACKED_COMMENT = "Packed class states: curation.class_states"

# What the rows of `newest_measure` are. What a person drew stands on no prediction and has no confidence; its
# agreement is the newest prediction's.
_FILL = """
    INSERT INTO newest_measure (class_id, case_id, states, volume_ml, mean_hu, confidence, agreement, source_id,
        voxels, components, touches_border, role)
    SELECT a.class_id, c.id, c.states, a.volume_ml, a.mean_hu,
        CASE WHEN a.prediction_id IS NOT NULL THEN p.confidence END, p.agreement, c.source_id,
        a.voxels, a.components, a.touches_border, c.role
    FROM "case" AS c
    JOIN annotation AS a ON a.version_id = c.newest_version_id
    LEFT JOIN prediction_class AS p ON p.class_id = a.class_id AND p.prediction_id = coalesce(
        a.prediction_id, (SELECT max(n.id) FROM prediction AS n WHERE n.case_id = c.id))
    WHERE a.status = 'annotated'
"""

# Whatever moves a case's newest version, or changes what is measured of it, the rows follow within the same
# statement. A version has its annotations before it becomes the newest, and rows of the newest are deleted with
# all that the case has (a purge): so inserts and deletes of annotations need no trigger of their own.
_CASE_COLUMNS = ("newest_version_id", "states", "source_id", "role")
_MEASURED_COLUMNS = "status, prediction_id, voxels, volume_ml, components, touches_border, mean_hu"
_EVENTS = (
    ("annotation", "measures_of_annotation", f"UPDATE OF {_MEASURED_COLUMNS}"),
    ("prediction", "measures_of_prediction", "INSERT"),
    ("prediction_class", "measures_of_prediction_class_insert", "INSERT"),
    ("prediction_class", "measures_of_prediction_class_update", "UPDATE OF confidence, agreement"),
)

# SQLite: per event, the case and the classes that it concerns.
_OF_NEWEST = '(SELECT id FROM "case" WHERE newest_version_id = NEW.version_id)'
_OF_PREDICTION = "(SELECT case_id FROM prediction WHERE id = NEW.prediction_id)"
_CONCERNED = {
    "annotation": (_OF_NEWEST, "NEW.class_id"),
    "prediction": ("NEW.case_id", None),
    "prediction_class": (_OF_PREDICTION, "NEW.class_id"),
}
_ALL_CLASSES = ", ".join(map(str, _CLASSES))

_POSTGRESQL_FUNCTIONS = (
    f"""
    CREATE FUNCTION measure_newest_again(of_case integer, of_classes smallint[]) RETURNS void
    LANGUAGE plpgsql AS $$
    BEGIN
        -- One after the other: a version that becomes the newest meanwhile comes before or after.
        PERFORM FROM "case" AS c WHERE c.id = of_case FOR NO KEY UPDATE;
        DELETE FROM newest_measure AS m WHERE m.case_id = of_case AND m.class_id = ANY (of_classes);
        {_FILL} AND c.id = of_case AND a.class_id = ANY (of_classes);
    END $$
    """,
    f"""
    CREATE FUNCTION measures_of_case() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.newest_version_id IS NOT NULL THEN
            DELETE FROM newest_measure AS m WHERE m.case_id = OLD.id AND m.class_id IN ({_ALL_CLASSES});
        END IF;
        IF NEW.newest_version_id IS NOT NULL THEN
            {_FILL} AND c.id = NEW.id;
        END IF;
        RETURN NULL;
    END $$
    """,
    f"""
    CREATE FUNCTION measures_of_annotation() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM measure_newest_again({_OF_NEWEST}, ARRAY[NEW.class_id]);
        RETURN NULL;
    END $$
    """,
    f"""
    CREATE FUNCTION measures_of_prediction() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM measure_newest_again(NEW.case_id, ARRAY[{_ALL_CLASSES}]::smallint[]);
        RETURN NULL;
    END $$
    """,
    f"""
    CREATE FUNCTION measures_of_prediction_class() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM measure_newest_again({_OF_PREDICTION}, ARRAY[NEW.class_id]);
        RETURN NULL;
    END $$
    """,
)


def upgrade() -> None:
    """Make the table, fill it, and keep it."""
    op.create_table(
        "newest_measure",
        sa.Column("class_id", sa.SmallInteger(), nullable=False, comment="curation.labels"),
        sa.Column("case_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("states", sa.BigInteger(), nullable=False, comment=_PACKED_COMMENT),
        sa.Column("volume_ml", sa.Double(), nullable=False, comment="Millilitres"),
        sa.Column("mean_hu", sa.Double(), nullable=True, comment="Hounsfield units"),
        sa.Column("confidence", sa.Double(), nullable=True, comment="Of the prediction it stands on; NULL by hand"),
        sa.Column(
            "agreement", sa.Double(), nullable=True,
            comment="Of the prediction it stands on; by hand, of the case's newest one",
        ),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("voxels", sa.Integer(), nullable=False),
        sa.Column(
            "components", sa.Integer(), nullable=True, comment="26-connected pieces; NULL where not counted"
        ),
        sa.Column("touches_border", sa.Boolean(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.CheckConstraint("role IN ('train', 'test')", name=op.f("ck_newest_measure_role")),
        sa.PrimaryKeyConstraint("class_id", "case_id", name=op.f("pk_newest_measure")),
        sqlite_with_rowid=False,
        postgresql_partition_by="LIST (class_id)",
    )  # fmt: skip
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        for class_id in _CLASSES:
            op.execute(
                f"CREATE TABLE newest_measure_{class_id} PARTITION OF newest_measure FOR VALUES IN ({class_id})"
            )
    # In the order of the key, which SQLite's pages then follow.
    op.execute(f"{_FILL} ORDER BY a.class_id, c.id")
    if postgresql:
        _make_triggers_postgresql()
    else:
        _make_triggers_sqlite()


def _make_triggers_sqlite() -> None:
    moved = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in _CASE_COLUMNS)
    op.execute(
        f'CREATE TRIGGER measures_of_case AFTER UPDATE OF {", ".join(_CASE_COLUMNS)} ON "case" WHEN {moved} BEGIN'
        f" DELETE FROM newest_measure WHERE OLD.newest_version_id IS NOT NULL"
        f" AND class_id IN ({_ALL_CLASSES}) AND case_id = OLD.id;"
        f" {_FILL} AND c.id = NEW.id; END"
    )
    for table, name, event in _EVENTS:
        case, one = _CONCERNED[table]
        asked = f"= {one}" if one else f"IN ({_ALL_CLASSES})"
        op.execute(
            f"CREATE TRIGGER {name} AFTER {event} ON {table} BEGIN"
            f" DELETE FROM newest_measure WHERE class_id {asked} AND case_id = {case};"
            f" {_FILL} AND c.id = {case} AND a.class_id {asked}; END"
        )


def _make_triggers_postgresql() -> None:
    for function in _POSTGRESQL_FUNCTIONS:
        op.execute(function)
    old, new = (", ".join(f"{row}.{column}" for column in _CASE_COLUMNS) for row in ("OLD", "NEW"))
    op.execute(
        f'CREATE TRIGGER measures_of_case AFTER UPDATE OF {", ".join(_CASE_COLUMNS)} ON "case" FOR EACH ROW'
        f" WHEN (({old}) IS DISTINCT FROM ({new})) EXECUTE FUNCTION measures_of_case()"
    )
    for table, name, event in _EVENTS:
        op.execute(
            f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW EXECUTE FUNCTION measures_of_{table}()"
        )


def downgrade() -> None:
    """Take it all out again; the annotations say the same."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for table, name in (("case", "measures_of_case"), *((table, name) for table, name, _ in _EVENTS)):
        op.execute(f"DROP TRIGGER {name}" + (f' ON "{table}"' if postgresql else ""))
    if postgresql:
        for function in (
            "measures_of_case()", "measures_of_annotation()", "measures_of_prediction()",
            "measures_of_prediction_class()", "measure_newest_again(integer, smallint[])",
        ):  # fmt: skip
            op.execute(f"DROP FUNCTION {function}")
    op.drop_table("newest_measure")
