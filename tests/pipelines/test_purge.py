"""Purge: nothing is left of a patient, byte for byte; a kill in the middle is completed; others keep what is theirs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select
from volume_files import SHAPE, boxes, write_volume

from curation.errors import UsageError
from curation.mappings import load_builtin
from db import erasing, purged, queries, writes
from db.catalog import Catalog
from db.models import (
    Annotation,
    Case,
    Conflict,
    Decision,
    Evaluation,
    Event,
    FindingRow,
    MaskVersion,
    Member,
    ModelKind,
    Prediction,
    PredictionClass,
    PredictionPart,
    Retraction,
    Run,
    RunItem,
    Tombstone,
    Verdict,
)
from db.retractions import prediction_subject
from db.writes.purging import scrubber
from pipelines.combine import Combination, combine
from pipelines.complement import complement
from pipelines.evaluate import evaluate
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.purge import look_up, purge
from pipelines.retract import retract
from pipelines.runs import Silent
from pipelines.verify import verify

FLARE = load_builtin("flare23")
LIVER, SPLEEN = 1, 3
DOE = "Müller^Doe"


@pytest.fixture
def filled(bench, tmp_path):
    """S/A is Doe's, with image, complemented spleen, scores and decision; S/B is somebody else's."""
    for name, voxels in (("A", 6), ("B", 5)):
        write_volume(tmp_path / "l" / f"{name}.nii.gz", boxes({LIVER: voxels}))
        image = np.random.default_rng(voxels).integers(-1000, 1000, SHAPE).astype(np.int16)
        write_volume(tmp_path / "i" / f"{name}_0000.nii.gz", image)
        for model, of_model in (("M", 0), ("N", 1)):
            spleen = np.zeros_like(boxes({}))
            spleen[2 : 5 + of_model, 6:8, 2 + voxels % 2 : 5] = SPLEEN
            write_volume(tmp_path / model / f"{name}.nii.gz", spleen)
    listed = tmp_path / "cases.csv"
    listed.write_text(f"case,patient,ward\nA,{DOE},seven\n", encoding="utf-8")
    labels, images = tmp_path / "l", tmp_path / "i"
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=labels, images=images, cases=listed))
    for model in "MN":
        import_predictions(bench, tmp_path / model, model, FLARE)
    combine(bench, f'patient = "{DOE}" or case = "B"', Combination(("M", "N")))
    complement(bench, "", "M")
    evaluate(bench, "M", "")
    with bench.catalog.writing() as session:
        case = queries.resolve(session, "A")
        writes.add_decision(
            session, case.case_id, LIVER, None, Verdict.ACCEPTED, reason=f"asked {DOE}", person="Ada"
        )
        writes.freeze_dataset(
            session, "all", f'patient = "{DOE}"',
            [writes.MemberValues(case.case_id, case.version_id, "train", None, DOE)],
            origins=["original", "pseudo"], seed=0, manifest_hash="a" * 64, author="me",
        )  # fmt: skip
        dataset = queries.dataset_version(session, "all")
        writes.add_model(session, "student", ModelKind.STUDENT, dataset_version_id=dataset.id)
        writes.add_event(
            session, author="me", action="dataset export", subject="all@1", program_version="0",
            parameters={"folder": str(tmp_path / DOE / "Dataset001")},
        )  # fmt: skip
    return bench


def stored(bench) -> set[str]:
    return set(bench.store.hashes())


def of_case(bench, name) -> set[str]:
    with bench.catalog.reading() as session:
        case = queries.resolve(session, name)
        (found,) = purged.holdings(
            session, "", [purged.PatientCase(case.case_id, "", purged=False)]
        ).hashes.values()
    return set(found) & stored(bench)


def rows(bench, model, *conditions) -> int:
    with bench.catalog.reading() as session:
        return session.scalar(select(func.count()).select_from(model).where(*conditions))


def test_a_dry_look_names_cases_files_datasets_models_exports_and_the_persons_own_files(filled, tmp_path):
    before = stored(filled)
    found = look_up(filled, DOE)
    assert [case.address for case in found.cases] == ["S/A"]
    # Mask and incoming file of version 1, the mask of version 2, predictions of M and N: both agree on what M
    # says, so the combined one is the same bytes.
    assert set(found.stored) == of_case(filled, "A")
    assert len(found.stored) == 5
    assert sum(found.stored.values()) == sum(
        filled.store.path(h).stat().st_size for h in of_case(filled, "A")
    )
    assert found.holdings.predictions == {"M": 1, "N": 1, "majority(M,N)": 1}
    assert (found.holdings.datasets, found.holdings.models) == (("all@1",), ("student",))
    assert found.left_to_the_person == [
        *(f"{tmp_path / place}: is your own file; delete it yourself"
          for place in ("M/A.nii.gz", "N/A.nii.gz", "i/A_0000.nii.gz", "l/A.nii.gz")),
        f"{tmp_path / DOE / 'Dataset001'}: was exported with the patient's data; delete it or export again",
        "model student: has learned from the patient's data; train it again without them",
    ]  # fmt: skip
    assert stored(filled) == before


def test_files_rows_and_names_are_gone_and_the_other_case_is_as_it_was(filled):
    gone, kept = of_case(filled, "A"), of_case(filled, "B")
    with filled.catalog.reading() as session:
        case = queries.resolve(session, "A")
        other = queries.case_page(session, "B")
    outcome = purge(filled, DOE, f"consent of {DOE} withdrawn")
    assert outcome.counts["cases purged"] == 1
    assert outcome.counts["stored files deleted"] == len(gone)
    assert stored(filled) == kept
    for table in (Prediction, Decision, Evaluation):
        assert rows(filled, table, table.case_id == case.case_id) == 0
    versions = select(MaskVersion.id).where(MaskVersion.case_id == case.case_id)
    for table in (Annotation, Conflict, FindingRow):
        assert rows(filled, table, table.version_id.in_(versions)) == 0
    assert (rows(filled, PredictionPart), rows(filled, PredictionClass)) == (2, 14 + 14 + 14)
    with filled.catalog.reading() as session:
        row = session.get_one(Case, case.case_id)
        assert (row.newest_version_id, row.patient, row.extra, row.image_path) == (None, "(purged)", {}, None)
        for version in session.scalars(select(MaskVersion).where(MaskVersion.case_id == case.case_id)):
            assert (version.file_hash, version.incoming_hash, version.voxel_hash) == (None, None, None)
            assert (version.incoming_path, version.message) == (None, "")
        stone = session.get_one(Tombstone, case.case_id)
        assert (stone.patient_digest, stone.person) == (purged.patient_digest(DOE), "Ada Tester")
        assert (stone.reason, stone.files) == ("consent of (purged) withdrawn", len(gone))
        (member,) = session.scalars(select(Member))
        assert (member.case_id, member.patient) == (case.case_id, None)
        assert queries.dataset_version(session, "all").query == 'patient = "(purged)"'
        assert queries.case_page(session, "B") == other
        assert queries.count(session, "") == 1
        assert session.scalar(select(func.count()).select_from(Run).where(Run.parameters.is_(None))) == 0
    assert verify(filled, deep=True).damage == []
    assert verify(filled, deep=True).noted == []


def test_a_purged_case_says_so_wherever_it_is_asked_for(filled, tmp_path):
    purge(filled, DOE, "consent withdrawn")
    with filled.catalog.reading() as session:
        for address in ("A", "S/A", "S/A@1"):
            with pytest.raises(
                queries.PurgedCaseError, match=r"S/A was purged on .* by Ada Tester \(consent withdrawn\)"
            ):
                queries.resolve(session, address)
        assert set(purged.purged_cases(session, 1)) == {"A"}
        assert set(purged.purged_patients(session)) == {purged.patient_digest(DOE)}
        for snapshot in (queries.FIRST, queries.OfDataset(queries.dataset_version(session, "all").id)):
            found = queries.cases(session, "", snapshot=snapshot)
            assert [row.address for row in found] == (["S/B"] if snapshot is queries.FIRST else [])
    (line,) = import_predictions(filled, tmp_path / "M", "M", FLARE).refused
    assert line.startswith(f"{tmp_path / 'M' / 'A.nii.gz'}: S/A was purged on ")


def test_a_second_purge_finds_nothing_left(filled):
    purge(filled, DOE, "consent withdrawn")
    outcome = purge(filled, DOE, "again")
    assert outcome.counts == {}
    with filled.catalog.reading() as session:
        assert session.scalars(select(Tombstone.reason)).all() == ["consent withdrawn"]


class Stops(Silent):
    """Progress during which somebody presses Ctrl-C, once: at the start of the deletions, at the second, after all."""

    def __init__(self, at: str) -> None:
        self.at = at

    def _stop(self, here: str) -> None:
        if self.at == here:
            self.at = ""
            raise KeyboardInterrupt

    def start(self, title: str, total: int | None) -> None:  # noqa: ARG002 the protocol names it
        self._stop("start")

    def step(self, done: int, message: str = "") -> None:  # noqa: ARG002 the protocol names it
        self._stop(f"step {done}")

    def finish(self) -> None:
        self._stop("finish")


@pytest.mark.parametrize(("at", "left"), [("start", 5), ("step 2", 3), ("finish", 0)])
def test_stopped_among_its_deletions_the_same_purge_completes_it(filled, at, left):
    kept = of_case(filled, "B")
    with pytest.raises(KeyboardInterrupt):
        purge(replace(filled, progress=Stops(at)), DOE, "consent withdrawn")
    # What is not deleted yet is needed by no row, and noted with the run; nothing is damaged.
    assert len(stored(filled) - kept) == left
    assert verify(filled).damage == []
    with filled.catalog.reading() as session:
        assert [len(names) for names in purged.pending_files(session, DOE).values()] == [5]
    assert purge(filled, DOE, "again").counts.get("stored files deleted", 0) == left
    assert stored(filled) == kept
    with filled.catalog.reading() as session:
        assert purged.pending_files(session, DOE) == {}
        (stone,) = session.scalars(select(Tombstone))
        assert (stone.reason, stone.files) == ("consent withdrawn", 5)


def names_of(text: str) -> list[bytes]:
    """A text as it may stand in a database's file."""
    return [text.encode(), json.dumps(text)[1:-1].encode()]


def test_no_byte_of_the_database_names_the_patient_or_the_files(filled, tmp_path):
    if filled.catalog.engine.dialect.name != "sqlite":
        pytest.skip("the files are the server's")
    database = Path(filled.catalog.engine.url.database)
    sought = [*names_of(DOE), str(tmp_path / "i" / "A_0000.nii.gz").encode(), b"seven"]
    sought += [name.encode() for name in of_case(filled, "A")]

    def found() -> list[bytes]:
        data = b"".join(path.read_bytes() for path in sorted(database.parent.glob(database.name + "*")))
        return [text for text in sought if text in data]

    assert set(names_of(DOE)) & set(found())
    purge(filled, DOE, "consent withdrawn")
    assert found() == []


def test_no_page_of_a_postgresql_table_names_the_patient(filled):
    if filled.catalog.engine.dialect.name != "postgresql":
        pytest.skip("SQLite's file is read as a whole")

    def found() -> int:
        tables = """SELECT sum(position(%s::bytea in pg_read_binary_file(pg_relation_filepath(oid)))) FROM pg_class
            WHERE relkind IN ('r', 'i', 't') AND relnamespace IN ('public'::regnamespace, 'pg_toast'::regnamespace)"""
        with filled.catalog.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("CHECKPOINT")
            statistics = connection.exec_driver_sql(
                "SELECT count(*) FROM pg_stats WHERE most_common_vals::text LIKE '%%Doe%%' "
                "OR histogram_bounds::text LIKE '%%Doe%%'"
            ).scalar_one()
            in_pages = connection.exec_driver_sql(tables, (b"^Doe",)).scalar_one()
        return int(statistics) + int(in_pages)

    assert found() > 0
    purge(filled, DOE, "consent withdrawn")
    assert found() == 0


def test_identical_bytes_that_another_case_needs_stay_and_are_named(bench, tmp_path):
    for name in "AB":  # B is a copy of A
        write_volume(tmp_path / "l" / f"{name}.nii.gz", boxes({LIVER: 6}))
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l"))
    assert of_case(bench, "A") == of_case(bench, "B")
    outcome = purge(bench, "S/A", "consent withdrawn")
    assert "stored files deleted" not in outcome.counts
    assert sum("another case stands on the very same bytes" in line for line in outcome.noted) == 2
    assert verify(bench, deep=True).damage == []
    assert purge(bench, "S/B", "of the same patient").counts["stored files deleted"] == 2
    assert stored(bench) == set()


def test_all_sources_of_a_patient_are_purged_at_once(bench, tmp_path):
    for source, name in (("S", "A"), ("T", "B"), ("T", "C")):
        write_volume(tmp_path / source / f"{name}.nii.gz", boxes({LIVER: 3 + ord(name) % 3}))
    for source, name in (("S", "A"), ("T", "B")):
        (tmp_path / f"{source}.csv").write_text(f"case,patient\n{name},{DOE}\n", encoding="utf-8")
        request = IngestRequest(
            source=source, mapping=FLARE, labels=tmp_path / source, cases=tmp_path / f"{source}.csv"
        )
        ingest(bench, request)
    assert purge(bench, DOE, "consent withdrawn").counts["cases purged"] == 2
    with bench.catalog.reading() as session:
        assert [ref.address for ref in queries.case_refs(session, "")] == ["T/C"]


def test_copies_under_runs_go_and_job_files_name_the_patient_no_more(filled, tmp_path):
    runs = filled.root / "runs"
    image = str(tmp_path / "i" / "A_0000.nii.gz")
    teacher, student = runs / "teacher-1", runs / "student-1"
    copies = [
        runs / "predict-M" / "out" / "S__A.nii.gz",
        runs / "predict-M" / "out" / "S__A.nii.gz.json",
        runs / "predict-M" / "out" / "S__A.probability.nii.gz",
        runs / "predict-M" / "out" / ".S__A.nii.gz.part",  # a kill came while it was written
        teacher / "masks" / "S__A.nii.gz",
        teacher / "nnunet" / "raw" / "Dataset001_maskledger" / "labelsTr" / "00001_A.nii.gz",
        teacher / "nnunet" / "preprocessed" / "Dataset001_maskledger" / "p" / "00001_A.b2nd",
        teacher / "nnunet" / "preprocessed" / "Dataset001_maskledger" / "p" / "00001_A_seg.b2nd",
        teacher / "nnunet" / "done" / "00001_A",
        runs / "prepared" / "ab" / "abc.image.npy",
        runs / "prepared" / "ab" / ".abc.image.npy.5f3e.part",
        runs / "prepared" / "cases" / "S__A" / "abc.image.npy",
        runs / "prepared" / "cd" / "cde.labels.npz",  # whose nobody noted
    ]
    others = [
        teacher / "masks" / "S__A.b.nii.gz",
        teacher / "masks" / ".S__A.b.nii.gz.part",
        teacher / "masks" / "S__B.nii.gz",
        teacher / "nnunet" / "raw" / "Dataset001_maskledger" / "labelsTr" / "00000_A.nii.gz",  # T/A
        runs / "prepared" / "ef" / "efa.image.npy",
        runs / "prepared" / "ef" / ".efa.image.npy.5f3e.part",
        runs / "prepared" / "cases" / "S__B" / "efa.image.npy",
        student / "weights" / "S__A.pt",
    ]
    for file in copies + others:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    job = {"cases": [{"case": "T/A", "image": "t"}, {"case": "S/A", "image": image}]}
    for work_dir, task in ((teacher, "teacher_train"), (student, "student_train")):
        (work_dir / f"{task}.job.json").write_text(json.dumps(job))
    (teacher / "teacher_train.log").write_text(f"read {image}\n")
    assert set(look_up(filled, DOE).copies) == set(copies)
    purge(filled, DOE, "consent withdrawn")
    assert not any(file.exists() for file in copies)
    assert all(file.exists() for file in others)
    assert (teacher / "teacher_train.log").read_text() == "read (purged)\n"
    assert json.loads((student / "student_train.job.json").read_text())["cases"][1]["image"] == "(purged)"


def test_what_a_retracted_prediction_had_tainted_stays_tainted(filled):
    def find(session):
        return prediction_subject(session, "A", "M")

    retract(filled, find, "flipped")
    purge(filled, DOE, "consent withdrawn")
    with filled.catalog.reading() as session:
        (row,) = session.scalars(select(Retraction))
        assert (row.prediction_id, row.reason) == (None, "flipped")
        model = queries.model(session, "student")
        assert "was retracted" in model.tainted[0]
        assert model.retracted is None


def test_a_damaged_copy_that_was_set_aside_goes_too(filled):
    name = sorted(of_case(filled, "A"))[0]
    aside = filled.store.set_aside(name)
    purge(filled, DOE, "consent withdrawn")
    assert not aside.exists()


def test_the_run_and_its_event_tell_of_the_purge_without_the_name(filled):
    purge(filled, DOE, "consent withdrawn")
    with filled.catalog.reading() as session:
        event = session.scalars(select(Event).where(Event.action == "purge")).one()
        assert event.parameters == {
            "patient_digest": purged.patient_digest(DOE), "cases": ["S/A"], "reason": "consent withdrawn",
        }  # fmt: skip
        assert not session.scalars(select(RunItem).where(RunItem.subject == "S/A")).all()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("of Jane Doe, today", "of (purged), today"),
        ("/data/Jane Doe/x", "/data/(purged)/x"),
        ("Jane Doering", "Jane Doering"),
        ("P7", "(purged)"),  # short: alone or in quotes
        ('patient = "P7"', 'patient = "(purged)"'),
        ("P7 of 12", "P7 of 12"),
    ],
)
def test_a_name_is_taken_out_where_it_stands_for_itself(text, clean):
    assert scrubber(["Jane Doe", "P7"])(text) == clean


def test_an_unknown_patient_and_a_purge_without_reason_are_wrong_usage(filled):
    with pytest.raises(UsageError, match="no case is of patient 'nobody'"):
        purge(filled, "nobody", "r")
    with pytest.raises(UsageError, match="say why"):
        purge(filled, DOE, "")


def test_a_reader_that_holds_old_pages_is_told_of_and_the_next_call_gets_them(filled):
    if filled.catalog.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL waits for its readers by itself")
    other = Catalog.open(filled.catalog.engine.url.render_as_string(hide_password=False))
    connect = filled.catalog.engine.raw_connection()
    connect.cursor().execute("PRAGMA busy_timeout = 200")
    connect.close()
    with other.reading() as session:
        session.scalars(select(Case.patient)).all()
        with pytest.raises(erasing.TracesRemainError, match="start the same purge again"):
            purge(filled, DOE, "consent withdrawn")
    other.close()
    assert purge(filled, DOE, "consent withdrawn").counts == {}


def test_neither_a_purged_case_nor_another_one_of_the_patient_is_taken_in_again(filled, tmp_path):
    purge(filled, DOE, "consent withdrawn")
    write_volume(tmp_path / "l" / "C.nii.gz", boxes({LIVER: 4}))
    listed = tmp_path / "again.csv"
    listed.write_text(f"case,patient\nC,{DOE}\n", encoding="utf-8")
    outcome = ingest(filled, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l", cases=listed))
    assert outcome.counts == {"unchanged": 1}
    again, another = sorted(outcome.refused)
    assert again.startswith("S/A was purged on ")
    assert another.startswith("S/C: the patient was purged on ")
    assert another.endswith("(consent withdrawn); nothing of this patient is taken in again")
    with filled.catalog.reading() as session:
        assert [ref.address for ref in queries.case_refs(session, "")] == ["S/B"]
