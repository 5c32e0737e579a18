"""What holds for an export in every format: policies, links, notes, the log, byte for byte the same again."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from frozen_cohort import FLARE, LIVER, STRONG, TUMOR, counts, fingerprint, voxels
from volume_files import SHAPE, boxes, write_image, write_volume

from curation.errors import CurationError, UsageError
from curation.mappings import load_builtin
from curation.rle import RunLengths
from curation.status import Origin
from db import datasets, queries, writes
from db.models import Retraction, Taint, Tombstone
from pipelines.complement import complement
from pipelines.export import export
from pipelines.exports.files import fill_background
from pipelines.exports.request import ExportRequest, Format, MissingPolicy, UnresolvedPolicy
from pipelines.freeze import FreezeRequest, freeze, frozen_members
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions

WITH_MASKS = {Format.NNUNET: "labelsTr", Format.MONAI: "labelsTr", Format.LABELS: "."}


@pytest.fixture
def complemented(cohort, tmp_path):
    """The same cohort, its tumor cases complemented with a liver."""
    liver = np.zeros(SHAPE, np.uint8)
    liver[4:8, 4:8, 4:8] = LIVER
    for number in range(4, 10):
        write_volume(tmp_path / "p" / f"C{number}.nii.gz", liver)
    import_predictions(cohort, tmp_path / "p", "M", FLARE)
    complement(cohort, "missing liver", "M")
    return cohort


@pytest.fixture
def unresolved(bench, tmp_path):
    """One case of KiTS 2019: 5 voxels of kidneys without a side, 3 of tumor."""
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({1: 5, 2: 3}))
    write_image(tmp_path / "i" / "A_0000.nii.gz")
    kits = load_builtin("kits19")
    ingest(bench, IngestRequest(source="S", mapping=kits, labels=tmp_path / "l", images=tmp_path / "i"))
    freeze(bench, FreezeRequest("d", ""))
    return bench


def test_masks_that_need_no_change_are_links_into_the_store(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    for format_, labels in WITH_MASKS.items():
        done = export(cohort, ExportRequest("d", tmp_path / format_, format_))
        images = 0 if format_ is Format.LABELS else 10
        assert (done.cases, done.linked) == (10, 10 + images)
        mask = tmp_path / format_ / labels / "C0.nii.gz"
        assert mask.readlink().is_relative_to(cohort.store.root.resolve())
        assert np.array_equal(voxels(mask), STRONG)
        assert counts(tmp_path / format_ / labels / "C7.nii.gz") == {TUMOR: 3}


def test_copies_hold_the_same_bytes_as_links(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    for format_ in WITH_MASKS:
        links, copies = tmp_path / f"{format_} links", tmp_path / f"{format_} copies"
        export(cohort, ExportRequest("d", links, format_))
        assert export(cohort, ExportRequest("d", copies, format_, copy=True)).linked == 0
        for path in sorted(links.rglob("*.nii.gz")):
            copied = copies / path.relative_to(links)
            assert not copied.is_symlink()
            assert copied.read_bytes() == path.read_bytes()


def test_the_same_version_exported_twice_is_byte_identical(complemented, tmp_path):
    freeze(complemented, FreezeRequest("d", "", origins=(Origin.ORIGINAL,), folds=2))
    for format_, missing in itertools.product(Format, (MissingPolicy.BACKGROUND, MissingPolicy.IGNORE)):
        one, two = (tmp_path / f"{format_} {missing} {n}" for n in (1, 2))
        request = ExportRequest("d", one, format_, missing)
        export(complemented, request)
        export(complemented, replace(request, folder=two, dataset="d@1"))
        assert fingerprint(one) == fingerprint(two)


def test_without_pseudo_labels_a_complemented_member_is_what_it_was_before(complemented, tmp_path):
    freeze(complemented, FreezeRequest("raw", "", origins=(Origin.ORIGINAL, Origin.CORRECTED)))
    freeze(complemented, FreezeRequest("all", ""))
    for format_, labels in WITH_MASKS.items():
        raw, whole = tmp_path / f"{format_} raw", tmp_path / f"{format_} all"
        # The six complemented ones are written anew without their pseudo liver.
        linked = [
            export(complemented, ExportRequest(d.name.split()[1], d, format_)).linked for d in (raw, whole)
        ]
        assert linked[1] - linked[0] == 6
        assert np.array_equal(voxels(raw / labels / "C7.nii.gz"), voxels(tmp_path / "l" / "C7.nii.gz"))
        assert counts(whole / labels / "C7.nii.gz") == {LIVER: 64, TUMOR: 3}


def test_background_of_a_case_with_missing_classes_can_be_ignored(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    for format_, labels in WITH_MASKS.items():
        export(cohort, ExportRequest("d", tmp_path / format_, format_, MissingPolicy.IGNORE))
        # 12 × 10 × 8 voxels: 3 of tumor, nnU-Net's highest value + 1 in all others.
        assert counts(tmp_path / format_ / labels / "C9.nii.gz") == {TUMOR: 3, 15: 957}


def test_a_mask_whose_classes_are_all_known_stays_as_it_is_when_background_is_ignored(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 4}))
    (tmp_path / "cases.csv").write_text("case,classes\nA,organs tumor\n")
    rows = tmp_path / "cases.csv"
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l", cases=rows))
    freeze(bench, FreezeRequest("d", ""))
    done = export(bench, ExportRequest("d", tmp_path / "out", Format.LABELS, MissingPolicy.IGNORE))
    assert done.linked == 1
    assert done.notes == ()
    assert counts(tmp_path / "out" / "A.nii.gz") == {LIVER: 4}


def test_background_filled_on_run_lengths_is_background_filled_on_voxels():
    mask = np.random.default_rng(5).integers(0, 3, (7, 5, 4)).astype(np.uint8)
    filled = fill_background(RunLengths.from_array(mask), 15)
    assert np.array_equal(filled.to_array(), np.where(mask == 0, 15, mask))
    nothing = fill_background(RunLengths.empty((3, 2, 2)), 15)
    assert np.array_equal(nothing.to_array(), np.full((3, 2, 2), 15))


def test_missing_classes_can_be_refused(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    # The tumor of four strong cases, the 13 organs of six others.
    said = r"missing in 10 cases \(S/C0, S/C1, S/C2, …\) \(liver in 6, .*tumor in 4\); complement them"
    for format_ in Format:
        with pytest.raises(CurationError, match=said):
            export(cohort, ExportRequest("d", tmp_path / "out", format_, MissingPolicy.REFUSE))
        assert not (tmp_path / "out").exists()


def test_unresolved_voxels_become_the_ignore_label(unresolved, tmp_path):
    for format_, labels in WITH_MASKS.items():
        export(unresolved, ExportRequest("d", tmp_path / format_, format_))
        assert counts(tmp_path / format_ / labels / "A.nii.gz") == {15: 5, TUMOR: 3}
        assert json.loads((tmp_path / format_ / "maskledger.json").read_text())["labels"]["ignore"] == 15


def test_unresolved_voxels_can_be_refused(unresolved, tmp_path):
    for format_ in Format:
        request = ExportRequest("d", tmp_path / "out", format_, unresolved=UnresolvedPolicy.REFUSE)
        with pytest.raises(CurationError, match=r"unresolved or ignored voxels in 1 cases \(S/A\)"):
            export(unresolved, request)


def test_a_case_without_image_is_named_where_images_are_needed(cohort, tmp_path):
    write_volume(tmp_path / "l2" / "Z.nii.gz", STRONG)
    ingest(cohort, IngestRequest(source="T", mapping=FLARE, labels=tmp_path / "l2"))
    freeze(cohort, FreezeRequest("d", "strong"))
    for format_ in (Format.NNUNET, Format.MONAI):
        with pytest.raises(CurationError, match=r"no image of 1 cases \(T/Z\).*ingest them with --images"):
            export(cohort, ExportRequest("d", tmp_path / "out", format_))
    for format_ in (Format.LABELS, Format.MANIFEST):
        assert export(cohort, ExportRequest("d", tmp_path / format_, format_)).cases == 5


def test_an_image_that_is_gone_is_named_and_nothing_is_left_behind(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    (tmp_path / "i" / "C3_0000.nii.gz").unlink()
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(CurationError, match=r"C3_0000\.nii\.gz: the image is not there"):
        export(cohort, ExportRequest("d", tmp_path / "out"))
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_mask_lost_from_the_store_is_named_and_nothing_is_left_behind(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", 'case = "C3"'))
    _, ((case, _),) = frozen_members(cohort, "d")
    cohort.store.path(case.file_hash).unlink()
    with pytest.raises(
        CurationError, match=r"the mask of S/C3@1 is not in the store; run `maskledger verify`"
    ):
        export(cohort, ExportRequest("d", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_export_never_writes_into_an_existing_folder(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        export(cohort, ExportRequest("d", tmp_path / "out"))


def test_cases_of_the_same_name_get_their_source_in_front(cohort, tmp_path):
    write_volume(tmp_path / "l2" / "C0.nii.gz", boxes({LIVER: 2}))
    ingest(cohort, IngestRequest(source="T", mapping=FLARE, labels=tmp_path / "l2"))
    freeze(cohort, FreezeRequest("d", 'case = "C0" or case = "C1"'))
    export(cohort, ExportRequest("d", tmp_path / "out", Format.LABELS))
    written = sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz"))
    assert written == ["C1.nii.gz", "S__C0.nii.gz", "T__C0.nii.gz"]
    cases = json.loads((tmp_path / "out" / "maskledger.json").read_text())["cases"]
    assert cases["T__C0"]["case"] == "T/C0"


def test_a_name_that_the_file_system_does_not_take_is_said(bench, tmp_path):
    # Names are unique within a source; with the sources in front these have 150 + 2 + 150 letters.
    for source in ("S" * 150, "T" * 150):
        write_volume(tmp_path / source / f"{'C' * 150}.nii.gz", boxes({LIVER: 2}))
        ingest(bench, IngestRequest(source=source, mapping=FLARE, labels=tmp_path / source))
    freeze(bench, FreezeRequest("d", ""))
    with pytest.raises(CurationError, match=r"cannot be exported as S+__C+\.nii\.gz \(File name too long\)"):
        export(bench, ExportRequest("d", tmp_path / "out", Format.LABELS))
    assert not list(tmp_path.glob("*out*"))


def test_an_export_is_in_the_log_with_the_folder_it_went_to(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    export(cohort, ExportRequest("d", tmp_path / "out", Format.LABELS, MissingPolicy.IGNORE))
    with cohort.catalog.reading() as session:
        event = queries.events(session)[0]
    assert (event.action, event.subject, event.author) == ("dataset export", "d@1", "Ada Tester")
    assert event.parameters == {
        "folder": str(tmp_path / "out"), "format": "labels", "missing": "ignore", "unresolved": "ignore",
        "cases": 10,
    }  # fmt: skip


def test_an_export_that_fails_is_not_in_the_log(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    with pytest.raises(CurationError):
        export(cohort, ExportRequest("d", tmp_path / "out", missing=MissingPolicy.REFUSE))
    with cohort.catalog.reading() as session:
        assert queries.events(session)[0].action == "dataset freeze"


def test_background_that_may_hold_unlabelled_organs_is_said(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", 'strong or case = "C9"'))
    done = export(cohort, ExportRequest("d", tmp_path / "out", Format.LABELS))
    (note,) = done.notes
    assert note.startswith("5 of 5 cases have missing classes (tumor in 4, liver in 1, ")
    assert note.endswith("; their background may hold unlabelled organs")
    ignored = export(cohort, ExportRequest("d", tmp_path / "o2", Format.LABELS, MissingPolicy.IGNORE))
    assert ignored.notes == ()


def test_purged_members_are_left_out_and_counted(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    with cohort.catalog.writing() as session:
        case_id = queries.resolve(session, "S/C3").case_id
        session.add(
            Tombstone(case_id=case_id, patient_digest="0" * 64, reason="r", person="p", files=1, bytes=1)
        )
    for format_ in Format:
        done = export(cohort, ExportRequest("d", tmp_path / str(format_), format_))
        assert done.cases == 9
        assert "1 of 10 members were purged and are left out" in done.notes
    assert not list(tmp_path.glob("*/**/C3*nii.gz"))[2:]  # those ingested alone: mask and image


def test_a_tainted_dataset_is_exported_with_a_warning(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    with cohort.catalog.writing() as session:
        model_id = writes.ensure_model(session, "M")
        retraction = Retraction(
            model_id=model_id, include_accepted=False, reason="swapped sides", person="Ada"
        )
        session.add(retraction)
        session.flush()
        version = datasets.dataset_version(session, "d")
        session.add(Taint(retraction_id=retraction.id, dataset_version_id=version.id))
    done = export(cohort, ExportRequest("d", tmp_path / "out", Format.MANIFEST))
    (note,) = done.notes
    assert note.startswith("d@1 is tainted: model M was retracted on ")
    assert note.endswith(" by Ada (swapped sides)")
