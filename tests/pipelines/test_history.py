"""Diff and blame of stored versions: what changed, who drew it, and the files that tell."""

import csv
import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from version_chain import add_version, restore
from volume_files import AFFINE, SHAPE, write_image, write_volume

from curation.errors import CurationError, GridError, UsageError
from curation.mappings import load_builtin
from curation.status import Origin, Status
from db import queries
from db.models import VersionKind
from pipelines.annotate import Drawn
from pipelines.blame import trace, write_label_map
from pipelines.changes import compare, draw
from pipelines.complement import complement
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions

FLARE = load_builtin("flare23")
LIVER, SPLEEN, PANCREAS, TUMOR = 1, 3, 4, 14


def take(bench, folder: Path, mask, *, revision="one", mapping=FLARE, images=None, affine=AFFINE):
    write_volume(folder / "l" / "A.nii.gz", mask, affine)
    request = IngestRequest(
        source="S", mapping=mapping, revision=revision, labels=folder / "l", images=images, message="why not"
    )
    assert not ingest(bench, request).refused


def fill(bench, folder: Path, mask, model):
    write_volume(folder / model / "A.nii.gz", mask)
    import_predictions(bench, folder / model, model, FLARE)
    assert complement(bench, "", model).counts == {"complemented": 1}


def prediction_of(bench, model):
    with bench.catalog.reading() as session:
        case_id = queries.resolve(session, "S/A").case_id
        return next(p.id for p in queries.predictions_for(session, case_id) if p.model == model)


def first_mask():
    """A liver of 4×4×4 = 64 voxels with a tumor of 8 in it, so that 56 are the liver's."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:5, 1:5, 1:5] = LIVER
    mask[2:4, 2:4, 2:4] = TUMOR
    return mask


def second_mask():
    """The liver grows by 16 voxels at x = 5, and the tumor moves by one voxel along x."""
    mask = first_mask()
    mask[5, 1:5, 1:5] = LIVER
    mask[2, 2:4, 2:4] = LIVER
    mask[4, 2:4, 2:4] = TUMOR
    return mask


def spleen_at(x):
    mask = np.zeros(SHAPE, np.uint8)
    mask[x : x + 3, 6:9, 6] = SPLEEN
    return mask


@pytest.fixture
def revised(bench, tmp_path):
    take(bench, tmp_path, first_mask())
    take(bench, tmp_path, second_mask(), revision="two")
    return bench


def test_diff_counts_what_a_changed_file_gained_and_lost_in_voxels_and_ml(revised):
    compared = compare(revised, "S/A@1", "S/A@2")
    # Liver: gains 16 at x = 5 and the tumor's 4 at x = 2, loses 4 at x = 4. A voxel is 0.01 ml.
    liver, tumor = compared.classes[LIVER], compared.classes[TUMOR]
    assert (liver.voxels.gained, liver.voxels.lost) == (20, 4)
    assert (liver.gained_ml, liver.lost_ml) == (pytest.approx(0.2), pytest.approx(0.04))
    assert liver.voxels.dice == pytest.approx(2 * 52 / (56 + 72))
    assert (tumor.voxels.gained, tumor.voxels.lost, tumor.voxels.dice) == (4, 4, 0.5)
    assert tumor.origin == (Origin.ORIGINAL, Origin.ORIGINAL)
    assert list(compared.classes) == [LIVER, TUMOR]


def test_one_address_alone_is_compared_with_its_parent(revised):
    compared = compare(revised, "S/A")
    assert (compared.before.address, compared.after.address) == ("S/A@1", "S/A@2")
    backwards = compare(revised, "S/A@2", "S/A@1")
    assert backwards.classes[LIVER].voxels.lost == compared.classes[LIVER].voxels.gained


def test_a_filled_class_shows_status_origin_and_model_before_and_after(bench, tmp_path):
    take(bench, tmp_path, first_mask())
    fill(bench, tmp_path, spleen_at(6), "M")
    (spleen,) = compare(bench, "S/A").classes.values()
    assert spleen.status == (Status.MISSING, Status.ANNOTATED)
    assert spleen.origin == (None, Origin.PSEUDO)
    assert spleen.by == (None, "M")
    assert spleen.voxels.dice == 0.0


def test_a_class_that_changed_its_status_alone_is_in_the_diff_with_dice_one(bench, tmp_path):
    kits = load_builtin("kits19")
    take(bench, tmp_path, np.where(first_mask() == LIVER, 1, 0).astype(np.uint8))
    take(bench, tmp_path, np.where(first_mask() == LIVER, 1, 0).astype(np.uint8), mapping=kits, revision="k")
    compared = compare(bench, "S/A")
    tumor = compared.classes[TUMOR]  # nobody had looked for it; the second protocol did
    assert (tumor.status, tumor.voxels.dice) == ((Status.MISSING, Status.ABSENT), 1.0)
    assert compared.reserved[200].voxels.gained == 56


def test_what_does_not_differ_is_not_in_the_diff(revised):
    same = compare(revised, "S/A@1", "S/A@1")
    assert (same.classes, same.reserved) == ({}, {})


def test_only_versions_of_one_case_are_compared(revised, tmp_path):
    write_volume(tmp_path / "l2" / "B.nii.gz", first_mask())
    ingest(revised, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l2"))
    with pytest.raises(UsageError, match="S/A and S/B are two cases"):
        compare(revised, "S/A", "S/B")
    with pytest.raises(UsageError, match="S/B@1: is the first version, there is nothing before it"):
        compare(revised, "S/B")


def test_versions_on_different_grids_are_not_compared_and_the_error_says_how_they_differ(bench, tmp_path):
    take(bench, tmp_path, first_mask())
    take(bench, tmp_path, first_mask(), affine=np.diag([2.0, 2.0, 5.0, 1.0]))
    with pytest.raises(GridError, match=r"different grids \(spacing \(2, 2, 2.5\) against \(2, 2, 5\) mm\)"):
        compare(bench, "S/A")


def test_the_picture_shows_what_was_gained_and_lost_where_it_changed(bench, tmp_path):
    from matplotlib.image import imread

    write_image(tmp_path / "i" / "A_0000.nii.gz")
    take(bench, tmp_path, first_mask(), images=tmp_path / "i")
    take(bench, tmp_path, second_mask(), revision="two", images=tmp_path / "i")
    assert draw(compare(bench, "S/A"), tmp_path / "a.png") is None
    picture = (imread(tmp_path / "a.png")[:, :, :3] * 255).round().astype(int)
    height, width = picture.shape[:2]
    difference = picture[: int(height * 0.9), int(width * 0.75) :]

    def pixels(color):
        return int((abs(difference - color).max(axis=2) < 40).sum())

    # Sky blue and orange, on noise that is gray: both classes gained and lost.
    assert pixels((86, 180, 233)) > 200
    assert pixels((230, 159, 0)) > 200
    assert pixels((0, 158, 115)) == 0  # a color that is not in it


def test_a_picture_without_image_says_so_and_the_same_diff_is_the_same_file(revised, tmp_path):
    compared = compare(revised, "S/A")
    assert "S/A has no image" in str(draw(compared, tmp_path / "a.png"))
    draw(compared, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_an_image_that_is_gone_does_not_stop_the_picture(bench, tmp_path):
    image = write_image(tmp_path / "i" / "A_0000.nii.gz")
    take(bench, tmp_path, first_mask(), images=tmp_path / "i")
    take(bench, tmp_path, second_mask(), revision="two")
    image.unlink()
    said = draw(compare(bench, "S/A"), tmp_path / "a.png")
    assert str(image) in said
    assert "source move" in said
    assert (tmp_path / "a.png").is_file()


def test_a_picture_is_refused_before_anything_is_overwritten(revised, tmp_path):
    compared = compare(revised, "S/A")
    (tmp_path / "a.png").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        draw(compared, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_text() == "mine"
    with pytest.raises(UsageError, match=r"is written as \.png"):
        draw(compared, tmp_path / "a.jpg")
    with pytest.raises(UsageError, match="no voxel differs"):
        draw(compare(revised, "S/A@1", "S/A@1"), tmp_path / "new.png")
    draw(compared, tmp_path / "a.png", replace=True)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def shares(traced):
    return {(s.value, s.hand.version): (s.hand.who, s.voxels) for s in traced.shares}


def test_blame_names_the_revision_that_put_each_voxel_there(revised):
    traced = trace(revised, "S/A")
    # The second revision brought 16 + 4 liver voxels and 4 of the tumor; 56 − 4 and 8 − 4 stand since the first.
    assert shares(traced) == {
        (LIVER, 1): ("S one", 52),
        (LIVER, 2): ("S two", 20),
        (TUMOR, 1): ("S one", 4),
        (TUMOR, 2): ("S two", 4),
    }
    liver = [s for s in traced.shares if s.value == LIVER]
    assert [s.share for s in liver] == [pytest.approx(52 / 72), pytest.approx(20 / 72)]
    assert liver[0].ml == pytest.approx(0.52)
    assert [(h.value, h.version, h.who, h.voxels, h.message) for h in traced.hands] == [
        (1, 1, "S one", 56, "why not"),
        (2, 2, "S two", 24, "why not"),
    ]


def test_blame_of_an_earlier_version_knows_nothing_of_later_ones(revised):
    assert shares(trace(revised, "S/A@1")) == {(LIVER, 1): ("S one", 56), (TUMOR, 1): ("S one", 8)}


def test_blame_tells_model_and_person_and_a_better_model_that_redraws_a_class(bench, tmp_path):
    take(bench, tmp_path, first_mask())
    fill(bench, tmp_path, spleen_at(6), "M")
    filled = first_mask() + spleen_at(6)
    assert shares(trace(bench, "S/A"))[SPLEEN, 2] == ("M", 9)

    corrected = filled.copy()
    corrected[9, 6:9, 6] = SPLEEN  # a person adds 3 of 12 voxels
    person = {SPLEEN: Drawn(Origin.CORRECTED, author="Bo")}
    add_version(bench, "S/A", VersionKind.CORRECTED, corrected, person, message="tip")
    found = shares(trace(bench, "S/A"))
    assert (found[SPLEEN, 2], found[SPLEEN, 3]) == (("M", 9), ("Bo", 3))

    # Another prediction owns the class now: all 9 voxels are its, although 6 of them stood before.
    write_volume(tmp_path / "N" / "A.nii.gz", spleen_at(7))
    import_predictions(bench, tmp_path / "N", "N", FLARE)
    redrawn = first_mask() + spleen_at(7)
    better = {SPLEEN: Drawn(Origin.PSEUDO, prediction_id=prediction_of(bench, "N"))}
    add_version(bench, "S/A", VersionKind.COMPLEMENTED, redrawn, better)
    found = shares(trace(bench, "S/A"))
    assert found == {(LIVER, 1): ("S one", 56), (TUMOR, 1): ("S one", 8), (SPLEEN, 4): ("N", 9)}


def test_what_a_revision_adds_to_a_persons_class_is_the_revisions(bench, tmp_path):
    take(bench, tmp_path, first_mask())
    corrected = first_mask()
    corrected[5, 1:5, 1] = LIVER
    add_version(bench, "S/A", VersionKind.CORRECTED, corrected, {LIVER: Drawn(Origin.CORRECTED, author="Bo")})
    revision = first_mask()
    revision[6, 1:5, 1] = LIVER
    take(bench, tmp_path, revision, revision="two")
    found = shares(trace(bench, "S/A"))
    assert (found[LIVER, 1], found[LIVER, 2], found[LIVER, 3]) == (("S one", 56), ("Bo", 4), ("S two", 4))
    with bench.catalog.reading() as session:
        version_id = queries.resolve(session, "S/A").version_id
        assert queries.annotations(session, version_id)[0].origin is Origin.CORRECTED


def test_two_hands_of_one_version_are_two_entries(bench, tmp_path):
    take(bench, tmp_path, first_mask())
    mask = first_mask() + spleen_at(6)
    mask[1:4, 8, 1] = PANCREAS
    for model, value in (("M", SPLEEN), ("N", PANCREAS)):
        write_volume(tmp_path / model / "A.nii.gz", np.where(mask == value, mask, 0).astype(np.uint8))
        import_predictions(bench, tmp_path / model, model, FLARE)
    drawn = {
        value: Drawn(Origin.PSEUDO, prediction_id=prediction_of(bench, model))
        for model, value in (("M", SPLEEN), ("N", PANCREAS))
    }
    add_version(bench, "S/A", VersionKind.COMPLEMENTED, mask, drawn)
    assert [(h.value, h.version, h.who, h.voxels) for h in trace(bench, "S/A").hands] == [
        (1, 1, "S one", 64),
        (2, 2, "M", 9),
        (3, 2, "N", 3),
    ]


def test_a_reverted_version_has_the_blame_of_what_it_brings_back(bench, tmp_path):
    take(bench, tmp_path, first_mask())
    fill(bench, tmp_path, spleen_at(6), "M")
    emptied = first_mask()
    emptied[emptied == TUMOR] = LIVER
    add_version(bench, "S/A", VersionKind.REVIEWED, emptied)
    restore(bench, "S/A", 2)
    assert shares(trace(bench, "S/A@4")) == shares(trace(bench, "S/A@2"))
    with bench.catalog.reading() as session:
        case_id = queries.resolve(session, "S/A").case_id
        assert [v.restores for v in queries.history(session, case_id)] == [None, None, None, 2]


def test_on_a_new_grid_blame_begins_anew(bench, tmp_path):
    take(bench, tmp_path, first_mask())
    take(bench, tmp_path, first_mask(), revision="two", affine=np.diag([2.0, 2.0, 5.0, 1.0]))
    assert shares(trace(bench, "S/A")) == {(LIVER, 2): ("S two", 56), (TUMOR, 2): ("S two", 8)}


def test_a_mask_that_was_filled_from_nothing_is_the_models_altogether(bench, tmp_path):
    write_image(tmp_path / "i" / "A_0000.nii.gz")
    ingest(bench, IngestRequest(source="S", mapping=FLARE, images=tmp_path / "i"))
    fill(bench, tmp_path, spleen_at(6), "M")
    assert compare(bench, "S/A@1", "S/A@2").classes[SPLEEN].voxels.gained == 9
    assert shares(trace(bench, "S/A")) == {(SPLEEN, 2): ("M", 9)}


def test_an_image_without_mask_has_nothing_to_blame(bench, tmp_path):
    write_image(tmp_path / "i" / "A_0000.nii.gz")
    ingest(bench, IngestRequest(source="S", mapping=FLARE, images=tmp_path / "i"))
    with pytest.raises(CurationError, match="S/A@1: has an image but no mask"):
        trace(bench, "S/A")


def test_the_label_map_holds_exactly_what_the_table_and_the_legend_say(bench, tmp_path):
    # Slices first and back to front, as KiTS stores them: the map must lie on the case's own grid.
    affine = np.array([[0, 0, -2.0, 90], [0, -2.0, 0, 70], [-2.5, 0, 0, 30], [0, 0, 0, 1]])
    take(bench, tmp_path, first_mask(), affine=affine)
    take(bench, tmp_path, second_mask(), revision="two", affine=affine)
    traced = trace(bench, "S/A")
    files = write_label_map(traced, tmp_path / "who.nii.gz")
    assert [f.name for f in files] == ["who.nii.gz", "who.legend.csv", "who.label.txt", "who.ctbl"]

    stored = nib.load(bench.store.path(compare(bench, "S/A").after.file.file_hash))
    image = nib.load(files[0])
    assert np.array_equal(image.affine, stored.affine)
    assert image.get_data_dtype() == np.uint8
    who, mask = np.asarray(image.dataobj), np.asarray(stored.dataobj)
    expected = np.where(second_mask() == first_mask(), 1, 2) * (mask != 0)
    assert np.array_equal(who, expected)
    for share in traced.shares:
        assert int(((who == share.hand.value) & (mask == share.value)).sum()) == share.voxels

    legend = list(csv.DictReader(io.StringIO(files[1].read_text())))
    assert [(int(r["value"]), int(r["voxels"])) for r in legend] == [
        (value, int((who == value).sum())) for value in (1, 2)
    ]
    assert [(r["kind"], r["who"], r["author"], r["message"]) for r in legend] == [
        ("ingested", "S one", "Ada Tester", "why not"),
        ("ingested", "S two", "Ada Tester", "why not"),
    ]
    assert all(r["when"].startswith("20") and r["color"].startswith("#") for r in legend)
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(files[0])))
    assert np.array_equal(read.T, who)


def test_a_label_map_overwrites_nothing_unless_told_so(revised, tmp_path):
    traced = trace(revised, "S/A")
    (tmp_path / "who.legend.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"who\.legend\.csv: exists already"):
        write_label_map(traced, tmp_path / "who.nii.gz")
    assert [p.name for p in tmp_path.glob("who*")] == ["who.legend.csv"]
    write_label_map(traced, tmp_path / "who.nii.gz", replace=True)
    assert len(list(tmp_path.glob("who*"))) == 4
    with pytest.raises(UsageError, match=r"is written as \.nii\.gz"):
        write_label_map(traced, tmp_path / "who.nrrd")
