"""Ctrl-C and SIGTERM: a command ends soon and cleanly, says how to go on, and leaves no process behind."""

import signal
import time
from pathlib import Path

import pytest
from cohort import DATASET, STEPS, Cohort, Workspaces, open_bench, out_of, words_of
from extent import THOROUGH
from ledger_state import state_of
from processes import Command, run
from sqlalchemy import text

from pipelines.verify import verify

STAGES = ("ingest", "import", "complement", "export", "retract")
BOTH = [(stage, number) for stage in STAGES for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """Where the tests run in the background SIGINT is ignored, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _run_states(workspace: Path) -> list[str]:
    bench = open_bench(workspace)
    with bench.catalog.engine.connect() as connection:
        states = connection.execute(text("SELECT state FROM run ORDER BY id")).scalars().all()
    bench.catalog.close()
    return list(states)


def _wait_until_at_work(command: Command, workspace: Path, runs_before: int, stage: str) -> None:
    """Until its workers are there and, for stages that book a run, the run is."""
    while command.is_running:
        booked = stage == "export" or len(_run_states(workspace)) > runs_before
        if booked and len(command.group()) >= 3:
            return
        time.sleep(0.01)
    raise AssertionError(f"it ended before it could be interrupted: {command.wait()}")


@pytest.mark.long
@pytest.mark.parametrize(("stage", "number"), BOTH if THOROUGH else BOTH[::5])
def test_an_interrupted_command_ends_cleanly_and_goes_on_when_started_again(
    stage: str, number: signal.Signals, workspaces: Workspaces, cohort: Cohort, tmp_path: Path
):
    workspace = workspaces.copy(STEPS[stage][0], tmp_path / "w")
    words = words_of(stage, cohort, workspace)
    before = _run_states(workspace)
    command = Command(workspace, *words, "--jobs", "2")
    _wait_until_at_work(command, workspace, len(before), stage)
    # A terminal sends Ctrl-C to all processes of a command; `kill` and batch systems end the first one.
    command.send(number, to_group=number is signal.SIGINT)
    ended = command.wait(timeout=30)
    assert ended.returncode == 128 + number, ended.stderr
    assert ended.stderr.splitlines()[-1] == "maskledger: interrupted; start the same command again to go on"
    assert "Traceback" not in ended.stderr, ended.stderr
    command.assert_nothing_left()
    if stage != "export":
        assert _run_states(workspace) == [*before, "interrupted"]
    assert not out_of(workspace).exists()
    run(workspace, *words)
    bench, undisturbed = open_bench(workspace), open_bench(workspaces.after(stage))
    assert state_of(bench.catalog, bench.store) == state_of(undisturbed.catalog, undisturbed.store)
    assert verify(bench, deep=True).damage == []
    bench.catalog.close()


@pytest.mark.long
def test_workers_end_when_the_command_that_they_work_for_is_killed(workspaces, cohort, tmp_path):
    workspace = workspaces.copy("init", tmp_path / "w")
    command = Command(workspace, *words_of("ingest", cohort, workspace), "--jobs", "2")
    _wait_until_at_work(command, workspace, 0, "ingest")
    command.send(signal.SIGKILL)
    command.wait()
    command.assert_nothing_left(within_s=10)


@pytest.mark.long
def test_a_worker_that_is_killed_ends_the_command_with_a_line_that_says_so(workspaces, cohort, tmp_path):
    workspace = workspaces.copy("init", tmp_path / "w")
    words = words_of("ingest", cohort, workspace)
    command = Command(workspace, *words, "--jobs", "2")
    while not (workers := [p for p in command.group() if "spawn_main" in " ".join(p.cmdline())]):
        assert command.is_running, command.wait()
        time.sleep(0.01)
    workers[0].kill()
    ended = command.wait(timeout=30)
    assert ended.returncode == 3, ended.stderr
    assert "a worker process was killed, perhaps because memory ran out" in ended.stderr.splitlines()[-1]
    assert _run_states(workspace) == ["failed"]
    command.assert_nothing_left()
    run(workspace, *words)
    bench, undisturbed = open_bench(workspace), open_bench(workspaces.after("ingest"))
    assert state_of(bench.catalog, bench.store) == state_of(undisturbed.catalog, undisturbed.store)
    bench.catalog.close()


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_training_ends_with_the_command_that_started_it(workspaces, tmp_path, number):
    workspace = workspaces.copy("freeze", tmp_path / "w")
    command = Command(workspace, "retrain", DATASET, "--profile", "quick")
    while not [p for p in command.group() if "pipelines.training" in " ".join(p.cmdline())]:
        assert command.is_running, command.wait()
        time.sleep(0.05)
    command.send(number)
    assert command.wait(timeout=30).returncode in {128 + number, -number}
    command.assert_nothing_left()
    assert _run_states(workspace)[-1] == ("interrupted" if number is signal.SIGTERM else "running")
