"""One bit flipped in each of 100 stored files: verify finds every one of them and no other."""

import json
import random
from pathlib import Path

from cohort import Workspaces
from processes import run

FLIPS = 100


def test_verify_finds_every_flipped_bit(workspaces: Workspaces, tmp_path: Path):
    workspace = workspaces.copy("import", tmp_path / "w")
    draw = random.Random(7)
    files = sorted((workspace / "store").glob("??/*.nii.gz"))
    flipped = draw.sample(files, FLIPS)
    for path in flipped:
        data = bytearray(path.read_bytes())
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.chmod(0o644)
        path.write_bytes(data)
    found = json.loads(run(workspace, "verify", "--json", rc=4).stdout)
    assert len(found["damage"]) == FLIPS
    assert {path.name for path in flipped} == {
        path.name for path in files for line in found["damage"] if path.name in line
    }
