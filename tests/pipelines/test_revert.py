"""Revert: an earlier state becomes the newest version, with all that was known of it."""

from dataclasses import replace

import numpy as np
import pytest
from reviewed_case import (
    FLARE,
    LIVER,
    SPLEEN,
    accepted,
    detail,
    drawn_liver,
    events,
    make_case,
    newest,
    offer,
    voxels,
)
from volume_files import SHAPE, write_image, write_volume

from curation.errors import UsageError
from db import case_files
from db.models import FindingState, VersionKind
from db.store import StoredFileError
from db.writes import StaleParentError
from pipelines.complement import complement
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.revert import revert
from pipelines.review import accept, dismiss, reject


def version(bench, number, address="S/A"):
    with bench.catalog.reading() as session:
        return case_files.case_file(session, f"{address}@{number}")


def test_mask_and_every_annotation_are_as_they_were(bench, tmp_path):
    make_case(bench, tmp_path)
    reject(bench, "S/A", ["spleen"], "is stomach")
    done = revert(bench, "S/A@2", "it was a spleen")
    assert (done.restored, done.before, done.after) == (2, 3, 4)
    was, now = version(bench, 2), newest(bench)
    assert (now.file_hash, now.voxel_hash) == (was.file_hash, was.voxel_hash)
    assert now.annotations == was.annotations  # owners and drawn_version_id too
    row = detail(bench).row
    assert (row.kind, row.restores, row.parent, row.message) == (
        VersionKind.REVERTED,
        2,
        3,
        "it was a spleen",
    )
    (event,) = events(bench, "revert")
    assert event.parameters == {"to": 2, "version": 4, "reason": "it was a spleen"}


def test_no_file_is_written(bench, tmp_path):
    make_case(bench, tmp_path)
    files = set(bench.store.hashes())
    revert(bench, "S/A@1", "start again")
    assert set(bench.store.hashes()) == files
    assert np.array_equal(voxels(bench), drawn_liver())


def test_reserved_voxels_come_back(bench, tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 1:4, 1:4] = 200
    mask[7:9, 1:4, 1:4] = LIVER
    mapping = replace(FLARE, values={**FLARE.values, 200: 200})
    write_volume(tmp_path / "l" / "A.nii.gz", mask)
    ingest(bench, IngestRequest(source="S", mapping=mapping, labels=tmp_path / "l"))
    reject(bench, "S/A", ["liver"], "wrong case")
    revert(bench, "S/A@1", "right case")
    assert [(r.value, r.voxels) for r in detail(bench).reserved] == [(200, 27)]


def test_decisions_hold_again_for_the_classes_as_they_were_drawn(bench, tmp_path):
    make_case(bench, tmp_path)
    accept(bench, "S/A", ["tumor"])
    revert(bench, "S/A@1", "start again")
    assert accepted(bench) == set()
    revert(bench, "S/A@2", "no, it was right")
    assert accepted(bench) == {14}


def test_what_was_dismissed_then_is_dismissed_again(bench, tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 1:3, 1:3] = LIVER
    mask[6:8, 6:8, 5:7] = LIVER
    write_volume(tmp_path / "l" / "A.nii.gz", mask)
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l"))
    dismiss(bench, "S/A", "resected", check="organ_in_pieces")
    reject(bench, "S/A", ["liver"], "wrong case")
    revert(bench, "S/A@1", "right case")
    (finding,) = [f for f in detail(bench).findings if f.check == "organ_in_pieces"]
    (first,) = [f for f in detail(bench, "S/A@1").findings if f.check == "organ_in_pieces"]
    assert finding.state is FindingState.DISMISSED
    assert (finding.person, finding.decided_at) == (first.person, first.decided_at)


def test_what_stands_on_a_superseded_prediction_is_named(bench, tmp_path):
    make_case(bench, tmp_path)
    other = drawn_liver()
    other[2:6, 1:4, 1:4] = SPLEEN
    write_volume(tmp_path / "again" / "A.nii.gz", other)
    import_predictions(bench, tmp_path / "again", "M", FLARE)
    complement(bench, "", "M")
    assert revert(bench, "S/A@2", "the first was better").stale == ("spleen", "tumor")


def test_an_image_without_mask_comes_back_too(bench, tmp_path):
    write_image(tmp_path / "i" / "A_0000.nii.gz")
    ingest(bench, IngestRequest(source="S", mapping=FLARE, images=tmp_path / "i"))
    offer(bench, tmp_path, drawn_liver())
    complement(bench, "", "M")
    revert(bench, "S/A@1", "start again")
    assert (newest(bench).file_hash, newest(bench).annotated) == (None, frozenset())


def test_the_present_state_cannot_be_brought_back(bench, tmp_path):
    make_case(bench, tmp_path)
    with pytest.raises(UsageError, match=r"S/A@2: is the present state \(version 2\)"):
        revert(bench, "S/A@2", "why")
    revert(bench, "S/A@1", "start again")
    with pytest.raises(UsageError, match=r"S/A@1: is the present state \(version 3\)"):
        revert(bench, "S/A@1", "twice")
    with pytest.raises(UsageError, match="say which version to bring back"):
        revert(bench, "S/A", "why")
    with pytest.raises(UsageError, match="say why"):
        revert(bench, "S/A@1", "")
    assert newest(bench).number == 3


def test_who_believes_in_another_newest_version_is_told(bench, tmp_path):
    make_case(bench, tmp_path)
    reject(bench, "S/A", ["spleen"], "is stomach")
    with pytest.raises(StaleParentError, match="S/A: the newest version is 3, not 2, and nothing is written"):
        revert(bench, "S/A@1", "start again", parent=2)
    assert newest(bench).number == 3
    assert revert(bench, "S/A@1", "start again", parent=3).after == 4


def test_a_version_whose_file_is_lost_is_not_brought_back(bench, tmp_path):
    make_case(bench, tmp_path)
    bench.store.path(version(bench, 1).file_hash).unlink()
    with pytest.raises(StoredFileError, match="not in the store"):
        revert(bench, "S/A@1", "start again")
    assert newest(bench).number == 2
