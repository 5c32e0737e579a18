"""Models, predictions and scores; runs and what they booked."""

import math
from datetime import UTC, datetime

import pytest
from catalog_makers import add_case, add_model_prediction, drawn
from sqlalchemy.orm import Session

from curation.errors import UsageError
from curation.status import Finding, Severity
from db import offers, queries, writes
from db.catalog import Catalog
from db.models import FindingState, ItemState, ModelKind, RunState
from db.offers import newest_predictions
from db.stored_files import contents, needed_hashes, stored_files
from db.writes import NewEvaluation


def test_the_newest_prediction_of_a_model_for_a_case_is_the_one_that_counts(catalog: Catalog) -> None:
    with catalog.writing() as session:
        case = add_case(session, "a").case_id
        old = add_model_prediction(session, case, "teacher", liver={"confidence": 0.5})
        other = add_model_prediction(session, case, "student", liver={"confidence": 0.6})
        new = add_model_prediction(
            session, case, "teacher", liver={"confidence": 0.9}, tumor={"voxels": 0, "volume_ml": 0.0}
        )
    with catalog.reading() as session:
        rows = queries.predictions_for(session, case)
        teacher = queries.model(session, "teacher")
        assert teacher is not None
        assert newest_predictions(session, teacher.id)[case].id == new
    assert [(r.id, r.model, r.newest) for r in rows] == [
        (new, "teacher", True), (other, "student", True), (old, "teacher", False),
    ]  # fmt: skip
    assert [(c.class_name, c.voxels, c.confidence) for c in rows[0].classes] == [
        ("liver", 100, 0.9), ("tumor", 0, None),
    ]  # fmt: skip
    assert teacher.predicted_cases == 1


def test_a_trained_model_is_read_back_with_its_dataset_and_settings(catalog: Catalog) -> None:
    with catalog.writing() as session:
        ref = add_case(session, "a", drawn("liver"))
        writes.freeze_dataset(
            session, "strong", "strong", [writes.MemberValues(ref.case_id, ref.id, "train")],  # type: ignore[arg-type]
            origins=["original"], seed=0, manifest_hash="a" * 64, author="me",
        )  # fmt: skip
        writes.add_model(
            session, "teacher", ModelKind.TEACHER,
            dataset_version_id=queries.dataset_version(session, "strong").id, profile={"epochs": 2},
            origins=["original"], weights_path="models/teacher", weights_hash="b" * 64,
            metrics={"dsc": 0.5}, curves=[{"epoch": 0, "loss": 1.0}],
        )  # fmt: skip
    with catalog.reading() as session:
        row = queries.model(session, "teacher")
        assert queries.model(session, "student") is None
    assert row is not None
    assert (row.kind, row.dataset, row.profile, row.origins) == (
        "teacher",
        "strong@1",
        {"epochs": 2},
        ["original"],
    )
    assert (row.weights_path, row.metrics, row.curves) == (
        "models/teacher",
        {"dsc": 0.5},
        [{"epoch": 0, "loss": 1.0}],
    )


def test_a_model_name_is_given_once(catalog: Catalog) -> None:
    with catalog.writing() as session:
        model = writes.ensure_model(session, "nnunet")
        assert writes.ensure_model(session, "nnunet") == model
    with pytest.raises(UsageError, match="'nnunet' is registered already"), catalog.writing() as session:
        writes.add_model(session, "nnunet", ModelKind.TEACHER)


def _score(session: Session, case: str, dsc: float, nsd: float, protocol: str = "flare23") -> None:
    ref = queries.resolve(session, case)
    prediction = add_model_prediction(session, ref.case_id, "teacher", liver={})
    writes.add_evaluations(
        session,
        [
            NewEvaluation(
                model_id=writes.ensure_model(session, "teacher"), prediction_id=prediction, case_id=ref.case_id,
                reference_version_id=ref.version_id, class_id=1, protocol=protocol, implementation="ours",
                dsc=dsc, nsd=nsd, seconds=2.5,
            )
        ],
    )  # fmt: skip


def test_scores_are_averaged_over_cases(catalog: Catalog) -> None:
    with catalog.writing() as session:
        for name, dsc, nsd in (("a", 0.8, 0.5), ("b", 0.9, 0.5), ("c", 1.0, 0.5)):
            add_case(session, name, drawn("liver"))
            _score(session, name, dsc, nsd)
        _score(session, "a", 0.7, 0.7, protocol="known")
    with catalog.reading() as session:
        flare, known = queries.scores(session)
        assert queries.scores(session, protocol="known") == [known]
        rows = queries.evaluations(session, model="teacher", protocol="flare23")
    assert (flare.model, flare.class_name, flare.protocol, flare.cases) == ("teacher", "liver", "flare23", 3)
    # 0.8, 0.9, 1.0: mean 0.9, squared deviations 0.01 + 0 + 0.01 over 3
    assert (flare.dsc_mean, flare.dsc_std) == (pytest.approx(0.9), pytest.approx(math.sqrt(0.02 / 3)))
    assert (flare.nsd_mean, flare.nsd_std) == (pytest.approx(0.5), pytest.approx(0.0, abs=1e-7))
    assert (known.cases, known.dsc_mean) == (1, pytest.approx(0.7))
    assert [(r.case, r.dsc, r.seconds) for r in rows] == [
        ("KiTS/a", 0.8, 2.5), ("KiTS/b", 0.9, 2.5), ("KiTS/c", 1.0, 2.5),
    ]  # fmt: skip


def test_a_score_without_figures_has_those_of_its_prediction(catalog: Catalog) -> None:
    with catalog.writing() as session:
        case = add_case(session, "a", drawn("liver"))
        model = writes.ensure_model(session, "teacher")
        prediction = writes.add_prediction(
            session, case_id=case.case_id, model_id=model, file_hash="a" * 64, voxel_hash="b" * 64, classes=[],
            seconds=9.0, peak_memory_mb=3000.0, memory_area_mb_s=20000.0,
        )  # fmt: skip
        writes.add_evaluations(
            session,
            [
                NewEvaluation(
                    model_id=model, prediction_id=prediction, case_id=case.case_id, reference_version_id=case.id,
                    class_id=1, protocol="flare23", implementation="ours", dsc=1.0, nsd=1.0, seconds=8.0,
                )
            ],
        )  # fmt: skip
    with catalog.reading() as session:
        (row,) = queries.evaluations(session)
        offered = offers.newest_predictions(session, model)[case.case_id]
    # Its own seconds, the prediction's memory.
    assert (row.seconds, row.peak_memory_mb, row.memory_area_mb_s) == (8.0, 3000.0, 20000.0)
    assert (offered.id, offered.seconds) == (prediction, 9.0)
    assert (offered.peak_memory_mb, offered.memory_area_mb_s) == (3000.0, 20000.0)


def test_a_model_knows_the_seed_of_the_run_that_trained_it(catalog: Catalog) -> None:
    with catalog.writing() as session:
        run = writes.start_run(session, "student train", "student", {"seed": 7}, "me", "0.1", total=None)
        writes.add_model(session, "student", ModelKind.STUDENT, run_id=run)
        writes.ensure_model(session, "elsewhere")
    with catalog.reading() as session:
        assert [row.seed for row in queries.models(session)] == [7, None]
        booked = queries.run_by_id(session, run)
        assert booked is not None
        assert (booked.stage, booked.parameters) == ("student train", {"seed": 7})
        assert queries.run_by_id(session, run + 1) is None


def test_scoring_again_replaces_the_scores_of_that_protocol_only(catalog: Catalog) -> None:
    with catalog.writing() as session:
        add_case(session, "a", drawn("liver"))
        _score(session, "a", 0.1, 0.1)
        _score(session, "a", 0.2, 0.2, protocol="known")
        _score(session, "a", 0.9, 0.9)
    with catalog.reading() as session:
        assert [(r.protocol, r.dsc) for r in queries.evaluations(session)] == [
            ("flare23", 0.9),
            ("known", 0.2),
        ]


def _start(session: Session, key: str | None = None) -> int:
    return writes.start_run(session, "train", key, {"epochs": 2}, "me", "0.1", total=3)


def test_a_run_is_booked_from_start_to_end(catalog: Catalog) -> None:
    with catalog.writing() as session:
        run = _start(session)
        writes.update_progress(session, run, {"step": 1, "of": 3})
        writes.add_run_item(session, run, subject="a.nii.gz", state=ItemState.REFUSED, reason="no NIfTI")
        writes.add_run_item(session, run, subject="b.nii.gz", state=ItemState.DONE, seconds=0.5)
    with catalog.reading() as session:
        (row,) = queries.runs(session)
        assert (row.state, row.finished_at, row.progress) == ("running", None, {"step": 1, "of": 3})
    with catalog.writing() as session:
        writes.finish_run(session, run, RunState.DONE, "1 done, 1 refused")
    with catalog.reading() as session:
        (row,) = queries.runs(session, stage="train")
        refused = queries.run_item_page(session, run, state=ItemState.REFUSED, limit=9)
        assert queries.runs(session, stage="ingest") == []
        assert len(queries.run_item_page(session, run, limit=9)) == 2
    assert (row.state, row.message, row.total, row.items) == (
        "done",
        "1 done, 1 refused",
        3,
        {"done": 1, "refused": 1},
    )
    assert row.finished_at is not None
    assert row.started_at <= row.finished_at <= datetime.now(UTC)
    assert [(i.subject, i.reason) for i in refused] == [("a.nii.gz", "no NIfTI")]


def test_a_run_that_was_killed_is_booked_as_interrupted_when_its_work_starts_again(catalog: Catalog) -> None:
    with catalog.writing() as session:
        killed, other = _start(session, "teacher-1"), _start(session, "teacher-2")
        again = _start(session, "teacher-1")
    with catalog.reading() as session:
        state = {row.id: row.state for row in queries.runs(session)}
    assert state == {
        killed: RunState.INTERRUPTED,
        other: RunState.RUNNING,
        again: RunState.RUNNING,
    }


def test_the_log_says_who_did_what_the_newest_first(catalog: Catalog) -> None:
    with catalog.writing() as session:
        writes.add_event(session, author="me", action="init", program_version="0.1")
        writes.add_event(
            session,
            author="you",
            action="ingest",
            subject="KiTS",
            parameters={"jobs": 2},
            program_version="0.1",
        )
    with catalog.reading() as session:
        rows = queries.events(session)
        assert len(queries.events(session, limit=1)) == 1
    assert [(e.author, e.action, e.subject, e.parameters) for e in rows] == [
        ("you", "ingest", "KiTS", {"jobs": 2}), ("me", "init", "", {}),
    ]  # fmt: skip


def test_a_dismissed_finding_no_longer_flags_its_case(catalog: Catalog) -> None:
    with catalog.writing() as session:
        ref = add_case(
            session, "a", drawn("liver"),
            findings=[
                Finding("touches_border", Severity.INFO, 1, 1.0, 0.0, "info"),
                Finding("organ_in_pieces", Severity.ERROR, 1, 3.0, 1.0, "error"),
            ],
        )  # fmt: skip
    with catalog.reading() as session:
        assert queries.count(session, "flagged") == 1
        error, info = queries.findings(session, [ref.id])[ref.id]
    assert (error.severity, info.severity) == ("error", "info")
    with catalog.writing() as session:
        writes.decide_finding(session, error.id, FindingState.DISMISSED, person="reader")
    with catalog.reading() as session:
        assert queries.count(session, "flagged") == 0
        last = queries.findings(session, [ref.id])[ref.id][-1]
    assert (last.id, last.state, last.person) == (error.id, "dismissed", "reader")
    with catalog.writing() as session:
        writes.decide_finding(session, error.id, FindingState.OPEN, person="reader")
    with catalog.reading() as session:
        assert queries.count(session, "flagged") == 1


def test_every_file_that_a_row_needs_is_named_once(catalog: Catalog) -> None:
    with catalog.writing() as session:
        ref = add_case(
            session, "a", drawn("liver"), file_hash="1" * 64, incoming_hash="2" * 64, reserved={200: 5}
        )
        add_case(session, "b", file_hash=None, voxel_hash=None, incoming_hash=None)
        add_model_prediction(session, ref.case_id, "teacher", liver={})
    with catalog.reading() as session:
        files = {file.hash: file for file in stored_files(session)}
        (claim,) = files["1" * 64].claims
        said = contents(session, [claim])[claim]
        assert needed_hashes(session) == files.keys()
    assert len(files) == 3
    assert files["1" * 64].needed_by == claim.address == "KiTS/a@1"
    assert said.voxels == {1: 100, 200: 5}
    assert said.class_hashes.keys() == {1}
    assert files["2" * 64].needed_by == "KiTS/a@1, as it came in"
