"""The store: put if absent, whole or not at all, and damage is found."""

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from db.store import Store, StoredFileError

# sha256 of the three bytes "abc", from FIPS 180-2, appendix B.1.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def _files(store: Store) -> list[Path]:
    return sorted(path for path in store.root.rglob("*") if path.is_file())


def test_bytes_are_kept_under_their_sha_256(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.put(b"abc") == ABC
    assert store.path(ABC) == tmp_path / "store" / "ba" / f"{ABC}.nii.gz"
    assert store.get(ABC) == b"abc"
    assert ABC in store
    assert list(store.hashes()) == [ABC]


def test_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(b"abc")
    before = store.path(ABC).stat()
    store.put(b"abc")
    after = store.path(ABC).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


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
    with pytest.raises(OSError, match="No space left"):
        store.put(b"abc")
    assert _files(store) == []
    assert ABC not in store


def test_a_half_written_file_of_a_killed_writer_is_not_taken_for_a_mask(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(b"abc")
    (tmp_path / "ba" / ".killed.part").write_bytes(b"ab")
    assert list(store.hashes()) == [ABC]


def test_many_writers_of_the_same_bytes_leave_one_intact_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    data = os.urandom(1 << 18)
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(store.put, [data] * 40))
    assert names == {hashlib.sha256(data).hexdigest()}
    (path,) = _files(store)
    assert path.read_bytes() == data


def test_intact_files_are_not_reported(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.damage(store.put(b"abc")) is None


@pytest.mark.parametrize("damaged", [b"abd", b"ab", b""])
def test_a_changed_file_is_found(tmp_path: Path, damaged: bytes) -> None:
    store = Store(tmp_path)
    path = store.path(store.put(b"abc"))
    path.chmod(0o644)
    path.write_bytes(damaged)
    problem = store.damage(ABC)
    assert problem is not None
    assert str(path) in problem
    assert f"damaged ({len(damaged)} bytes" in problem
    assert "restore it from a backup" in problem


def test_an_absent_file_is_found_and_reading_it_says_where_it_should_be(tmp_path: Path) -> None:
    store = Store(tmp_path)
    expected = f"{store.path(ABC)}: not in the store; restore it from a backup"
    assert store.damage(ABC) == expected
    with pytest.raises(StoredFileError) as caught:
        store.get(ABC)
    assert str(caught.value) == expected


@pytest.mark.parametrize("name", ["", "abc", ABC.upper(), "../" + ABC[3:], ABC + "0"])
def test_only_hashes_name_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no SHA-256"):
        Store(tmp_path).path(name)
