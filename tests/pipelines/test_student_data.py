"""A student's training data: prepared once, found again, purged with their case, drawn in a seeded order."""

import gc
import time

import numpy as np
import pytest
import torch
from two_cubes import LIVER, SPLEEN, cubes, stage, write_case

from pipelines.case_copies import delete_copies, find_copies
from pipelines.training.student_data import Cache, TrainingStream, prepare_all
from pipelines.training.student_transforms import LABEL, table_1


def test_a_second_student_finds_the_coarse_images_in_the_cache(cube_cases, tmp_path):
    """Other masks of the same images: only labels are prepared again, and images where the crop is another."""
    cache = Cache(tmp_path / "cache")
    image, labels = cubes(0)
    weak = write_case(tmp_path, "W", image, np.where(labels == LIVER, labels, 0)).model_copy(
        update={"image": cube_cases[0].image}
    )
    full = cache.prepare(cube_cases[0], stage(), None)
    other = cache.prepare(weak, stage(), None)
    assert other.image_file == full.image_file
    assert other.labels_file != full.labels_file
    fine = cache.prepare(cube_cases[0], stage(), 10.0), cache.prepare(weak, stage(), 10.0)
    assert fine[0].image_file != fine[1].image_file
    assert set(fine[1].load()[LABEL].unique().tolist()) == {0, LIVER}


def test_a_purge_finds_what_the_cache_holds_of_a_case_and_nothing_else(cube_cases, tmp_path):
    cache = Cache(tmp_path / "runs" / "prepared")
    gone, kept = (cache.prepare(case, stage(), None) for case in cube_cases[:2])
    delete_copies(find_copies(tmp_path, [cube_cases[0].case]))
    assert not gone.image_file.exists()
    assert not gone.labels_file.exists()
    assert kept.image_file.exists()
    assert kept.labels_file.exists()
    assert find_copies(tmp_path, [cube_cases[0].case]) == []


def test_a_changed_mask_under_a_known_name_is_prepared_anew(tmp_path):
    image, labels = cubes(1)
    case = write_case(tmp_path, "C", image, labels)
    cache = Cache(tmp_path / "cache")
    before = cache.prepare(case, stage(), None)
    write_case(tmp_path, "C", image, np.where(labels == SPLEEN, 200, labels).astype(np.uint8))
    after = cache.prepare(case, stage(), None)
    assert set(before.load()[LABEL].unique().tolist()) == {0, LIVER, SPLEEN}
    assert set(after.load()[LABEL].unique().tolist()) == {0, LIVER, 200}


@pytest.fixture
def threads_change_in_every_collection():
    """Garbage is collected all the time, and every time another thread has its turn."""
    usual = gc.get_threshold()

    def give_way(*_: object) -> None:
        time.sleep(1e-4)

    gc.callbacks.append(give_way)
    gc.set_threshold(5)
    yield
    gc.set_threshold(*usual)
    gc.callbacks.remove(give_way)


@pytest.mark.usefixtures("threads_change_in_every_collection")
def test_many_threads_find_their_cases_in_the_cache_at_once(cube_cases, tmp_path):
    """CPython 3.11.7 parses a header wrong when the collector lets another thread parse one meanwhile."""
    cache = Cache(tmp_path / "cache")
    first = cache.prepare(cube_cases[0], stage(), None)
    found = list(prepare_all(cache, [cube_cases[0]] * 100, stage(), None, pytest.fail))
    assert found == [first] * 100


def test_every_epoch_sees_every_member_once_in_its_own_order(cube_cases, tmp_path):
    cache = Cache(tmp_path / "cache")
    members = [cache.prepare(case, stage(), None) for case in cube_cases[:4]]
    stream = TrainingStream(members, table_1("", intensity=False), seed=3, positions=40)
    whole = [member.load()["image"] for member in members]
    seen = [next(i for i, w in enumerate(whole) if torch.equal(stream[p]["image"], w)) for p in range(40)]
    epochs = [seen[first : first + 4] for first in range(0, 40, 4)]
    assert all(sorted(epoch) == [0, 1, 2, 3] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
