"""From one frozen dataset to another: what changed, member by member."""

import pytest
from frozen_cohort import FLARE, LIVER, TUMOR
from volume_files import boxes, write_volume

from curation.errors import UsageError
from curation.status import Origin
from db import writes
from db.models import Split
from pipelines.dataset_diff import Moved, Redrawn, Restated, diff_datasets
from pipelines.freeze import FreezeRequest, freeze
from pipelines.ingest import IngestRequest, ingest


def ingest_again(bench, folder):
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=folder / "l"))


def test_the_same_training_set_under_another_name_is_the_same(cohort):
    freeze(cohort, FreezeRequest("a", "", folds=2))
    freeze(cohort, FreezeRequest("b", "", folds=2))
    found = diff_datasets(cohort, "a@1", "b@1")
    assert found.same
    assert (found.settings, found.added, found.removed, found.redrawn, found.moved) == ({}, (), (), (), ())


def test_added_and_removed_members_are_named_and_the_query_that_did_it(cohort):
    freeze(cohort, FreezeRequest("d", 'strong or case = "C5"'))
    freeze(cohort, FreezeRequest("d", 'strong and case != "C0" or case = "C7"'))
    found = diff_datasets(cohort, "d@1", "d")
    assert (found.before.address, found.after.address) == ("d@1", "d@2")
    assert not found.same
    assert (found.added, found.removed) == (("S/C7",), ("S/C0", "S/C5"))
    assert found.settings == {"query": ('strong or case = "C5"', 'strong and case != "C0" or case = "C7"')}


def test_a_member_at_another_version_says_which_classes_changed(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    write_volume(tmp_path / "l" / "C5.nii.gz", boxes({TUMOR: 3, LIVER: 2}))  # a liver more
    write_volume(tmp_path / "l" / "C6.nii.gz", boxes({TUMOR: 4}))  # the tumor one voxel larger
    ingest_again(cohort, tmp_path)
    freeze(cohort, FreezeRequest("d", ""))
    found = diff_datasets(cohort, "d@1", "d@2")
    assert found.redrawn == (
        Redrawn("S/C5", 1, 2, same_voxels=False, classes={"liver": ("missing", "original")}),
        Redrawn("S/C6", 1, 2, same_voxels=False, classes={}),
    )
    assert (found.settings, found.added, found.removed, found.moved) == ({}, (), (), ())


def test_members_that_moved_between_folds_or_sides_are_named(cohort):
    freeze(cohort, FreezeRequest("d", "strong", folds=2, seed=1))
    freeze(cohort, FreezeRequest("d", "strong", folds=2, seed=2))
    found = diff_datasets(cohort, "d@1", "d@2")
    assert found.settings == {"seed": (1, 2)}
    folds = {(Split.VAL, 0), (Split.TRAIN, 1)}
    assert found.moved
    assert all({member.before, member.after} == folds for member in found.moved)
    freeze(cohort, FreezeRequest("whole", "strong"))
    to_share = diff_datasets(cohort, "d@1", "whole")
    assert to_share.settings == {"folds": (2, None), "seed": (1, 0)}
    assert len(to_share.moved) == 4  # a fold is not a side, even where both train
    assert isinstance(to_share.moved[0], Moved)


def test_other_origins_are_another_setting(cohort):
    freeze(cohort, FreezeRequest("d", ""))
    freeze(cohort, FreezeRequest("d", "", origins=(Origin.ORIGINAL,)))
    found = diff_datasets(cohort, "d@1", "d@2")
    assert found.settings == {"origins": (tuple(Origin), (Origin.ORIGINAL,))}


def test_another_licence_explains_another_manifest(cohort):
    freeze(cohort, FreezeRequest("d", 'case = "C0"'))
    with cohort.catalog.writing() as session:
        writes.ensure_source(session, "S", licence="CC0-1.0")
    freeze(cohort, FreezeRequest("d", 'case = "C0"'))
    found = diff_datasets(cohort, "d@1", "d@2")
    assert not found.same
    assert found.restated == (Restated("S/C0", "licence", None, "CC0-1.0"),)


def test_an_unknown_dataset_is_named(cohort):
    freeze(cohort, FreezeRequest("d", ""))
    with pytest.raises(UsageError, match="dataset 'd' has version 1, no version '7'"):
        diff_datasets(cohort, "d@1", "d@7")
