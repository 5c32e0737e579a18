"""The sources page: revisions with their values, protocol, licence and traps; links to the cases."""

from html import escape

import pytest
from test_dashboard_pages import html_of
from test_models_page import cells, told

from app.workspace import create_workspace, open_workspace
from curation.labels import CLASS_IDS
from curation.mappings import builtin_names, load_builtin
from db import writes


@pytest.fixture
def sources_root(tmp_path):
    """Sources without cases: KiTS in two revisions, one of them read by another mapping; and an odd name."""
    root, _ = create_workspace(tmp_path / "sources")
    kits19 = load_builtin("kits19")
    with open_workspace(root) as ws, ws.catalog.writing() as session:
        kits = writes.ensure_source(session, "KiTS", citation="Heller et al.")
        writes.ensure_revision(
            session, kits, "2019", mapping_name="kits19",
            mapping={str(value): target for value, target in kits19.values.items()},
            protocol=sorted(kits19.protocol or ()),
        )  # fmt: skip
        writes.ensure_revision(session, kits, "mine", mapping_name="kits19", mapping={"7": 1}, protocol=None)
        writes.ensure_source(session, '<script>"x*', licence="CC0-1.0")
    return root


def test_an_empty_catalog_says_what_to_do_and_knows_datasets_by_name(visit, tmp_path):
    root, _ = create_workspace(tmp_path / "empty")
    assert "No source is known yet" in told(visit(root, "sources"))
    app = visit(root, "sources", tab="Known datasets", mapping="kits23")
    page = html_of(app)
    assert [row[0] for row in cells(page, "Known datasets")] == builtin_names()
    values = {row[0]: row[1:] for row in cells(page, "Mapping kits23")}
    # As its publishers' table of labels has it: kidney, tumor, cyst; no side is told.
    assert values == {
        "1": ["Unresolved kidney", "yes"],
        "2": ["Tumor", "yes"],
        "3": ["Background", "–"],
    }
    assert "Cysts have no class here" in page
    assert "--mapping kits23" in app.code[0].value
    assert not app.exception


def test_every_known_mapping_can_be_shown(visit, tmp_path):
    root, _ = create_workspace(tmp_path / "empty")
    app = visit(root, "sources", tab="Known datasets")
    for name in builtin_names():
        app.selectbox(key="mapping").set_value(name).run()
        assert not app.exception, name
        assert cells(html_of(app), f"Mapping {name}"), name


def test_a_sources_classes_lead_to_their_cases(visit, built):
    page = html_of(visit(built.root, "sources", source="Phantom"))
    assert cells(page, "Sources")[0][:4] == ["Phantom", "2023", "CC0-1.0", "13"]
    tumor = {row[0]: row[1:] for row in cells(page, "Classes of the source by status")}["Tumor"]
    assert sum(map(int, tumor)) == 13
    assert 'href="query?q=source%20%3D%20%22Phantom%22%20and%20missing%20tumor"' in page
    values = cells(page, "Mapping of revision 2023")
    assert [row[0] for row in values] == [str(class_id) for class_id in CLASS_IDS]
    assert {row[2] for row in values} == {"not stated"}


def test_a_revision_tells_its_traps_only_if_the_known_mapping_was_used(visit, sources_root):
    app = visit(sources_root, "sources", source="KiTS")
    page = html_of(app)
    assert [e.value for e in app.subheader] == ["Revision mine", "Revision 2019"]
    assert cells(page, "Mapping of revision mine") == [["7", "Liver", "not stated"]]
    assert cells(page, "Mapping of revision 2019")[0][:2] == ["1", "Unresolved kidney"]
    assert page.count('<ul class="ml-notes">') == 1
    assert "does not come with maskledger as it was used here" in told(app)
    assert "maskledger source add KiTS" in told(app).replace("\\", "")
    assert not app.exception


def test_a_sources_name_is_text_and_its_query_finds_it(visit, sources_root):
    name = '<script>"x*'
    app = visit(sources_root, "sources", source=name)
    page = html_of(app)
    assert not app.exception
    assert escape(name) in page
    assert "<script" not in page
    assert "q=source%20%3D%20%22%3Cscript%3E%5C%22x%5C%2A%22" in page
    assert "nothing was taken in of it" in told(app)
    assert "No source is called" in told(visit(sources_root, "sources", source="nobody"))
