"""Verify: damage of every kind is found, and nothing else is called damage."""

import random

import numpy as np
import pytest
from sqlalchemy import update
from volume_files import SHAPE, boxes, write_volume

from curation.mappings import load_builtin
from db.models import Annotation, MaskVersion, Prediction, PredictionClass
from pipelines.complement import complement
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.verify import verify

LIVER, SPLEEN = 1, 3


@pytest.fixture
def filled(bench, tmp_path):
    for number in range(3):
        write_volume(tmp_path / "l" / f"C{number}.nii.gz", boxes({LIVER: 5 + number}))
    ingest(bench, IngestRequest(source="S", mapping=load_builtin("flare23"), labels=tmp_path / "l"))
    return bench


@pytest.fixture
def complemented(filled, tmp_path):
    """C1 has a second version, with a spleen that model M predicts."""
    spleen = np.zeros(SHAPE, np.uint8)
    spleen[6:10, 6:8, 6] = SPLEEN
    write_volume(tmp_path / "p" / "C1.nii.gz", spleen)
    import_predictions(filled, tmp_path / "p", "M", load_builtin("flare23"))
    complement(filled, "missing spleen", "M")
    return filled


def flip(path, position, bit):
    """Flip one bit of a read-only file; returns what was there."""
    intact = path.read_bytes()
    flipped = bytearray(intact)
    flipped[position] ^= 1 << bit
    path.chmod(0o644)
    path.write_bytes(flipped)
    return intact


@pytest.mark.parametrize("deep", [False, True])
def test_an_intact_store_has_no_damage(complemented, deep):
    found = verify(complemented, deep=deep)
    # Three masks and what came in for them, a prediction and the mask it was merged into.
    assert (found.files, found.damage, found.noted) == (8, [], [])
    assert found.voxels == (5 * 960 if deep else 0)  # 12 × 10 × 8 voxels a mask


def test_one_flipped_bit_is_found_in_any_file(filled):
    for path in map(filled.store.path, list(filled.store.hashes())):
        intact = flip(path, len(path.read_bytes()) // 2, 0)
        (line,) = verify(filled).damage
        assert str(path) in line
        assert "damaged (" in line
        path.write_bytes(intact)


def test_a_bit_flipped_anywhere_in_a_hundred_files_is_found_in_each(bench, tmp_path):
    dice = random.Random(3)
    for number in range(50):
        write_volume(
            tmp_path / "l" / f"C{number:02}.nii.gz", boxes({1 + number % 14: 2 + number % 9, 4: 3}, SHAPE)
        )
    ingest(bench, IngestRequest(source="S", mapping=load_builtin("flare23"), labels=tmp_path / "l"))
    paths = [bench.store.path(name) for name in bench.store.hashes()]
    files = verify(bench).files
    assert files == len(paths) > 90
    for path in paths:
        flip(path, dice.randrange(path.stat().st_size), dice.randrange(8))
    found = verify(bench)
    assert len(found.damage) == len(paths)
    assert {damage.file.hash for damage in found.damages} == set(bench.store.hashes())


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


def change(bench, statement):
    with bench.catalog.writing() as session:
        session.execute(statement)


def test_deep_finds_a_row_that_contradicts_its_mask(filled):
    change(
        filled, update(Annotation).where(Annotation.class_id == 1, Annotation.voxels == 6).values(voxels=60)
    )
    assert verify(filled).damage == []
    (line,) = verify(filled, deep=True).damage
    assert "S/C1@1" in line
    assert "{1: 60}" in line


def test_deep_finds_a_class_hash_that_contradicts_its_mask(complemented):
    where = Annotation.prediction_id.is_not(None)
    change(complemented, update(Annotation).where(where).values(class_hash="0" * 64))
    assert verify(complemented).damage == []
    (line,) = verify(complemented, deep=True).damage
    assert line.startswith("S/C1@2: the rows' class hash is not that of the stored mask (spleen)")


def test_deep_finds_a_prediction_row_that_contradicts_its_mask(complemented):
    where = PredictionClass.class_id == SPLEEN
    change(complemented, update(PredictionClass).where(where).values(voxels=0))
    assert verify(complemented).damage == []
    (line,) = verify(complemented, deep=True).damage
    assert line.startswith("prediction of M for S/C1: rows count ")


def test_deep_finds_a_voxel_hash_that_contradicts_in_version_and_prediction(complemented):
    change(complemented, update(MaskVersion).where(MaskVersion.number == 2).values(voxel_hash="0" * 64))
    change(complemented, update(Prediction).values(voxel_hash="1" * 64))
    assert verify(complemented).damage == []
    lines = verify(complemented, deep=True).damage
    assert [line.partition(":")[0] for line in lines] == ["S/C1@2", "prediction of M for S/C1"]
    assert all("the row's voxel hash is not that of the stored mask" in line for line in lines)


def test_a_file_hash_that_points_nowhere_is_a_lost_file(filled):
    change(filled, update(MaskVersion).where(MaskVersion.id == 1).values(file_hash="0" * 64))
    found = verify(filled)
    (line,) = found.damage
    assert "not in the store" in line
    assert len(found.noted) == 1


def test_a_hash_that_is_none_is_damage_not_a_crash(filled):
    change(filled, update(MaskVersion).where(MaskVersion.id == 1).values(file_hash="what?"))
    (line,) = verify(filled).damage
    assert "the row's hash 'what?' is no SHA-256" in line


def test_rows_that_contradict_each_other_are_found_without_decoding(complemented):
    change(complemented, update(Prediction).values(case_id=1))
    told = verify(complemented).damage
    assert any("spleen is pseudo without a prediction for this case" in line for line in told)
