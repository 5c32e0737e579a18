"""source mappings and source show-mapping, as a person types them."""

import json

import pytest
from typer.testing import CliRunner

from app.cli import app
from curation.errors import UsageError
from curation.mappings import builtin_names, builtin_text, load_builtin, parse_mapping


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_mappings_that_come_along_are_listed():
    lines = run("source", "mappings").splitlines()
    assert [line.split()[0] for line in lines[2 : 2 + len(builtin_names())]] == builtin_names()
    kits = next(line for line in lines if line.startswith("kits19"))
    assert (
        " ".join(kits.split())
        == "kits19 KiTS19: kidney and kidney tumor kidney, tumor kidney, tumor CC BY-NC-SA 4.0"
    )


def test_the_list_as_json_has_values_protocol_and_notes():
    found = json.loads(run("source", "mappings", "--json"))
    assert found["schema"] == 1
    facts = {entry["name"]: entry for entry in found["mappings"]}
    assert sorted(facts) == builtin_names()
    assert facts["kits23"]["values"] == {"1": "kidney", "2": "tumor", "3": "background"}
    assert facts["kits23"]["protocol"] == ["right_kidney", "left_kidney", "tumor"]
    assert facts["flare23"]["protocol"] is None
    assert facts["flare23"]["licence"] is None
    assert facts["word"]["values"]["12"] == "adrenal"
    assert facts["word"]["order_from"] == load_builtin("word").order_from
    assert facts["lits"]["files"] == {"mask": "segmentation-{case}.nii", "image": "volume-{case}.nii"}


def test_one_mapping_is_shown_with_values_protocol_licence_citation_and_notes():
    text = run("source", "show-mapping", "kits19")
    assert text.startswith("kits19: KiTS19: kidney and kidney tumor\nsource      KiTS, revision 2019\n")
    assert "licence     CC BY-NC-SA 4.0\n" in text
    assert "arXiv:1904.00445" in text
    assert "order from  README.md, Loading Data, neheller/kits19" in text
    assert "looked for  kidney, tumor\n" in text
    assert "1      kidney without side\n2      tumor\n" in text
    assert "- The slices come first (axes IPL)" in text


def test_values_that_are_read_alike_share_a_line():
    lines = run("source", "show-mapping", "totalsegmentator").splitlines()
    assert "10-14, 16-18, 20-51, 53-62, 64-117  background" in lines
    assert any(line.startswith("looked for  not stated: a class without voxels is missing") for line in lines)


def test_the_file_itself_is_a_start_for_ones_own():
    text = run("source", "show-mapping", "btcv", "--toml")
    assert text == builtin_text("btcv")
    assert parse_mapping(text, "ours.toml").values == load_builtin("btcv").values


def test_a_file_of_ones_own_is_shown_and_checked(tmp_path):
    own = tmp_path / "ward7.toml"
    own.write_text('name = "ward7"\n[values]\n1 = "liver"\n', encoding="utf-8")
    assert run("source", "show-mapping", str(own)).splitlines() == [
        "ward7",
        "licence     not stated",
        "looked for  not stated: a class without voxels is missing, never absent",
        "",
        "value  read as",
        "─────  ───────",
        "1      liver",
    ]
    assert json.loads(run("source", "show-mapping", str(own), "--json"))["values"] == {"1": "liver"}
    own.write_text('[values]\n1 = "livr"\n', encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"ward7\.toml, line 2: unknown class 'livr': did you mean 'liver'\?"
    ):
        run("source", "show-mapping", str(own))


def test_a_mapping_that_is_not_there_is_wrong_usage():
    with pytest.raises(UsageError, match=r"unknown mapping 'kits20': did you mean 'kits2[13]'"):
        run("source", "show-mapping", "kits20")
