"""A correction comes back: which classes are the person's, what is put right, what is refused, what is merged."""

import hashlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from reviewed_case import (
    FLARE,
    GALLBLADDER,
    LEFT_KIDNEY,
    LIVER,
    PANCREAS,
    RIGHT_KIDNEY,
    SPLEEN,
    TUMOR,
    accepted,
    detail,
    drawn_liver,
    events,
    make_case,
    newest,
    offer,
    voxels,
)
from sqlalchemy import select
from volume_files import AFFINE, SHAPE, write_image, write_volume

from curation.errors import GridError, LabelValueError, MaskFileError, UsageError
from curation.mappings import load_builtin
from curation.status import Evidence, Origin, Status
from db.models import Decision, VersionKind
from db.writes import StaleParentError
from pipelines.complement import complement
from pipelines.correct import correct
from pipelines.ingest import IngestRequest, ingest
from pipelines.review import absent, accept, reject


def present():
    """The case as it is made: liver of 64, spleen of 27, tumor of 8 voxels."""
    mask = drawn_liver()
    mask[2:5, 1:4, 1:4] = SPLEEN
    mask[3:5, 6:8, 5:7] = TUMOR
    return mask


def larger_spleen():
    """9 voxels more of the spleen, on background."""
    mask = present()
    mask[5, 1:4, 1:4] = SPLEEN
    return mask


def given_back(bench, folder, mask, address="S/A", affine=AFFINE, name="mine.nii.gz", **options):
    file = write_volume(folder / name, mask, affine)
    return correct(bench, address, file, options.pop("reason", "spleen too small"), **options)


def owner(bench, class_id):
    row = newest(bench).annotations[class_id]
    return row.status, row.origin, row.author


def test_only_the_changed_class_becomes_the_persons(bench, tmp_path):
    make_case(bench, tmp_path)
    before = newest(bench)
    done = given_back(bench, tmp_path, larger_spleen())
    assert (done.before, done.after, done.corrected, done.erased) == (2, 3, ("spleen",), {})
    assert np.array_equal(voxels(bench), larger_spleen())
    assert owner(bench, SPLEEN) == (Status.ANNOTATED, Origin.CORRECTED, "Ada Tester")
    after = newest(bench)
    for class_id in (LIVER, TUMOR):
        assert after.annotations[class_id] == before.annotations[class_id]  # drawn_version_id too
    assert after.annotations[SPLEEN].drawn_version_id == after.version_id
    row = detail(bench).row
    assert (row.kind, row.parent, row.author, row.message) == (
        VersionKind.CORRECTED, 2, "Ada Tester", "spleen too small",
    )  # fmt: skip


def test_the_change_is_told_in_voxels_and_ml(bench, tmp_path):
    make_case(bench, tmp_path)
    (spleen,) = given_back(bench, tmp_path, larger_spleen()).changes
    # 27 voxels before, 36 after, a voxel is 0.01 ml: Dice 2 * 27 / (27 + 36).
    assert (spleen.value, spleen.voxels.gained, spleen.voxels.lost) == (SPLEEN, 9, 0)
    assert (spleen.gained_ml, spleen.lost_ml) == (pytest.approx(0.09), 0)
    assert spleen.voxels.dice == pytest.approx(54 / 63)
    assert spleen.origin == (Origin.PSEUDO, Origin.CORRECTED)


def test_the_incoming_bytes_are_kept_and_named(bench, tmp_path):
    make_case(bench, tmp_path)
    given_back(bench, tmp_path, larger_spleen())
    data = (tmp_path / "mine.nii.gz").read_bytes()
    row = detail(bench).row
    assert row.incoming_hash == hashlib.sha256(data).hexdigest()
    assert bench.store.intact(row.incoming_hash) == data
    (event,) = events(bench, "correct")
    assert event.subject == "S/A"
    assert event.parameters["classes"] == ["spleen"]
    assert event.parameters["base"] == 2


def test_no_change_makes_no_version(bench, tmp_path):
    make_case(bench, tmp_path)
    done = given_back(bench, tmp_path, present())
    assert (done.after, done.changes, done.corrected) == (None, (), ())
    assert newest(bench).number == 2
    assert not events(bench, "correct")


def test_a_dry_run_tells_and_writes_nothing(bench, tmp_path):
    make_case(bench, tmp_path)
    files = set(bench.store.hashes())
    done = given_back(bench, tmp_path, larger_spleen(), dry_run=True)
    assert (done.after, done.corrected) == (None, ("spleen",))
    assert newest(bench).number == 2
    assert set(bench.store.hashes()) == files


def test_a_class_that_was_painted_over_is_changed_as_well(bench, tmp_path):
    make_case(bench, tmp_path)
    mask = present()
    mask[7:9, 1:5, 1:5] = PANCREAS  # half of the liver: 32 voxels
    done = given_back(bench, tmp_path, mask)
    assert done.corrected == ("liver", "pancreas")
    assert owner(bench, LIVER) == owner(bench, PANCREAS) == (Status.ANNOTATED, Origin.CORRECTED, "Ada Tester")
    assert newest(bench).annotations[LIVER].voxels == 32


def test_a_class_that_was_absent_and_is_drawn_now_is_corrected(bench, tmp_path):
    make_case(bench, tmp_path)
    absent(bench, "S/A", ["gallbladder"], "looked for")
    mask = present()
    mask[8, 8, 6] = GALLBLADDER
    given_back(bench, tmp_path, mask)
    assert owner(bench, GALLBLADDER) == (Status.ANNOTATED, Origin.CORRECTED, "Ada Tester")


def test_an_erased_class_is_missing_and_its_model_does_not_refill_it(bench, tmp_path):
    make_case(bench, tmp_path)
    mask = present()
    mask[mask == TUMOR] = 0
    done = given_back(bench, tmp_path, mask, reason="a cyst")
    assert (done.corrected, done.erased) == ((), {"tumor": "M"})
    row = newest(bench).annotations[TUMOR]
    assert (row.status, row.evidence) == (Status.MISSING, Evidence.REVIEWER)
    with bench.catalog.reading() as session:
        (decision,) = session.scalars(select(Decision))
    assert (decision.verdict, decision.reason, decision.person) == (
        "rejected",
        "erased: a cyst",
        "Ada Tester",
    )
    assert complement(bench, "", "M").counts == {"nothing to add": 1}


def test_an_accepted_class_that_a_person_changed_is_accepted_no_more(bench, tmp_path):
    make_case(bench, tmp_path)
    accept(bench, "S/A", ["spleen", "tumor"])
    done = given_back(bench, tmp_path, larger_spleen())
    assert done.no_longer_accepted == ("spleen",)
    assert accepted(bench) == {TUMOR}


def test_a_side_painted_on_an_unresolved_pair_takes_its_voxels(bench, tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 1:4, 1:4] = 1  # KiTS: 27 voxels of kidney without a side
    mask[7:10, 1:4, 1:4] = 1
    write_volume(tmp_path / "l" / "A.nii.gz", mask)
    ingest(bench, IngestRequest(source="S", mapping=load_builtin("kits19"), labels=tmp_path / "l"))
    sided = np.where(mask == 1, 200, 0).astype(np.uint8)
    sided[7:10] = np.where(mask[7:10] == 1, RIGHT_KIDNEY, 0)
    given_back(bench, tmp_path, sided)
    assert [(r.value, r.voxels) for r in detail(bench).reserved] == [(200, 27)]
    left = newest(bench).annotations[LEFT_KIDNEY]
    assert (left.status, left.evidence) == (Status.MISSING, Evidence.UNRESOLVED_SIDE)
    sided[sided == 200] = LEFT_KIDNEY
    done = given_back(bench, tmp_path, sided)
    assert done.corrected == ("left_kidney",)
    assert detail(bench).reserved == []


def test_an_image_without_mask_can_be_drawn_by_hand(bench, tmp_path):
    write_image(tmp_path / "i" / "A_0000.nii.gz")
    ingest(bench, IngestRequest(source="S", mapping=FLARE, images=tmp_path / "i"))
    assert given_back(bench, tmp_path, drawn_liver()).corrected == ("liver",)
    assert np.array_equal(voxels(bench), drawn_liver())


def test_what_itk_wrote_with_other_axes_is_put_right(bench, tmp_path):
    make_case(bench, tmp_path)
    straight = write_volume(tmp_path / "straight.nii.gz", larger_spleen())
    turned = sitk.DICOMOrient(sitk.ReadImage(str(straight)), "SLA")
    assert turned.GetSize() != SHAPE  # slices first
    sitk.WriteImage(turned, str(tmp_path / "mine.nii.gz"))
    done = correct(bench, "S/A", tmp_path / "mine.nii.gz", "spleen too small")
    assert done.corrected == ("spleen",)
    assert "turned to RAS" in done.notes[-1]
    assert np.array_equal(voxels(bench), larger_spleen())


def test_a_slices_first_case_as_kits_comes_back_from_itk(bench, tmp_path):
    affine = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt("IPL"), SHAPE)
    affine = AFFINE @ affine  # the file's first axis runs towards inferior
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 2:5, 2:5] = 1
    write_volume(tmp_path / "l" / "A.nii.gz", mask, affine)
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l"))
    itk = sitk.ReadImage(str(tmp_path / "l" / "A.nii.gz"))
    array = sitk.GetArrayFromImage(itk)  # (Z, Y, X)
    array[5, 2:5, 2:5] = LIVER
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(itk)
    sitk.WriteImage(sitk.DICOMOrient(changed, "LPS"), str(tmp_path / "mine.nii.gz"))
    done = correct(bench, "S/A", tmp_path / "mine.nii.gz", "one slice more")
    assert "turned to IPL" in done.notes[-1]
    mask[2:5, 2:5, 5] = LIVER
    assert np.array_equal(voxels(bench), mask)


def test_labels_that_a_tool_wrote_as_floats_are_rounded(bench, tmp_path):
    make_case(bench, tmp_path)
    given_back(bench, tmp_path, larger_spleen().astype(np.float32) + np.float32(0.004))
    assert np.array_equal(voxels(bench), larger_spleen())


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        (lambda m: (m[:-1], AFFINE), GridError, "shape (11, 10, 8) against (12, 10, 8)"),
        (lambda m: (m, np.diag([2.0, 2.0, 5.0, 1.0])), GridError, "spacing (2, 2, 5) against (2, 2, 2.5) mm"),
        (lambda m: (m, AFFINE + np.outer([9, 0, 0, 0], [0, 0, 0, 1])), GridError, "origin"),
        (lambda m: (np.where(m == TUMOR, 15, m), AFFINE), LabelValueError, "label values 15 (8 voxels)"),
        (lambda m: (np.where(m == TUMOR, 200, m), AFFINE), LabelValueError, "where 0 to 14 do"),
        (lambda m: (m + 0.4, AFFINE), LabelValueError, "are not integers"),
        (lambda m: (np.stack([m, m], -1), AFFINE), MaskFileError, "mine.nii.gz"),
    ],
)  # fmt: skip
def test_another_grid_or_foreign_values_are_refused_and_nothing_is_written(
    bench, tmp_path, change, error, complaint
):
    make_case(bench, tmp_path)
    files = set(bench.store.hashes())
    mask, affine = change(larger_spleen())
    with pytest.raises(error) as refused:
        given_back(bench, tmp_path, mask, affine=affine)
    assert complaint in str(refused.value)
    assert "mine.nii.gz" in str(refused.value)
    assert newest(bench).number == 2
    assert set(bench.store.hashes()) == files


def test_no_file_or_no_reason_is_wrong_usage(bench, tmp_path):
    make_case(bench, tmp_path)
    with pytest.raises(UsageError, match="No such file"):
        correct(bench, "S/A", tmp_path / "none.nii.gz", "why")
    with pytest.raises(UsageError, match="say why"):
        given_back(bench, tmp_path, larger_spleen(), reason="")


def test_of_two_people_who_correct_the_same_version_the_second_is_told(bench, tmp_path):
    make_case(bench, tmp_path)
    given_back(bench, tmp_path, larger_spleen(), "S/A@2")
    mask = present()
    mask[3:6, 6:8, 5:7] = TUMOR
    with pytest.raises(
        StaleParentError, match=r"S/A@2: is no longer the newest \(3 corrected by Ada Tester\)"
    ):
        given_back(bench, tmp_path, mask, "S/A@2", name="second.nii.gz")
    assert newest(bench).number == 3


def test_a_writer_who_comes_while_a_correction_is_made_is_not_overwritten(bench, tmp_path, monkeypatch):
    make_case(bench, tmp_path)
    put = type(bench.store).put

    def slow(store, data):  # a review gets in between reading and writing
        monkeypatch.undo()
        reject(bench, "S/A", ["tumor"], "noise")
        return put(store, data)

    monkeypatch.setattr(type(bench.store), "put", slow)
    with pytest.raises(StaleParentError, match="made from version 2, but by now the newest is version 3"):
        given_back(bench, tmp_path, larger_spleen())
    assert newest(bench).annotations[SPLEEN].voxels == 27


def test_both_changes_are_merged_when_asked_for(bench, tmp_path):
    make_case(bench, tmp_path)
    given_back(bench, tmp_path, larger_spleen(), "S/A@2")
    mask = present()
    mask[5:7, 6:8, 5:7] = TUMOR  # 8 voxels more
    done = given_back(bench, tmp_path, mask, "S/A@2", merge_newer=True)
    assert (done.base, done.before, done.after, done.corrected) == (2, 3, 4, ("tumor",))
    assert done.conflicts == ()
    both = larger_spleen()
    both[5:7, 6:8, 5:7] = TUMOR
    assert np.array_equal(voxels(bench), both)


def test_where_both_changed_the_same_voxels_the_person_wins_and_the_loss_is_booked(bench, tmp_path):
    make_case(bench, tmp_path)
    given_back(bench, tmp_path, larger_spleen(), "S/A@2")
    mask = present()
    mask[5, 1:4, 1:3] = PANCREAS  # 6 of the 9 voxels that the spleen gained
    done = given_back(bench, tmp_path, mask, "S/A@2", merge_newer=True)
    assert [(c.kept, c.offered, c.voxels, c.displaced) for c in done.conflicts] == [
        (PANCREAS, SPLEEN, 6, True)
    ]
    found = [(c.kept, c.offered, c.voxels, c.ml, c.displaced) for c in detail(bench).conflicts]
    assert found == [(PANCREAS, SPLEEN, 6, pytest.approx(0.06), True)]
    assert done.corrected == ("pancreas",)
    assert newest(bench).annotations[SPLEEN].voxels == 30


def test_the_same_change_twice_is_no_change_when_merged(bench, tmp_path):
    make_case(bench, tmp_path)
    given_back(bench, tmp_path, larger_spleen(), "S/A@2")
    assert given_back(bench, tmp_path, larger_spleen(), "S/A@2", merge_newer=True).after is None


def test_a_correction_survives_a_better_model(bench, tmp_path):
    make_case(bench, tmp_path)
    given_back(bench, tmp_path, larger_spleen())
    other = drawn_liver()
    other[2:4, 1:4, 1:4] = SPLEEN
    offer(bench, tmp_path, other, model="N")
    complement(bench, "", "N", replace_pseudo=True)
    assert owner(bench, SPLEEN) == (Status.ANNOTATED, Origin.CORRECTED, "Ada Tester")
    assert newest(bench).annotations[SPLEEN].voxels == 36
