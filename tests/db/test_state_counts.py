"""The counts of class states follow every write by the database's own triggers, on both databases."""

from catalog_makers import add_case, drawn, version
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from curation.class_states import pack
from curation.status import Origin, Status
from db import writes
from db.catalog import Catalog
from db.engine import for_writing, open_engine
from db.models import Annotation, Case, MaskVersion, Role, StateCount
from db.schema import migrate
from db.soundness import contradictions

LIVER, SPLEEN = pack({1: Origin.ORIGINAL}), pack({1: Origin.ORIGINAL, 3: Origin.ORIGINAL})


def _counted(catalog: Catalog) -> list[tuple[int, str, int, int]]:
    columns = (StateCount.source_id, StateCount.role, StateCount.states, StateCount.cases)
    with catalog.reading() as session:
        assert contradictions(session) == []
        return sorted((s, role.value, states, n) for s, role, states, n in session.execute(select(*columns)))


def test_the_counts_follow_what_is_written_to_cases(catalog: Catalog) -> None:
    assert drawn("spleen").class_id == 3
    with catalog.writing() as session:
        first = add_case(session, "a", drawn("liver"))
        other = add_case(session, "b", drawn("liver"))
        source = writes.ensure_source(session, "KiTS")
    assert _counted(catalog) == [(source, "train", LIVER, 2)]
    with catalog.writing() as session:
        writes.add_version(session, first.case_id, first.id, version(drawn("liver"), drawn("spleen")))
    assert _counted(catalog) == [(source, "train", LIVER, 1), (source, "train", SPLEEN, 1)]
    with catalog.writing() as session:
        writes.ensure_case(session, source, "b", role=Role.TEST, patient="p")
        add_case(session, "c", drawn("liver"), source="LiTS")
        lits = writes.ensure_source(session, "LiTS")
    assert _counted(catalog) == [
        (source, "test", LIVER, 1), (source, "train", SPLEEN, 1), (lits, "train", LIVER, 1),
    ]  # fmt: skip
    with catalog.writing() as session:
        # The same row for row: several at once, unchanged ones among them, in one statement.
        session.execute(update(Case).values(role=Role.TRAIN))
    assert _counted(catalog) == [
        (source, "train", LIVER, 1), (source, "train", SPLEEN, 1), (lits, "train", LIVER, 1),
    ]  # fmt: skip
    with catalog.writing() as session:
        session.execute(update(Case).where(Case.id == other.case_id).values(newest_version_id=None))
        session.execute(delete(Annotation).where(Annotation.version_id == other.id))
        session.execute(delete(MaskVersion).where(MaskVersion.id == other.id))
        session.execute(delete(Case).where(Case.id == other.case_id))
    assert _counted(catalog) == [(source, "train", SPLEEN, 1), (lits, "train", LIVER, 1)]


def test_an_undone_write_leaves_the_counts(catalog: Catalog) -> None:
    with catalog.writing() as session:
        add_case(session, "a", drawn("liver"))
    before = _counted(catalog)
    with Session(for_writing(catalog.engine)) as session:
        add_case(session, "b", drawn("liver"))
        session.rollback()
    assert _counted(catalog) == before


def test_cases_inserted_with_their_states_are_counted(catalog: Catalog) -> None:
    """As `catalog copy` does: many rows of one statement, some without states."""
    with catalog.writing() as session:
        source = writes.ensure_source(session, "S")
        states = [None, 0, LIVER, LIVER, SPLEEN]
        rows = [
            {"source_id": source, "name": f"c{i}", "patient": "", "states": s} for i, s in enumerate(states)
        ]
        session.execute(insert(Case.__table__), rows)
        found = session.execute(select(StateCount.states, StateCount.cases).order_by(StateCount.states)).all()
    assert [tuple(row) for row in found] == [(0, 1), (LIVER, 2), (SPLEEN, 1)]


def test_the_migration_packs_and_counts_what_was_there(empty_url: str) -> None:
    migrate(empty_url, "0003")
    engine = open_engine(empty_url)
    grid = "4, 5, 6, 1.0, 1.0, 1.0, 'RAS', '[]'"
    rows = (
        (1, 1, "'annotated', 'original', 'voxels', 5"), (1, 2, "'absent', NULL, 'protocol', 0"),
        (1, 14, "'annotated', 'corrected', 'voxels', 5"), (2, 1, "'out_of_field', NULL, 'protocol', 0"),
        (2, 3, "'missing', NULL, 'default', 0"),
    )  # fmt: skip
    with engine.execution_options(catalog_writer=True).begin() as connection:
        for statement in (
            "INSERT INTO source (id, name, created_at) VALUES (1, 'S', '2026-01-01')",
            *(
                'INSERT INTO "case" (id, source_id, name, patient, role, extra, created_at)'
                f" VALUES ({n}, 1, '{name}', 'S/A', 'test', '{{}}', '2026-01-01')"
                for n, name in ((1, "A"), (2, "gone"))
            ),
            *(
                "INSERT INTO mask_version (id, case_id, number, parent_id, kind, author, message, created_at,"
                " shape_x, shape_y, shape_z, spacing_x, spacing_y, spacing_z, orientation, affine)"
                f" VALUES ({n}, 1, {n}, {n - 1 or 'NULL'}, 'ingested', 'Ada', '', '2026-01-01', {grid})"
                for n in (1, 2)
            ),
            *(
                "INSERT INTO annotation (version_id, class_id, status, origin, evidence, voxels, volume_ml,"
                f" touches_border, class_hash, author) VALUES ({v}, {c}, {said}, 0.0, false,"
                f" {repr('h') if 'voxels' in said else 'NULL'}, {repr('me') if c == 14 else 'NULL'})"
                for v, c, said in rows
            ),
            'UPDATE "case" SET newest_version_id = 2 WHERE id = 1',
        ):
            connection.execute(text(statement))
    migrate(empty_url)
    first = pack({1: Origin.ORIGINAL, 2: Status.ABSENT, 14: Origin.CORRECTED})
    second = pack({1: Status.OUT_OF_FIELD})

    def all_of(statement: str) -> list[tuple[object, ...]]:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    assert all_of("SELECT id, states FROM mask_version ORDER BY id") == [(1, first), (2, second)]
    assert all_of('SELECT id, states FROM "case" ORDER BY id') == [(1, second), (2, None)]
    counts = "SELECT source_id, role, states, cases FROM state_count"
    assert all_of(counts) == [(1, "test", second, 1)]
    migrate(empty_url, "0003")
    migrate(empty_url)
    assert all_of(counts) == [(1, "test", second, 1)]
    engine.dispose()
