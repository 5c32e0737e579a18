"""The store: put if absent, whole or not at all, and damage is found."""

import contextlib
import hashlib
import multiprocessing
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from db.store import Store, StoredFileError, StoreUnwritableError, is_older

# sha256 of the three bytes "abc", from FIPS 180-2, appendix B.1.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def _files(store: Store) -> list[Path]:
    return sorted(path for path in store.root.rglob("*") if path.is_file() and path.name != ".lock")


def test_bytes_are_kept_under_their_sha_256(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.put(b"abc") == ABC
    assert store.path(ABC) == tmp_path / "store" / "ba" / f"{ABC}.nii.gz"
    assert store.get(ABC) == b"abc"
    assert ABC in store
    assert list(store.hashes()) == [ABC]


def test_what_is_there_is_not_written_again_but_counts_as_new(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(b"abc")
    os.utime(store.path(ABC), (0, 0))
    before = store.path(ABC).stat().st_ino
    store.put(b"abc")
    assert store.path(ABC).stat().st_ino == before
    assert not is_older(store.path(ABC), 60)


def test_a_file_of_another_size_is_put_right_by_who_has_the_bytes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(b"abc")
    store.path(ABC).chmod(0o644)
    store.path(ABC).write_bytes(b"ab")
    assert store.put(b"abc") == ABC
    assert store.intact(ABC) == b"abc"


def test_kept_files_are_read_only_for_everybody(tmp_path: Path) -> None:
    store = Store(tmp_path)
    mode = stat.S_IMODE(store.path(store.put(b"abc")).stat().st_mode)
    assert mode == 0o444


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: Any, fails: str) -> None:
    store = Store(tmp_path)

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if fails == "fsync" else (Path, "replace")), no_space)
    with pytest.raises(StoreUnwritableError) as caught:
        store.put(b"abc")
    assert str(caught.value).startswith(f"{tmp_path}: the store cannot be written (No space left on device)")
    assert "free space" in str(caught.value)
    assert "MASKLEDGER_STORE" in str(caught.value)
    assert _files(store) == []
    assert ABC not in store


def test_a_half_written_file_of_a_killed_writer_is_not_taken_for_a_mask(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(b"abc")
    (tmp_path / "ba" / ".killed.part").write_bytes(b"ab")
    assert list(store.hashes()) == [ABC]
    assert list(store.temporaries()) == [tmp_path / "ba" / ".killed.part"]


def test_many_writers_of_the_same_bytes_leave_one_intact_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    data = os.urandom(1 << 18)
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(store.put, [data] * 40))
    assert names == {hashlib.sha256(data).hexdigest()}
    (path,) = _files(store)
    assert path.read_bytes() == data


def test_intact_files_are_handed_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.intact(store.put(b"abc")) == b"abc"


@pytest.mark.parametrize("damaged", [b"abd", b"ab", b""])
def test_a_changed_file_is_found(tmp_path: Path, damaged: bytes) -> None:
    store = Store(tmp_path)
    path = store.path(store.put(b"abc"))
    path.chmod(0o644)
    path.write_bytes(damaged)
    with pytest.raises(StoredFileError) as caught:
        store.intact(ABC)
    problem = str(caught.value)
    assert problem.startswith(f"{path}: damaged ({len(damaged)} bytes with SHA-256 ")
    assert "restore it from a backup" in problem


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    data = bytes(range(40))
    path = store.path(store.put(data))
    path.chmod(0o644)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(StoredFileError, match="damaged"):
            store.intact(path.name.removesuffix(".nii.gz"))


@pytest.mark.parametrize("read", [Store.get, Store.intact])
def test_reading_an_absent_file_says_where_it_should_be(tmp_path: Path, read: Any) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoredFileError) as caught:
        read(store, ABC)
    assert str(caught.value) == f"{store.path(ABC)}: not in the store; restore it from a backup"


@pytest.mark.parametrize("read", [Store.get, Store.intact])
def test_a_file_that_cannot_be_read_is_damage_too(tmp_path: Path, read: Any) -> None:
    store = Store(tmp_path)
    store.path(ABC).mkdir(parents=True)  # whoever runs this, a folder cannot be read as a file
    with pytest.raises(StoredFileError, match=r"cannot be read \(Is a directory\)"):
        read(store, ABC)


def test_a_folder_that_may_not_be_written_to_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    store = Store(tmp_path)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", read_only)
    with pytest.raises(StoreUnwritableError, match=r"Read-only file system.*allow this user to write there"):
        store.put(b"abc")


def test_deleting_frees_the_bytes_and_what_was_set_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(b"abc")
    aside = store.set_aside(ABC)
    assert aside is not None
    assert aside.parent == tmp_path / "damaged"
    assert aside.read_bytes() == b"abc"
    store.put(b"abc")
    assert store.delete(ABC) == 6
    assert store.delete(ABC) == 0
    assert _files(store) == []


def test_a_young_file_is_not_deleted_as_old(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(b"abc")
    assert store.delete(ABC, older_than_s=60) == 0
    os.utime(store.path(ABC), (0, 0))
    assert store.delete(ABC, older_than_s=60) == 3


def test_setting_aside_twice_keeps_both(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.set_aside(ABC) is None
    kept = set()
    for _ in range(2):
        store.put(b"abc")
        kept.add(store.set_aside(ABC))
    assert len(kept) == 2


def _put_again_and_again(root: Path, lost: Any) -> None:
    """Let a file grow old, put its bytes as a run would that makes the same mask again, look whether it stays."""
    store = Store(root)
    for turn in range(2000):
        data = b"%d" % (turn % 3)
        with contextlib.suppress(FileNotFoundError):
            os.utime(store.path(hashlib.sha256(data).hexdigest()), (0, 0))
        if store.put(data) not in store:
            lost.value += 1


def test_what_is_put_while_another_process_deletes_the_old_is_never_lost(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = [store.put(b"%d" % number) for number in range(3)]
    context = multiprocessing.get_context("fork")
    lost = context.Value("i", 0)
    writer = context.Process(target=_put_again_and_again, args=(tmp_path, lost))
    writer.start()
    deleted = 0
    while writer.is_alive():
        deleted += sum(bool(store.delete(name, older_than_s=60)) for name in names)
    writer.join()
    assert writer.exitcode == 0
    assert lost.value == 0
    assert deleted > 0
    assert all(name in store for name in names)


@pytest.mark.parametrize("name", ["", "abc", ABC.upper(), "../" + ABC[3:], ABC + "0"])
def test_only_hashes_name_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no SHA-256"):
        Store(tmp_path).path(name)


def test_files_kept_together_are_each_there_under_their_own_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    files = [f"mask {number}".encode() for number in range(40)]
    first = store.put(files[3])
    names = store.put_all([*files, files[7]])
    assert names == [hashlib.sha256(data).hexdigest() for data in [*files, files[7]]]
    assert names[3] == first
    assert [store.intact(name) for name in names] == [*files, files[7]]
    assert sorted(store.hashes()) == sorted(set(names))
    assert list(store.temporaries()) == []
    assert store.put_all([]) == []
