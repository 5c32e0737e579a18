"""verify, gc, log, catalog copy and source, as a person types them."""

import os
import shutil
import time
from pathlib import Path

import pytest
import sqlalchemy
from test_cli import Cli
from volume_files import boxes, write_image, write_volume

from db.engine import database_url

LIVER, TUMOR = 1, 14


def make(root: Path) -> Cli:
    """A workspace with S/A (liver, tumor) and S/B (liver), both with images."""
    run = Cli(root / "w")
    run("init")
    write_volume(root / "l" / "A.nii.gz", boxes({LIVER: 6, TUMOR: 2}))
    write_volume(root / "l" / "B.nii.gz", boxes({LIVER: 4}))
    for name in "AB":
        write_image(root / "i" / f"{name}_0000.nii.gz")
    run("ingest", "--source", "S", "--labels", root / "l", "--images", root / "i")
    return run


@pytest.fixture(scope="module")
def cli(tmp_path_factory) -> Cli:
    return make(tmp_path_factory.mktemp("upkeep"))


@pytest.fixture
def copy(cli, tmp_path) -> Cli:
    """A copy of that workspace, which a test may spoil."""
    shutil.copytree(cli.workspace, tmp_path / "w")
    return Cli(tmp_path / "w")


@pytest.fixture
def own(tmp_path) -> Cli:
    """A workspace with files of its own."""
    return make(tmp_path)


def stored(run: Cli) -> list[Path]:
    return sorted((run.workspace / "store").glob("[0-9a-f][0-9a-f]/*.nii.gz"))


def test_an_intact_workspace_verifies(cli):
    found = cli.json("verify", "--deep")
    assert (found["files"], found["damage"], found["repaired"], found["noted"]) == (4, [], [], [])
    assert found["voxels"] == 2 * 12 * 10 * 8
    assert "4 files" in cli("verify")
    assert "all intact" in cli("verify")


def test_damage_exits_with_4_and_repair_puts_it_right(copy):
    for path in stored(copy)[:2]:
        path.unlink()
    assert copy("verify", rc=4).endswith(": 2 damaged; try: maskledger verify --repair\n")
    assert copy.err.count("damaged: ") == 2
    said = copy("verify", "--repair")
    assert said.count("repaired: ") == 2
    assert said.splitlines()[-1].endswith(": 2 repaired")
    assert copy.json("verify", "--deep")["damage"] == []
    assert [entry["author"] for entry in copy.json("log", "--action", "repair")["entries"]] == [
        "Ada Tester"
    ] * 2


def test_what_cannot_be_repaired_is_said_and_exits_with_4(own):
    shutil.rmtree(own.workspace.parent / "l")
    incoming_and_mask = stored(own)
    for path in incoming_and_mask:
        path.unlink()
    own("verify", "--repair", rc=4)
    assert own.err.count("restore it from a backup") == 4
    assert own.err.count("cannot be repaired: ") == 4


def test_gc_lists_first_and_deletes_when_told(copy):
    stray = copy.workspace / "store" / "ab" / f"ab{'0' * 62}.nii.gz"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x" * 2_500_000)
    assert copy("gc") == "0 not needed, 0.0 MB\n"  # it is new: a run may be about to book it
    then = time.time() - 2 * 3600
    os.utime(stray, (then, then))
    said = copy("gc")
    assert f"store/ab/{stray.name}" in said
    assert said.splitlines()[-1] == "1 not needed, 2.5 MB; delete with: maskledger gc --delete"
    assert stray.exists()
    (file,) = copy.json("gc")["files"]
    assert file == {"path": str(stray), "bytes": 2_500_000, "reason": "stored, but no row needs it"}
    assert copy("gc", "--delete").splitlines()[-1] == "1 not needed, 2.5 MB: 1 deleted, 2.5 MB freed"
    assert not stray.exists()
    assert copy.json("verify", "--deep")["damage"] == []
    assert copy.json("gc", "--delete", "--min-age", "0")["deleted"] == 0


def test_log_tells_who_did_what_with_which_parameters_and_what_came_of_it(cli):
    cli("source", "add", "KiTS", "--licence", "CC BY-NC-SA 4.0")
    found = cli.json("log")
    assert [entry["action"] for entry in found["entries"]] == ["source add", "ingest"]
    added, ingested = found["entries"]
    assert (added["subject"], added["parameters"], added["run"]) == (
        "KiTS",
        {"licence": "CC BY-NC-SA 4.0"},
        None,
    )
    assert ingested["author"] == "Ada Tester"
    assert ingested["parameters"]["mapping"] == "flare23"
    assert (ingested["run"]["state"], ingested["run"]["message"], ingested["run"]["refused"]) == (
        "done",
        "2 new",
        0,
    )
    text = cli("log")
    assert "  Ada Tester  ingest  S\n" in text
    assert ": 2 new · maskledger 0" in text


@pytest.mark.parametrize(
    ("words", "actions"),
    [
        (("--action", "ingest"), ["ingest"]),
        (("--subject", "kits"), ["source add"]),
        (("--subject", "flare23"), ["ingest"]),  # the mapping, among the parameters
        (("--author", "ada"), ["source add", "ingest"]),
        (("--author", "Eve"), []),
        (("--limit", "1"), ["source add"]),
        (("--since", "2000-01-01"), ["source add", "ingest"]),
        (("--since", "2999-01-01T10:00+02:00"), []),
    ],
)
def test_log_can_be_narrowed(cli, words, actions):
    cli("source", "add", "KiTS", "--licence", "CC BY-NC-SA 4.0")
    entries = cli.json("log", *words)["entries"]
    # Other tests of this module may have booked more of the same.
    assert list(dict.fromkeys(entry["action"] for entry in entries)) == actions


def test_log_of_nothing_says_what_there_is(cli):
    assert "it knows: ingest" in cli("log", "--action", "ingset")
    cli("log", "--since", "yesterday", rc=2)
    assert "--since 'yesterday' is no date" in cli.err


def test_a_catalog_moves_to_postgresql_and_back_and_work_goes_on_there(own, postgres_url, monkeypatch):
    admin = database_url(postgres_url)
    engine = sqlalchemy.create_engine(admin, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE DATABASE moved"))
    engine.dispose()
    url = admin.set(database="moved").render_as_string(hide_password=False)
    said = own("catalog", "copy", "--to", url)
    assert "every row compared: equal" in said
    assert "MASKLEDGER_DATABASE_URL" in said
    (own.workspace / "catalog.db").rename(own.workspace / "old.db")
    monkeypatch.setenv("MASKLEDGER_DATABASE_URL", url)
    root = own.workspace.parent
    # The next rows take numbers of their own: a case, a model with a prediction, a version.
    write_volume(root / "more" / "C.nii.gz", boxes({LIVER: 3}))
    own("ingest", "--source", "S", "--labels", root / "more")
    write_volume(root / "p" / "A.nii.gz", boxes({LIVER: 6, TUMOR: 2, 2: 3}))
    own("predictions", "import", root / "p", "--model", "M")
    own("complement", "missing right_kidney", "--model", "M")
    assert own("cases", "version = 2", "--count") == "1\n"
    back = own.json("catalog", "copy", "--to", f"sqlite:///{own.workspace / 'catalog.db'}")
    assert back["tables"]["case"] == 3
    monkeypatch.delenv("MASKLEDGER_DATABASE_URL")
    own("ingest", "--source", "S2", "--labels", root / "more")
    assert own.json("census")["cases"] == 4
    assert own.json("verify", "--deep")["damage"] == []
    actions = [entry["action"] for entry in own.json("log")["entries"]]
    assert actions == [
        "ingest",
        "catalog copy",
        "complement",
        "predictions import",
        "ingest",
        "catalog copy",
        "ingest",
    ]


def test_a_copy_onto_rows_is_wrong_usage(copy):
    other = Cli(copy.workspace.parent / "other")
    other("init")
    other("source", "add", "S")
    copy("catalog", "copy", "--to", f"sqlite:///{other.workspace / 'catalog.db'}", rc=2)
    assert "rows already; give an empty database" in copy.err


def test_a_source_moves_where_its_images_are(own):
    root = own.workspace.parent
    (root / "empty").mkdir()
    own("source", "move", "S", root / "empty", rc=2)
    assert "none of the 2 images of S is there (e.g. A_0000.nii.gz)" in own.err
    (root / "i").rename(root / "moved")
    assert own("source", "move", "S", root / "moved") == f"S: 2 of 2 images are under {root / 'moved'}\n"
    (root / "moved" / "B_0000.nii.gz").unlink()
    found = own.json("source", "move", "S", root / "moved")
    assert (found["found"], found["images"]) == (1, 2)
    assert "0 of 2 images" in own("source", "move", "S", root / "empty", "--force")
    assert f"note: {root / 'empty' / 'A_0000.nii.gz'}: not there" in own.err
    entry = own.json("log", "--action", "source move")["entries"][0]
    assert entry["parameters"] == {
        "from": str(root / "moved"), "to": str(root / "empty"), "found": 0, "images": 2
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("source", "move", "T", "."), "unknown source 'T'; sources are:"),
        (("source", "move", "S", "nowhere"), "nowhere: no such folder"),
        (("catalog", "copy", "--to", "mysql://x/y"), "database URL of kind 'mysql' is not supported"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_right(cli, words, complaint):
    cli(*words, rc=2)
    assert complaint in cli.err
    assert "Traceback" not in cli.err
