"""Findings of checks that look further than one mask: filed anew, settled by people, taken over by later versions."""

from collections.abc import Sequence

import pytest
from catalog_makers import add_case, digest, drawn, version
from sqlalchemy import event

from curation.later_checks import DUPLICATE_MASK, IMAGE_IN_TWO_SOURCES, UNUSUAL_VOLUME
from curation.status import Finding, Severity
from db import queries, writes
from db.catalog import Catalog
from db.models import FindingState
from db.queries.versions import StoredFinding
from db.writes import VersionRef

CHECKS = (UNUSUAL_VOLUME, DUPLICATE_MASK, IMAGE_IN_TWO_SOURCES)


def small_liver(volume_ml: float = 90.0, limit_ml: float = 400.0) -> Finding:
    return Finding(
        UNUSUAL_VOLUME, Severity.WARNING, 1, volume_ml, limit_ml, f"Liver has {volume_ml} ml, not {limit_ml}."
    )


TWIN = Finding(DUPLICATE_MASK, Severity.WARNING, None, 1.0, 0.0, "The mask is that of LiTS/b.")
SHARED = Finding(IMAGE_IN_TWO_SOURCES, Severity.WARNING, None, 1.0, 0.0, "The image is that of LiTS/b.")


def file(catalog: Catalog, of: VersionRef, *found: Finding, checks: Sequence[str] = CHECKS) -> int:
    with catalog.writing() as session:
        return writes.refile(session, checks, [of.id], {of.id: found} if found else {})


def stored(catalog: Catalog, of: VersionRef) -> list[StoredFinding]:
    with catalog.reading() as session:
        return sorted(queries.findings(session, [of.id])[of.id], key=lambda f: f.check)


def dismiss(catalog: Catalog, *found: StoredFinding) -> None:
    with catalog.writing() as session:
        for f in found:
            writes.decide_finding(session, f.id, FindingState.DISMISSED, person="ana", reason="a child")


@pytest.fixture
def case(catalog: Catalog) -> VersionRef:
    with catalog.writing() as session:
        return add_case(session, "a", drawn("liver"), drawn("spleen"))


def test_what_is_found_again_is_not_written_again(catalog: Catalog, case: VersionRef) -> None:
    assert file(catalog, case, small_liver(), TWIN) == 2
    before = stored(catalog, case)
    assert [(f.check, f.value, f.state) for f in before] == [
        (DUPLICATE_MASK, 1.0, FindingState.OPEN),
        (UNUSUAL_VOLUME, 90.0, FindingState.OPEN),
    ]
    statements: list[str] = []
    event.listen(catalog.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    assert file(catalog, case, small_liver(), TWIN) == 0
    assert stored(catalog, case) == before
    assert not [s for s in statements if s.startswith(("INSERT", "UPDATE", "DELETE"))]


def test_what_is_found_no_more_goes_and_other_checks_are_left_alone(
    catalog: Catalog, case: VersionRef
) -> None:
    file(catalog, case, small_liver(), TWIN)
    assert file(catalog, case, checks=[UNUSUAL_VOLUME]) == 1
    assert [f.check for f in stored(catalog, case)] == [DUPLICATE_MASK]


def test_another_limit_is_told_in_the_same_finding(catalog: Catalog, case: VersionRef) -> None:
    file(catalog, case, small_liver())
    (before,) = stored(catalog, case)
    assert file(catalog, case, small_liver(limit_ml=380.0)) == 1
    (now,) = stored(catalog, case)
    assert (now.id, now.limit, now.message) == (before.id, 380.0, "Liver has 90.0 ml, not 380.0.")


def test_what_was_dismissed_stays_so_while_its_value_is_the_same(catalog: Catalog, case: VersionRef) -> None:
    file(catalog, case, small_liver())
    dismiss(catalog, *stored(catalog, case))
    assert file(catalog, case, small_liver(limit_ml=380.0)) == 0
    assert file(catalog, case) == 0  # kept, so that it is still dismissed when it is found again
    (kept,) = stored(catalog, case)
    assert (kept.state, kept.person, kept.limit) == (FindingState.DISMISSED, "ana", 400.0)
    assert file(catalog, case, small_liver(volume_ml=80.0)) == 1
    (now,) = stored(catalog, case)
    assert (now.id, now.state, now.person, now.value) == (kept.id, FindingState.OPEN, None, 80.0)


def test_a_later_version_takes_over_what_still_holds(catalog: Catalog, case: VersionRef) -> None:
    file(catalog, case, small_liver(), TWIN, SHARED)
    dismiss(catalog, *stored(catalog, case))
    with catalog.writing() as session:
        # The spleen changed, and so the mask, but neither the liver nor the image.
        later = writes.add_version(
            session, case.case_id, case.id,
            version(drawn("liver"), drawn("spleen", class_hash=digest("new")), voxel_hash=digest("new mask")),
        )  # fmt: skip
    taken = stored(catalog, later)
    assert [(f.check, f.state, f.person) for f in taken] == [
        (IMAGE_IN_TWO_SOURCES, FindingState.DISMISSED, "ana"),
        (UNUSUAL_VOLUME, FindingState.DISMISSED, "ana"),
    ]
    with catalog.writing() as session:
        last = writes.add_version(
            session, later.case_id, later.id,
            version(drawn("liver", class_hash=digest("newer")), voxel_hash=digest("newer mask")),
        )  # fmt: skip
    assert [f.check for f in stored(catalog, last)] == [IMAGE_IN_TWO_SOURCES]
