"""KiTS 2019 and 2023 of the same cases: diff counts what the table beside the project counts."""

import csv
from pathlib import Path

import pytest

from curation.blame import ChainVersion, blame
from curation.diff import diff
from curation.mappings import apply_mapping, load_builtin
from curation.rle import RunLengths
from curation.volumes import decode_mask

KIDNEY, TUMOR = 200, 14
CASES = [f"case_{n:05}" for n in (0, 1, 15, 23, 30, 37, 39, 40, 60, 61, 120, 125, 175)]


@pytest.fixture(scope="module")
def table(shared: Path) -> dict[str, dict[str, str]]:
    with (shared / "data" / "kits_revisions" / "kits19_vs_kits23.csv").open(newline="") as lines:
        return {row["case_id"]: row for row in csv.DictReader(lines)}


def revision(shared: Path, name: str, case: str) -> RunLengths:
    path = shared / "data" / name / case / "segmentation.nii.gz"
    return apply_mapping(decode_mask(path.read_bytes(), str(path))[1], load_builtin(name), str(path))


def test_the_list_of_shared_cases_is_whole(shared):
    both = {path.name for path in (shared / "data" / "kits19").iterdir()}
    assert sorted(both & {path.name for path in (shared / "data" / "kits23").iterdir()}) == CASES


@pytest.mark.parametrize("case", CASES)
def test_diff_and_blame_of_the_two_revisions_agree_with_the_table(shared, table, case):
    before, after = (revision(shared, name, case) for name in ("kits19", "kits23"))
    row, found = table[case], diff(before, after)
    tumor, kidney = found[TUMOR], found[KIDNEY]
    assert f"{tumor.dice:.4f}" == f"{float(row['dice_tumour']):.4f}"
    assert (tumor.common + tumor.lost, tumor.common + tumor.gained) == (
        int(row["v19_tumour"]),
        int(row["v23_tumour"]),
    )
    assert (kidney.common + kidney.lost, kidney.common + kidney.gained) == (
        int(row["v19_kidney"]),
        int(row["v23_kidney"]),
    )
    drawn_by = blame([ChainVersion(1, before), ChainVersion(2, after)]).voxels
    expected = {(value, 1): found[value].common for value in (TUMOR, KIDNEY)}
    expected |= {(value, 2): found[value].gained for value in (TUMOR, KIDNEY)}
    assert drawn_by == {pair: voxels for pair, voxels in sorted(expected.items()) if voxels}
