"""Case after case: the next is read and the one before written while one is computed; one bad case stops no other."""

import io
import json
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from blake3 import blake3
from volume_files import write_image

from curation.errors import MaskFileError
from pipelines.training.finished import PredictedMask, predict_all, probability_file
from pipelines.training.jobs import JobCase, Reporter

SOON_S = 20.0


class Stand:
    """A model without a network: it hands a case's name through the three steps, and notes when which began."""

    def __init__(self, **identity):
        self.identity = {"weights": "w", **identity}
        self.device = torch.device("cpu")
        self.steps: list[tuple[str, str]] = []
        self.began: dict[tuple[str, str], threading.Event] = {}
        self.fails: dict[tuple[str, str], Exception] = {}
        self.waits_for: dict[tuple[str, str], tuple[str, str]] = {}
        self.takes_s: dict[tuple[str, str], float] = {}

    def _do(self, step: str, name: str) -> None:
        self.steps.append((step, name))
        self.began.setdefault((step, name), threading.Event()).set()
        if error := self.fails.get((step, name)):
            raise error
        if other := self.waits_for.get((step, name)):
            assert self.began.setdefault(other, threading.Event()).wait(SOON_S), f"{other} never began"
        time.sleep(self.takes_s.get((step, name), 0))
        self.steps.append((f"{step} done", name))

    def read(self, image: Path, data: bytes) -> str:
        name = image.name.partition("_")[0]
        self._do("read", name)
        assert data == image.read_bytes()
        return name

    def compute(self, prepared: str) -> str:
        self._do("compute", prepared)
        return prepared

    def finish(self, computed: str) -> PredictedMask:
        self._do("finish", computed)
        return PredictedMask(
            f"mask of {computed}".encode(), {3: 0.9}, {3: 0.25}, f"map of {computed}".encode(), None
        )


@pytest.fixture
def cases(tmp_path):
    images = {name: write_image(tmp_path / f"{name}_0000.nii.gz") for name in "ABCD"}
    out = tmp_path / "out"
    return tuple(
        JobCase(case=f"S/{name}", image=image, out=out / f"{name}.nii.gz") for name, image in images.items()
    )


def predicted(stand, cases):
    stream = io.StringIO()
    predict_all(stand, cases, Reporter(stream), remedy="see log.txt")
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_next_case_is_read_and_the_one_before_written_while_one_is_computed(cases):
    stand = Stand()
    # Each would wait for ever if its neighbours came only after it.
    stand.waits_for = {
        ("compute", "B"): ("read", "C"),
        ("compute", "C"): ("finish", "B"),
    }
    events = predicted(stand, cases)
    assert [e["case"] for e in events if e["event"] == "case"] == ["S/A", "S/B", "S/C", "S/D"]
    assert [e["message"] for e in events if e["event"] == "progress"] == ["S/A", "S/B", "S/C", "S/D"]


def test_no_more_than_one_case_is_read_ahead(cases):
    stand = Stand()
    stand.takes_s = {("compute", name): 0.1 for name in "ABCD"}
    predicted(stand, cases)
    for name, too_early in (("A", "C"), ("B", "D")):
        assert stand.steps.index(("compute", name)) < stand.steps.index(("read", too_early))
    # Nor is a third case begun to be computed while one is still written.
    stand = Stand(of="another call")
    stand.takes_s = {("finish", "A"): 0.3}
    predicted(stand, cases)
    assert stand.steps.index(("compute", "C")) > stand.steps.index(("finish done", "A"))


def test_a_case_that_fails_in_any_step_is_reported_in_its_place_and_the_others_go_on(cases):
    stand = Stand()
    stand.fails = {
        ("read", "A"): MaskFileError("A_0000.nii.gz: damaged; fetch it again"),
        ("compute", "B"): torch.OutOfMemoryError("CUDA out of memory"),
        ("finish", "C"): ValueError("odd shape\nand more"),
    }
    events = [e for e in predicted(stand, cases) if e["event"] != "progress"]
    assert [(e["event"], e["case"]) for e in events] == [
        ("problem", "S/A"), ("problem", "S/B"), ("problem", "S/C"), ("case", "S/D"),
    ]  # fmt: skip
    assert (events[0]["reason"], events[0]["remedy"]) == ("A_0000.nii.gz: damaged", "fetch it again")
    assert events[1]["reason"].endswith("no GPU memory left")
    assert events[2]["reason"].endswith("C_0000.nii.gz: ValueError: odd shape")
    assert events[2]["remedy"] == "see log.txt"
    assert sorted(path.name for path in cases[0].out.parent.iterdir()) == [
        "D.nii.gz", "D.nii.gz.json", "D.probability.nii.gz",
    ]  # fmt: skip


def test_what_a_failed_case_held_is_free_before_the_next_one_is_computed(cases):
    """Its error is told only later: on a GPU that ran out of memory the next case would find none, either."""

    class Held:
        pass

    class OutOfMemory(Stand):
        held: list[weakref.ref] = []  # noqa: RUF012

        def compute(self, prepared: str) -> str:
            if prepared == "A":
                much = Held()
                self.held.append(weakref.ref(much))
                raise torch.OutOfMemoryError("CUDA out of memory")
            assert self.held[0]() is None
            return super().compute(prepared)

    events = [e for e in predicted(OutOfMemory(), cases[:2]) if e["event"] != "progress"]
    assert [(e["event"], e["case"]) for e in events] == [("problem", "S/A"), ("case", "S/B")]


def test_seconds_are_a_cases_own_work_without_waiting_for_its_neighbours(cases):
    stand = Stand()
    stand.takes_s = {("compute", "A"): 0.8, ("read", "B"): 0.1, ("compute", "B"): 0.1, ("finish", "B"): 0.1}
    events = [e for e in predicted(stand, cases[:2]) if e["event"] == "case"]
    assert events[0]["seconds"] == pytest.approx(0.8, abs=0.25)
    # 0.3 s of its own; between reading and computing it waited 0.7 s for A.
    assert events[1]["seconds"] == pytest.approx(0.3, abs=0.25)
    for event in events:
        # This process holds the same memory all the time.
        own = event["peak_memory_mb"] * event["seconds"]
        assert event["memory_area_mb_s"] == pytest.approx(own, rel=0.2)


def test_what_is_told_of_a_case_is_all_that_is_booked(cases):
    (event,) = [e for e in predicted(Stand(), cases[:1]) if e["event"] == "case"]
    assert event["image_hash"] == blake3(cases[0].image.read_bytes()).hexdigest()
    assert event["classes"] == {"3": {"confidence": 0.9, "tta_disagreement": 0.25}}
    assert event["file"] == str(cases[0].out)
    assert event["probability"] == str(probability_file(cases[0].out))
    assert probability_file(cases[0].out).read_bytes() == b"map of A"


def test_a_whole_prediction_is_told_again_and_a_half_one_is_made_again(cases):
    first = predicted(Stand(), cases)
    (cases[1].out.with_name("B.nii.gz.json")).unlink()  # killed after the mask, before its figures
    probability_file(cases[2].out).unlink()  # its map was lost
    stand = Stand()
    again = predicted(stand, cases)
    assert sorted({name for _, name in stand.steps}) == ["B", "C"]
    whole = [[e for e in run if e.get("case") in ("S/A", "S/D")] for run in (first, again)]
    assert whole[0] == whole[1]


def test_another_image_or_other_settings_are_predicted_anew(cases):
    predicted(Stand(), cases)
    noise = np.random.default_rng(1).integers(0, 255, 100).astype(np.uint8)
    cases[0].image.write_bytes(cases[0].image.read_bytes() + noise.tobytes())
    stand = Stand()
    predicted(stand, cases)
    assert {name for _, name in stand.steps} == {"A"}
    other = Stand(tta=True)
    predicted(other, cases)
    assert {name for _, name in other.steps} == {"A", "B", "C", "D"}


def test_no_cases_are_no_work():
    assert predicted(Stand(), ()) == []
