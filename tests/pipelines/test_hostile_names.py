"""File names that break lines, commands, paths or encodings: read right, or refused in one line."""

import csv
import io
import os
from pathlib import Path

import pytest
from volume_files import boxes, write_volume

from app.case_csv import write_cases
from curation.errors import UsageError
from curation.mappings import load_builtin, parse_mapping
from db import queries
from pipelines.export import export
from pipelines.exports.request import ExportRequest, Format
from pipelines.freeze import FreezeRequest, freeze
from pipelines.ingest import IngestRequest, ingest
from pipelines.runs import Workbench

TAKEN = (
    "with space", " lead", "trail ", "quo'te", 'dou"ble', "-rf", "--help", "*", "$(touch pwned)", "back\\slash", "a",
    "A", "ünï", "x..y", "=1+1", "a,b;c", "%s%d", "<b>", "[0:3]", "' OR 1=1 --", "L" * 248,
)  # fmt: skip
REFUSED = {
    "new\nline": r"new\nline", "cr\rx": r"cr\rx", "tab\t": r"tab\t", "\x1b[31mred": r"\x1b[31mred",
    "\u202ex": r"\u202ex", os.fsdecode(b"caf\xe9"): r"caf\xe9", "at@1": "at@1",
}  # fmt: skip


@pytest.fixture
def names(tmp_path) -> Path:
    """A mask under each of the names."""
    mask = write_volume(tmp_path / "mask.nii.gz", boxes({1: 5})).read_bytes()
    (tmp_path / "l").mkdir()
    for name in (*TAKEN, *REFUSED):
        (tmp_path / "l" / f"{name}.nii.gz").write_bytes(mask)
    return tmp_path / "l"


def take(bench: Workbench, labels: Path, **options):
    return ingest(bench, IngestRequest(source="S", mapping=load_builtin("flare23"), labels=labels, **options))


def test_every_name_is_a_case_or_refused_in_one_line(bench, names):
    outcome = take(bench, names)
    assert outcome.counts == {"new": len(TAKEN)}
    assert len(outcome.refused) == len(REFUSED)
    for line in outcome.refused:
        assert len(line.encode().splitlines()) == 1
    for shown in REFUSED.values():
        assert (
            sum(
                f"/{shown}.nii.gz: " in line and line.endswith("; rename the file")
                for line in outcome.refused
            )
            == 1
        )
    with bench.catalog.reading() as session:
        rows = queries.cases(session, "")
        assert {row.address.removeprefix("S/") for row in rows} == set(TAKEN)
        for name in TAKEN:
            assert queries.resolve(session, f"S/{name}").number == 1
    out = io.StringIO()
    write_cases(rows, out)
    assert [row[0] for row in csv.reader(io.StringIO(out.getvalue()))][1:] == [row.address for row in rows]
    assert out.getvalue().count("\n") == 1 + len(TAKEN)
    assert take(bench, names).counts == {"unchanged": len(TAKEN)}


@pytest.mark.parametrize("format_", [Format.LABELS, Format.MANIFEST])
def test_an_export_writes_such_names_into_its_folder_and_nowhere_else(bench, names, tmp_path, format_):
    take(bench, names)
    freeze(bench, FreezeRequest("d", ""))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    export(bench, ExportRequest("d", tmp_path / "e", format_))
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert all(path.is_relative_to(tmp_path / "e") for path in new)
    if format_ is Format.LABELS:
        assert {f"{name}.nii.gz" for name in TAKEN} <= {path.name for path in new}
    else:
        with (tmp_path / "e" / "manifest.csv").open(newline="") as stream:
            assert {row["case"].removeprefix("S/") for row in csv.DictReader(stream)} == set(TAKEN)


def test_a_folder_that_is_not_utf_8_is_refused_where_it_is_named_and_where_it_lies_below(bench, tmp_path):
    below = tmp_path / "l" / os.fsdecode(b"caf\xe9")
    write_volume(below / "A.nii.gz", boxes({1: 5}))
    write_volume(tmp_path / "l" / "B.nii.gz", boxes({1: 5}))
    outcome = take(bench, tmp_path / "l")
    assert outcome.counts == {"new": 1}
    assert outcome.refused == [
        rf"{tmp_path}/l/caf\xe9/A.nii.gz: this path is not UTF-8; rename its files and folders that are not"
    ]
    with pytest.raises(UsageError, match=r"caf.*not UTF-8"):
        take(bench, below)


def test_a_line_break_in_a_folders_name_stays_in_the_catalog_and_out_of_the_lines(bench, tmp_path):
    folder = tmp_path / "two\nlines"
    write_volume(folder / "A.nii.gz", boxes({1: 5}))
    write_volume(folder / "B.nii.gz", boxes({77: 5}))
    outcome = take(bench, folder)
    assert outcome.counts == {"new": 1}
    assert outcome.refused[0].startswith(rf"{tmp_path}/two\nlines/B.nii.gz: label values 77")
    with bench.catalog.reading() as session:
        assert queries.resolve(session, "S/A").number == 1


@pytest.mark.parametrize("name", [".", ".."])
def test_a_pattern_cannot_make_a_case_of_a_path_upwards(bench, tmp_path, name):
    write_volume(tmp_path / "l" / f"m{name}.nii.gz", boxes({1: 5}))
    mapping = parse_mapping('name = "m"\n[files]\nmask = "m{case}.nii.gz"\n[values]\n1 = "liver"\n', "m.toml")
    outcome = ingest(bench, IngestRequest(source="S", mapping=mapping, labels=tmp_path / "l"))
    assert outcome.counts == {}
    assert f"'{name}' is no case name; rename the file" in outcome.refused[0]


def test_links_to_nowhere_pipes_and_devices_are_refused_without_waiting_for_them(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({1: 5}))
    for name, target in (("gone", "nowhere"), ("loop", "loop.nii.gz"), ("zero", "/dev/zero")):
        (tmp_path / "l" / f"{name}.nii.gz").symlink_to(target)
    os.mkfifo(tmp_path / "l" / "pipe.nii.gz")
    outcome = take(bench, tmp_path / "l")
    assert outcome.counts == {"new": 1}
    reasons = {Path(line.partition(": ")[0]).name: line.partition(": ")[2] for line in outcome.refused}
    assert reasons == {
        "gone.nii.gz": "No such file or directory; check the file",
        "loop.nii.gz": "Too many levels of symbolic links; check the file",
        "pipe.nii.gz": "a pipe or device, not a file; take it out of the folder",
        "zero.nii.gz": "a pipe or device, not a file; take it out of the folder",
    }


def test_an_image_that_is_a_pipe_or_a_loop_refuses_its_case_alone(bench, tmp_path):
    for name in "AB":
        write_volume(tmp_path / "l" / f"{name}.nii.gz", boxes({1: 5}))
    (tmp_path / "i").mkdir()
    os.mkfifo(tmp_path / "i" / "A_0000.nii.gz")
    (tmp_path / "i" / "B_0000.nii.gz").symlink_to("B_0000.nii.gz")
    outcome = take(bench, tmp_path / "l", images=tmp_path / "i")
    assert outcome.counts == {}
    assert sorted(line.rpartition("/")[2] for line in outcome.refused) == [
        "A_0000.nii.gz: a pipe or device, not a file; take it out of the folder",
        "B_0000.nii.gz: Too many levels of symbolic links; check the file",
    ]
