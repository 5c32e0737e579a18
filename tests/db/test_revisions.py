"""A source's revisions: which values were read as what, and what is held against them."""

from db import queries, writes
from db.catalog import Catalog
from db.models import Retraction


def test_revisions_come_in_order_with_values_protocol_and_retraction(catalog: Catalog) -> None:
    with catalog.writing() as session:
        kits, other = writes.ensure_source(session, "KiTS"), writes.ensure_source(session, "other")
        first = writes.ensure_revision(
            session, kits, "2019", mapping_name="kits19", mapping={"1": 200, "2": 14}, protocol=[2, 13, 14]
        )
        writes.ensure_revision(session, kits, "2023", mapping_name="mine", mapping={"3": 0}, protocol=None)
        writes.ensure_revision(session, other, "1", mapping_name="x", mapping={}, protocol=None)
        session.add(Retraction(revision_id=first, include_accepted=False, reason="mirrored", person="Ada"))
    with catalog.reading() as session:
        rows = queries.revisions(session, kits)
        assert queries.revisions(session, 99) == []
    assert [(r.name, r.mapping_name, r.mapping, r.protocol) for r in rows] == [
        ("2019", "kits19", {1: 200, 2: 14}, frozenset({2, 13, 14})),
        ("2023", "mine", {3: 0}, None),
    ]
    assert rows[0].retracted is not None
    assert rows[0].retracted.startswith("retracted on ")
    assert rows[0].retracted.endswith("by Ada (mirrored)")
    assert rows[1].retracted is None
