"""A mask that leaves the dashboard for an annotation tool, and one that comes back; two versions compared."""

import gzip
import io
import zipfile

import nibabel as nib
import numpy as np
import pytest
from dashboard_workspace import HOSTILE_NAME, SOURCE
from streamlit.testing.v1 import AppTest

from app.workspace import open_workspace
from dashboards.components.mask_files import LARGEST_MB
from db import queries
from pipelines.checkout import Tool, packed_for, packed_name

CASE = f"{SOURCE}/PHANTOM_0001"


def page_of(root, address=CASE):
    with open_workspace(root) as ws, ws.catalog.reading() as session:
        return queries.case_page(session, address)


def stored(root, address=CASE) -> nib.Nifti1Image:
    with open_workspace(root) as ws:
        return nib.load(ws.store.path(page_of(root, address).detail.row.file_hash))


def as_file(voxels: np.ndarray, affine: np.ndarray) -> bytes:
    return nib.Nifti1Image(voxels.astype(np.uint8), affine).to_bytes()


def bring_in(app: AppTest, name: str, data: bytes, reason: str = "rim was lacking") -> AppTest:
    app.file_uploader[0].set_value((name, data, "application/octet-stream"))
    next(t for t in app.text_input if t.key.startswith("corrected because")).set_value(reason)
    return app.button(key="bring in").click().run()


def said(app: AppTest) -> str:
    return " ".join(e.value for e in [*app.error, *app.success]).replace("\\", "")


def test_a_corrected_mask_is_the_next_version_and_what_was_changed_is_the_persons(visit, root):
    old = stored(root)
    voxels = np.asarray(old.dataobj).copy()
    spleen = int((voxels == 3).sum())
    x, y, z = np.argwhere(voxels == 3)[0]
    voxels[x, y, z] = 0
    app = bring_in(visit(root, "case", case=CASE), "mine.nii", as_file(voxels, old.affine))
    assert not app.exception
    assert said(app) == "This is version 3. Yours now: Spleen."
    page = page_of(root)
    row = page.versions[-1]
    assert (row.kind.value, row.author, row.message) == ("corrected", "Ada Tester", "rim was lacking")
    states = {a.class_name: (a.origin, a.voxels, a.author) for a in page.detail.annotations}
    assert states["spleen"] == ("corrected", spleen - 1, "Ada Tester")
    assert states["liver"][0] == "pseudo"


def test_a_mask_on_another_grid_is_refused_with_what_differs(visit, root):
    old = stored(root)
    voxels = np.asarray(old.dataobj)
    app = visit(root, "case", case=CASE)
    bring_in(app, "cropped.nii", as_file(voxels[:, :, 1:], old.affine))
    assert f"cropped.nii: does not lie on the grid of {CASE}@2" in said(app)
    assert "62" in said(app)
    assert "61" in said(app)
    shifted = old.affine.copy()
    shifted[0, 3] += 40
    bring_in(app, "moved.nii", as_file(voxels, shifted))
    assert "moved.nii: does not lie on the grid" in said(app)
    assert page_of(root).versions[-1].number == 2


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("text.nii", b"not a volume", "text.nii"),
        ("broken.nii.gz", b"\x1f\x8b\x08\x00broken", "broken.nii.gz"),
        ("<b>x</b>.nii", b"", "<b>x<_b>.nii"),
    ],
)
def test_what_is_no_mask_is_a_sentence_with_the_files_name_as_text(visit, root, name, data, says):
    app = bring_in(visit(root, "case", case=CASE), name.replace("</", "<_"), data)
    assert not app.exception
    assert says in said(app)
    assert page_of(root).versions[-1].number == 2


def test_an_unknown_value_and_no_change_are_told(visit, root):
    old = stored(root)
    voxels = np.asarray(old.dataobj).copy()
    app = visit(root, "case", case=CASE)
    bring_in(app, "same.nii", as_file(voxels, old.affine))
    assert "No voxel differs from version 2: nothing is written." in said(app)
    voxels[0, 0, 0] = 77
    bring_in(app, "odd.nii", as_file(voxels, old.affine))
    assert "odd.nii: label values 77 (1 voxels) mean nothing" in said(app)


def test_a_correction_of_an_older_version_is_refused_unless_it_is_to_be_merged(visit, root):
    old = stored(root)
    voxels = np.asarray(old.dataobj).copy()
    voxels[tuple(np.argwhere(voxels == 3)[0])] = 0
    app = bring_in(visit(root, "case", case=CASE), "mine.nii", as_file(voxels, old.affine))
    voxels = np.asarray(old.dataobj).copy()
    voxels[tuple(np.argwhere(voxels == 1)[0])] = 0
    next(s for s in app.selectbox if s.key.startswith("base")).set_value(2)
    bring_in(app, "second.nii", as_file(voxels, old.affine))
    assert "is no longer the newest (3 corrected by Ada Tester)" in said(app)
    app.checkbox[0].check()
    bring_in(app, "second.nii", as_file(voxels, old.affine))
    assert "This is version 4. Yours now: Liver." in said(app)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(visit, root):
    app = bring_in(visit(root, "case", case=CASE), "huge.nii", bytes(LARGEST_MB * 2**20 + 1))
    assert f"at most {LARGEST_MB} MB" in said(app)
    assert page_of(root).versions[-1].number == 2


def test_a_viewer_brings_nothing_in(visit, root, monkeypatch):
    old = stored(root)
    voxels = np.asarray(old.dataobj).copy()
    voxels[tuple(np.argwhere(voxels == 3)[0])] = 0
    app = visit(root, "case", case=CASE)
    monkeypatch.setenv("MASKLEDGER_READ_ONLY", "True")
    bring_in(app, "mine.nii", as_file(voxels, old.affine))
    assert "nobody can correct a mask here" in said(app)
    assert page_of(root).versions[-1].number == 2
    assert not app.file_uploader


@pytest.mark.parametrize(("tool", "labels"), [(Tool.ITKSNAP, "_labels.txt"), (Tool.SLICER, "_labels.ctbl")])
def test_a_download_holds_mask_image_and_label_colors_on_one_grid(built, tool, labels):
    with open_workspace(built.root) as ws:
        packed = packed_for(ws.bench(jobs=1), f"{CASE}@1", tool)
    archive = zipfile.ZipFile(io.BytesIO(packed))
    stem = "PHANTOM_0001"
    assert sorted(archive.namelist()) == sorted(
        ["README.txt", f"{stem}_ct.nii.gz", f"{stem}_mask.nii.gz", stem + labels]
    )
    text = archive.read("README.txt").decode()
    assert text.startswith(f"{CASE}@1\n")
    assert "/tmp" not in text
    ct, mask = (
        nib.Nifti1Image.from_bytes(gzip.decompress(archive.read(f"{stem}_{what}.nii.gz")))
        for what in ("ct", "mask")
    )
    assert ct.shape == mask.shape
    assert np.array_equal(ct.affine, mask.affine)
    assert "Liver" in archive.read(stem + labels).decode()


def test_a_download_without_its_image_says_why(built):
    with open_workspace(built.root) as ws:
        bench = ws.bench(jobs=1)
        gone = zipfile.ZipFile(io.BytesIO(packed_for(bench, f"{SOURCE}/PHANTOM_0005", Tool.SLICER)))
        unasked = zipfile.ZipFile(io.BytesIO(packed_for(bench, CASE, Tool.SLICER, with_image=False)))
    assert "Without the image." in gone.read("README.txt").decode()
    assert not [name for name in [*gone.namelist(), *unasked.namelist()] if name.endswith("_ct.nii.gz")]
    assert "Without the image." not in unasked.read("README.txt").decode()


def test_a_download_is_called_by_harmless_signs():
    assert packed_name(f"{SOURCE}/{HOSTILE_NAME}@2", Tool.ITKSNAP) == "_script_alert_1__script_2_itksnap.zip"
    assert packed_name("S/Änne 3@1", Tool.SLICER) == "_nne_3_1_slicer.zip"


def test_two_versions_are_compared_by_volume_and_as_a_picture(visit, built):
    app = visit(built.root, "case", case=CASE)
    pictures = len(app.image)
    app.button(key="compare").click().run()
    assert not app.exception
    page = "\n".join(e.proto.body for e in app.get("html"))
    table = page[page.index("What differs between the versions") :].split("</table>")[0]
    assert table.count("pseudo (truth-teacher)") == 13
    assert "Tumor" not in table
    assert len(app.image) == pictures + 1
    app.selectbox(key=f"before {CASE}").set_value(2)
    app.button(key="compare").click().run()
    assert any("one version twice" in c.value for c in app.caption)
