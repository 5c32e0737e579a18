"""A later revision of a source: what models and people added is kept, what stands on the older drawing is stale."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volume_files import SHAPE, boxes, write_image, write_volume

from curation.mappings import apply_mapping, load_builtin
from curation.rle import RunLengths
from curation.status import Evidence, Origin, Status
from curation.volumes import encode_and_hash
from db import case_files, queries, standing, writes
from db.models import MaskVersion, SourceRevision, Verdict, VersionKind
from db.writes import NewVersion
from pipelines.annotate import examine, ingested_annotations
from pipelines.complement import complement
from pipelines.correct import correct
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.rederive import RederiveRequest, plan, rederive
from pipelines.revert import revert

FLARE = load_builtin("flare23")
KITS = load_builtin("kits19")
LIVER, SPLEEN, PANCREAS, STOMACH, TUMOR, KIDNEYS = 1, 3, 4, 11, 14, 200


def publish(bench, folder: Path, revision: str, mask, mapping=FLARE, name="A", **options):
    write_volume(folder / revision / f"{name}.nii.gz", mask, **options)
    return ingest(
        bench, IngestRequest(source="S", mapping=mapping, labels=folder / revision, revision=revision)
    )


def predict(bench, folder: Path, mask, model="M"):
    write_volume(folder / model / "A.nii.gz", mask)
    import_predictions(bench, folder / model, model, FLARE)


def newest(bench, address="S/A"):
    with bench.catalog.reading() as session:
        return case_files.case_file(session, address)


def voxels(bench, address="S/A"):
    return np.asarray(nib.load(bench.store.path(newest(bench, address).file_hash)).dataobj)


def stale(bench, address="S/A"):
    with bench.catalog.reading() as session:
        version = newest(bench, address).version_id
        return standing.stale_classes(session, [version]).get(version, frozenset())


def count(bench, query: str) -> int:
    with bench.catalog.reading() as session:
        return queries.count(session, query)


def conflicts(bench):
    with bench.catalog.reading() as session:
        detail = queries.version_detail(session, newest(bench).version_id)
    return {(c.kept, c.offered, c.displaced): c.voxels for c in detail.conflicts}


def decide(bench, class_id: int, verdict: Verdict) -> None:
    case = newest(bench)
    with bench.catalog.writing() as session:
        writes.add_decision(
            session, case.case_id, class_id, case.annotations[class_id].class_hash, verdict,
            reason="looked at it", person="Ada Tester",
        )  # fmt: skip


@pytest.fixture
def complemented(bench, tmp_path):
    """2019: a liver of 4×4×4 at x, y, z 1 to 4. Model M: a spleen of 4×4×4 at x 3 to 6, so half of it is kept out."""
    first = np.zeros(SHAPE, np.uint8)
    first[1:5, 1:5, 1:5] = LIVER
    publish(bench, tmp_path, "2019", first)
    predicted = np.zeros(SHAPE, np.uint8)
    predicted[3:7, 1:5, 1:5] = SPLEEN
    predict(bench, tmp_path, predicted)
    complement(bench, "", "M")
    assert newest(bench).annotations[SPLEEN].voxels == 32
    return first


@pytest.mark.usefixtures("complemented")
def test_a_revision_replaces_the_sources_drawing_and_carries_the_pseudo_label_along(bench, tmp_path):
    second = np.zeros(SHAPE, np.uint8)
    second[1:3, 1:5, 1:5] = LIVER  # half of the liver is gone …
    second[5, 1:5, 1:5] = TUMOR  # … and a tumor stands where the model saw spleen
    outcome = publish(bench, tmp_path, "2023", second)
    assert outcome.counts == {"new versions": 1}
    case = newest(bench)
    assert (case.number, case.annotations[LIVER].voxels, case.annotations[TUMOR].voxels) == (3, 32, 16)
    spleen = case.annotations[SPLEEN]
    assert (spleen.origin, spleen.voxels) == (Origin.PSEUDO, 16)
    expected = second.copy()
    expected[6, 1:5, 1:5] = SPLEEN  # of x = 5, 6 the tumor took x = 5; x = 3, 4 had been liver in 2019
    assert np.array_equal(voxels(bench), expected)
    assert conflicts(bench) == {(TUMOR, SPLEEN, True): 16}


@pytest.mark.usefixtures("complemented")
def test_what_was_fitted_around_the_older_drawing_is_stale_until_complement_draws_it_again(bench, tmp_path):
    second = np.zeros(SHAPE, np.uint8)
    second[1:3, 1:5, 1:5] = LIVER
    publish(bench, tmp_path, "2023", second)
    assert stale(bench) == {SPLEEN}
    assert count(bench, "stale") == 1
    assert complement(bench, "stale", "M").counts == {"complemented": 1}
    # Where the liver receded the whole predicted spleen of 4×4×4 fits.
    assert newest(bench).annotations[SPLEEN].voxels == 64
    assert stale(bench) == frozenset()
    assert complement(bench, "", "M").counts == {"nothing to add": 1}


@pytest.mark.usefixtures("complemented")
def test_a_pseudo_label_is_not_stale_where_a_revert_puts_its_ground_back(bench, tmp_path):
    second = np.zeros(SHAPE, np.uint8)
    second[1:3, 1:5, 1:5] = LIVER
    publish(bench, tmp_path, "2023", second)
    revert(bench, "S/A@2", "the revision was of another patient")
    assert (newest(bench).number, stale(bench)) == (4, frozenset())
    revert(bench, "S/A@3", "it was not")
    assert stale(bench) == {SPLEEN}


def test_the_same_revision_again_changes_nothing_nor_does_the_older_one(bench, tmp_path, complemented):
    second = complemented.copy()
    second[1, 1, 1] = 0
    publish(bench, tmp_path, "2023", second)
    assert publish(bench, tmp_path, "2023", second).counts == {"unchanged": 1}
    assert publish(bench, tmp_path, "2019", complemented).counts == {"unchanged": 1}
    assert newest(bench).number == 3


def test_a_revision_that_changes_no_voxel_is_a_version_that_makes_nothing_stale(
    bench, tmp_path, complemented
):
    assert publish(bench, tmp_path, "2023", complemented).counts == {"new versions": 1}
    assert newest(bench).annotations[SPLEEN].voxels == 32
    assert stale(bench) == frozenset()
    assert count(bench, 'revision = "2023"') == 1


def test_a_class_that_the_source_now_draws_itself_is_original(bench, tmp_path, complemented):
    second = complemented.copy()
    second[8:10, 1:5, 1:5] = SPLEEN
    publish(bench, tmp_path, "2023", second)
    spleen = newest(bench).annotations[SPLEEN]
    assert (spleen.origin, spleen.voxels) == (Origin.ORIGINAL, 32)
    assert np.array_equal(voxels(bench), second)
    assert conflicts(bench) == {(0, SPLEEN, True): 32}


def test_a_class_that_the_source_now_says_is_absent_is_no_pseudo_label_any_more(bench, tmp_path):
    kidneys = boxes({1: 8})
    publish(bench, tmp_path, "1", kidneys)  # our own values: liver; nobody looked for a tumor
    predict(bench, tmp_path, boxes({TUMOR: 4, LIVER: 8}).copy() * (boxes({1: 8}) == 0))
    complement(bench, "", "M")
    mask = boxes({1: 8})
    publish(bench, tmp_path, "2", mask, mapping=KITS)  # KiTS looked for tumors
    tumor = newest(bench).annotations[TUMOR]
    assert (tumor.status, tumor.evidence) == (Status.ABSENT, Evidence.PROTOCOL)


@pytest.mark.usefixtures("complemented")
def test_what_a_person_accepted_a_revision_does_not_change(bench, tmp_path):
    decide(bench, SPLEEN, Verdict.ACCEPTED)
    before = newest(bench).annotations[SPLEEN]
    second = np.zeros(SHAPE, np.uint8)
    second[1:7, 1:5, 1:5] = LIVER  # now over the whole predicted spleen
    publish(bench, tmp_path, "2023", second)
    after = newest(bench)
    assert after.annotations[SPLEEN] == before
    assert after.annotations[LIVER].voxels == 64
    assert conflicts(bench) == {(SPLEEN, LIVER, False): 32}
    # Stale it is, and no pipeline touches it.
    assert stale(bench) == {SPLEEN}
    assert complement(bench, "stale", "M", replace_pseudo=True).counts == {"nothing to add": 1}


def test_a_revision_on_another_grid_is_refused_where_a_pseudo_label_would_be_lost(
    bench, tmp_path, complemented
):
    outcome = publish(bench, tmp_path, "2023", complemented, affine=np.diag([2.0, 2.0, 5.0, 1.0]))
    (line,) = outcome.refused
    assert "spacing (2, 2, 5) against (2, 2, 2.5) mm" in line
    assert newest(bench).number == 2


def test_a_revision_on_another_grid_is_a_version_where_only_the_source_has_drawn(bench, tmp_path):
    publish(bench, tmp_path, "2019", boxes({LIVER: 5}))
    publish(bench, tmp_path, "2023", boxes({LIVER: 5}), affine=np.diag([2.0, 2.0, 5.0, 1.0]))
    case = newest(bench)
    assert (case.number, case.geometry.spacing_mm) == (2, (2.0, 2.0, 5.0))


def test_the_version_says_what_the_revision_changed_and_a_doubtful_class_is_noted(bench, tmp_path):
    publish(bench, tmp_path, "2019", boxes({LIVER: 6, TUMOR: 4}))
    outcome = publish(bench, tmp_path, "2023", boxes({LIVER: 5, TUMOR: 1}))
    # Liver 2·5 / (6 + 5), tumor 2·1 / (4 + 1).
    with bench.catalog.reading() as session:
        row = queries.history(session, newest(bench).case_id)[-1]
    assert (row.kind, row.revision) == (VersionKind.INGESTED, "2023")
    assert row.message == "2023 after 2019: liver Dice 0.909, tumor Dice 0.400"
    (note,) = outcome.noted
    assert "tumor Dice 0.400" in note
    assert "maskledger diff S/A@1 S/A@2" in note


def test_a_mask_that_comes_after_the_image_is_merged_with_what_was_complemented_meanwhile(bench, tmp_path):
    write_image(tmp_path / "i" / "A_0000.nii.gz")
    ingest(bench, IngestRequest(source="S", mapping=FLARE, images=tmp_path / "i"))
    predict(bench, tmp_path, boxes({LIVER: 6, SPLEEN: 3}))
    complement(bench, "", "M")
    publish(bench, tmp_path, "1", boxes({LIVER: 5}))
    case = newest(bench)
    assert {c: (r.origin, r.voxels) for c, r in case.annotations.items() if r.origin} == {
        LIVER: (Origin.ORIGINAL, 5),
        SPLEEN: (Origin.PSEUDO, 3),
    }


def test_unresolved_voxels_follow_the_source_and_never_the_model(bench, tmp_path):
    publish(bench, tmp_path, "2019", boxes({1: 6}), mapping=KITS)
    predict(bench, tmp_path, boxes({SPLEEN: 9}))
    complement(bench, "", "M")
    assert newest(bench).annotations[SPLEEN].voxels == 3
    publish(bench, tmp_path, "2023", boxes({1: 4}), mapping=KITS)
    mask = voxels(bench)
    assert int((mask == KIDNEYS).sum()) == 4
    assert newest(bench).annotations[2].evidence is Evidence.UNRESOLVED_SIDE


# 12 mm wide voxels along x, so that boxes of 3 voxels lie as far apart as kidneys do.
WIDE = np.diag([12.0, 4.0, 4.0, 1.0])
RIGHT, LEFT = 2, 13


def both_kidneys(height=4):
    """A KiTS file of two kidneys: the left one at x 1 to 3, the right one at x 8 to 10."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 1:5, 1 : 1 + height] = mask[8:11, 1:5, 1 : 1 + height] = 1
    return mask


def sided(file):
    """What a file of `both_kidneys` is with its sides told."""
    expected = file * np.uint8(RIGHT)
    expected[:6][file[:6] == 1] = LEFT
    return expected


def ingested_before_sides_were_told(bench, folder):
    """A case as an older program wrote it: both kidneys stored without a side."""
    publish(bench, folder, "2019", both_kidneys(), mapping=KITS, affine=WIDE, name="TOLD")
    told = newest(bench, "S/TOLD")
    with bench.catalog.reading() as session:
        version = session.get(MaskVersion, told.version_id)
        incoming_hash, revision_id = version.incoming_hash, version.revision_id
    runs = apply_mapping(RunLengths.from_array(both_kidneys()), KITS, "A")
    facts = examine(runs, told.geometry)
    stored, voxel_hash = encode_and_hash(runs, told.geometry)
    with bench.catalog.writing() as session:
        source_id = session.get(SourceRevision, revision_id).source_id
        case_id = writes.ensure_case(session, source_id, "A")
        writes.add_version(
            session, case_id, None,
            NewVersion(
                kind=VersionKind.INGESTED, author="Ada Tester", geometry=told.geometry,
                annotations=ingested_annotations(facts, KITS.protocol),
                incoming_hash=incoming_hash, file_hash=bench.store.put(stored), voxel_hash=voxel_hash,
                reserved=facts.reserved, findings=facts.findings, revision_id=revision_id,
            ),
        )  # fmt: skip
    assert newest(bench).annotations[RIGHT].evidence is Evidence.UNRESOLVED_SIDE
    assert set(np.unique(voxels(bench)).tolist()) == {0, KIDNEYS}


def test_a_revision_brings_the_sides_into_a_case_that_came_in_before_they_were_told(bench, tmp_path):
    ingested_before_sides_were_told(bench, tmp_path)
    predicted = both_kidneys() * 0
    predicted[3:6, 1:5, 1:5] = SPLEEN  # x = 3 lies on the kidney
    write_volume(tmp_path / "M" / "A.nii.gz", predicted, WIDE)
    import_predictions(bench, tmp_path / "M", "M", FLARE)
    complement(bench, 'case = "S/A"', "M")
    publish(bench, tmp_path, "2023", both_kidneys(height=3), mapping=KITS, affine=WIDE)
    expected = sided(both_kidneys(height=3))
    expected[4:6, 1:5, 1:5] = SPLEEN
    assert np.array_equal(voxels(bench), expected)
    case = newest(bench)
    assert [(case.annotations[c].origin, case.annotations[c].voxels) for c in (RIGHT, LEFT, SPLEEN)] == [
        (Origin.ORIGINAL, 36),
        (Origin.ORIGINAL, 36),
        (Origin.PSEUDO, 32),
    ]
    assert conflicts(bench) == {}
    with bench.catalog.reading() as session:
        told = queries.version_detail(session, case.version_id)
        row = queries.history(session, case.case_id)[-1]
    assert told.reserved == []
    assert {f.check for f in told.findings} >= {"side_from_geometry"}
    # Dice of 48 and 36 voxels, one within the other: 72 / 84.
    assert row.message == (
        "2023 after 2019: right_kidney Dice 0.857, left_kidney Dice 0.857; sides told that were not before"
    )


def test_the_same_mask_packed_anew_brings_the_sides_in_once(bench, tmp_path):
    ingested_before_sides_were_told(bench, tmp_path)
    for level, counts in ((1, {"new versions": 1}), (2, {"unchanged": 1})):
        file = write_volume(tmp_path / "again" / "A.nii", both_kidneys(), WIDE)
        packed = tmp_path / f"packed{level}" / "A.nii.gz"
        packed.parent.mkdir()
        packed.write_bytes(gzip.compress(file.read_bytes(), level))
        request = IngestRequest(source="S", mapping=KITS, labels=packed.parent, revision="2019")
        assert ingest(bench, request).counts == counts
    assert np.array_equal(voxels(bench), sided(both_kidneys()))


def test_a_derivation_by_the_mapping_that_there_was_brings_the_sides_in_once(bench, tmp_path):
    ingested_before_sides_were_told(bench, tmp_path)
    assert [change.address for change in plan(bench, RederiveRequest("S")).changes] == ["S/A"]
    assert rederive(bench, RederiveRequest("S")).counts == {"new versions": 1, "unchanged": 1}
    assert np.array_equal(voxels(bench), sided(both_kidneys()))
    assert rederive(bench, RederiveRequest("S")).counts == {"unchanged": 2}


def test_sides_that_a_person_swapped_stay_swapped_in_a_revision(bench, tmp_path):
    publish(bench, tmp_path, "2019", both_kidneys(), mapping=KITS, affine=WIDE)
    assert np.array_equal(voxels(bench), sided(both_kidneys()))
    swapped = both_kidneys() * np.uint8(LEFT)
    swapped[:6] = both_kidneys()[:6] * np.uint8(RIGHT)
    correct(bench, "S/A", write_volume(tmp_path / "mine.nii.gz", swapped, WIDE), "situs inversus")
    publish(bench, tmp_path, "2023", both_kidneys(), mapping=KITS, affine=WIDE)
    assert np.array_equal(voxels(bench), swapped)
    assert {newest(bench).annotations[c].origin for c in (RIGHT, LEFT)} == {Origin.CORRECTED}


def test_a_revision_whose_kidneys_touch_has_no_sides_any_more(bench, tmp_path):
    publish(bench, tmp_path, "2019", both_kidneys(), mapping=KITS, affine=WIDE)
    fused = both_kidneys()
    fused[4:8, 1, 1] = 1
    publish(bench, tmp_path, "2023", fused, mapping=KITS, affine=WIDE)
    assert np.array_equal(voxels(bench), fused * KIDNEYS)
    case = newest(bench)
    assert {case.annotations[c].evidence for c in (RIGHT, LEFT)} == {Evidence.UNRESOLVED_SIDE}
    assert conflicts(bench) == {}
    with bench.catalog.reading() as session:
        found = queries.version_detail(session, case.version_id).findings
    assert [f.check for f in found if f.check.startswith("side")] == ["side_unresolved"]
