"""Worker processes that are lost."""

import multiprocessing
import time
from multiprocessing.context import SpawnProcess

import pytest

from pipelines.workers import WorkerLostError, submit, worker_pool


def _double(number: int) -> int:
    return 2 * number


def _double_two_in_a_pool() -> None:
    with worker_pool(2) as pool:
        for future in [submit(pool, _double, number) for number in range(2)]:
            future.result()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_lost_while_another_one_is_being_started_ends_the_work(
    moment: str, monkeypatch: pytest.MonkeyPatch
):
    """Python's pool closes its queues under the new one, or waits for ever for its end (a command hung)."""
    start = SpawnProcess.start
    started: list[SpawnProcess] = []

    def lose_the_first() -> None:
        started[0].kill()
        time.sleep(1)  # the pool notices, and ends those workers that it knows of

    def start_slowly(process: SpawnProcess) -> None:
        started.append(process)
        if len(started) == 2 and moment == "before":
            lose_the_first()
        start(process)
        if len(started) == 2 and moment == "after":
            lose_the_first()

    monkeypatch.setattr(SpawnProcess, "start", start_slowly)
    with pytest.raises(WorkerLostError, match="a worker process was killed"):
        _double_two_in_a_pool()
    assert len(started) == 2
    assert multiprocessing.active_children() == []
