"""Folders with one file per class are taken in as one mask each."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select
from volume_files import write_image, write_volume

from curation.errors import UsageError
from curation.mappings import parse_mapping
from curation.status import Evidence, Status
from db import case_files
from db.models import Conflict, MaskVersion
from pipelines.ingest import IngestRequest, ingest
from pipelines.rederive import RederiveRequest, plan, rederive

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
    assert first.noted == [
        "Parts: in 1 case files were passed over that [parts] of mapping 'parts' does not name, 1 in all: "
        "rib_left_1.nii.gz; name there what is wanted",
        "Parts: classes are drawn that the protocol does not name, in 1 case (tumor in 1); the voxels count, but "
        "one of the two is wrong: `maskledger quality --check outside_protocol` lists them with what to do",
    ]
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


def rows_of(bench, address):
    with bench.catalog.reading() as session:
        rows = case_files.case_file(session, address).annotations
        ledger = session.execute(
            select(Conflict.kept, Conflict.offered, Conflict.voxels)
            .join(MaskVersion, MaskVersion.id == Conflict.version_id)
            .order_by(MaskVersion.id, Conflict.kept, Conflict.offered)
        ).all()
    return rows, [tuple(row) for row in ledger]


def test_a_stated_priority_decides_and_another_one_is_a_new_version_of_the_same_files(bench, tmp_path):
    """Liver at 1-8, lesion at 3-4, spleen at 8-10: the lesion has 2 voxels of the liver, liver and spleen share one."""
    folder = tmp_path / "in" / "s0011" / "segmentations"
    write_volume(folder / "liver.nii.gz", bar(1, 9))
    write_volume(folder / "lesion.nii.gz", bar(3, 5))
    write_volume(folder / "spleen.nii.gz", bar(8, 11))
    by_value = parse_mapping(MAPPING, "parts.toml")
    turned = parse_mapping(
        MAPPING.replace("[parts]", '[parts]\npriority = ["spleen", "liver"]'), "parts.toml"
    )
    assert list(by_value.parts) == [1, 2, 3, 4]
    assert list(turned.parts) == [4, 2, 1, 3]
    request = IngestRequest("Parts", by_value, labels=tmp_path / "in")
    ingest(bench, request)
    rows, ledger = rows_of(bench, "Parts/s0011")
    assert (rows[LIVER].voxels, rows[TUMOR].voxels, rows[SPLEEN].voxels) == (6, 2, 2)
    assert ledger == [(LIVER, SPLEEN, 1), (TUMOR, LIVER, 2)]

    foreseen = plan(bench, RederiveRequest("Parts", mapping=turned))
    assert {name: (c.gained, c.lost) for name, c in foreseen.changes[0].classes.items()} == {
        "liver": (2, 1),
        "spleen": (1, 0),
        "tumor": (0, 2),
    }
    assert rederive(bench, RederiveRequest("Parts", mapping=turned)).counts == {"new versions": 1}

    rows, ledger = rows_of(bench, "Parts/s0011")
    # The liver takes the 2 voxels of the lesion, of which nothing is left, and the spleen one of the liver.
    assert (rows[LIVER].voxels, rows[TUMOR].voxels, rows[SPLEEN].voxels) == (7, 0, 3)
    # Beside the overlaps of the files the ledger has what the newer reading displaced.
    assert {(SPLEEN, LIVER, 1), (LIVER, TUMOR, 2)} <= set(ledger[2:])
    assert rederive(bench, RederiveRequest("Parts", mapping=turned)).counts == {"unchanged": 1}
    assert ingest(bench, replace(request, mapping=turned)).counts == {"unchanged": 1}
    assert ingest(bench, request).counts == {"new versions": 1}
    assert rows_of(bench, "Parts/s0011")[0][TUMOR].voxels == 2


def test_all_files_that_fit_a_pattern_are_one_class_and_a_file_of_two_patterns_refuses_its_case(
    bench, tmp_path
):
    mapping = parse_mapping(
        MAPPING.replace('"lesion.nii.gz"', '"lesion_*.nii.gz"').replace("spleen.nii.gz", "*_9.nii.gz"),
        "m.toml",
    )
    good, odd = (tmp_path / "in" / name / "segmentations" for name in ("s1", "s2"))
    write_volume(good / "liver.nii.gz", bar(0, 12))
    write_volume(good / "lesion_1.nii.gz", bar(1, 4))
    write_volume(good / "lesion_2.nii.gz", bar(3, 6))
    (good / "._lesion_3.nii.gz").write_bytes(b"what macOS leaves beside files on foreign disks")
    write_volume(odd / "lesion_9.nii.gz", bar(0, 12))

    outcome = ingest(bench, IngestRequest("Parts", mapping, labels=tmp_path / "in"))

    assert outcome.counts == {"new": 1}
    assert [line.partition("s2/segmentations/")[2] for line in outcome.refused] == [
        "lesion_9.nii.gz: fits 1 = 'lesion_*.nii.gz' and 4 = '*_9.nii.gz' in [parts] of mapping 'm'; name it in full "
        "in one of them"
    ]
    rows, ledger = rows_of(bench, "Parts/s1")
    # 1-3 and 3-5: five voxels, all of them in the liver's twelve.
    assert (rows[TUMOR].voxels, rows[LIVER].voxels) == (5, 7)
    assert ledger == [(TUMOR, LIVER, 5)]


def test_a_class_of_the_protocol_without_a_file_is_missing_until_somebody_says_it_was_looked_for(
    bench, tmp_path
):
    mapping = parse_mapping(MAPPING.replace('"gallbladder"]', '"gallbladder", "spleen"]'), "parts.toml")
    for name, until in (("s1", 9), ("s2", 8)):
        write_volume(tmp_path / "in" / name / "segmentations" / "liver.nii.gz", bar(1, until))
        write_volume(tmp_path / "in" / name / "segmentations" / "spleen.nii.gz", bar(0, 0))
    cases = tmp_path / "cases.csv"
    cases.write_text("case,classes\ns2,liver gallbladder spleen\n")

    outcome = ingest(bench, IngestRequest("Parts", mapping, labels=tmp_path / "in", cases=cases))

    assert outcome.noted == [
        "Parts: classes that the protocol names have no file in 1 case (gallbladder in 1) and are missing there, not "
        "absent; if they were looked for, say so in the column 'classes' of --cases"
    ]
    stated = {}
    for name in ("s1", "s2"):
        rows, _ = rows_of(bench, f"Parts/{name}")
        # The empty file of the spleen says that somebody looked; no file of the gallbladder says nothing.
        assert (rows[SPLEEN].status, rows[SPLEEN].evidence) == (Status.ABSENT, Evidence.PROTOCOL)
        stated[name] = (rows[GALLBLADDER].status, rows[GALLBLADDER].evidence)
    assert stated == {
        "s1": (Status.MISSING, Evidence.DEFAULT),
        "s2": (Status.ABSENT, Evidence.PROTOCOL),
    }
    # Read anew without the mapping's file names it is the same.
    assert rederive(bench, RederiveRequest("Parts")).counts == {"unchanged": 2}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('9 = "x.nii.gz"', r"line 5: '9' in \[parts\] is not a value of \[values\]"),
        ('1 = "../x.nii.gz"', "line 5: 1 = '../x.nii.gz' is not the name of a NIfTI file"),
        ('1 = "x.nii.gz"\n2 = "x.nii.gz"', "line 6: 'x.nii.gz' stands twice"),
        ('1 = "x.nii.gz"\npriority = "liver"', r"line 6: priority = 'liver' is not a list of classes"),
        ('priority = ["liver", 2]\n1 = "x.nii.gz"', r"line 5: priority = \['liver', 2\] is not a list"),
        (
            '1 = "x.nii.gz"\npriority = [\n  "liver",\n  "livr"]',
            "line 8: unknown class 'livr': did you mean 'liver'",
        ),
        ('1 = "x.nii.gz"\npriority = ["liver", "Liver"]', "line 6: 'Liver' stands twice in priority"),
        (
            '1 = "x.nii.gz"\npriority = ["spleen"]',
            r"line 6: 'spleen' in priority is what no file of \[parts\]",
        ),
    ],
)
def test_wrong_parts_are_refused_with_their_line(lines, said):
    with pytest.raises(UsageError, match=said):
        parse_mapping(f'[values]\n1 = "liver"\n2 = "spleen"\n[parts]\n{lines}\n', "m.toml")
