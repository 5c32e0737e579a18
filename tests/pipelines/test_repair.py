"""Repair: what the sources still hold comes back, booked; of the rest it says what to restore."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from sqlalchemy import update
from volume_files import SHAPE, boxes, write_volume

from curation.mappings import load_builtin
from db import queries
from db.models import MaskVersion, Prediction
from pipelines.complement import complement
from pipelines.correct import correct
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.repair import repair
from pipelines.verify import verify

LIVER, SPLEEN = 1, 3
# In KiTS 2019 value 1 is a kidney without a side and 2 a tumor: the stored mask is another than the file.
KITS = "kits19"


@pytest.fixture
def labels(tmp_path):
    return write_volume(tmp_path / "l" / "A.nii.gz", boxes({1: 6, 2: 3}))


@pytest.fixture
def filled(bench, labels):
    ingest(bench, IngestRequest(source="S", mapping=load_builtin(KITS), labels=labels.parent))
    return bench


def version_row(bench, number=1):
    with bench.catalog.reading() as session:
        row = session.query(MaskVersion).where(MaskVersion.number == number).one()
        session.expunge(row)
        return row


def spoil(path):
    intact = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    return intact


def mend(bench):
    """Verify and repair; the two must agree on what is left, and nothing may be lost in between."""
    repairs = repair(bench, verify(bench, deep=True).damages)
    # What is left is named in both; nothing but what is left is found again.
    assert {d.file for d in verify(bench, deep=True).damages} == {d.file for d in repairs.left}
    return repairs


def test_nothing_is_repaired_in_an_intact_store(filled):
    repairs = mend(filled)
    assert (repairs.done, repairs.left) == ((), ())


@pytest.mark.parametrize("lose", [False, True])
def test_what_came_in_is_read_again_where_it_was_read(filled, labels, lose):
    path = filled.store.path(version_row(filled).incoming_hash)
    if lose:
        path.unlink()
    else:
        spoil(path)
    (line,) = mend(filled).done
    assert line == f"{path}: taken back from {labels.resolve()}; needed by S/A@1, as it came in"
    assert path.read_bytes() == labels.read_bytes()


def test_a_stored_mask_is_made_again_from_what_came_in(filled):
    row = version_row(filled)
    path = filled.store.path(row.file_hash)
    intact = spoil(path)
    (line,) = mend(filled).done
    assert line.startswith(f"{path}: taken back from {filled.store.path(row.incoming_hash)}")
    assert path.read_bytes() == intact


def test_the_damaged_file_is_set_aside_and_the_repair_is_booked(filled):
    row = version_row(filled)
    spoil(filled.store.path(row.file_hash))
    mend(filled)
    (aside,) = (filled.store.root / "damaged").iterdir()
    assert aside.name == f"{row.file_hash}.1.nii.gz"
    with filled.catalog.reading() as session:
        event = queries.events(session)[0]
    assert (event.action, event.subject, event.author) == ("repair", "S/A@1", "Ada Tester")
    assert event.parameters == {
        "file": row.file_hash,
        "from": str(filled.store.path(row.incoming_hash)),
    }


def test_both_files_of_a_case_come_back_from_the_source(filled):
    for name in list(filled.store.hashes()):
        filled.store.path(name).unlink()
    assert len(mend(filled).done) == 2


def test_other_bytes_of_the_same_voxels_take_over_all_rows(filled, tmp_path):
    """As after an update of the compressing library: the row's file hash is not what we would write today."""
    row = version_row(filled)
    today = filled.store.get(row.file_hash)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(today))
    old_file = tmp_path / "old.nii.gz"
    nib.save(image, old_file)
    old = filled.store.put(old_file.read_bytes())
    assert old != row.file_hash
    filled.store.delete(row.file_hash)
    with filled.catalog.writing() as session:
        session.execute(update(MaskVersion).values(file_hash=old))
    assert verify(filled, deep=True).damage == []
    spoil(filled.store.path(old))
    (line,) = mend(filled).done
    assert "the same voxels in other bytes" in line
    assert version_row(filled).file_hash == row.file_hash
    assert old not in filled.store
    with filled.catalog.reading() as session:
        assert queries.events(session)[0].parameters["now"] == row.file_hash


def test_bytes_that_changed_at_the_source_are_not_taken(filled, labels):
    for name in list(filled.store.hashes()):
        filled.store.path(name).unlink()
    write_volume(labels, boxes({1: 7}))
    left = mend(filled).left
    assert len(left) == 2
    assert any("is gone or holds something else now" in damage.line for damage in left)
    assert all("restore it from a backup" in damage.line for damage in left)


@pytest.fixture
def complemented(bench, tmp_path):
    """S/A with a liver, complemented by a spleen from model M."""
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 6}))
    ingest(bench, IngestRequest(source="S", mapping=load_builtin("flare23"), labels=tmp_path / "l"))
    spleen = np.zeros(SHAPE, np.uint8)
    spleen[6:10, 6:8, 6] = SPLEEN
    write_volume(tmp_path / "p" / "A.nii.gz", spleen)
    import_predictions(bench, tmp_path / "p", "M", load_builtin("flare23"))
    complement(bench, "missing spleen", "M")
    return bench


def test_a_prediction_is_made_again_from_the_file_it_was_imported_from(complemented):
    with complemented.catalog.reading() as session:
        prediction = session.query(Prediction).one()
    complemented.store.path(prediction.file_hash).unlink()
    (line,) = mend(complemented).done
    assert line.endswith("needed by prediction of M for S/A")


def test_a_correction_is_made_again_from_its_file(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 6}))
    ingest(bench, IngestRequest(source="S", mapping=load_builtin("flare23"), labels=tmp_path / "l"))
    file = write_volume(tmp_path / "A_by_hand.nii.gz", boxes({LIVER: 8}))
    correct(bench, "S/A", file, "two voxels more")
    second = version_row(bench, 2)
    for name in (second.file_hash, second.incoming_hash):
        bench.store.path(name).unlink()
    assert len(mend(bench).done) == 2


def test_of_a_derived_mask_it_says_what_to_restore(complemented):
    path = complemented.store.path(version_row(complemented, 2).file_hash)
    path.unlink()
    repairs = mend(complemented)
    assert repairs.done == ()
    (damage,) = repairs.left
    assert damage.line == (
        f"{path}: not in the store; restore it from a backup; needed by S/A@2; "
        "cannot be repaired: it was made from other versions, not from a file that came in"
    )


def test_an_ingested_mask_that_was_merged_is_not_made_from_its_file_alone(complemented):
    """Version 2 says that it was ingested from A's file; but that file makes another mask."""
    first = version_row(complemented)
    with complemented.catalog.writing() as session:
        session.execute(
            update(MaskVersion)
            .where(MaskVersion.number == 2)
            .values(kind="ingested", incoming_hash=first.incoming_hash, revision_id=first.revision_id)
        )
    complemented.store.path(version_row(complemented, 2).file_hash).unlink()
    (damage,) = mend(complemented).left
    assert "what came in makes another mask than this one" in damage.line


def test_a_mask_of_the_same_voxels_in_other_bytes_is_a_source_too(complemented, tmp_path):
    """A derived mask is lost, but another row names the same voxels in a file of its own."""
    second = version_row(complemented, 2)
    stored = complemented.store.get(second.file_hash)
    nib.save(nib.Nifti1Image.from_bytes(gzip.decompress(stored)), tmp_path / "twin.nii.gz")
    twin = complemented.store.put((tmp_path / "twin.nii.gz").read_bytes())
    with complemented.catalog.writing() as session:
        # The lead of this test is the row alone: plain verify does not look at what classes it has.
        session.execute(update(Prediction).values(file_hash=twin, voxel_hash=second.voxel_hash))
    complemented.store.path(second.file_hash).unlink()
    repairs = repair(complemented, verify(complemented).damages)
    assert len(repairs.done) == 1
    assert complemented.store.intact(second.file_hash) == stored


def test_contradicting_rows_are_left_to_a_backup(filled):
    with filled.catalog.writing() as session:
        session.execute(update(MaskVersion).values(voxel_hash="0" * 64))
    (damage,) = mend(filled).left
    assert "restore the catalog from a backup" in damage.line
