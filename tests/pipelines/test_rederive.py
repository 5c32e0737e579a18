"""A mapping or protocol changed: cases are read anew from the kept files, what people and models did is merged in."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from sqlalchemy import func, select
from volume_files import SHAPE, write_volume

from curation.errors import UsageError
from curation.mappings import LabelMapping
from curation.status import Evidence, Origin, Status
from db import case_files, ingest_state, standing, writes
from db.models import Event, MaskVersion, Run, Verdict
from db.retractions import run_subject
from pipelines.complement import complement
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.purge import purge
from pipelines.rederive import RederiveRequest, plan, rederive
from pipelines.repair import repair
from pipelines.retract import retract
from pipelines.review import absent
from pipelines.runs import Silent
from pipelines.verify import verify

LIVER, SPLEEN, PANCREAS, GALLBLADDER = 1, 3, 4, 9
# The first one takes the source's spleen for something that has no class here.
WRONG = LabelMapping("wrong", {1: LIVER, 2: 0}, frozenset({LIVER}))
RIGHT = LabelMapping("right", {1: LIVER, 2: SPLEEN}, frozenset({LIVER, SPLEEN}))
OURS = LabelMapping("flare23", {n: n for n in range(1, 15)})
REQUEST = RederiveRequest("S", mapping=RIGHT)


def mask_with_both():
    """Value 1 of 2×4×4 voxels at x 1 and 2, value 2 as many at x 5 and 6."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 1:5, 1:5] = 1
    mask[5:7, 1:5, 1:5] = 2
    return mask


@pytest.fixture
def cohort(bench, tmp_path):
    """Source S by the wrong mapping: A with both values and model M's pancreas at x 6 to 8, B with value 1 alone."""
    write_volume(tmp_path / "masks" / "A.nii.gz", mask_with_both())
    write_volume(tmp_path / "masks" / "B.nii.gz", np.where(mask_with_both() == 1, 1, 0).astype(np.uint8))
    take_in(bench, tmp_path)
    predicted = np.zeros(SHAPE, np.uint8)
    predicted[6:9, 1:5, 1:5] = PANCREAS
    write_volume(tmp_path / "M" / "A.nii.gz", predicted)
    import_predictions(bench, tmp_path / "M", "M", OURS)
    complement(bench, 'case = "A"', "M")
    return bench


def take_in(bench, tmp_path, mapping=WRONG, revision="1"):
    return ingest(
        bench,
        IngestRequest(source="S", mapping=mapping, labels=tmp_path / "masks", revision=revision),
    )


def newest(bench, name="A"):
    with bench.catalog.reading() as session:
        return case_files.case_file(session, f"S/{name}")


def of(bench, class_id, name="A"):
    row = newest(bench, name).annotations[class_id]
    return row.status, row.origin, row.evidence, row.voxels


def stale(bench):
    version = newest(bench).version_id
    with bench.catalog.reading() as session:
        return standing.stale_classes(session, [version]).get(version, frozenset())


def recorded(bench):
    with bench.catalog.reading() as session:
        (revision,) = ingest_state.known_revisions(session, "S")
    return revision.mapping_name, dict(revision.mapping), revision.protocol


def rows(bench):
    with bench.catalog.reading() as session:
        return [
            session.scalar(select(func.count()).select_from(table)) for table in (MaskVersion, Run, Event)
        ]


def decide(bench, class_id, verdict):
    case = newest(bench)
    with bench.catalog.writing() as session:
        writes.add_decision(
            session, case.case_id, class_id, case.annotations[class_id].class_hash, verdict,
            reason="looked at it", person="Ada Tester",
        )  # fmt: skip


def test_a_dry_run_says_which_cases_would_change_and_how_and_writes_nothing(cohort):
    before = rows(cohort), sorted(cohort.store.hashes())
    found = plan(cohort, REQUEST)
    assert (found.cases, found.later, found.refused) == (2, 0, [])
    a, b = found.changes
    assert (a.address, sorted(a.classes)) == ("S/A", ["pancreas", "spleen"])
    spleen, pancreas = a.classes["spleen"], a.classes["pancreas"]
    assert spleen.before == (Status.MISSING, None, Evidence.DEFAULT)
    assert spleen.after == (Status.ANNOTATED, Origin.ORIGINAL, Evidence.VOXELS)
    # The source's spleen takes x = 6 from the pseudo pancreas.
    assert (spleen.gained, spleen.lost, pancreas.gained, pancreas.lost) == (32, 0, 0, 16)
    # B has no spleen, but now somebody has looked for it.
    assert (b.address, list(b.classes)) == ("S/B", ["spleen"])
    assert b.classes["spleen"].after == (Status.ABSENT, None, Evidence.PROTOCOL)
    assert (rows(cohort), sorted(cohort.store.hashes())) == before


def test_cases_are_read_anew_without_their_files_and_pseudo_labels_stay_and_are_stale(cohort, tmp_path):
    for file in (tmp_path / "masks").iterdir():
        file.rename(file.with_suffix(".away"))
    assert rederive(cohort, REQUEST).counts == {"new versions": 2}
    expected = mask_with_both()
    expected[expected == 2] = SPLEEN
    expected[7:9, 1:5, 1:5] = PANCREAS
    stored = nib.load(cohort.store.path(newest(cohort).file_hash))
    assert np.array_equal(np.asarray(stored.dataobj), expected)
    assert of(cohort, SPLEEN) == (Status.ANNOTATED, Origin.ORIGINAL, Evidence.VOXELS, 32)
    assert of(cohort, PANCREAS) == (Status.ANNOTATED, Origin.PSEUDO, Evidence.VOXELS, 32)
    assert of(cohort, SPLEEN, "B") == (Status.ABSENT, None, Evidence.PROTOCOL, 0)
    assert stale(cohort) == {PANCREAS}
    assert recorded(cohort) == ("right", {"1": LIVER, "2": SPLEEN}, (LIVER, SPLEEN))
    with cohort.catalog.reading() as session:
        event = session.scalars(select(Event).order_by(Event.id.desc())).first()
        message = session.get_one(MaskVersion, newest(cohort).version_id).message
    assert (event.action, event.subject, event.parameters["before"]["mapping"]) == (
        "rederive",
        "S/1",
        "wrong",
    )
    assert message == "1 by right after 1 by wrong: spleen Dice 0.000"


def test_once_done_nothing_is_left_and_the_files_are_known_under_the_new_mapping(cohort, tmp_path):
    rederive(cohort, REQUEST)
    assert plan(cohort, REQUEST).changes == []
    assert rederive(cohort, REQUEST).counts == {"unchanged": 2}
    assert take_in(cohort, tmp_path, RIGHT).counts == {"unchanged": 2}
    with pytest.raises(UsageError, match="maskledger source rederive"):
        take_in(cohort, tmp_path, WRONG)


def test_what_a_person_accepted_stays_and_what_they_said_is_absent_stays_absent(cohort):
    decide(cohort, LIVER, Verdict.ACCEPTED)
    absent(cohort, "S/A", ["gallbladder"], "cholecystectomy")
    swapped = LabelMapping("swapped", {1: GALLBLADDER, 2: SPLEEN}, frozenset({LIVER, GALLBLADDER, SPLEEN}))
    rederive(cohort, RederiveRequest("S", mapping=swapped))
    assert of(cohort, LIVER) == (Status.ANNOTATED, Origin.ORIGINAL, Evidence.VOXELS, 32)
    assert of(cohort, GALLBLADDER) == (Status.ABSENT, None, Evidence.REVIEWER, 0)
    assert of(cohort, SPLEEN)[:2] == (Status.ANNOTATED, Origin.ORIGINAL)
    # Nobody decided on B: there the gallbladder has the liver's place.
    assert of(cohort, LIVER, "B") == (Status.ABSENT, None, Evidence.PROTOCOL, 0)
    assert of(cohort, GALLBLADDER, "B") == (Status.ANNOTATED, Origin.ORIGINAL, Evidence.VOXELS, 32)


def test_a_case_list_changes_statuses_alone_and_makes_no_pseudo_label_stale(cohort, tmp_path):
    (tmp_path / "cases.csv").write_text("case,classes\nA,liver spleen gallbladder\n")
    request = RederiveRequest("S", cases=tmp_path / "cases.csv")
    before = newest(cohort).voxel_hash
    assert [change.address for change in plan(cohort, request).changes] == ["S/A"]
    assert rederive(cohort, request).counts == {"new versions": 1, "unchanged": 1}
    assert of(cohort, GALLBLADDER) == (Status.ABSENT, None, Evidence.PROTOCOL, 0)
    assert (newest(cohort).voxel_hash, stale(cohort)) == (before, frozenset())
    # Said once, it holds: also where only the mapping changes later.
    rederive(cohort, REQUEST)
    assert of(cohort, GALLBLADDER)[0] is Status.ABSENT
    (tmp_path / "cases.csv").write_text("case,classes\nZ,liver\n")
    with pytest.raises(UsageError, match=r"no mask stands on revision '1' of S for 1 case: Z \(line 2\)"):
        plan(cohort, request)


def test_a_case_list_that_ingest_reads_later_is_noted_and_followed_by_a_derivation(cohort, tmp_path):
    (tmp_path / "cases.csv").write_text("case,classes\nB,liver gallbladder\n")
    request = IngestRequest(source="S", mapping=WRONG, labels=tmp_path / "masks", revision="1")
    (note,) = ingest(cohort, replace(request, cases=tmp_path / "cases.csv")).noted
    assert "in 1 cases whose masks are unchanged: B; their statuses follow with" in note
    assert "`maskledger source rederive S --revision 1`" in note
    assert ingest(cohort, replace(request, cases=tmp_path / "cases.csv")).noted == []
    assert of(cohort, GALLBLADDER, "B")[0] is Status.MISSING
    assert rederive(cohort, RederiveRequest("S")).counts == {"unchanged": 1, "new versions": 1}
    assert of(cohort, GALLBLADDER, "B") == (Status.ABSENT, None, Evidence.PROTOCOL, 0)
    # A changed file without the list changes nothing of that.
    write_volume(tmp_path / "masks" / "B.nii.gz", mask_with_both())
    ingest(cohort, request)
    assert of(cohort, GALLBLADDER, "B")[0] is Status.ABSENT


class Interrupting(Silent):
    """Stops the stage once its first case is through."""

    def step(self, done: int, message: str = "") -> None:  # noqa: ARG002 (a Progress is called so)
        raise KeyboardInterrupt


def test_stopped_on_the_way_the_same_command_does_what_is_left(cohort, monkeypatch):
    monkeypatch.setattr("pipelines.runs.COMMIT_EVERY_S", 0.0)  # every case is a batch of its own
    with pytest.raises(KeyboardInterrupt):
        rederive(replace(cohort, progress=Interrupting()), REQUEST)
    assert recorded(cohort)[0] == "wrong"
    assert [newest(cohort, name).number for name in "AB"] == [3, 1]
    # Until it is done each case is known by the mapping that it was read by.
    with cohort.catalog.reading() as session:
        known = ingest_state.known_cases(session, 1)
    assert [known[name].mapping_name for name in "AB"] == ["right", "wrong"]
    assert rederive(cohort, REQUEST).counts == {"unchanged": 1, "new versions": 1}
    assert recorded(cohort)[0] == "right"
    assert [newest(cohort, name).number for name in "AB"] == [3, 2]


def test_while_a_case_does_not_fit_the_mapping_the_revision_keeps_its_own(cohort):
    narrow = LabelMapping("narrow", {1: SPLEEN})
    (line,) = plan(cohort, RederiveRequest("S", mapping=narrow)).refused
    assert line.startswith("S/A")
    outcome = rederive(cohort, RederiveRequest("S", mapping=narrow))
    assert (outcome.counts, outcome.refused) == ({"new versions": 1}, [line])
    assert "keeps the mapping 'wrong' while 1 of its cases" in outcome.noted[0]
    assert recorded(cohort)[0] == "wrong"


def test_cases_whose_bytes_are_lost_are_refused_by_name_and_stop_no_other(cohort):
    with cohort.catalog.reading() as session:
        known = ingest_state.known_cases(session, 1)
    cohort.store.delete(known["A"].incoming_hash)
    outcome = rederive(cohort, REQUEST)
    assert (outcome.counts, recorded(cohort)[0]) == ({"new versions": 1}, "right")
    assert [line.partition(" (")[0] for line in outcome.refused] == [
        "S/A: the file that came in for it is no longer in the store"
    ]


def test_of_purged_cases_nothing_is_left_to_derive_which_is_counted_and_no_failure(cohort):
    purge(cohort, "S/B", "consent withdrawn")
    foreseen = plan(cohort, REQUEST)
    assert (foreseen.cases, foreseen.purged, foreseen.refused) == (1, 1, [])
    outcome = rederive(cohort, REQUEST)
    assert (outcome.counts, outcome.refused) == ({"new versions": 1, "purged": 1}, [])
    assert recorded(cohort)[0] == "right"


def test_what_a_run_brought_in_is_retracted_also_where_it_was_read_anew_since(cohort):
    with cohort.catalog.reading() as session:
        taken_in = session.scalars(select(Run.id).where(Run.stage == "ingest")).one()
    rederive(cohort, REQUEST)
    retract(cohort, lambda session: run_subject(session, taken_in), "wrong patients")
    assert [of(cohort, c)[0] for c in (LIVER, SPLEEN)] == [Status.MISSING, Status.MISSING]
    assert of(cohort, SPLEEN, "B")[0] is Status.MISSING
    assert of(cohort, PANCREAS)[1] is Origin.PSEUDO
    lines = plan(cohort, RederiveRequest("S", mapping=WRONG)).refused
    assert [line.split(": the mask that came in")[0] for line in lines] == ["S/A", "S/B"]


def test_masks_of_the_mapping_before_can_still_be_made_again(cohort):
    with cohort.catalog.reading() as session:
        first = case_files.case_file(session, "S/A@1")
    rederive(cohort, REQUEST)
    cohort.store.delete(first.file_hash)
    damages = verify(cohort).damages
    assert len(damages) == 1
    assert len(repair(cohort, damages).done) == 1
    assert verify(cohort, deep=True).damages == []


def test_cases_that_stand_on_a_later_revision_stay_as_they_are(cohort, tmp_path):
    changed = mask_with_both()
    changed[9, 1:5, 1:5] = 1
    write_volume(tmp_path / "masks" / "A.nii.gz", changed)
    (tmp_path / "masks" / "B.nii.gz").unlink()
    take_in(cohort, tmp_path, WRONG, "2")
    with pytest.raises(UsageError, match="S has the revisions 1, 2; name one of them with --revision"):
        plan(cohort, REQUEST)
    found = plan(cohort, replace(REQUEST, revision="1"))
    assert (found.cases, found.later, [c.address for c in found.changes]) == (1, 1, ["S/B"])
    with pytest.raises(UsageError, match="S has no revision '3', but 1, 2"):
        plan(cohort, replace(REQUEST, revision="3"))
