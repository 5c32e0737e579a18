"""The manifest, read back by DuckDB."""

import hashlib
import json

import duckdb
import numpy as np
import pytest
from frozen_cohort import FLARE, LIVER
from volume_files import SHAPE, write_volume

from curation.status import Origin
from db import queries, writes
from db.models import ModelKind
from pipelines.complement import complement
from pipelines.export import export
from pipelines.exports.request import ExportRequest, Format
from pipelines.freeze import FreezeRequest, freeze
from pipelines.predictions import import_predictions


@pytest.fixture
def manifest(cohort, tmp_path):
    """Ten cases with folds; C4 to C9 have a pseudo liver of teacher, which was trained on strong@1."""
    freeze(cohort, FreezeRequest("strong", "strong"))
    with cohort.catalog.writing() as session:
        writes.ensure_source(session, "S", licence="CC BY 4.0", citation='Doe et al., "S", 2023')
        strong = queries.dataset_version(session, "strong@1")
        writes.add_model(
            session, name="teacher", kind=ModelKind.TEACHER, dataset_version_id=strong.id, weights_hash="c" * 64,
            profile={}, origins=["original"], code_version="1", weights_path="runs/t", metrics={}, curves=[],
        )  # fmt: skip
    liver = np.zeros(SHAPE, np.uint8)
    liver[4:8, 4:8, 4:8] = LIVER
    for number in range(4, 10):
        write_volume(tmp_path / "p" / f"C{number}.nii.gz", liver)
    import_predictions(cohort, tmp_path / "p", "teacher", FLARE)
    complement(cohort, "missing liver", "teacher")
    freeze(cohort, FreezeRequest("d", "", folds=2, origins=(Origin.ORIGINAL,)))
    export(cohort, ExportRequest("d", tmp_path / "out", Format.MANIFEST))
    return tmp_path / "out"


def asked(manifest, sql):
    return duckdb.sql(
        sql.format(parquet=f"'{manifest}/manifest.parquet'", csv=f"'{manifest}/manifest.csv'")
    ).fetchall()


def test_there_is_one_row_per_member_in_both_files(manifest):
    for file in ("{parquet}", "{csv}"):
        assert asked(manifest, f'SELECT count(*), count(DISTINCT "case") FROM {file}') == [(10, 10)]


def test_a_row_says_where_its_mask_comes_from(manifest, tmp_path):
    ((row),) = asked(
        manifest,
        'SELECT "case", version, patient, licence, source, revision, citation, incoming_hash, image '
        "FROM {parquet} WHERE \"case\" = 'S/C0'",
    )
    mask = (tmp_path / "l" / "C0.nii.gz").read_bytes()
    assert row == (
        "S/C0", 1, "S/C0", "CC BY 4.0", "S", "2023", 'Doe et al., "S", 2023', hashlib.sha256(mask).hexdigest(),
        str(tmp_path / "i" / "C0_0000.nii.gz"),
    )  # fmt: skip


def test_the_hash_of_the_stored_bytes_finds_them(manifest, cohort):
    for (file_hash,) in asked(manifest, "SELECT file_hash FROM {parquet}"):
        assert hashlib.sha256(cohort.store.get(file_hash)).hexdigest() == file_hash


def test_every_class_says_who_drew_it_and_how_large_it_is(manifest):
    found = asked(
        manifest,
        "SELECT liver_status, liver_origin, liver_model, liver_drawn_in, liver_voxels, liver_volume_ml, "
        "tumor_status, tumor_origin, tumor_model, tumor_drawn_in, spleen_status, spleen_voxels "
        "FROM {parquet} WHERE \"case\" = 'S/C9'",
    )
    # 64 voxels of 2 × 2 × 2.5 mm are 0.64 ml.
    assert found == [
        (
            "annotated",
            "pseudo",
            "teacher",
            2,
            64,
            pytest.approx(0.64),
            "annotated",
            "original",
            None,
            1,
            "missing",
            0,
        )
    ]


def test_classes_of_origins_that_do_not_count_are_among_the_missing(manifest):
    ((missing,),) = asked(manifest, "SELECT missing_classes FROM {parquet} WHERE \"case\" = 'S/C9'")
    assert len(missing) == 13
    assert missing[0] == "liver"
    assert asked(
        manifest, "SELECT count(*) FROM {parquet} WHERE list_contains(missing_classes, 'tumor')"
    ) == [(4,)]


def test_the_lineage_leads_to_the_models_and_what_they_learned_from(manifest, cohort):
    ((versions, models),) = asked(manifest, "SELECT versions, models FROM {parquet} WHERE \"case\" = 'S/C9'")
    assert [(step["version"], step["kind"], step["author"]) for step in versions] == [
        (1, "ingested", "Ada Tester"), (2, "complemented", "Ada Tester"),
    ]  # fmt: skip
    with cohort.catalog.reading() as session:
        strong = queries.dataset_version(session, "strong@1").manifest_hash
    assert models == [
        {
            "model": "teacher", "kind": "teacher", "dataset": "strong@1", "manifest_hash": strong,
            "weights_hash": "c" * 64,
        }
    ]  # fmt: skip
    ((versions, models),) = asked(manifest, "SELECT versions, models FROM {parquet} WHERE \"case\" = 'S/C0'")
    assert ([step["version"] for step in versions], models) == ([1], [])


def test_parquet_and_csv_say_the_same(manifest):
    columns = [name for name, *_ in asked(manifest, "DESCRIBE SELECT * FROM {parquet}")]
    assert columns == [name for name, *_ in asked(manifest, "DESCRIBE SELECT * FROM {csv}")]
    assert len(columns) == 16 + 14 * 7
    same = ", ".join(
        f'CAST("{name}" AS VARCHAR)'
        for name in columns
        if name not in {"missing_classes", "versions", "models"} and not name.endswith("volume_ml")
    )
    in_csv = "read_csv({csv}, all_varchar = true, nullstr = '')"
    assert asked(manifest, f"SELECT {same} FROM {{parquet}} EXCEPT SELECT {same} FROM {in_csv}") == []
    ((lists,),) = asked(manifest, f"SELECT versions FROM {in_csv} WHERE \"case\" = 'S/C9'")
    assert [step["kind"] for step in json.loads(lists)] == ["ingested", "complemented"]


def test_split_and_fold_are_those_that_were_frozen(manifest):
    assert asked(manifest, "SELECT fold, split, count(*) FROM {csv} GROUP BY ALL ORDER BY fold") == [
        (0, "val", 5), (1, "train", 5),
    ]  # fmt: skip


def test_a_case_without_a_stated_licence_has_none(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", ""))
    export(cohort, ExportRequest("d", tmp_path / "out", Format.MANIFEST))
    assert asked(tmp_path / "out", "SELECT DISTINCT licence, citation FROM {parquet}") == [(None, None)]
