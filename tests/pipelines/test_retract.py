"""Retract: what is taken out of which version, what stays, what is marked, and that it is done once."""

from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from sqlalchemy import func, select
from volume_files import SHAPE, write_volume

from curation.errors import UsageError
from curation.mappings import LabelMapping, load_builtin
from curation.rle import RunLengths
from curation.status import Evidence, Origin, Status
from curation.volumes import encode_and_hash
from db import case_files, queries, standing, taints, writes
from db.models import ModelKind, Retraction, RunState, Taint, Verdict, VersionKind
from db.retractions import model_subject, prediction_subject, revision_subject, run_subject
from pipelines.annotate import examine, measured
from pipelines.combine import Combination, combine
from pipelines.complement import complement
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.retract import consequences, retract
from pipelines.verify import verify

FLARE = load_builtin("flare23")
LIVER, RIGHT_KIDNEY, SPLEEN, PANCREAS, GALLBLADDER, LEFT_KIDNEY, TUMOR = 1, 2, 3, 4, 9, 13, 14
KIDNEY = 200
MISSING = (Status.MISSING, Evidence.DEFAULT)


def box(*boxes: tuple[int, int]) -> np.ndarray:
    """A mask with a cube of 3×3×3 = 27 voxels per (value, place); places 0 to 5 do not overlap."""
    mask = np.zeros(SHAPE, np.uint8)
    for value, place in boxes:
        x, y = 1 + place % 3 * 3, 1 + place // 3 * 4
        mask[x : x + 3, y : y + 3, 2:5] = value
    return mask


def take(bench, folder: Path, mask, name="A", mapping=FLARE, **options):
    write_volume(folder / "l" / f"{name}.nii.gz", mask)
    return ingest(bench, IngestRequest(source="S", mapping=mapping, labels=folder / "l", **options))


def offer(bench, folder: Path, mask, model="M", name="A"):
    write_volume(folder / f"p-{model}" / f"{name}.nii.gz", mask)
    return import_predictions(bench, folder / f"p-{model}", model, FLARE)


def newest(bench, address="S/A"):
    with bench.catalog.reading() as session:
        return case_files.case_file(session, address)


def voxels(bench, address="S/A"):
    return np.asarray(nib.load(bench.store.path(newest(bench, address).file_hash)).dataobj)


def count(bench, query) -> int:
    with bench.catalog.reading() as session:
        return queries.count(session, query)


def said(bench, class_id, address="S/A"):
    row = newest(bench, address).annotations[class_id]
    return row.status, row.evidence


def accept(bench, class_id):
    case = newest(bench)
    with bench.catalog.writing() as session:
        writes.add_decision(
            session, case.case_id, class_id, case.annotations[class_id].class_hash, Verdict.ACCEPTED,
            reason="looks right", person="Ada",
        )  # fmt: skip


def model(name):
    return partial(model_subject, name=name)


@pytest.fixture
def filled(bench, tmp_path):
    """S/A: a liver that was drawn, a spleen and a pancreas of M, a tumor of N."""
    take(bench, tmp_path, box((LIVER, 0)))
    offer(bench, tmp_path, box((SPLEEN, 1), (PANCREAS, 2)))
    offer(bench, tmp_path, box((TUMOR, 3)), "N")
    complement(bench, "", "M")
    complement(bench, "", "N")
    return bench


def test_a_models_labels_vanish_voxel_by_voxel_and_nothing_else_does(filled):
    outcome = retract(filled, model("M"), "trained on test cases")
    assert outcome.counts == {"cases relabeled": 1}
    assert np.array_equal(voxels(filled), box((LIVER, 0), (TUMOR, 3)))
    assert {said(filled, c) for c in (SPLEEN, PANCREAS)} == {MISSING}
    case = newest(filled)
    assert (case.annotations[LIVER].origin, case.annotations[TUMOR].origin) == (
        Origin.ORIGINAL,
        Origin.PSEUDO,
    )
    with filled.catalog.reading() as session:
        *_, before, last = queries.history(session, case.case_id)
    assert (last.kind, last.parent, last.author) == (VersionKind.RETRACTED, before.number, "Ada Tester")
    assert last.message == "retracted model M: spleen, pancreas taken out"
    assert verify(filled, deep=True).damage == []


def test_queries_and_complement_see_the_class_as_missing_again(filled, tmp_path):
    retract(filled, model("M"), "bad")
    assert (count(filled, "missing spleen"), count(filled, "pseudo spleen"), count(filled, "stale")) == (
        1,
        0,
        0,
    )
    with pytest.raises(UsageError, match=r"model 'M' was retracted .* by Ada Tester \(bad\)"):
        complement(filled, "", "M")
    offer(filled, tmp_path, box((SPLEEN, 4)), "better")
    assert complement(filled, "missing spleen", "better").counts == {"complemented": 1}
    assert np.array_equal(voxels(filled), box((LIVER, 0), (TUMOR, 3), (SPLEEN, 4)))


def test_a_second_call_changes_nothing_and_the_first_reason_stands(filled):
    retract(filled, model("M"), "bad")
    number = newest(filled).number
    assert retract(filled, model("M"), "still bad").counts == {}
    assert newest(filled).number == number
    with filled.catalog.reading() as session:
        assert session.scalars(select(Retraction.reason)).all() == ["bad"]


def test_a_dry_look_says_what_would_happen_and_writes_nothing(filled):
    accept(filled, PANCREAS)
    found = consequences(filled, model("M"))
    case = newest(filled)
    assert (found.taken_out, found.left_in) == (
        {case.version_id: {SPLEEN}},
        {case.version_id: {PANCREAS}},
    )
    assert [(v.address, v.number, v.newest) for v in found.descent.versions] == [
        ("S/A", 2, False),
        ("S/A", 3, True),
    ]
    assert newest(filled).number == 3
    with filled.catalog.reading() as session:
        assert session.scalar(select(func.count()).select_from(Retraction)) == 0


def test_accepted_classes_stay_and_are_stale_until_they_are_included(filled):
    accept(filled, PANCREAS)
    outcome = retract(filled, model("M"), "bad")
    assert outcome.counts == {"cases relabeled": 1, "accepted classes left in": 1}
    case = newest(filled)
    assert said(filled, SPLEEN) == MISSING
    assert case.annotations[PANCREAS].origin is Origin.PSEUDO
    with filled.catalog.reading() as session:
        assert standing.stale_classes(session, [case.version_id]) == {case.version_id: {PANCREAS}}
    assert retract(filled, model("M"), "bad", include_accepted=True).counts == {"cases relabeled": 1}
    assert said(filled, PANCREAS) == MISSING


def test_a_prediction_combined_from_a_retracted_one_goes_too(bench, tmp_path):
    take(bench, tmp_path, box((LIVER, 0)))
    for name in ("M", "N"):
        offer(bench, tmp_path, box((SPLEEN, 1)), name)
    combine(bench, "", Combination(("M", "N")))
    complement(bench, "", "majority(M,N)")
    retract(bench, partial(prediction_subject, case="S/A", model="N"), "wrong case")
    assert np.array_equal(voxels(bench), box((LIVER, 0)))
    assert complement(bench, "", "majority(M,N)").counts == {"without a prediction": 1}


def test_pseudo_labels_that_a_revision_carried_on_stay_when_that_ingest_is_retracted(bench, tmp_path):
    take(bench, tmp_path, box((3, 0)), mapping=kits("2019"))
    offer(bench, tmp_path, box((PANCREAS, 2)))
    complement(bench, "", "M")
    run_id = take(bench, tmp_path, box((3, 0)), mapping=kits("2023")).run_id  # the same mask once more
    accept(bench, LIVER)
    retract(bench, partial(run_subject, run_id=run_id), "wrong folder")
    assert np.array_equal(voxels(bench), box((LIVER, 0), (PANCREAS, 2)))
    case = newest(bench)
    with bench.catalog.reading() as session:
        assert standing.stale_classes(session, [case.version_id]) == {case.version_id: {LIVER}}


def test_one_prediction_is_retracted_for_its_case_alone_and_found_again(bench, tmp_path):
    for name in "AB":
        take(bench, tmp_path, box((LIVER, 0)), name)
        offer(bench, tmp_path, box((SPLEEN, 1)), name=name)
    complement(bench, "", "M")
    find = partial(prediction_subject, case="B", model="M")
    assert retract(bench, find, "wrong").counts == {"cases relabeled": 1}
    assert (count(bench, "pseudo spleen"), count(bench, "missing spleen")) == (1, 1)
    assert retract(bench, find, "wrong").counts == {}


def kits(revision: str) -> LabelMapping:
    """Kidney without a side, tumor, and liver; looked for: these and the gallbladder."""
    return LabelMapping(
        name="kits",
        values={1: KIDNEY, 2: TUMOR, 3: LIVER, 4: SPLEEN},
        protocol=frozenset({TUMOR, LIVER, GALLBLADDER}),
        revision=revision,
    )


def test_a_retracted_revision_leaves_missing_not_the_older_drawing(bench, tmp_path):
    take(bench, tmp_path, box((3, 0)), mapping=kits("2019"))
    take(bench, tmp_path, box((3, 1), (2, 3), (1, 4)), mapping=kits("2023"))
    assert said(bench, GALLBLADDER) == (Status.ABSENT, Evidence.PROTOCOL)
    assert said(bench, LEFT_KIDNEY) == (Status.MISSING, Evidence.UNRESOLVED_SIDE)
    retract(bench, partial(revision_subject, source="S", revision="2023"), "shifted by a slice")
    assert not voxels(bench).any()
    # Liver and tumor were drawn, the gallbladder was looked for, the kidneys lay there without a side.
    assert {said(bench, c) for c in (LIVER, TUMOR, GALLBLADDER, RIGHT_KIDNEY, LEFT_KIDNEY)} == {MISSING}
    assert verify(bench, deep=True).damage == []


def test_what_the_older_revision_drew_and_the_newer_did_not_change_belongs_to_the_newer(bench, tmp_path):
    take(bench, tmp_path, box((3, 0)), mapping=kits("2019"))
    take(bench, tmp_path, box((3, 0), (2, 3)), mapping=kits("2023"))
    retract(bench, partial(revision_subject, source="S", revision="2019"), "bad")
    assert np.array_equal(voxels(bench), box((LIVER, 0), (TUMOR, 3)))


def test_what_a_person_drew_or_a_model_filled_on_a_retracted_revision_stays(bench, tmp_path):
    take(bench, tmp_path, box((3, 0)), mapping=kits("2023"))
    offer(bench, tmp_path, box((PANCREAS, 2)))
    complement(bench, "", "M")
    retract(bench, partial(revision_subject, source="S", revision="2023"), "bad")
    assert np.array_equal(voxels(bench), box((PANCREAS, 2)))


def test_the_next_revision_after_a_retracted_one_draws_all_of_its_classes(bench, tmp_path):
    take(bench, tmp_path, box((3, 0), (2, 3)), mapping=kits("2023"))
    retract(bench, partial(revision_subject, source="S", revision="2023"), "bad")
    # The liver as in the retracted revision, the tumor elsewhere.
    take(bench, tmp_path, box((3, 0), (2, 4)), mapping=kits("2024"))
    assert np.array_equal(voxels(bench), box((LIVER, 0), (TUMOR, 4)))
    assert newest(bench).annotations[LIVER].origin is Origin.ORIGINAL


def test_an_ingest_run_that_made_version_1_leaves_nothing_annotated(bench, tmp_path):
    run_id = take(bench, tmp_path, box((LIVER, 0), (SPLEEN, 1))).run_id
    assert retract(bench, partial(run_subject, run_id=run_id), "wrong folder").counts == {
        "cases relabeled": 1
    }
    assert count(bench, "unlabeled") == 1


def test_a_complement_run_goes_without_the_models_other_labels(filled, tmp_path):
    take(filled, tmp_path, box((LIVER, 0)), "B")
    offer(filled, tmp_path, box((SPLEEN, 1)), name="B")
    run_id = complement(filled, 'case = "B"', "M").run_id
    retract(filled, partial(run_subject, run_id=run_id), "by mistake")
    assert (count(filled, "missing spleen"), count(filled, "pseudo spleen")) == (1, 1)


def test_accepted_classes_of_a_retracted_run_are_stale(bench, tmp_path):
    run_id = take(bench, tmp_path, box((LIVER, 0), (SPLEEN, 1))).run_id
    accept(bench, LIVER)
    retract(bench, partial(run_subject, run_id=run_id), "wrong folder")
    assert (count(bench, "has liver"), count(bench, "stale")) == (1, 1)


def add_by_hand(bench, mask, class_id, row, kind, run_id=None):
    """A version in which one class is as `row` says."""
    case = newest(bench)
    stored, voxel_hash = encode_and_hash(RunLengths.from_array(mask), case.geometry)
    with bench.catalog.writing() as session:
        writes.add_version(
            session, case.case_id, case.version_id,
            writes.NewVersion(
                kind=kind, author="Ada", geometry=case.geometry, run_id=run_id,
                annotations=tuple((case.annotations | {class_id: row}).values()),
                file_hash=bench.store.put(stored), voxel_hash=voxel_hash,
            ),
        )  # fmt: skip


def test_a_class_is_again_what_a_person_had_said_of_it_before_it_was_drawn(bench, tmp_path):
    take(bench, tmp_path, box((LIVER, 0)))
    gone = writes.AnnotationValues(class_id=SPLEEN, status=Status.ABSENT, evidence=Evidence.REVIEWER)
    add_by_hand(bench, box((LIVER, 0)), SPLEEN, gone, VersionKind.REVIEWED)
    mask = box((LIVER, 0), (SPLEEN, 1))
    census = examine(RunLengths.from_array(mask), newest(bench).geometry).census[SPLEEN]
    with bench.catalog.writing() as session:
        run_id = writes.start_run(session, "correct", None, {}, "Ada", "0")
    add_by_hand(
        bench, mask, SPLEEN, measured(SPLEEN, census, Origin.CORRECTED, author="Ada"),
        VersionKind.CORRECTED, run_id,
    )  # fmt: skip
    retract(bench, partial(run_subject, run_id=run_id), "of another patient")
    assert said(bench, SPLEEN) == (Status.ABSENT, Evidence.REVIEWER)
    assert np.array_equal(voxels(bench), box((LIVER, 0)))


def test_datasets_and_models_that_descend_are_marked_once(filled):
    case = newest(filled)
    with filled.catalog.writing() as session:
        writes.freeze_dataset(
            session, "all", "all", [writes.MemberValues(case.case_id, case.version_id, "train")],
            origins=["original", "pseudo"], seed=0, manifest_hash="a" * 64, author="me",
        )  # fmt: skip
        dataset = queries.dataset_version(session, "all")
        student = writes.add_model(session, "student", ModelKind.STUDENT, dataset_version_id=dataset.id)
    outcome = retract(filled, model("M"), "bad")
    assert outcome.counts == {
        "datasets marked tainted": 1, "models marked tainted": 1, "cases relabeled": 1,
    }  # fmt: skip
    retract(filled, model("M"), "bad")
    with filled.catalog.writing() as session:
        assert session.scalar(select(func.count()).select_from(Taint)) == 2
        later = writes.add_model(session, "later", ModelKind.STUDENT, dataset_version_id=dataset.id)
    with filled.catalog.reading() as session:
        found = taints.of_models(session, [student, later])
        of_dataset = taints.of_datasets(session, [dataset.id])
    assert {row.subject for rows in found.values() for row in rows} == {"model M"}
    assert set(found) == {student, later}  # the second one by its dataset
    assert [row.reason for row in of_dataset[dataset.id]] == ["bad"]


def test_a_case_whose_mask_is_lost_is_refused_and_the_others_go_on(filled, tmp_path):
    take(filled, tmp_path, box((LIVER, 0)), "B")
    offer(filled, tmp_path, box((SPLEEN, 1)), name="B")
    complement(filled, 'case = "B"', "M")
    filled.store.path(newest(filled, "S/B").file_hash).unlink()
    outcome = retract(filled, model("M"), "bad")
    assert outcome.counts == {"cases relabeled": 1}
    (line,) = outcome.refused
    assert line.startswith("S/B: ")
    assert "not in the store" in line
    with filled.catalog.reading() as session:
        assert queries.runs(session)[0].state is RunState.DONE


def test_a_retraction_wants_a_reason(filled):
    with pytest.raises(UsageError, match="say why"):
        retract(filled, model("M"), " ")


def test_a_retracted_model_takes_no_more_predictions(filled, tmp_path):
    retract(filled, model("M"), "bad")
    with pytest.raises(UsageError, match="model 'M' was retracted"):
        offer(filled, tmp_path, box((SPLEEN, 2)))
