"""kill -9 in the middle: the same command again completes, and nothing is lost, doubled or half-written."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from volume_files import boxes, write_volume

CASES = 400


@pytest.mark.long
@pytest.mark.parametrize("after_s", [0.2, 1.0])
def test_an_ingest_killed_in_the_middle_is_completed_by_the_same_command(tmp_path, after_s):
    for number in range(CASES):
        mask = boxes({1 + number % 14: 1 + number % 9, 1 + (number + 5) % 14: 2})
        mask[0, 0, number % 8] = 1
        write_volume(tmp_path / "l" / f"C{number:03}.nii.gz", mask)

    def command(*words: str) -> list[str]:
        return [sys.executable, "-m", "app.cli", "-w", str(tmp_path / "w"), *words]

    def ask(*words: str) -> dict:
        return json.loads(subprocess.run(command(*words, "--json"), capture_output=True, check=True).stdout)

    subprocess.run(command("init"), check=True, capture_output=True)
    ingest = command("ingest", "--source", "S", "--labels", str(tmp_path / "l"), "--jobs", "2")
    child = subprocess.Popen(ingest, start_new_session=True, stderr=subprocess.DEVNULL)
    store = tmp_path / "w" / "store"
    while not any(store.glob("*/*.nii.gz")):
        assert child.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    time.sleep(after_s)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    booked = ask("census")["cases"]

    again = ask(*ingest[5:])
    assert again["counts"].get("unchanged", 0) == booked, "what was committed is not done again"
    assert again["counts"].get("new", 0) == CASES - booked
    found = ask("cases")["cases"]
    assert len(found) == CASES
    assert {case["version"] for case in found} == {1}
    checked = ask("verify", "--deep")
    assert (checked["damage"], checked["noted"]) == ([], [])
