"""Every page, run without a browser: what it says of a known workspace, and of what is not as it should be."""

import shlex
import shutil
from html import escape

import pytest
from dashboard_workspace import HOSTILE_NAME, TEACHER
from streamlit.testing.v1 import AppTest

from app.workspace import create_workspace, open_workspace
from dashboards.slices import Plane
from db import queries
from db.engine import for_writing, open_engine
from db.retractions import model_subject
from pipelines.retract import retract


def html_of(app: AppTest) -> str:
    """All HTML that a page wrote, the style sheets aside."""
    return "\n".join(e.proto.body for e in app.get("html") if not e.proto.body.startswith("<style>"))


def shown(app: AppTest) -> str:
    """The page's texts and HTML."""
    texts = [
        e.value for kind in (app.title, app.subheader, app.markdown, app.caption, app.info) for e in kind
    ]
    return "\n".join([*texts, html_of(app)])


@pytest.fixture
def empty_root(tmp_path):
    root, _ = create_workspace(tmp_path / "empty")
    return root


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("overview", "no cases yet"),
        ("query", "no cases yet"),
        ("case", "Name a case above"),
        ("runs", "Nothing has been run"),
        ("models", "No model is known yet"),
        ("datasets", "Nothing is frozen yet"),
    ],
)
def test_an_empty_catalog_says_what_to_do(visit, empty_root, page, says):
    app = visit(empty_root, page)
    assert not app.exception
    assert not app.error
    assert says in shown(app)


@pytest.mark.parametrize("page", ["overview", "datasets"])
def test_a_command_to_copy_works_in_a_folder_with_a_blank_in_its_name(visit, tmp_path, page):
    root, _ = create_workspace(tmp_path / "two words")
    (command,) = (block.value for block in visit(root, page).code)
    assert shlex.split(command)[:3] == ["maskledger", "--workspace", str(root)]


def test_overview_counts_the_cases_in_every_state(visit, built):
    # 8 phantoms, 2 copies under other names and 1 image without a mask for training, 2 for testing. Strong are
    # the 2 with all organs and the 2 for testing; the 6 others with a prediction are complete but not strong.
    app = visit(built.root)
    page = html_of(app)
    for label, value in (("Cases", 13), ("Complete", 10), ("Strong", 4), ("Weak", 8), ("Unlabeled", 1)):
        assert f'<div class="ml-label">{label}</div><div class="ml-value">{value}</div>' in page
    assert not app.exception
    assert len(app.get("plotly_chart")) == 4


def test_overview_links_every_number_to_its_cases(visit, built):
    assert 'href="query?q=unlabeled"' in html_of(visit(built.root))


def test_a_query_in_the_address_is_asked(visit, built):
    app = visit(built.root, "query", q="missing pancreas")
    # The image without a mask and the one that no model predicted: the other tumor cases were complemented.
    assert app.text_input(key="q").value == "missing pancreas"
    assert [m.value for m in app.markdown] == ["**2** cases"]
    assert "Phantom/PHANTOM_IMAGE_ONLY" in html_of(app)
    assert "PHANTOM_0001" not in html_of(app)


def test_a_query_typed_into_the_box_is_asked(visit, built):
    app = visit(built.root, "query")
    app.text_input(key="q").set_value("role = test").run()
    assert [m.value for m in app.markdown] == ["**2** cases"]


def test_an_example_is_one_click(visit, built):
    app = visit(built.root, "query")
    app.button(key="example missing pancreas").click().run()
    assert app.query_params["q"] == "missing pancreas"


def test_all_examples_can_be_asked(visit, built):
    app = visit(built.root, "query")
    for button in [b.key for b in app.button if b.key and b.key.startswith("example ")]:
        app.button(key=button).click().run()
        assert not app.error, button


def test_a_wrong_word_is_pointed_at(visit, built):
    app = visit(built.root, "query", q="missing pancraes")
    assert "did you mean 'pancreas'?" in app.error[0].value
    assert app.code[0].value == "missing pancraes\n        ^"
    assert not app.exception


def test_the_overview_of_a_datasets_versions_counts_its_members_alone(visit, built):
    # strong@1 was frozen before the complement: the 2 strong cases, with all 13 or 14 classes drawn.
    page = html_of(visit(built.root, at="strong@1"))
    assert '<div class="ml-label">Cases</div><div class="ml-value">2</div>' in page
    assert 'href="query?q=strong&amp;at=strong%401"' in page
    assert "To review" not in page  # which is of now


def test_the_overview_of_the_first_versions_is_before_any_complement(visit, built):
    page = html_of(visit(built.root, at="as ingested"))
    # Before: 4 strong cases, those for testing among them; no other was complete.
    assert '<div class="ml-label">Complete</div><div class="ml-value">4</div>' in page


@pytest.mark.parametrize("page", ["overview", "query"])
@pytest.mark.parametrize("at", ["yesterday", "2026-99-99", "nobody@1", "<script>", "as ingested of"])
def test_a_nonsense_point_in_time_is_a_sentence(visit, built, page, at):
    app = visit(built.root, page, at=at)
    assert not app.exception
    assert len(app.error) == 1
    assert "<script>" not in html_of(app)


def test_a_time_before_the_first_ingest_has_no_cases(visit, built):
    assert "There is no case as of" in visit(built.root, at="2001-01-01").info[0].value
    assert "No case is so" in visit(built.root, "query", at="2001-01-01").info[0].value


def test_a_query_is_asked_of_the_versions_of_a_time(visit, built):
    app = visit(built.root, "query", q="pseudo any organ", at="as ingested")
    assert "No case is so" in app.info[0].value
    app = visit(built.root, "query", q="missing any organ", at="as ingested")
    # All 11 for training but the two strong ones. Their links name the version.
    assert [m.value for m in app.markdown] == ["**9** cases"]
    assert "PHANTOM_0000%401" in html_of(app)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"sort": "volume"}, "cannot be sorted by"),
        ({"page": "-3"}, "There is no page"),
        ({"page": "99999999999999999999"}, "There is no page"),
        ({"page": "two"}, "There is no page"),
        ({"sel": "1-999999999"}, "more than 1000 cases"),
        ({"sel": "DROP TABLE"}, "cannot be read"),
    ],
)
def test_nonsense_in_the_address_is_told_and_the_first_page_shown(visit, built, params, says):
    app = visit(built.root, "query", **params)
    assert not app.exception
    assert not app.error
    assert says in app.warning[0].value
    assert "PHANTOM_0000" in html_of(app)


def test_a_query_of_10000_characters_is_refused(visit, built):
    app = visit(built.root, "query", q="(" * 10_000)
    assert not app.exception
    assert len(app.error) == 1


def test_a_page_of_picked_cases_is_part_of_the_address(visit, built):
    app = visit(built.root, "query", q="role = test")
    app.button(key="pick page").click().run()
    assert app.query_params["sel"]
    assert "2 picked" in [c.value for c in app.caption]
    assert html_of(app).count(" checked>") == 2
    app.button(key="ask picked").click().run()
    assert app.text_input(key="q").value.count('case = "Phantom/') == 2
    app.button(key="pick none").click().run()
    assert "sel" not in app.query_params


def test_rows_of_the_builder_become_the_query(visit, built):
    app = visit(built.root, "query")
    app.selectbox(key="builder word a class 0").set_value("missing").run()
    app.selectbox(key="builder subject 0").set_value("pancreas").run()
    app.button(key="builder add").click().run()
    app.selectbox(key="builder kind 1").set_value("a measure").run()
    app.number_input(key="builder number 1").set_value(800.0).run()
    app.button(key="builder use").click().run()
    assert app.text_input(key="q").value == "missing pancreas and volume(liver) > 800"
    assert not app.error


def test_a_query_is_saved_used_and_forgotten(visit, built, tmp_path):
    root = tmp_path / "saved"
    shutil.copytree(built.root, root)
    app = visit(root, "query", q="missing pancreas")
    app.text_input(key="save name").set_value("todo")
    app.text_input(key="save message").set_value("for <b>Monday</b>")
    app.button(key="FormSubmitter:save query-Save").click().run()
    assert "for \\<b\\>Monday" in "".join(c.value for c in app.caption)
    app.button(key="ask @todo").click().run()
    assert app.text_input(key="q").value == "@todo"
    assert [m.value for m in app.markdown] == ["**2** cases"]
    app.button(key="delete @todo").click().run()
    assert "unknown saved query '@todo'" in app.error[0].value.replace("\\", "")


def asked_to_freeze(visit, root) -> AppTest:
    """The dialog with a name for the training cases."""
    app = visit(root, "query", q="role = train")
    app.button(key="freeze").click().run()
    app.text_input(key="freeze name").set_value("mine").run()
    return app


def test_a_freeze_is_checked_for_leaks_before_it_can_be_done(visit, root):
    app = asked_to_freeze(visit, root)
    app.segmented_control(key="freeze split").set_value("folds").run()
    assert "freeze do" not in {b.key for b in app.button}
    app.button(key="freeze check").click().run()
    # PHANTOM_TUMOR's image is that of PHANTOM_0001, and nobody said that they are one patient.
    assert "fold 1: Phantom/PHANTOM_TUMOR; fold 3: Phantom/PHANTOM_0001" in html_of(app)
    assert app.button(key="freeze do").disabled
    app.checkbox(key="freeze willing").set_value(True).run()
    app.button(key="freeze do").click().run()
    assert not app.exception
    assert "mine@1" in html_of(app)
    with open_workspace(root) as ws, ws.catalog.reading() as session:
        assert queries.dataset_version(session, "mine@1").members == 10


def test_a_freeze_of_other_versions_than_were_checked_is_refused(visit, root):
    app = asked_to_freeze(visit, root)
    app.button(key="freeze check").click().run()
    with open_workspace(root) as ws:
        retract(ws.bench(jobs=1), lambda session: model_subject(session, TEACHER), "mirrored")
    app.button(key="freeze do").click().run()
    assert "changed since they were checked\\: 10 then, 10 now" in app.error[0].value
    with open_workspace(root) as ws, ws.catalog.reading() as session:
        assert "mine" not in {version.name for version in queries.datasets(session)}
    app.button(key="freeze check").click().run()
    # Fewer cases are strong now, so the split is another, and PHANTOM_TUMOR's image stands on both sides of it.
    app.checkbox(key="freeze willing").set_value(True).run()
    app.button(key="freeze do").click().run()
    assert "mine@1" in html_of(app)


def test_a_query_that_finds_nothing_says_so(visit, built):
    assert "No case is so" in visit(built.root, "query", q="corrected liver").info[0].value


def test_cases_are_sorted_by_the_server(visit, built):
    app = visit(built.root, "query", q='case = "PHANTOM_000*"')
    assert html_of(app).index("PHANTOM_0000") < html_of(app).index("PHANTOM_0007")
    app.toggle(key="desc").set_value(True).run()
    assert html_of(app).index("PHANTOM_0007") < html_of(app).index("PHANTOM_0000")


def test_a_name_that_looks_like_markup_is_text(visit, built):
    for app in (
        visit(built.root, "query"),
        visit(built.root, "case", case=f"Phantom/{HOSTILE_NAME}"),
        visit(built.root, "datasets", dataset="all@1"),
    ):
        assert not app.exception
        assert "<script" not in html_of(app)
        assert escape(HOSTILE_NAME) in html_of(app)


def test_a_case_shows_who_drew_what(visit, built):
    page = html_of(visit(built.root, "case", case="Phantom/PHANTOM_0001"))
    assert "version 2 of 2: complemented" in page
    assert page.count(f'<td><span class="cut" title="{TEACHER}">') == 13  # all organs; the tumor is original
    assert 'title="Tumor: original"' in page


def test_versions_can_be_chosen_and_are_compared_with_their_parent(visit, built):
    app = visit(built.root, "case", case="PHANTOM_0001")
    assert any("13 classes came in, 0 differ otherwise" in c.value for c in app.caption)
    app.selectbox(key="version").select(1).run()
    assert app.query_params["case"] == "Phantom/PHANTOM_0001@1"
    assert any("first version" in c.value for c in app.caption)
    assert not app.exception


def test_the_viewer_draws_every_plane_and_window(visit, built):
    app = visit(built.root, "case", case="PHANTOM_0001", view="Slices")
    # 79 × 56 × 62 voxels along right-left, posterior-anterior, inferior-superior.
    expected = {Plane.CORONAL: (56, "right"), Plane.SAGITTAL: (79, "anterior"), Plane.AXIAL: (62, "right")}
    for plane, (slices, left) in expected.items():
        app.segmented_control(key="plane").set_value(plane).run()
        caption = app.caption[0].value
        assert f"of {slices}, 5.00 mm apart" in caption
        assert f"patient's {left} on the left of the picture" in caption
        assert len(app.get("plotly_chart")) == 1
    app.segmented_control(key="window").set_value("Lung").run()
    assert "W 1500 L -600 HU" in app.caption[0].value
    assert not app.error


def test_classes_can_be_switched_off(visit, built):
    app = visit(built.root, "case", case="PHANTOM_0001", view="Slices")
    pills = app.pills[0]
    assert len(pills.value) == 14
    before = app.get("plotly_chart")[0].proto.spec
    pills.set_value([]).run()
    assert app.get("plotly_chart")[0].proto.spec != before
    assert not app.exception


def test_a_missing_image_is_named_and_the_mask_still_shown(visit, built):
    app = visit(built.root, "case", case="PHANTOM_0005", view="Slices")
    assert "PHANTOM\\_0005\\_0000\\.nii\\.gz" in app.warning[0].value
    assert "source move Phantom" in app.warning[0].value
    assert any("mask alone" in c.value for c in app.caption)
    assert len(app.get("plotly_chart")) == 1


def test_an_image_without_a_mask_is_shown(visit, built):
    app = visit(built.root, "case", case="PHANTOM_IMAGE_ONLY", view="Slices")
    assert len(app.get("plotly_chart")) == 1
    assert not app.warning


@pytest.mark.parametrize(
    ("address", "says"),
    [("PHANTOM_9999", "unknown case"), ("PHANTOM_0001@7", "no version"), ("'; DROP", "unknown case")],
)
def test_a_case_that_is_not_there_is_a_sentence(visit, built, address, says):
    app = visit(built.root, "case", case=address)
    assert says in app.error[0].value
    assert not app.exception


def test_what_stands_on_a_retracted_model_says_so(visit, built, tmp_path):
    root = tmp_path / "retracted"
    shutil.copytree(built.root, root)
    with open_workspace(root) as ws:
        retract(ws.bench(jobs=1), lambda session: model_subject(session, TEACHER), "mirrored")
    for page, options in (("datasets", {"dataset": "all@1"}), ("models", {})):
        app = visit(root, page, **options)
        assert not app.exception
        assert f"{TEACHER} was retracted on " in html_of(app)
        assert "(mirrored)" in html_of(app)


def test_a_folder_without_a_workspace_is_a_sentence(visit, tmp_path):
    app = visit(tmp_path)
    assert "no workspace here" in app.error[0].value
    assert not app.exception


def test_an_older_catalog_says_what_to_run(visit, built, tmp_path):
    root = tmp_path / "old"
    shutil.copytree(built.root, root)
    with for_writing(open_engine(f"sqlite:///{root / 'catalog.db'}")).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'older'")
    app = visit(root)
    assert "maskledger" in app.error[0].value
    assert not app.exception


def test_a_catalog_that_goes_away_is_a_sentence_with_a_retry(visit, built, tmp_path):
    root = tmp_path / "away"
    shutil.copytree(built.root, root)
    app = visit(root)
    assert not app.error
    with for_writing(open_engine(f"sqlite:///{root / 'catalog.db'}")).begin() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql('ALTER TABLE "case" RENAME TO gone')
    app.run()
    assert "no such table" in app.error[0].value
    assert [b.label for b in app.button] == ["Try again"]
    assert not app.exception
