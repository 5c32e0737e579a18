"""kill -9 at random moments: the same command again completes, and nothing is lost, doubled or half-written."""

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cohort import STEPS, Cohort, Workspaces, open_bench, out_of, words_of
from extent import KILLS, SEED, THOROUGH
from ledger_state import folder_state, state_of
from processes import Command, run

from pipelines.verify import verify

STAGES = ("ingest", "complement", "freeze", "export", "retract")


def _trials() -> list[tuple[str, float]]:
    """Stage and moment of every kill, the moment as a share of the time that the stage takes undisturbed.

    `make faults` draws with a new seed; a failing test's name says stage and moment in any case.
    """
    draw = random.Random(SEED)
    return [(STAGES[number % len(STAGES)], draw.random()) for number in range(KILLS)]


@dataclass(frozen=True)
class Undisturbed:
    """What a stage finds, what it leaves behind and how long it takes when nobody kills it."""

    found: dict[str, Any]
    state: dict[str, Any]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(workspaces: Workspaces, cohort: Cohort, tmp_path_factory: pytest.TempPathFactory):
    """Measure a stage once."""
    known: dict[str, Undisturbed] = {}

    def measure(stage: str) -> Undisturbed:
        if stage not in known:
            workspace = workspaces.copy(STEPS[stage][0], tmp_path_factory.mktemp(stage) / "w")
            found = _all_of(workspace)
            ended = run(workspace, *words_of(stage, cohort, workspace))
            known[stage] = Undisturbed(found, _all_of(workspace), ended.seconds)
        return known[stage]

    return measure


def _all_of(workspace: Path) -> dict[str, Any]:
    """Catalog, store and the exported folder, where there is one; verified on the way."""
    bench = open_bench(workspace)
    try:
        assert verify(bench, deep=True).damage == []
        exported = folder_state(out_of(workspace)) if out_of(workspace).exists() else None
        return state_of(bench.catalog, bench.store) | {"exported": exported}
    finally:
        bench.catalog.close()


@pytest.mark.long
@pytest.mark.parametrize(
    ("stage", "moment"), _trials(), ids=lambda value: f"{value:.4}" if isinstance(value, float) else value
)
def test_a_killed_command_is_completed_by_the_same_command(
    stage, moment, undisturbed, workspaces, cohort, tmp_path, record_property
):
    expected = undisturbed(stage)
    workspace = tmp_path / "w"
    draw = random.Random(moment)
    while True:
        workspaces.copy(STEPS[stage][0], workspace)
        command = Command(workspace, *words_of(stage, cohort, workspace))
        time.sleep(moment * expected.seconds)
        if command.kill():
            break
        # Quicker than when it was measured: nothing was killed, so that does not count.
        shutil.rmtree(tmp_path)
        moment = draw.random() * moment

    left = _all_of(workspace)
    assert left["exported"] in (None, expected.state["exported"]), "a visible half folder"
    assert set(map(repr, expected.found["versions"])) <= set(map(repr, left["versions"])), "lost"
    place = (
        "before anything"
        if left == expected.found
        else "at its end"
        if left == expected.state
        else "in between"
    )
    record_property("kill", (stage, place))
    if left["exported"] is None or stage != "export":
        # Worker processes are what takes the time: the command had them when it was killed, and has them now
        # where there is time.
        jobs = () if THOROUGH or stage == "freeze" else ("--jobs", "1")
        run(workspace, *words_of(stage, cohort, workspace), *jobs)
    assert _all_of(workspace) == expected.state
    command.assert_nothing_left()
