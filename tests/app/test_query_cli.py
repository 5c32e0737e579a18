"""Saved queries as a person types them: saved, used, listed, shown, deleted."""

import pytest
from catalog_makers import add_case, drawn
from test_cli import Cli

from db.catalog import Catalog


@pytest.fixture(scope="module")
def cli(tmp_path_factory) -> Cli:
    """A workspace with two cases: KiTS/a has liver and tumor, KiTS/b a pancreas."""
    run = Cli(tmp_path_factory.mktemp("query cli") / "w")
    run("init")
    catalog = Catalog.open(f"sqlite:///{run.workspace / 'catalog.db'}")
    with catalog.writing() as session:
        add_case(session, "a", drawn("liver"), drawn("tumor"))
        add_case(session, "b", drawn("pancreas"))
    catalog.close()
    return run


def test_a_query_is_saved_used_shown_and_deleted(cli):
    assert "no query is saved yet" in cli("query", "list")
    assert (
        cli("query", "save", "todo", "missing", "pancreas", "-m", "in spring") == "saved: use it as @todo\n"
    )
    assert cli("cases", '@todo and source = "KiTS"', "--count") == "1\n"
    assert cli.json("census", "not @TODO")["cases"] == 1
    assert cli.json("query", "save", "both", "@todo or has tumor") == {
        "schema": 1, "name": "both", "query": "@todo or has tumor", "state": "saved", "replaced": None,
    }  # fmt: skip
    line = next(line for line in cli("query", "list").splitlines() if line.startswith("@todo"))
    for part in ("missing pancreas", "in spring", "Ada Tester"):
        assert part in line
    shown = cli.json("query", "show", "both")
    assert (shown["spelled_out"], shown["cases"]) == ("missing pancreas or has tumor", 1)
    cli("query", "delete", "todo", rc=2)
    assert "'todo' is used by 'both'" in cli.err
    assert cli.json("query", "delete", "@both") == {"schema": 1, "name": "both", "state": "deleted"}
    text = cli("query", "show", "todo")
    assert "query: missing pancreas\nspelled out: missing pancreas\n1 cases" in text
    assert "query save" in cli("log")


def test_an_unknown_name_is_pointed_at(cli):
    cli("cases", "has tumor or @tood", rc=2)
    assert "unknown saved query '@tood' at column 14" in cli.err
    assert cli.err.splitlines()[-1] == " " * 13 + "^"
