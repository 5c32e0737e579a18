"""Ablation: the same unseen cases for all models, and what is said where the comparison is not fair."""

import csv
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update
from volume_files import SHAPE, write_volume

from curation.errors import UsageError
from curation.mappings import load_builtin
from db import queries
from db.catalog import Catalog
from db.models import Case, Model, ModelKind, Prediction, Role
from db.retractions import model_subject
from db.store import Store
from pipelines.ablation import AblationRequest, ablation
from pipelines.ablation_report import NAMES, html_page, markdown, table_csv, write_report
from pipelines.compare import compare
from pipelines.complement import complement
from pipelines.evaluate import evaluate
from pipelines.freeze import FreezeRequest, freeze
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.retract import retract
from pipelines.runs import Workbench

FLARE = load_builtin("flare23")
LIVER = 1
HOSTILE = "<b>|M"
PREDICTED = 'role = test and case != "D"'


def liver(length: int) -> np.ndarray:
    """A liver of 4×4 voxels and some length; of 2 against 4 the DSC is 2·32 / (32 + 64) = 0.6667."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1 : 1 + length, 1:5, 1:5] = LIVER
    return mask


def take_in(bench: Workbench, folder: Path) -> None:
    """Test cases A, B, C, D with a liver. Base has half of it in A and B and all in C; better has all, D's too.

    Nothing is scored yet.
    """
    for name in "ABCD":
        write_volume(folder / "l" / f"{name}.nii.gz", liver(4))
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=folder / "l", role=Role.TEST))
    for model, lengths in (("base", (2, 2, 4)), ("better", (4, 4, 4, 4))):
        for name, length in zip("ABCD", lengths, strict=False):
            write_volume(folder / model / f"{name}.nii.gz", liver(length))
        import_predictions(bench, folder / model, model, FLARE)


def workbench(root: Path) -> Workbench:
    catalog = Catalog.open(f"sqlite:///{root / 'catalog.db'}")
    return Workbench(
        catalog=catalog,
        store=Store(root / "store"),
        root=root,
        author="Ada",
        program_version="0-test",
        jobs=1,
    )


@pytest.fixture(scope="module")
def taken_in(migrated_file, tmp_path_factory):
    """A workspace with what `take_in` takes in, to be copied."""
    root = tmp_path_factory.mktemp("taken_in")
    shutil.copy(migrated_file, root / "catalog.db")
    bench = workbench(root)
    take_in(bench, root)
    bench.catalog.close()
    return root


@pytest.fixture
def tried(taken_in, tmp_path):
    """A copy of it for one test; the files that came in are in `tmp_path`, too."""
    shutil.copytree(taken_in, tmp_path, dirs_exist_ok=True)
    bench = workbench(tmp_path)
    yield bench
    bench.catalog.close()


def asked(**words) -> AblationRequest:
    return AblationRequest(**({"models": ("base", "better")} | words))


def trained_on(bench, model: str, query: str, *, name: str = "d", val_share: float | None = None) -> None:
    """Say of a scored model that it was trained here, on the cases of a query."""
    evaluate(bench, model, PREDICTED)
    frozen = freeze(bench, FreezeRequest(name, query, val_share=val_share, include_test=True))
    with bench.catalog.writing() as session:
        dataset = queries.dataset_version(session, frozen.address)
        session.execute(
            update(Model)
            .where(Model.name == model)
            .values(kind=ModelKind.STUDENT, dataset_version_id=dataset.id, code_version="1")
        )


def row_of(found, label):
    return next(row for row in found.comparison.rows if row.label == label)


def test_what_is_not_scored_is_scored_first_and_compared_on_the_cases_of_all(bench, tmp_path):
    take_in(bench, tmp_path)
    found = ablation(bench, asked())
    assert found.comparison.cases == 3
    assert [(one.case, one.reason) for one in found.comparison.left_out] == [("S/D", "no score of base")]
    assert found.noted == ("S/D: no prediction of base, so no score",)
    row = row_of(found, "Liver")
    assert row.values["base"].dsc == pytest.approx((0.6667 + 0.6667 + 1) / 3)
    assert row.values["base"].dsc_std == pytest.approx(
        0.3333 * 2**0.5 / 3
    )  # of p = 1/3: sqrt(2)/3 of the step
    assert row.values["better"].text == "100.00 ± 0.00 / 100.00 ± 0.00"


def test_the_interval_is_that_of_all_27_resamples(tried):
    # C, in which they are equal, thrice: 1/27 = 3.7 %; never: 8/27. Both more than the 2.5 % cut off.
    difference = row_of(ablation(tried, asked()), "Liver").differences["better"].dsc
    assert difference.difference == pytest.approx(2 * 0.3333 / 3)
    assert (difference.low, difference.high) == pytest.approx((0.0, 0.3333))
    assert not difference.beyond_chance


def test_the_organ_mean_is_over_the_class_means(tried):
    found = ablation(tried, asked())
    # Twelve organs are empty in both and score 1 by the FLARE23 protocol.
    assert row_of(found, "Organ mean").values["base"].dsc == pytest.approx((0.77780 + 12) / 13, abs=1e-5)
    known = ablation(tried, asked(protocol="known"))
    assert row_of(known, "Organ mean").values["base"].dsc == pytest.approx(0.77780, abs=1e-5)
    assert row_of(known, "Spleen").values["base"].text == "–"


def test_a_second_call_scores_nothing_again(tried):
    first = ablation(tried, asked())
    with tried.catalog.reading() as session:
        before = len(queries.runs(session))
    again = ablation(tried, asked(query=PREDICTED))
    assert again.comparison.rows == first.comparison.rows
    with tried.catalog.reading() as session:
        assert len(queries.runs(session)) == before


def test_a_case_with_a_newer_mask_is_scored_anew(tried, tmp_path):
    ablation(tried, asked())
    write_volume(tmp_path / "l" / "A.nii.gz", liver(2))
    ingest(tried, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l", role=Role.TEST))
    row = row_of(ablation(tried, asked()), "Liver")
    assert row.values["base"].dsc == pytest.approx((1 + 0.6667 + 1) / 3)
    assert row.values["better"].dsc == pytest.approx((0.6667 + 1 + 1) / 3)


def test_scores_against_different_masks_are_not_compared(tried, tmp_path):
    evaluate(tried, "base", "role = test")
    evaluate(tried, "better", "role = test")
    write_volume(tmp_path / "l" / "A.nii.gz", liver(2))
    ingest(tried, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l", role=Role.TEST))
    evaluate(tried, "base", "role = test")
    table = compare(tried, ["base", "better"])
    assert table.cases == 2
    assert [(one.case, one.reason.split(";")[0]) for one in table.left_out] == [
        ("S/A", "scored against different versions of its mask"),
        ("S/D", "not scored for base"),
    ]


def test_a_case_that_a_model_was_trained_on_is_left_out_for_all(tried):
    trained_on(tried, "base", 'case = "A"')
    found = ablation(tried, asked(query=PREDICTED))
    assert found.comparison.cases == 2
    assert [(one.case, one.reason) for one in found.comparison.left_out] == [
        ("S/A", "base was trained on it (d@1)")
    ]
    assert found.leaks == (
        "base was trained on 1 of these cases (d@1): S/A; they are left out for all models",
    )
    assert row_of(found, "Liver").values["base"].dsc == pytest.approx((0.6667 + 1) / 2)
    assert "SEEN IN TRAINING: base was trained on 1 of these cases" in markdown(found)


def test_a_case_whose_patient_was_trained_on_is_left_out_too(tried):
    with tried.catalog.writing() as session:
        session.execute(update(Case).where(Case.name.in_(["A", "B"])).values(patient="P1"))
    trained_on(tried, "base", 'case = "A"')
    found = ablation(tried, asked(query=PREDICTED))
    assert {one.case: one.reason for one in found.comparison.left_out} == {
        "S/A": "base was trained on it (d@1)",
        "S/B": "base was trained on its patient (d@1)",
    }


def test_a_validation_case_is_compared_and_said_to_flatter(tried):
    trained_on(tried, "base", "", val_share=0.5)
    with tried.catalog.reading() as session:
        members = queries.member_page(session, queries.dataset_version(session, "d@1").id, limit=99)
    val = sorted(member.case for member in members if member.split == "val" and member.case != "S/D")
    found = ablation(tried, asked(query=PREDICTED))
    assert found.comparison.cases == len(val)
    assert any(line.startswith("base was validated on") and val[0] in line for line in found.doubts)


def test_only_seen_cases_cannot_be_compared(tried):
    trained_on(tried, "base", "")
    with pytest.raises(
        UsageError, match=r"all 4 cases of 'role = test' were seen in training .*S/A: base was trained"
    ):
        ablation(tried, asked())


def test_students_that_differ_in_more_than_labels_are_told(tried, tmp_path):
    for name in "EFG":
        write_volume(tmp_path / "t" / f"{name}.nii.gz", liver(4))
    ingest(tried, IngestRequest(source="T", mapping=FLARE, labels=tmp_path / "t"))
    trained_on(tried, "base", 'case = "E" or case = "F"', name="raw")
    trained_on(tried, "better", 'case = "F" or case = "G"', name="all")
    with tried.catalog.writing() as session:
        session.execute(update(Model).where(Model.name == "better").values(code_version="2"))
    found = ablation(tried, asked(query=PREDICTED))
    assert found.leaks == ()
    assert found.doubts == (
        "base and better were not trained on the same cases: 1 only in raw@1, 1 only in all@1",
        "base and better were trained by different programs (1 and 2)",
        "only 3 cases are compared; the intervals of fewer than 10 are too narrow",
    )


def test_of_imported_models_nobody_knows_what_they_have_seen(tried):
    assert (
        "nobody knows what base was trained on; it may have seen these cases"
        in ablation(tried, asked()).doubts
    )


def test_the_baseline_comes_first_unless_it_is_named_among_the_models(tried):
    assert ablation(tried, asked(models=("better",), baseline="base")).comparison.models == ["base", "better"]
    found = ablation(tried, asked(models=("better", "base"), baseline="base"))
    assert found.comparison.models == ["better", "base"]
    assert list(row_of(found, "Liver").differences) == ["better"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"models": ("base",)}, "compares two or more models, and only base is named"),
        ({"models": ("base", "base")}, "'base' is named twice"),
        ({"models": ("base", "bettr")}, "unknown model 'bettr'; known models: base, better"),
        ({"protocol": "flare"}, "unknown protocol 'flare'"),
        ({"query": "missing liver"}, "finds no case with a mask"),
        ({"query": 'case = "D"'}, r"no case was scored for all of base, better \(e.g. S/D: not for base\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(tried, words, complaint):
    with pytest.raises(UsageError, match=complaint):
        ablation(tried, asked(**words))


def test_a_retracted_model_is_not_compared(tried):
    retract(tried, lambda session: model_subject(session, "better"), reason="mirrored")
    with pytest.raises(UsageError, match="'better' was retracted"):
        ablation(tried, asked())


def test_scores_keep_what_the_prediction_took_and_the_table_holds_it_against_the_tolerances(tried):
    figures = {"A": (10.0, 4000.0, 20_000.0), "B": (16.0, 4100.0, 30_000.0), "C": (13.0, 3000.0, 25_000.0)}
    with tried.catalog.writing() as session:
        model = queries.known_model(session, "base").id
        for case, (seconds, peak, area) in figures.items():
            found = queries.resolve(session, f"S/{case}").case_id
            session.execute(
                update(Prediction)
                .where(Prediction.model_id == model, Prediction.case_id == found)
                .values(seconds=seconds, peak_memory_mb=peak, memory_area_mb_s=area)
            )
    found = ablation(tried, asked())
    with tried.catalog.reading() as session:
        kept = {
            (row.case, row.seconds, row.peak_memory_mb, row.memory_area_mb_s)
            for row in queries.evaluations(session, model="base")
        }
    assert kept == {(f"S/{case}", *of) for case, of in figures.items()}
    took = found.comparison.efficiency["base"]
    assert (took.seconds.mean, took.seconds.max, took.seconds.above) == (13.0, 16.0, 1)  # 16 > 15 s
    assert (took.peak_memory_mb.mean, took.peak_memory_mb.above) == (3700.0, 1)  # 4100 > 4096 MB
    assert took.memory_area_mb_s.mean == 25_000.0
    assert found.comparison.efficiency["better"].seconds is None
    assert "| base | 3 | 13.00 | 16.00 | 1 | 3,700 | 4,100 | 1 | 25,000 | 30,000 |" in markdown(found)


def test_the_report_is_four_whole_files_and_is_not_written_over(tried, tmp_path):
    found = ablation(tried, asked())
    folder = tmp_path / "out" / "report"
    assert [file.name for file in write_report(found, folder)] == list(NAMES)
    assert sorted(file.name for file in folder.iterdir()) == sorted(NAMES)
    with pytest.raises(UsageError, match=r"ablation.md: exists already; .*--force"):
        write_report(found, folder)
    write_report(found, folder, replace=True)
    with pytest.raises(UsageError, match="is a file; give a folder"):
        write_report(found, folder / "ablation.md")


def test_the_csv_holds_the_table_in_shares(tried):
    rows = list(csv.DictReader(io.StringIO(table_csv(ablation(tried, asked()).comparison))))
    assert len(rows) == (14 + 2) * 2
    base, better = rows[:2]
    assert (base["class"], base["model"], base["cases"], base["dsc"]) == ("Liver", "base", "3", "0.777800")
    assert base["dsc_difference"] == ""
    assert [better[f"dsc_{part}"] for part in ("difference", "low", "high")] == [
        "0.222200",
        "0.000000",
        "0.333300",
    ]


def test_a_hostile_name_is_no_markup_and_the_page_loads_nothing(tried):
    with tried.catalog.writing() as session:
        session.execute(update(Model).where(Model.name == "better").values(name=HOSTILE))
    found = ablation(tried, asked(models=("base", HOSTILE)))
    page = html_page(found)
    assert "<b>" not in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    header = next(line for line in markdown(found).splitlines() if line.startswith("| class"))
    assert header == r"| class | cases | base | \<b>\|M |"


def test_a_student_knows_what_its_teacher_was_trained_on(tried, tmp_path):
    """E lacks a spleen, `teacher` fills it, and base learns from E; teacher itself was trained on A."""
    write_volume(tmp_path / "t" / "E.nii.gz", liver(4))
    ingest(tried, IngestRequest(source="T", mapping=FLARE, labels=tmp_path / "t"))
    spleen = np.zeros(SHAPE, np.uint8)
    spleen[7:10, 6:8, 6] = 3
    for name in "ABCE":
        write_volume(tmp_path / "p" / f"{name}.nii.gz", spleen)
    import_predictions(tried, tmp_path / "p", "teacher", FLARE)
    complement(tried, 'case = "E"', "teacher")
    trained_on(tried, "teacher", 'case = "A"', name="strong")
    trained_on(tried, "base", 'case = "E"', name="all")
    found = ablation(tried, asked(query=PREDICTED))
    assert found.leaks == (
        "base learned from teacher, which was trained on 1 of these cases (strong@1): S/A; "
        "they are left out for all models",
    )
    assert found.comparison.cases == 2
