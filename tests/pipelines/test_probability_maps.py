"""Maps of probabilities in the store: needed, checked, backed up, collected and purged like every other file."""

import os
import time

import numpy as np
import pytest
from sqlalchemy import update
from test_gates import GRID, SHAPE, SPLEEN, offered, predict_by_hand, take

from curation.rle import RunLengths
from curation.volumes import encode_mask
from db import stored_files
from db.catalog import Catalog
from db.models import Prediction
from db.store import Store
from pipelines.backup import back_up
from pipelines.garbage import find_garbage
from pipelines.purge import look_up, purge
from pipelines.repair import repair
from pipelines.verify import verify


@pytest.fixture
def predicted(bench, tmp_path):
    take(bench, tmp_path)
    mask, probability = offered()
    predict_by_hand(bench, mask, probability=probability)
    return bench


def map_of(bench) -> str:
    with bench.catalog.reading() as session:
        return session.query(Prediction.probability_hash).scalar()


def book_map(bench, percent: np.ndarray) -> None:
    name = bench.store.put(encode_mask(RunLengths.from_array(percent.astype(np.uint8)), GRID))
    with bench.catalog.writing() as session:
        session.execute(update(Prediction).values(probability_hash=name))


def test_a_map_is_a_file_that_a_row_needs(predicted):
    name = map_of(predicted)
    with predicted.catalog.reading() as session:
        (file,) = [f for f in stored_files.stored_files(session) if f.hash == name]
        assert name in stored_files.needed_hashes(session)
    assert (file.needed_by, file.claims) == ("prediction of M for S/A, its probabilities", ())
    found = verify(predicted, deep=True)
    # The mask, what came in for it, the prediction and its map; three of them are decoded.
    assert (found.files, found.damage, found.noted, found.voxels) == (4, [], [], 3 * 960)


def test_a_map_is_no_garbage_however_old(predicted):
    then = time.time() - 7200
    for path in predicted.root.rglob("*"):
        os.utime(path, (then, then))
    assert find_garbage(predicted) == []


def test_a_lost_map_is_damage_and_predicting_again_is_the_remedy(predicted):
    path = predicted.store.path(map_of(predicted))
    path.chmod(0o644)
    path.unlink()
    damages = verify(predicted).damages
    assert ["prediction of M for S/A, its probabilities" in d.line for d in damages] == [True]
    (left,) = repair(predicted, damages).left
    assert "`predict MODEL CASE --probabilities` makes a new one" in left.line


def test_a_map_of_another_mask_and_one_of_no_steps_are_contradictions(predicted):
    mask, _ = offered()
    elsewhere = np.where(np.roll(mask, 1, axis=1), 50, 0)
    book_map(predicted, elsewhere)
    (line,) = verify(predicted, deep=True).damage
    assert "the map is not of this prediction's mask" in line
    book_map(predicted, np.where(mask, 52, 0))
    (line,) = verify(predicted, deep=True).damage
    assert "holds [52], which are no steps of percent" in line
    assert verify(predicted).damage == []


def test_a_prediction_that_found_nothing_shares_its_empty_file_with_its_map(bench, tmp_path):
    take(bench, tmp_path)
    predict_by_hand(bench, np.zeros(SHAPE, np.uint8), probability=np.ones(SHAPE, np.float32))
    found = verify(bench, deep=True)
    assert (found.files, found.damage) == (3, [])


def test_a_backup_has_the_maps(predicted, tmp_path):
    folder = tmp_path / "backup"
    back_up(predicted, folder, config="maskledger.toml", default_config="")
    assert Store(folder / "store").intact(map_of(predicted))
    copied = Catalog.open(f"sqlite:///{folder / 'catalog.db'}")
    with copied.reading() as session:
        assert session.query(Prediction.probability_hash).scalar() == map_of(predicted)
    copied.close()


def test_a_purge_deletes_the_map_and_its_copy_under_runs(predicted):
    name = map_of(predicted)
    copy = predicted.root / "runs" / "predict-M" / "out" / "S__A.probability.nii.gz"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"left by a run that was killed")
    assert copy in look_up(predicted, "S/A").copies
    purge(predicted, "S/A", "asked for")
    assert not copy.exists()
    assert name not in predicted.store
    assert list(predicted.store.hashes()) == []


def test_a_map_that_another_case_needs_stays(predicted, tmp_path):
    take(predicted, tmp_path, "B")
    mask, probability = offered()
    predict_by_hand(predicted, mask, probability=probability, address="S/B")
    outcome = purge(predicted, "S/A", "asked for")
    assert any("another case stands on the very same bytes" in line for line in outcome.noted)
    with predicted.catalog.reading() as session:
        kept = session.query(Prediction.probability_hash).scalar()
    assert kept in predicted.store
    assert int((mask == SPLEEN).sum()) == 24
    assert verify(predicted, deep=True).damage == []
