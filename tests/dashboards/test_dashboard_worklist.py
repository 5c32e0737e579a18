"""The worklist: what is listed and why, filters, how far the review is, and the way from case to case."""

import re
from dataclasses import replace
from html import escape
from urllib.parse import unquote

import pytest
from dashboard_workspace import HOSTILE_NAME, SOURCE
from streamlit.testing.v1 import AppTest

from app.workspace import create_workspace, open_workspace
from curation.labels import BY_NAME
from dashboards import ranked
from dashboards.neighbours import in_query, in_worklist
from dashboards.ranked import Asked
from pipelines.review import accept, reject
from pipelines.worklist import worklist


def html_of(app: AppTest) -> str:
    return "\n".join(e.proto.body for e in app.get("html") if not e.proto.body.startswith("<style>"))


def listed(app: AppTest) -> list[tuple[str, str]]:
    """Address and class of each row of the page's worklist."""
    page = html_of(app)
    rows = page[page.index('aria-label="Worklist"') :].split("</table>")[0].split("<tr>")[2:]
    found = []
    for row in rows:
        cells = row.split("<td")
        address = re.search(r"case=([^&\"]+)", cells[3]).group(1)
        found.append((unquote(address), re.sub(r"<[^>]*>", "", cells[4].partition(">")[2]).strip()))
    return found


@pytest.fixture
def expected(built):
    """What `maskledger review list` says of the small workspace."""
    with open_workspace(built.root) as ws:
        return worklist(ws.bench(jobs=1), limit=1000)


def test_an_empty_catalog_says_what_to_do(visit, tmp_path):
    root, _ = create_workspace(tmp_path / "empty")
    app = visit(root, "worklist")
    assert not app.exception
    assert "no cases yet" in app.info[0].value


def test_the_worklist_is_that_of_the_command_with_its_reasons(visit, built, expected):
    app = visit(built.root, "worklist")
    assert not app.exception
    first = [
        (i.address, BY_NAME[i.class_name].title if i.class_name else "whole mask")
        for i in expected.items[:25]
    ]
    assert listed(app) == first
    assert app.caption[0].value.startswith(f"{expected.total:,} drawings and masks may want eyes")
    page = html_of(app)
    for item in expected.items[:3]:
        assert f'<span class="ml-points">+{item.reasons[0].points:.0f}</span>' in page
        assert item.reasons[0].sentence.split(":")[0].replace("'", "&#x27;") in page


def test_the_worklist_is_paged(visit, built, expected):
    app = visit(built.root, "worklist")
    assert expected.total > 25
    app.get("pagination")[0].set_value(2).run()
    assert listed(app)[0][0] == expected.items[25].address
    assert '<td class="num">26</td>' in html_of(app)


def test_classes_and_sources_can_be_chosen(visit, built, expected):
    app = visit(built.root, "worklist")
    app.selectbox(key="class").set_value("tumor").run()
    assert {name for _, name in listed(app)} == {"Tumor"}
    assert len(listed(app)) == sum(i.class_name == "tumor" for i in expected.items)
    app.selectbox(key="class").set_value("mask").run()
    assert {name for _, name in listed(app)} == {"whole mask"}
    app.selectbox(key="class").set_value("").run()
    app.selectbox(key="source").set_value(SOURCE).run()
    assert listed(app)[0][0] == expected.items[0].address
    app.text_input(key="q").set_value('case = "PHANTOM_0001"').run()
    assert {address for address, _ in listed(app)} == {f"{SOURCE}/PHANTOM_0001"}


def test_a_source_is_a_part_of_the_query_whatever_it_is_called():
    asked = Asked("missing pancreas or has tumor", source='a "b" *')
    assert asked.whole_query == r'(missing pancreas or has tumor) and source = "a \"b\" \*"'
    assert Asked().whole_query == ""


def test_a_wrong_query_is_pointed_at(visit, built):
    app = visit(built.root, "worklist", q="missing pancraes")
    assert "did you mean 'pancreas'?" in app.error[0].value
    assert not app.exception


def test_what_was_decided_since_it_was_ranked_says_so_and_anew_it_is_gone(visit, root):
    app = visit(root, "worklist")
    titles = {c.title: c.name for c in BY_NAME.values()}
    (first, name), (other, accepted) = [(a, titles[c]) for a, c in listed(app) if c in titles][:2]
    with open_workspace(root) as ws:
        reject(ws.bench(jobs=1), first, [name], "why")
        accept(ws.bench(jobs=1), other, [accepted], "seen")
    app.run()
    assert html_of(app).count("changed since it was ranked") >= 2
    next(b for b in app.button if b.label == "Rank anew").click().run()
    assert "changed since it was ranked" not in html_of(app)


def test_progress_counts_decisions_per_class_and_person(visit, root):
    ranked.forget()
    with open_workspace(root) as ws:
        ada = ws.bench(jobs=1)
        accept(ada, f"{SOURCE}/PHANTOM_0001", ["liver", "spleen"])
        accept(replace(ada, author="<b>Bob</b>"), f"{SOURCE}/PHANTOM_0003", ["liver"])
        reject(ada, f"{SOURCE}/PHANTOM_0003", ["spleen"], "is stomach")
    app = visit(root, "worklist")
    page = html_of(app)
    assert "<b>Bob" not in page
    people = page[page.index('aria-label="Review per person"') :].split("</table>")[0]
    ada_row, bob_row = people.split("<tr>")[2:]
    assert re.findall(r'<td class="num">(\d+)', ada_row) == ["2", "1", "0"]
    assert re.findall(r'<td class="num">(\d+)', bob_row) == ["1", "0", "0"]
    classes = page[page.index('aria-label="Review per class"') :].split("</table>")[0].split("<tr>")[2:]
    assert re.findall(r'<td class="num">(\d+)', classes[0])[1:] == ["2", "0", "0"]  # the liver
    app.selectbox(key="reviewer").set_value("<b>Bob</b>").run()
    page = html_of(app)
    classes = page[page.index('aria-label="Review per class"') :].split("</table>")[0].split("<tr>")[2:]
    assert re.findall(r'<td class="num">(\d+)', classes[0])[1:] == ["1", "0", "0"]
    assert "is stomach" not in page


def test_from_a_case_of_the_worklist_to_the_next_one(visit, built, expected):
    first = expected.items[0].address
    number = next(n for n, i in enumerate(expected.items) if i.address != first)
    other = expected.items[number].address
    app = visit(built.root, "case", case=first, **in_worklist(Asked(), 0))
    page = html_of(app)
    assert f"Place 1 of {expected.total:,} in the worklist" in page
    assert app.button(key="step Previous").disabled
    app.button(key="step Next").click().run()
    assert app.text_input(key="case").value == other
    assert app.query_params["place"] == str(number)
    assert f"Place {number + 1} of" in html_of(app)
    app.button(key="step Previous").click().run()
    assert app.text_input(key="case").value == first


def test_from_a_case_of_a_query_to_the_next_one_in_its_order(visit, built):
    app = visit(
        built.root,
        "case",
        case=f"{SOURCE}/PHANTOM_0006",
        **in_query("strong and role = train", 1, "case", True),
    )
    # Descending: PHANTOM_0007, then this one.
    assert "Case 2 of 2 of the query strong and role = train" in html_of(app)
    assert app.button(key="step Next").disabled
    app.button(key="step Previous").click().run()
    assert app.text_input(key="case").value == f"{SOURCE}/PHANTOM_0007"
    assert app.query_params["within"] == "strong and role = train"


def test_a_case_that_its_query_finds_no_more_has_made_room_for_the_next_one(visit, root):
    query = 'pseudo spleen and case = "PHANTOM_000*"'
    with open_workspace(root) as ws:
        names = [row.address for row in ws.cases(query)]
        reject(ws.bench(jobs=1), names[0], ["spleen"], "why")
    app = visit(root, "case", case=names[0], **in_query(query, 0, "case", False))
    assert f"No longer one of the {len(names) - 1:,} cases" in html_of(app)
    app.button(key="step Next").click().run()
    assert app.text_input(key="case").value == names[1]


@pytest.mark.parametrize(
    "params",
    [
        {"list": "query", "place": "x", "within": "", "sort": "'; DROP"},
        {"list": "worklist", "place": "99999999999", "class": "<b>"},
        {"list": "else"},
        {"list": "query", "within": "missing pancraes"},
    ],
)
def test_a_nonsense_list_takes_nothing_from_the_case(visit, built, params):
    app = visit(built.root, "case", case=f"{SOURCE}/PHANTOM_0001", **params)
    assert not app.exception
    assert "PHANTOM_0001</h1>" in html_of(app)


def test_a_case_that_looks_like_markup_is_text_on_the_worklist(visit, root):
    with open_workspace(root) as ws:
        accept(ws.bench(jobs=1), f"{SOURCE}/{HOSTILE_NAME}", ["liver"], "<script>")
    app = visit(root, "worklist")
    assert "<script" not in html_of(app)
    assert escape(f"{SOURCE}/{HOSTILE_NAME}") in html_of(app)
