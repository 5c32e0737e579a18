"""Garbage: only what nothing needs is found, and deleting it leaves everything that is needed."""

import os
import time
from pathlib import Path

import pytest
from volume_files import boxes, write_volume

from curation.mappings import load_builtin
from db import queries, writes
from db.models import ModelKind
from pipelines.garbage import collect, find_garbage
from pipelines.ingest import IngestRequest, ingest
from pipelines.verify import verify

HOUR = 3600


@pytest.fixture
def filled(bench, tmp_path):
    """Three cases; C0 has a second version, and the files of its first are needed still."""
    for number in range(3):
        write_volume(tmp_path / "l" / f"C{number}.nii.gz", boxes({1: 5 + number}))
    request = IngestRequest(source="S", mapping=load_builtin("flare23"), labels=tmp_path / "l")
    ingest(bench, request)
    write_volume(tmp_path / "l" / "C0.nii.gz", boxes({1: 9}))
    ingest(bench, request)
    return bench


def age(path: Path, seconds: float = 2 * HOUR) -> Path:
    """Let a file, or a folder and all in it, be that old."""
    then = time.time() - seconds
    for one in (path, *path.rglob("*")):
        os.utime(one, (then, then))
    return path


def age_all(bench) -> None:
    age(bench.root)


def old_file(path: Path, data: bytes = b"left") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return age(path)


def train_model(bench, name: str) -> Path:
    """What a finished training leaves behind; returns its folder."""
    work_dir = bench.root / "runs" / f"{name}-0123456789ab"
    for part in (
        "masks/S__C0.nii.gz",
        "nnunet/raw/Dataset001_maskledger/labelsTr/00000_C0.nii.gz",
        "nnunet/preprocessed/Dataset001_maskledger/00000_C0.b2nd",
        "nnunet/results/Dataset001_maskledger/training_log.txt",
        "model/weights.pt",
        "teacher_train.job.json",
        "teacher_train.log",
    ):
        old_file(work_dir / part)
    return age(work_dir)


def register(bench, name: str, work_dir: Path) -> None:
    with bench.catalog.writing() as session:
        writes.add_model(
            session,
            name=name,
            kind=ModelKind.TEACHER,
            weights_path=str((work_dir / "model").relative_to(bench.root)),
        )


def test_what_is_needed_is_no_garbage_however_old(filled):
    age_all(filled)
    assert find_garbage(filled) == []


def test_a_stored_file_without_a_row_is_found_and_deleted(filled):
    name = filled.store.put(b"of a run that was killed")
    age(filled.store.path(name))
    (found,) = find_garbage(filled)
    assert (found.path, found.bytes, found.reason) == (
        filled.store.path(name),
        24,
        "stored, but no row needs it",
    )
    assert name in filled.store  # finding changes nothing
    outcome = collect(filled, [found])
    assert outcome.counts == {"deleted": 1, "bytes freed": 24}
    assert name not in filled.store
    assert verify(filled, deep=True).damage == []
    assert find_garbage(filled) == []


def test_a_young_file_may_belong_to_a_run_that_has_not_booked_it(filled):
    name = filled.store.put(b"just measured")
    assert find_garbage(filled) == []
    age(filled.store.path(name), 60)
    assert find_garbage(filled) == []
    assert len(find_garbage(filled, min_age_s=30)) == 1


def test_what_came_to_be_needed_after_it_was_found_is_kept(filled, tmp_path):
    mask = write_volume(tmp_path / "n" / "New.nii.gz", boxes({4: 7}))
    name = filled.store.put(mask.read_bytes())
    age(filled.store.path(name))
    found = find_garbage(filled)
    ingest(filled, IngestRequest(source="S", mapping=load_builtin("flare23"), labels=tmp_path / "n"))
    age_all(filled)
    assert collect(filled, found).counts == {"kept": 1}
    assert verify(filled).damage == []


def test_what_was_put_again_after_it_was_found_is_kept(filled):
    """Its row is not there yet, as between storing and booking of a case."""
    name = filled.store.put(b"measured again")
    age(filled.store.path(name))
    found = find_garbage(filled)
    filled.store.put(b"measured again")
    assert collect(filled, found).counts == {"kept": 1}
    assert name in filled.store


def test_half_written_files_are_deleted_once_they_are_old(filled):
    folder = next(filled.store.root.glob("[0-9a-f][0-9a-f]"))
    old = old_file(folder / ".abc123.part")
    empty = old_file(folder / ".empty.part", b"")
    young = folder / ".young.part"
    young.write_bytes(b"at work")
    in_runs = old_file(filled.root / "runs" / "teacher-1" / "masks" / ".S__C0.nii.gz.part")
    found = find_garbage(filled)
    assert {garbage.path for garbage in found} == {old, empty, in_runs}
    assert collect(filled, found).counts == {"deleted": 3, "bytes freed": 8}
    assert young.exists()
    assert not any(garbage.path.exists() for garbage in found)


def test_of_a_finished_training_weights_and_logs_stay(filled):
    work_dir = train_model(filled, "teacher")
    register(filled, "teacher", work_dir)
    found = find_garbage(filled)
    assert [garbage.path for garbage in found] == [
        work_dir / "masks",
        work_dir / "nnunet" / "preprocessed",
        work_dir / "nnunet" / "raw",
    ]
    assert [garbage.bytes for garbage in found] == [4, 4, 4]
    assert collect(filled, found).counts == {"deleted": 3, "bytes freed": 12}
    left = {path.relative_to(work_dir).as_posix() for path in work_dir.rglob("*") if path.is_file()}
    assert left == {
        "model/weights.pt",
        "teacher_train.job.json",
        "teacher_train.log",
        "nnunet/results/Dataset001_maskledger/training_log.txt",
    }


def test_an_unfinished_training_keeps_everything(filled):
    train_model(filled, "teacher")
    assert find_garbage(filled) == []


def test_a_training_folder_in_use_is_kept(filled):
    work_dir = train_model(filled, "teacher")
    register(filled, "teacher", work_dir)
    found = find_garbage(filled)
    (work_dir / "masks" / "S__C9.nii.gz").write_bytes(b"new")
    assert collect(filled, found).counts == {"kept": 1, "deleted": 2, "bytes freed": 8}
    assert (work_dir / "masks").is_dir()


def test_figures_of_booked_predictions_are_garbage_and_waiting_predictions_are_not(filled):
    out = filled.root / "runs" / "predict-teacher" / "out"
    gone = old_file(out / "S__C0.nii.gz.json")
    old_file(out / "S__C1.nii.gz")
    old_file(out / "S__C1.nii.gz.json")
    assert [garbage.path for garbage in find_garbage(filled)] == [gone]


def test_damaged_files_that_were_set_aside_are_left_to_the_user(filled):
    filled.store.put(b"x")
    age(filled.store.set_aside(filled.store.put(b"x")))
    assert find_garbage(filled) == []


def test_collecting_is_booked(filled):
    name = filled.store.put(b"of a run that was killed")
    age(filled.store.path(name))
    collect(filled, find_garbage(filled))
    with filled.catalog.reading() as session:
        event = queries.events(session)[0]
    assert event.action == "gc"
    assert event.parameters == {"files": 1, "bytes": 24, "min_age_s": 3600.0}
