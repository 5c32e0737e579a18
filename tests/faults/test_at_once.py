"""Several commands at once on one catalog: every case exactly once, and no command fails over another."""

import json
from collections import Counter
from pathlib import Path

import pytest
from cohort import Cohort, Workspaces, open_bench, words_of
from ledger_state import state_of
from processes import Command, run

from pipelines.runs import Workbench
from pipelines.verify import verify


def _version_count(bench: Workbench) -> Counter[str]:
    """Case to the number of its versions, after a look at the whole."""
    assert verify(bench, deep=True).damage == []
    state = state_of(bench.catalog, bench.store)
    assert state["running"] == []
    numbers: dict[str, list[int]] = {}
    for source, case, number, *_ in state["versions"]:
        numbers.setdefault(f"{source}/{case}", []).append(number)
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())
    return Counter({case: len(found) for case, found in numbers.items()})


def _counts(command: Command) -> Counter[str]:
    ended = command.wait()
    assert ended.returncode == 0, ended.stderr
    return Counter(json.loads(ended.stdout)["counts"])


@pytest.mark.long
def test_two_ingests_of_the_same_folder_share_its_cases(
    workspaces: Workspaces, cohort: Cohort, tmp_path: Path
):
    workspace = workspaces.copy("init", tmp_path / "w")
    words = [*words_of("ingest", cohort, workspace), "--jobs", "1", "--json"]
    counts = sum((_counts(c) for c in [Command(workspace, *words) for _ in range(2)]), Counter())
    assert counts["new"] == cohort.cases, "each case is new to one of them"
    assert counts.total() == 2 * cohort.cases
    assert set(counts) <= {"new", "unchanged", "written by another run meanwhile"}
    bench, alone = open_bench(workspace), open_bench(workspaces.after("ingest"))
    assert state_of(bench.catalog, bench.store) == state_of(alone.catalog, alone.store)
    assert verify(bench, deep=True).damage == []
    bench.catalog.close()


def test_two_ingests_of_two_sources_take_turns(workspaces: Workspaces, cohort: Cohort, tmp_path: Path):
    workspace = workspaces.copy("init", tmp_path / "w")
    commands = [
        Command(workspace, "ingest", "--source", source, "--labels", cohort.labels, "--jobs", "1", "--json")
        for source in "AB"
    ]
    assert [_counts(command) for command in commands] == [Counter(new=cohort.cases)] * 2
    bench = open_bench(workspace)
    assert set(_version_count(bench).values()) == {1}
    assert len(_version_count(bench)) == 2 * cohort.cases
    bench.catalog.close()


@pytest.mark.long
def test_eight_writers_on_postgresql(make_database_url, cohort: Cohort, tmp_path: Path):
    """Four ingests of one source, overlapping, two of others, two complements of what stood there before."""
    url = make_database_url("postgresql", migrated=True)
    env = {"MASKLEDGER_DATABASE_URL": url}
    workspace = tmp_path / "w"
    run(workspace, "init", env=env)
    old = Cohort.write(tmp_path / "old", 30, prefix="P")
    ingest = ("ingest", "--jobs", "1", "--json", "--labels")
    run(workspace, *ingest, old.labels, "--source", "Old", env=env)
    run(workspace, "predictions", "import", old.predicted, "--model", "M", "--source", "Old", env=env)
    overlapping = []
    masks = sorted(cohort.labels.iterdir())
    for part in range(4):
        folder = tmp_path / f"part{part}"
        folder.mkdir()
        for mask in masks[part * len(masks) // 8 : part * len(masks) // 8 + len(masks) // 2]:
            (folder / mask.name).symlink_to(mask)
        overlapping.append(folder)
    commands = [Command(workspace, *ingest, folder, "--source", "S", env=env) for folder in overlapping]
    commands += [Command(workspace, *ingest, cohort.labels, "--source", source, env=env) for source in "AB"]
    commands += [
        Command(workspace, "complement", 'source = "Old"', "--model", "M", "--jobs", "1", "--json", env=env)
        for _ in range(2)
    ]
    counts = [_counts(command) for command in commands]
    taken = len({path.name for folder in overlapping for path in folder.iterdir()})
    assert sum(c["new"] for c in counts[:4]) == taken
    assert [c["new"] for c in counts[4:6]] == [cohort.cases] * 2
    assert sum(c["complemented"] for c in counts[6:]) == old.cases
    bench = open_bench(workspace, url)
    versions = _version_count(bench)
    assert {n for case, n in versions.items() if not case.startswith("Old/")} == {1}
    assert {n for case, n in versions.items() if case.startswith("Old/")} == {2}
    assert len(versions) == taken + 2 * cohort.cases + old.cases
    bench.catalog.close()
