"""The disk is full in the middle: exit code 3, one line that says which disk, nothing half-written."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cohort import open_bench, out_of, words_of
from extent import THOROUGH
from ledger_state import folder_state, state_of
from processes import Command, Ended, run

from pipelines.runs import Workbench
from pipelines.verify import verify


@dataclass(frozen=True)
class SmallDisk:
    """A tmpfs of its own size."""

    folder: Path

    def resize(self, kilobytes: int) -> None:
        """Make the disk smaller or larger; what is on it stays."""
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", self.folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk that can be full without harm to others; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"may not mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _verified_state(workspace: Path, store: Path | None = None) -> dict:
    bench = open_bench(workspace)
    if store is not None:
        bench = Workbench(**(vars(bench) | {"store": type(bench.store)(store)}))
    try:
        assert verify(bench, deep=True).damage == []
        return state_of(bench.catalog, bench.store)
    finally:
        bench.catalog.close()


def _assert_one_clear_line(ended: Ended, *parts: str) -> None:
    lines = [line for line in ended.stderr.splitlines() if line.startswith("maskledger: ")]
    assert ended.returncode == 3, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    assert len(lines) == 1, ended.stderr
    assert "refused" not in ended.stderr, "no case is at fault"
    for part in parts:
        assert part in lines[0]


@pytest.mark.long
@pytest.mark.parametrize("jobs", [1, 2] if THOROUGH else [2])
def test_a_full_store_stops_the_ingest_and_room_completes_it(workspaces, cohort, small_disk, tmp_path, jobs):
    workspace = workspaces.copy("init", tmp_path / "w")
    store = small_disk.folder / "store"
    env = {"MASKLEDGER_STORE": str(store)}
    words = [*words_of("ingest", cohort, workspace), "--jobs", jobs]
    small_disk.resize(4 * cohort.cases)  # two files per case, 4 kB each on this disk: room for half of them
    ended = Command(workspace, *words, env=env).wait()
    _assert_one_clear_line(
        ended, str(store), "No space left on device", "free space there", "start the same command"
    )
    half = _verified_state(workspace, store)
    assert half["running"] == []
    assert len(half["versions"]) < cohort.cases
    small_disk.resize(64 * 1024)
    run(workspace, *words, env=env)
    assert _verified_state(workspace, store) == _verified_state(workspaces.after("ingest"))


@pytest.mark.long
@pytest.mark.skipif(not THOROUGH, reason="as with ingest; `make faults` tries it")
def test_a_full_store_stops_the_complement_and_room_completes_it(workspaces, cohort, small_disk, tmp_path):
    workspace = workspaces.copy("import", tmp_path / "w")
    store = small_disk.folder / "store"
    (workspace / "store").rename(tmp_path / "there")
    subprocess.run(["cp", "-a", tmp_path / "there", store], check=True)
    used = int(
        subprocess.run(["du", "-sk", store], capture_output=True, text=True, check=True).stdout.split()[0]
    )
    env = {"MASKLEDGER_STORE": str(store)}
    words = words_of("complement", cohort, workspace)
    small_disk.resize(used + 2 * cohort.cases)
    ended = Command(workspace, *words, env=env).wait()
    _assert_one_clear_line(ended, str(store), "No space left on device")
    half = _verified_state(workspace, store)
    assert cohort.cases <= len(half["versions"]) < 2 * cohort.cases
    small_disk.resize(64 * 1024)
    run(workspace, *words, env=env)
    assert _verified_state(workspace, store) == _verified_state(workspaces.after("complement"))


@pytest.mark.long
def test_a_full_disk_leaves_no_half_export(workspaces, cohort, small_disk, tmp_path):
    workspace = workspaces.copy("freeze", tmp_path / "w")
    out = small_disk.folder / out_of(workspace).name
    words = [*words_of("export", cohort, workspace)[:-1], out]
    small_disk.resize(2 * cohort.cases)  # 4 kB a mask: half of them
    ended = Command(workspace, *words).wait()
    _assert_one_clear_line(ended, str(small_disk.folder), "No space left on device", "free some space")
    assert list(small_disk.folder.iterdir()) == [], "not even a hidden one"
    small_disk.resize(64 * 1024)
    run(workspace, *words)
    undisturbed = folder_state(out_of(workspaces.after("export")))
    assert folder_state(out) == undisturbed


@pytest.mark.long
@pytest.mark.parametrize("room_kb", [40, 120, 200] if THOROUGH else [120])
def test_a_full_catalog_stops_the_ingest_and_room_completes_it(
    workspaces, cohort, small_disk, tmp_path, room_kb
):
    workspace = workspaces.copy("init", small_disk.folder / "w")
    env = {"MASKLEDGER_STORE": str(tmp_path / "store")}
    words = words_of("ingest", cohort, workspace)
    used = sum(path.stat().st_size for path in workspace.rglob("*")) // 1024
    small_disk.resize(used + room_kb)
    ended = Command(workspace, *words, env=env).wait()
    _assert_one_clear_line(ended, str(workspace), "the database's disk is full", "free some space")
    small_disk.resize(64 * 1024)
    half = _verified_state(workspace, tmp_path / "store")
    assert len(half["versions"]) < cohort.cases
    run(workspace, *words, env=env)
    assert _verified_state(workspace, tmp_path / "store") == _verified_state(workspaces.after("ingest"))
