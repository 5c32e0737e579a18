"""A review: what accept, reject, absent and dismiss book, what follows from it, and what is refused."""

import numpy as np
import pytest
from reviewed_case import (
    FLARE,
    GALLBLADDER,
    LEFT_KIDNEY,
    LIVER,
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
    predicted,
    voxels,
)
from sqlalchemy import select, update
from volume_files import SHAPE, write_image, write_volume

from curation.errors import UsageError
from curation.mappings import parse_mapping
from curation.status import Evidence, Origin, Status
from db import queries, reviewing
from db.models import Decision, FindingState, PredictionClass, VersionKind
from db.writes import StaleParentError
from pipelines.complement import complement
from pipelines.ingest import IngestRequest, ingest
from pipelines.review import absent, accept, accept_many, dismiss, reject
from pipelines.worklist import worklist


def decisions(bench):
    with bench.catalog.reading() as session:
        return session.scalars(select(Decision).order_by(Decision.id)).all()


def holding(bench, address="S/A"):
    with bench.catalog.reading() as session:
        rows = reviewing.decisions_that_hold(session, queries.resolve(session, address).version_id)
    return [(row.class_name, str(row.verdict), row.model) for row in rows]


def test_an_accepted_class_is_a_decision_of_a_person_and_no_new_version(bench, tmp_path):
    make_case(bench, tmp_path)
    done = accept(bench, "S/A", ["spleen", "lesion"], "seen")
    assert (done.decided, done.before, done.after) == (("spleen", "tumor"), 2, 2)
    assert accepted(bench) == {SPLEEN, TUMOR}
    assert newest(bench).number == 2
    assert [(d.class_id, d.person, d.reason) for d in decisions(bench)] == [
        (SPLEEN, "Ada Tester", "seen"),
        (TUMOR, "Ada Tester", "seen"),
    ]
    (event,) = events(bench, "accept")
    assert event.subject == "S/A"
    assert event.parameters == {"classes": ["spleen", "tumor"], "reason": "seen", "version": 2}


def test_accepting_twice_says_so_and_books_nothing(bench, tmp_path):
    make_case(bench, tmp_path)
    accept(bench, "S/A", ["spleen"])
    done = accept(bench, "S/A", ["spleen"])
    assert (done.decided, done.already) == ((), ("spleen",))
    assert len(decisions(bench)) == len(events(bench, "accept")) == 1


def test_a_class_that_is_not_drawn_cannot_be_accepted_or_rejected(bench, tmp_path):
    make_case(bench, tmp_path)
    with pytest.raises(UsageError, match="gallbladder is missing, so there is nothing drawn to accept"):
        accept(bench, "S/A", ["liver", "gallbladder"])
    with pytest.raises(UsageError, match="gallbladder is missing, so there is nothing to reject"):
        reject(bench, "S/A", ["gallbladder"], "why")
    assert not decisions(bench)


def test_accepted_classes_are_not_drawn_anew_by_a_better_model(bench, tmp_path):
    make_case(bench, tmp_path)
    accept(bench, "S/A", ["spleen"])
    other = np.zeros(SHAPE, np.uint8)
    other[2:6, 1:4, 1:4] = SPLEEN
    other[3:5, 6:9, 5:7] = TUMOR
    offer(bench, tmp_path, other, model="N")
    complement(bench, "", "N", replace_pseudo=True)
    assert newest(bench).annotations[SPLEEN].voxels == 27
    assert newest(bench).annotations[TUMOR].voxels == 12
    assert accepted(bench) == {SPLEEN}


def test_a_rejected_class_is_missing_in_a_new_version_and_its_voxels_are_background(bench, tmp_path):
    make_case(bench, tmp_path)
    done = reject(bench, "S/A", ["spleen"], "is stomach")
    assert (done.before, done.after, done.voxels) == (2, 3, {"spleen": 27})
    case = newest(bench)
    spleen = case.annotations[SPLEEN]
    assert (spleen.status, spleen.evidence, spleen.origin) == (Status.MISSING, Evidence.REVIEWER, None)
    expected = drawn_liver() + np.where(predicted() == TUMOR, TUMOR, 0).astype(np.uint8)
    assert np.array_equal(voxels(bench), expected)
    row = detail(bench).row
    assert (row.kind, row.author, row.parent) == (VersionKind.REVIEWED, "Ada Tester", 2)
    assert row.message == "rejected spleen: is stomach"
    (event,) = events(bench, "reject")
    assert event.parameters == {"classes": ["spleen"], "reason": "is stomach", "version": 3}


def test_a_rejected_class_is_refilled_by_another_model_but_not_by_the_same(bench, tmp_path):
    make_case(bench, tmp_path)
    reject(bench, "S/A", ["spleen"], "is stomach")
    assert complement(bench, "", "M").counts == {"nothing to add": 1}
    offer(bench, tmp_path, predicted(), model="N")
    assert complement(bench, "", "N").counts == {"complemented": 1}
    assert newest(bench).annotations[SPLEEN].origin is Origin.PSEUDO
    assert ("spleen", "rejected", "M") in holding(bench)


def test_a_rejected_original_class_may_be_filled_by_any_model(bench, tmp_path):
    make_case(bench, tmp_path)
    reject(bench, "S/A", ["liver"], "wrong case")
    (decision,) = decisions(bench)
    assert decision.model_id is None
    mask = np.zeros(SHAPE, np.uint8)
    mask[7:11, 6:9, 1:5] = LIVER
    offer(bench, tmp_path, mask)
    complement(bench, "", "M")
    assert newest(bench).annotations[LIVER].origin is Origin.PSEUDO


def test_several_classes_in_one_command_are_one_version(bench, tmp_path):
    make_case(bench, tmp_path)
    reject(bench, "S/A", ["spleen", "tumor"], "noise")
    assert newest(bench).number == 3
    assert newest(bench).annotated == {LIVER}
    assert len(decisions(bench)) == 2


def test_an_absent_class_is_taken_out_and_no_model_fills_it(bench, tmp_path):
    make_case(bench, tmp_path)
    done = absent(bench, "S/A", ["tumor", "gallbladder"], "resected")
    assert (done.after, done.voxels) == (3, {"tumor": 8})
    for class_id in (TUMOR, GALLBLADDER):
        row = newest(bench).annotations[class_id]
        assert (row.status, row.evidence) == (Status.ABSENT, Evidence.REVIEWER)
    assert complement(bench, "", "M").counts == {"nothing to add": 1}
    assert holding(bench) == [("gallbladder", "absent", None), ("tumor", "absent", "M")]


def test_absent_without_voxels_keeps_the_stored_mask(bench, tmp_path):
    make_case(bench, tmp_path)
    before = newest(bench)
    absent(bench, "S/A", ["gallbladder"], "cholecystectomy")
    after = newest(bench)
    assert (after.number, after.file_hash, after.voxel_hash) == (3, before.file_hash, before.voxel_hash)


def test_absent_twice_says_so_and_makes_no_version(bench, tmp_path):
    make_case(bench, tmp_path)
    absent(bench, "S/A", ["gallbladder"], "cholecystectomy")
    done = absent(bench, "S/A", ["gallbladder"], "again")
    assert (done.decided, done.already, newest(bench).number) == ((), ("gallbladder",), 3)


def test_out_of_field_is_another_answer_than_absent(bench, tmp_path):
    make_case(bench, tmp_path)
    absent(bench, "S/A", ["gallbladder"], "cholecystectomy")
    absent(bench, "S/A", ["gallbladder"], "scan ends above", out_of_field=True)
    assert newest(bench).annotations[GALLBLADDER].status is Status.OUT_OF_FIELD
    assert holding(bench) == [("gallbladder", "absent", None)]


def test_an_image_without_mask_can_be_told_what_is_absent(bench, tmp_path):
    write_image(tmp_path / "i" / "A_0000.nii.gz")
    ingest(bench, IngestRequest(source="S", mapping=FLARE, images=tmp_path / "i"))
    absent(bench, "S/A", ["gallbladder"], "cholecystectomy")
    case = newest(bench)
    assert (case.number, case.file_hash) == (2, None)
    assert case.annotations[GALLBLADDER].status is Status.ABSENT


def test_a_rejected_side_whose_pair_is_still_without_sides_stays_unresolved(bench, tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 1:4, 1:4] = 1  # kidney without a side
    mask[7:9, 1:4, 1:4] = 2  # the right one
    both = parse_mapping('name = "both"\n[values]\n1 = "kidney"\n2 = "right_kidney"\n', "both.toml")
    write_volume(tmp_path / "l" / "A.nii.gz", mask)
    ingest(bench, IngestRequest(source="S", mapping=both, labels=tmp_path / "l"))
    reject(bench, "S/A", ["right_kidney"], "is the left one")
    for side in (RIGHT_KIDNEY, LEFT_KIDNEY):
        row = newest(bench).annotations[side]
        assert (row.status, row.evidence) == (Status.MISSING, Evidence.UNRESOLVED_SIDE)


@pytest.mark.parametrize("review", [reject, absent])
def test_a_reason_is_wanted(bench, tmp_path, review):
    make_case(bench, tmp_path)
    with pytest.raises(UsageError, match='say why: --reason "…"'):
        review(bench, "S/A", ["spleen"], " ")


def test_who_looked_at_a_version_in_which_the_class_was_another_is_told(bench, tmp_path):
    make_case(bench, tmp_path)
    reject(bench, "S/A@2", ["spleen"], "is stomach")
    for review in (accept, reject, absent):
        with pytest.raises(StaleParentError, match=r"S/A@2: spleen changed since; the newest is version 3"):
            review(bench, "S/A@2", ["spleen"], "late")
    assert newest(bench).number == 3
    assert len(decisions(bench)) == 1


def test_a_review_of_an_older_version_holds_while_the_class_is_unchanged(bench, tmp_path):
    make_case(bench, tmp_path)
    reject(bench, "S/A@2", ["spleen"], "is stomach")
    accept(bench, "S/A@2", ["tumor"], "seen in version 2")
    assert accepted(bench) == {TUMOR}


def test_a_decision_follows_its_class_into_later_versions(bench, tmp_path):
    make_case(bench, tmp_path)
    accept(bench, "S/A", ["spleen"])
    reject(bench, "S/A", ["tumor"], "noise")
    assert (newest(bench).number, accepted(bench)) == (3, {SPLEEN})
    assert holding(bench) == [("spleen", "accepted", "M"), ("tumor", "rejected", "M")]


def test_accepting_over_a_query_counts_first_and_takes_all_that_are_drawn(bench, tmp_path):
    for name in ("A", "B"):
        make_case(bench, tmp_path, name)
    accept(bench, "S/A", ["spleen"])
    dry = accept_many(bench, "pseudo spleen", ["spleen", "gallbladder"], "seen", dry_run=True)
    assert (dry.cases, dry.accepted, dry.already, dry.not_drawn) == (1, 1, 1, 2)
    assert len(decisions(bench)) == 1
    assert accept_many(bench, "pseudo spleen", ["spleen"], "seen").accepted == 1
    assert accepted(bench, "S/B") == {SPLEEN}
    assert events(bench, "accept")[0].parameters["query"] == "pseudo spleen"
    assert accept_many(bench, "pseudo spleen", ["spleen"], "seen").accepted == 0
    assert len(events(bench, "accept")) == 2


def in_pieces(bench, folder):
    """S/P: a liver of two pieces, half of it each, and a spleen on the left border."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 1:3, 1:3] = LIVER
    mask[6:8, 6:8, 5:7] = LIVER
    mask[0, 4, 4] = SPLEEN
    write_volume(folder / "l" / "P.nii.gz", mask)
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=folder / "l"))


def open_checks(bench, address="S/P"):
    return {(f.check, f.class_name) for f in detail(bench, address).findings if f.state is FindingState.OPEN}


def test_a_dismissed_finding_has_a_person_and_a_reason_and_stays_dismissed(bench, tmp_path):
    in_pieces(bench, tmp_path)
    finding, was_open = dismiss(bench, "S/P", "resected", check="organ_in_pieces")
    assert (finding.check, was_open) == ("organ_in_pieces", True)
    assert ("organ_in_pieces", "liver") not in open_checks(bench)
    absent(bench, "S/P", ["gallbladder"], "cholecystectomy")  # another version, the same liver
    assert ("organ_in_pieces", "liver") not in open_checks(bench)
    (event,) = events(bench, "dismiss")
    assert event.parameters == {
        "check": "organ_in_pieces", "class": "liver", "version": 1, "reason": "resected",
    }  # fmt: skip


def test_dismissing_twice_says_so_and_books_nothing(bench, tmp_path):
    in_pieces(bench, tmp_path)
    finding, _ = dismiss(bench, "S/P", "resected", check="organ_in_pieces", class_word="liver")
    assert dismiss(bench, "S/P", "again", finding_id=finding.id)[1] is False
    assert len(events(bench, "dismiss")) == 1


def test_a_finding_that_is_not_there_or_not_the_only_one_is_wrong_usage(bench, tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[0, 2:4, 2:4] = LIVER
    mask[0, 6:8, 2:4] = SPLEEN
    write_volume(tmp_path / "l" / "P.nii.gz", mask)
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l"))
    with pytest.raises(UsageError, match="S/P@1: has no finding 'left_right_swap'"):
        dismiss(bench, "S/P", "why", check="left_right_swap")
    with pytest.raises(UsageError, match=r"2 open findings 'touches_border': liver \(--id \d+\), spleen"):
        dismiss(bench, "S/P", "why", check="touches_border")
    assert dismiss(bench, "S/P", "cropped", check="touches_border", class_word="spleen")[1]
    assert open_checks(bench) == {("touches_border", "liver")}


def test_the_list_ranks_findings_doubts_and_pseudo_labels_and_leaves_out_what_is_settled(bench, tmp_path):
    make_case(bench, tmp_path)
    in_pieces(bench, tmp_path)
    with bench.catalog.writing() as session:  # what a trained model would have said
        session.execute(
            update(PredictionClass).where(PredictionClass.class_id == SPLEEN).values(confidence=0.5)
        )
    found = worklist(bench)
    # Two cases. Liver in pieces: 25. Spleen of P on the left border: 25. Spleen of A: 30 for its confidence and 1,
    # spleens are drawn in 1 of 2 cases. Tumor of A: 15 + 1 and 10, because nobody drew a tumor.
    assert [(i.address, i.class_name, i.points) for i in found.items] == [
        ("S/A", "spleen", 31.0),
        ("S/A", "tumor", 26.0),
        ("S/P", "liver", 25.0),
        ("S/P", "spleen", 25.0),
    ]
    assert found.items[0].model == "M"
    assert found.total == 4
    accept(bench, "S/A", ["spleen"])
    dismiss(bench, "S/P", "resected", check="organ_in_pieces")
    assert [(i.address, i.class_name) for i in worklist(bench).items] == [("S/A", "tumor"), ("S/P", "spleen")]
    assert [i.address for i in worklist(bench, 'case = "S/P"').items] == ["S/P"]
    assert len(worklist(bench, limit=1).items) == 1


def test_a_drawn_class_that_the_newest_prediction_disagrees_with_is_listed(bench, tmp_path):
    make_case(bench, tmp_path)
    elsewhere = np.zeros(SHAPE, np.uint8)
    elsewhere[7:11, 1:5, 3:7] = LIVER  # half of it on the drawn liver: Dice 0.5
    offer(bench, tmp_path, elsewhere, model="N")
    (liver,) = [i for i in worklist(bench).items if i.class_name == "liver"]
    assert liver.candidate.agreement == pytest.approx(0.5)
    assert liver.reasons[0].sentence == "Dice 0.5 with the newest prediction, at least 0.90 is usual"


def test_a_model_that_draws_a_class_nowhere_says_nothing_of_it(bench, tmp_path):
    both = drawn_liver()
    both[2:5, 1:4, 1:4] = SPLEEN
    write_volume(tmp_path / "l" / "B.nii.gz", both)
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l"))
    offer(
        bench, tmp_path, drawn_liver(), model="N", name="B"
    )  # the liver as it is; the spleen N does not know
    assert worklist(bench).items == ()
    offer(bench, tmp_path, np.roll(both, 4, axis=2), model="N", name="B")
    assert [(i.class_name, i.candidate.agreement) for i in worklist(bench).items] == [
        ("liver", 0),
        ("spleen", 0),
    ]
