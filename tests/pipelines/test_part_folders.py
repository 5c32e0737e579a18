"""Folders with one file per class are taken in as one mask each."""

import numpy as np
import pytest
from sqlalchemy import select
from volume_files import write_image, write_volume

from curation.errors import UsageError
from curation.mappings import parse_mapping
from db import case_files
from db.models import Conflict
from pipelines.ingest import IngestRequest, ingest

MAPPING = """source = "Parts"
protocol = ["liver", "gallbladder"]
[files]
image = "{case}/ct.nii.gz"
[values]
1 = "tumor"
2 = "liver"
3 = "gallbladder"
4 = "spleen"
[parts]
1 = "lesion.nii.gz"
2 = "liver.nii.gz"
3 = "gallbladder.nii.gz"
4 = "spleen.nii.gz"
"""

LIVER, SPLEEN, GALLBLADDER, TUMOR = 1, 3, 9, 14


def bar(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((12, 10, 8), np.uint8)
    mask[start:stop, 5, 4] = 1
    return mask


def test_a_folder_is_one_mask_overlaps_are_booked_and_a_changed_file_is_a_revision(bench, tmp_path):
    case = tmp_path / "in" / "s0011"
    write_image(case / "ct.nii.gz")
    write_volume(case / "segmentations" / "liver.nii.gz", bar(1, 9))
    write_volume(case / "segmentations" / "lesion.nii.gz", bar(3, 5))
    write_volume(case / "segmentations" / "gallbladder.nii.gz", bar(0, 0))
    write_volume(case / "segmentations" / "spleen.nii.gz", bar(0, 0))
    write_volume(case / "segmentations" / "rib_left_1.nii.gz", bar(1, 9))
    (tmp_path / "in" / "s0012" / "segmentations").mkdir(parents=True)
    odd = tmp_path / "in" / "s0013" / "segmentations"
    write_volume(odd / "liver.nii.gz", bar(1, 9))
    write_volume(odd / "spleen.nii.gz", bar(1, 9)[:, :, :7])
    request = IngestRequest(
        "Parts", parse_mapping(MAPPING, "parts.toml"), labels=tmp_path / "in", images=tmp_path / "in"
    )

    first = ingest(bench, request)

    assert first.counts == {"new": 1}
    empty, odd_grid = sorted(first.refused)
    assert "s0012/segmentations: holds no file that [parts]" in empty
    assert "liver.nii.gz and spleen.nii.gz do not lie on one grid" in odd_grid
    with bench.catalog.reading() as session:
        rows = case_files.case_file(session, "Parts/s0011").annotations
        ledger = [(c.kept, c.offered, c.voxels) for c in session.scalars(select(Conflict))]
    # Liver 8 voxels, of which the lesion, with the lower number, has 2.
    assert (rows[LIVER].voxels, rows[TUMOR].voxels) == (6, 2)
    assert (str(rows[GALLBLADDER].status), str(rows[SPLEEN].status)) == ("absent", "missing")
    assert ledger == [(TUMOR, LIVER, 2)]

    assert ingest(bench, request).counts == {"unchanged": 1}
    write_volume(case / "segmentations" / "spleen.nii.gz", bar(9, 11))
    assert ingest(bench, request).counts == {"new versions": 1}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('9 = "x.nii.gz"', r"line 5: '9' in \[parts\] is not a value of \[values\]"),
        ('1 = "../x.nii.gz"', "line 5: 1 = '../x.nii.gz' is not the name of a NIfTI file"),
        ('1 = "x.nii.gz"\n2 = "x.nii.gz"', "line 6: 'x.nii.gz' stands twice"),
    ],
)
def test_wrong_parts_are_refused_with_their_line(lines, said):
    with pytest.raises(UsageError, match=said):
        parse_mapping(f'[values]\n1 = "liver"\n2 = "spleen"\n[parts]\n{lines}\n', "m.toml")
