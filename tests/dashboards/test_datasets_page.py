"""The datasets page: versions, members by side, manifest and exports, and the diff of two versions."""

import csv
import io
import shutil
from html import escape

import pyarrow.parquet as pq
import pytest
from dashboard_workspace import HOSTILE_NAME, TEACHER
from sqlalchemy import delete
from test_dashboard_pages import html_of
from test_models_page import cells, told

from app.workspace import open_workspace
from db import queries, writes
from db.models import DatasetVersion, Member, ModelKind
from db.retractions import model_subject
from pipelines.export import export
from pipelines.exports.download import manifest_csv, manifest_parquet
from pipelines.exports.request import ExportRequest, Format
from pipelines.freeze import FreezeRequest, freeze
from pipelines.purge import purge
from pipelines.retract import retract


@pytest.fixture
def copied(built, tmp_path):
    """A workspace of the same content that a test may change."""
    root = tmp_path / "copied"
    shutil.copytree(built.root, root)
    return root


def test_members_stand_page_by_page_and_by_side(visit, built):
    app = visit(built.root, "datasets", dataset="strong@1")
    assert len(cells(html_of(app), "Members")) == 2
    side = app.segmented_control[0]
    assert [option.content for option in side.proto.options] == ["all (2)", "train (1)", "val (1)"]
    side.set_value("val").run()
    ((case, version, split, fold, _, _),) = cells(html_of(app), "Members")
    assert case.startswith("Phantom/PHANTOM_00")
    assert (version, split, fold) == ("1", "val", "–")
    # The last of 4 folds.
    app = visit(built.root, "datasets", dataset="all@1")
    app.segmented_control[0].set_value("fold 3").run()
    assert {row[3] for row in cells(html_of(app), "Members")} == {"3"}
    assert not app.exception


def test_the_manifest_can_be_taken_along_and_commands_say_how_to_export(visit, built):
    app = visit(built.root, "datasets", dataset="all@1", tab="Manifest and export")
    assert len(app.code[0].value) == 64
    assert [b.label for b in app.get("download_button")] == ["Manifest as CSV", "Manifest as Parquet"]
    assert app.code[1].value.endswith("dataset export all@1 DIR --format nnunet")
    app.segmented_control(key="format").set_value("monai").run()
    assert app.code[1].value.endswith("dataset export all@1 DIR --format monai")
    assert "has not been exported yet" in told(app)
    with open_workspace(built.root) as ws:
        bench = ws.bench(jobs=1)
        rows = list(csv.DictReader(io.StringIO(manifest_csv(bench, "all@1").decode())))
        table = pq.read_table(io.BytesIO(manifest_parquet(bench, "all@1")))
    assert [row["case"] for row in rows] == table.column("case").to_pylist()
    assert f"Phantom/{HOSTILE_NAME}" in {row["case"] for row in rows}


def test_exports_are_listed_where_they_went(visit, copied, tmp_path):
    with open_workspace(copied) as ws:
        export(ws.bench(jobs=1), ExportRequest("strong@1", tmp_path / "out", Format.MANIFEST))
        by_file = (tmp_path / "out" / "manifest.csv").read_bytes()
        assert by_file == manifest_csv(ws.bench(jobs=1), "strong@1")
    page = html_of(visit(copied, "datasets", dataset="strong@1", tab="Manifest and export"))
    assert cells(page, "Exports")[0][:3] == [str(tmp_path / "out"), "manifest", "2"]


def test_two_versions_are_compared_by_what_was_asked_and_by_their_members(visit, built):
    app = visit(built.root, "datasets", dataset="all@1", tab="Diff")
    page = html_of(app)
    # From the 2 strong cases to all 10 of role train that have a mask; folds instead of a share.
    assert "2 → 10" in page
    assert len(cells(page, "Added")) == 8
    settings = {row[0]: row[1:] for row in cells(page, "Settings that differ")}
    assert settings["query"] == ["strong", "role = train"]
    assert settings["folds"] == ["–", "4"]
    assert not app.exception


def test_the_same_training_set_under_another_name_is_said_to_be_the_same(visit, copied):
    with open_workspace(copied) as ws:
        freeze(ws.bench(jobs=1), FreezeRequest("again", "strong", val_share=0.5))
    app = visit(copied, "datasets", dataset="strong@1", tab="Diff")
    app.selectbox[-1].set_value("again@1").run()
    assert "same training set" in app.success[0].value


def test_a_version_alone_has_nothing_to_be_compared_with(visit, copied):
    with open_workspace(copied) as ws, ws.catalog.writing() as session:
        session.execute(delete(Member).where(Member.dataset_version_id == 2))
        session.execute(delete(DatasetVersion).where(DatasetVersion.id == 2))
    assert "no other version" in told(visit(copied, "datasets", tab="Diff"))


def test_a_purged_member_is_marked_and_opens_nothing(visit, copied):
    with open_workspace(copied) as ws:
        purge(ws.bench(jobs=1), "Phantom/PHANTOM_0000", "consent withdrawn")
    app = visit(copied, "datasets", dataset="all@1")
    page = html_of(app)
    assert "1 of 10 members were purged" in page
    purged = [row for row in cells(page, "Members") if row[5] == "purged"]
    assert len(purged) == 1
    assert "case?case=Phantom%2FPHANTOM_0000%40" not in page
    for tab in ("Manifest and export", "Diff"):
        assert not visit(copied, "datasets", dataset="all@1", tab=tab).exception


def test_a_dataset_knows_what_is_held_against_it_and_which_models_it_taught(visit, copied):
    with open_workspace(copied) as ws:
        with ws.catalog.writing() as session:
            version = queries.dataset_version(session, "all@1")
            writes.add_model(session, "pupil", ModelKind.STUDENT, dataset_version_id=version.id)
        retract(ws.bench(jobs=1), lambda session: model_subject(session, TEACHER), "mirrored")
    page = html_of(visit(copied, "datasets", dataset="all@1"))
    assert 'href="models?tab=Model&amp;model=pupil"' in page
    assert f"{TEACHER} was retracted on " in page
    assert '<span class="ml-tag warning">tainted</span>' in page


def test_an_unknown_version_in_the_address_is_said_and_names_stay_text(visit, built):
    app = visit(built.root, "datasets", dataset="<script>@9")
    assert "No dataset version is called" in app.warning[0].value
    page = html_of(visit(built.root, "datasets", dataset="all@1"))
    assert escape(HOSTILE_NAME) in page
    assert "<script" not in page
