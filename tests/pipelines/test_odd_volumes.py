"""Volumes as they lie in folders: 48 orientations of one mask are one mask, other formats are told of by name."""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from sqlalchemy import select
from volume_files import boxes, write_volume

from curation.errors import UsageError
from curation.later_checks import DUPLICATE_MASK
from curation.mappings import load_builtin
from db.models import Annotation, Case, FindingRow, MaskVersion
from pipelines.folders import list_volumes
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.runs import Workers
from pipelines.score import score_folders

FLARE = load_builtin("flare23")
LIVER, RIGHT_KIDNEY, LEFT_KIDNEY = 1, 2, 13
PAIR = "half of a .hdr/.img pair; join the two with `nib-convert NAME.hdr NAME.nii.gz`"
META = "a MetaImage file; convert it to .nii.gz with 3D Slicer or SimpleITK"


def test_all_48_orientations_of_one_mask_are_one_census_and_one_answer_about_its_sides(bench, tmp_path):
    # RAS, 3 × 4 × 5 mm, so that no two axes can be taken for each other.
    mask = np.zeros((40, 20, 12), np.uint8)
    mask[4:9, 2:7, 3:8] = LEFT_KIDNEY  # lies at the patient's left: x from 4 to 8
    mask[30:34, 3:7, 2:8] = RIGHT_KIDNEY
    mask[25:38, 10:18, 0:6] = LIVER  # touches the lowest slice
    mask[1, 18, 10] = LIVER
    affine = np.array([[3, 0, 0, -60], [0, 4, 0, -45], [0, 0, 5, 900], [0, 0, 0, 1.0]])
    swap = np.arange(15, dtype=np.uint8)
    swap[[RIGHT_KIDNEY, LEFT_KIDNEY]] = LEFT_KIDNEY, RIGHT_KIDNEY
    codes = set()
    for what, array in (("as_it_is", mask), ("swapped", swap[mask])):
        image = nib.Nifti1Image(array, affine)
        for order, flips in itertools.product(
            itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
        ):
            turned = image.as_reoriented(np.array(list(zip(order, flips, strict=True))))
            code = "".join(nib.aff2axcodes(turned.affine))
            codes.add(code)
            write_volume(tmp_path / "l" / f"{code}_{what}.nii.gz", np.asarray(turned.dataobj), turned.affine)
    assert len(codes) == 48
    outcome = ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l"))
    assert (outcome.counts, outcome.refused) == ({"new": 96}, [])
    # Each is a copy of 47 others, which comparing them says.
    (told,) = outcome.noted
    assert "96 duplicate_mask" in told

    with bench.catalog.reading() as session:
        rows = session.execute(
            select(Case.name, Annotation)
            .join(MaskVersion, MaskVersion.case_id == Case.id)
            .join(Annotation, Annotation.version_id == MaskVersion.id)
            .where(Annotation.voxels > 0)
        ).all()
        found = {
            (name, row.class_id): (
                row.voxels, row.volume_ml, row.centroid, row.components, row.largest_share, row.touches_border,
            )
            for name, row in rows
        }  # fmt: skip
        findings = session.execute(
            select(Case.name, FindingRow)
            .join(MaskVersion, MaskVersion.case_id == Case.id)
            .join(FindingRow, FindingRow.version_id == MaskVersion.id)
            .where(FindingRow.check != DUPLICATE_MASK)
        ).all()
        said: dict[str, set[tuple[str, int | None, str]]] = {name: set() for name, _ in found}
        for name, finding in findings:
            said[name].add((finding.check, finding.class_id, finding.message))
    for code in codes:
        name = f"{code}_as_it_is"
        # By hand: 4 * 4 * 6 = 96 voxels of 3 * 4 * 5 mm = 0.06 ml; middle index (31.5, 4.5, 4.5).
        assert found[name, RIGHT_KIDNEY] == (
            96, pytest.approx(5.76), pytest.approx([34.5, -27, 922.5]), 1, 1.0, False,
        )  # fmt: skip
        assert found[name, LEFT_KIDNEY][:3] == (
            125, pytest.approx(7.5), pytest.approx([-42, -29, 925]),
        )  # fmt: skip
        voxels, _, _, components, share, border = found[name, LIVER]
        assert (voxels, components, share, border) == (625, 2, pytest.approx(624 / 625), True)
    for what, checks in (("as_it_is", set()), ("swapped", {"left_right_swap"})):
        same = {frozenset(said[f"{code}_{what}"]) for code in codes}
        assert len(same) == 1
        assert {check for check, _, _ in next(iter(same))} & {"left_right_swap"} == checks


def folder_with_other_formats(root: Path) -> Path:
    """A.nii.gz, and beside it a pair B, a MetaImage C, a MetaImage of A, three DICOM files and a text."""
    write_volume(root / "A.nii.gz", boxes({LIVER: 4}))
    for name in ("B.hdr", "B.img", "C.mha", "A.mha", "ct/1.dcm", "ct/2.dcm", "ct/3.DCM", "readme.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    return root


def test_other_formats_are_refused_by_name_and_dicom_files_noted(bench, tmp_path):
    folder = folder_with_other_formats(tmp_path / "l")
    refused = [f"{folder}/B.hdr: {PAIR}", f"{folder}/C.mha: {META}"]
    noted = [
        f"{folder}/ct: 3 files like 1.dcm, each a DICOM file; convert the series to .nii.gz with dcm2niix"
    ]
    # Given as the folder of images, too, it is still one folder.
    for request in ({"labels": folder}, {"labels": folder, "images": folder}):
        outcome = ingest(bench, IngestRequest(source="S", mapping=FLARE, **request))
        assert outcome.refused == refused
        assert [line for line in outcome.noted if "no image" not in line] == noted
    assert import_predictions(bench, folder, "M", FLARE).refused == refused


def test_score_tells_of_other_formats_once(tmp_path):
    folder = folder_with_other_formats(tmp_path / "l")
    scored = score_folders(Workers(jobs=1), folder, folder, FLARE)
    assert list(scored.cases) == ["A"]
    assert scored.refused == [f"{folder}/B.hdr: {PAIR}", f"{folder}/C.mha: {META}"]


@pytest.mark.parametrize("name", ["", "C.mha"])
def test_where_there_is_nothing_else_another_format_is_wrong_usage(tmp_path, name):
    (tmp_path / "C.mha").touch()
    with pytest.raises(UsageError, match=r"C\.mha: a MetaImage file; convert it to \.nii\.gz"):
        list_volumes(tmp_path / name, "masks")
