"""Backup and restore: a backup made amid writes is whole, grows by what is new, and works as a workspace."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from volume_files import boxes, write_volume

from curation.errors import UsageError
from curation.mappings import load_builtin
from db import queries, writes
from db.catalog import Catalog
from db.models import ModelKind
from db.store import Store
from pipelines.backup import back_up
from pipelines.ingest import IngestRequest, ingest
from pipelines.runs import Silent, Workbench
from pipelines.verify import verify

CONFIG = {"config": "maskledger.toml", "default_config": "# settings\n"}


def ingest_masks(bench, folder: Path, **masks: dict[int, int]) -> None:
    for name, values in masks.items():
        write_volume(folder / f"{name}.nii.gz", boxes(values))
    ingest(bench, IngestRequest(source="S", mapping=load_builtin("flare23"), labels=folder))


@pytest.fixture
def filled(bench, tmp_path):
    ingest_masks(bench, tmp_path / "l", A={1: 6}, B={1: 4, 3: 2})
    return bench


def opened(folder: Path) -> Workbench:
    """A backup as a workspace."""
    return Workbench(
        catalog=Catalog.open(f"sqlite:///{folder / 'catalog.db'}"), store=Store(folder / "store"), root=folder,
        author="Eve", program_version="0", jobs=1,
    )  # fmt: skip


def cases(bench) -> list[str]:
    with bench.catalog.reading() as session:
        return [row.address for row in queries.cases(session)]


class WritesMeanwhile(Silent):
    """Whoever watches ingests another case once the catalog is copied and the files are not."""

    def __init__(self, bench, folder: Path) -> None:
        self.bench, self.folder = bench, folder

    def start(self, title: str, total: int | None) -> None:  # noqa: ARG002
        if title == "back up files":
            ingest_masks(self.bench, self.folder, Late={5: 7})


def test_a_backup_made_amid_writes_is_whole_and_the_next_one_adds_what_is_new(filled, tmp_path):
    watched = replace(filled, progress=WritesMeanwhile(filled, tmp_path / "late"))
    first = back_up(watched, tmp_path / "backup", **CONFIG)
    assert (first.files, first.copied, first.refused) == (4, 4, ())
    copy = opened(tmp_path / "backup")
    assert cases(copy) == ["S/A", "S/B"]
    found = verify(copy, deep=True)
    assert (found.damage, found.noted) == ([], [])  # no row without file, no file without row
    copy.catalog.close()

    second = back_up(filled, tmp_path / "backup", **CONFIG)
    assert (second.files, second.copied) == (6, 2)
    copy = opened(tmp_path / "backup")
    assert cases(copy) == cases(filled) == ["S/A", "S/B", "S/Late"]
    found = verify(copy, deep=True)
    assert (found.damage, found.noted) == ([], [])
    copy.catalog.close()


def test_what_was_restored_goes_on_as_the_workspace_did(filled, tmp_path):
    back_up(filled, tmp_path / "backup", **CONFIG)
    shutil.copytree(tmp_path / "backup", tmp_path / "restored")
    restored = opened(tmp_path / "restored")
    ingest_masks(restored, tmp_path / "l", A={1: 7}, C={2: 3})
    with restored.catalog.reading() as session:
        assert queries.count(session, "version = 2") == 1
    assert cases(restored) == ["S/A", "S/B", "S/C"]
    assert verify(restored, deep=True).damage == []
    restored.catalog.close()


def test_models_come_along(filled, tmp_path):
    weights = filled.root / "runs" / "teacher-1" / "model"
    weights.mkdir(parents=True)
    (weights / "weights.pt").write_bytes(b"w")
    (weights.parent / "nnunet").mkdir()
    with filled.catalog.writing() as session:
        writes.add_model(session, name="teacher", kind=ModelKind.TEACHER, weights_path="runs/teacher-1/model")
    assert back_up(filled, tmp_path / "backup", **CONFIG).models == 1
    copied = {
        p.relative_to(tmp_path / "backup").as_posix() for p in (tmp_path / "backup" / "runs").rglob("*")
    }
    assert copied == {"runs/teacher-1", "runs/teacher-1/model", "runs/teacher-1/model/weights.pt"}


def test_a_damaged_file_is_refused_and_the_others_are_copied(filled, tmp_path):
    path = filled.store.path(next(filled.store.hashes()))
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    done = back_up(filled, tmp_path / "backup", **CONFIG)
    (line,) = done.refused
    assert str(path) in line
    assert done.copied == 3


def test_a_folder_of_something_else_is_not_written_to(filled, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").touch()
    for folder, said in (
        (tmp_path / "photos", "holds something that is no backup"),
        (tmp_path / "photos" / "1.jpg", "is a file"),
        (filled.root / "backup", "lies in the workspace itself"),
    ):
        with pytest.raises(UsageError, match=said):
            back_up(filled, folder, **CONFIG)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["1.jpg"]


def test_a_backup_that_broke_off_is_completed(filled, tmp_path):
    """What a killed one leaves: files of the store, and a catalog beside its place."""
    back_up(filled, tmp_path / "backup", **CONFIG)
    before = (tmp_path / "backup" / "catalog.db").read_bytes()
    (tmp_path / "backup" / ".catalog.db.part").write_bytes(before[:5000])
    back_up(filled, tmp_path / "backup", **CONFIG)
    copy = opened(tmp_path / "backup")
    assert verify(copy, deep=True).damage == []
    copy.catalog.close()
    assert not (tmp_path / "backup" / ".catalog.db.part").exists()


def test_a_backup_is_booked_and_the_copy_tells_it(filled, tmp_path):
    back_up(filled, tmp_path / "backup", **CONFIG)
    copy = opened(tmp_path / "backup")
    for bench in (filled, copy):
        with bench.catalog.reading() as session:
            assert queries.events(session)[0].action == "backup"
    copy.catalog.close()
