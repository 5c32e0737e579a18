"""Verify: damage of every kind is found, and nothing else is called damage."""

import pytest
from sqlalchemy import update
from volume_files import boxes, write_volume

from curation.mappings import load_builtin
from db.models import Annotation
from pipelines.ingest import IngestRequest, ingest
from pipelines.verify import verify


@pytest.fixture
def filled(bench, tmp_path):
    for number in range(3):
        write_volume(tmp_path / "l" / f"C{number}.nii.gz", boxes({1: 5 + number}))
    ingest(bench, IngestRequest(source="S", mapping=load_builtin("flare23"), labels=tmp_path / "l"))
    return bench


def test_an_intact_store_has_no_damage(filled):
    found = verify(filled, deep=True)
    assert (found.files, found.damage, found.noted) == (6, [], [])  # three masks and what came in for them


def test_one_flipped_bit_is_found_in_any_file(filled):
    for path in map(filled.store.path, list(filled.store.hashes())):
        intact = path.read_bytes()
        flipped = bytearray(intact)
        flipped[len(flipped) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(flipped)
        (line,) = verify(filled).damage
        assert str(path) in line
        assert "damaged (" in line
        path.write_bytes(intact)


def test_a_lost_file_is_found_with_what_needs_it(filled):
    filled.store.path(next(filled.store.hashes())).unlink()
    (line,) = verify(filled).damage
    assert "not in the store" in line
    assert "needed by S/C" in line


def test_a_file_that_no_row_needs_is_noted_not_damage(filled):
    filled.store.put(b"left behind by a killed run")
    found = verify(filled)
    assert found.damage == []
    assert "no row needs this file" in found.noted[0]


def test_deep_finds_a_row_that_contradicts_its_mask(filled):
    with filled.catalog.writing() as session:
        session.execute(
            update(Annotation).where(Annotation.class_id == 1, Annotation.voxels == 6).values(voxels=60)
        )
    assert verify(filled).damage == []
    (line,) = verify(filled, deep=True).damage
    assert "S/C1@1" in line
    assert "{1: 60}" in line
