"""docs/backup.md: what it tells people to type backs a workspace up and restores it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from test_cli import Cli
from volume_files import boxes, write_volume

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "backup.md"


def blocks() -> list[str]:
    """The code that can be run anywhere; what needs other tools is in blocks of another kind."""
    return re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


def type_in(code: str, **folders: Path) -> None:
    environment = os.environ | {name: str(path) for name, path in folders.items()}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def test_backup_and_restore_as_documented_with_writes_in_between(tmp_path):
    back_up, keep_a_state, restore = blocks()
    folders = {
        "WORKSPACE": tmp_path / "w",
        "BACKUP": tmp_path / "backup",
        "RESTORED": tmp_path / "restored",
    }
    run = Cli(folders["WORKSPACE"])
    run("init")
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({1: 6}))
    run("ingest", "--source", "S", "--labels", tmp_path / "l")
    type_in(back_up, **folders)
    type_in(keep_a_state, **folders)

    write_volume(tmp_path / "l" / "A.nii.gz", boxes({1: 7}))
    write_volume(tmp_path / "l" / "B.nii.gz", boxes({2: 3}))
    run("ingest", "--source", "S", "--labels", tmp_path / "l")
    type_in(back_up, **folders)
    write_volume(tmp_path / "l" / "C.nii.gz", boxes({3: 3}))
    run("ingest", "--source", "S", "--labels", tmp_path / "l")

    type_in(restore, **folders)
    restored = Cli(folders["RESTORED"])
    assert restored("cases", "", "--count") == "2\n"
    assert restored("cases", "version = 2", "--count") == "1\n"
    # It goes on where it stood when it was backed up.
    restored("ingest", "--source", "S", "--labels", tmp_path / "l")
    assert restored("cases", "", "--count") == "3\n"
    assert restored.json("verify", "--deep")["damage"] == []

    # The catalog that was kept from before has all its files in the same store.
    (folders["RESTORED"] / "catalog.db").unlink()
    (folders["RESTORED"] / "catalog-before-revision.db").rename(folders["RESTORED"] / "catalog.db")
    assert restored("cases", "", "--count") == "1\n"
    assert restored.json("verify", "--deep")["damage"] == []
