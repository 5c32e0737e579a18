"""What a training tells while it goes on: thinned points, validations apart from losses."""

from pipelines.curves import curve_series
from pipelines.trace import LIMIT, Trace


def test_events_without_figures_are_no_points():
    trace = Trace()
    trace.add({"event": "progress", "stage": "preprocess", "step": 1, "of": 9, "message": "S/A"})
    assert trace.points == []


def test_many_losses_are_thinned_evenly_and_the_newest_and_the_validations_stay():
    trace = Trace()
    for step in range(1, 10_001):
        trace.add({"event": "progress", "stage": "fine", "step": step, "of": 10_000, "loss": 1 / step})
        if step % 1000 == 0:
            trace.add({"event": "progress", "stage": "fine", "step": step, "of": 10_000, "val_dice": 0.5})
    series = curve_series(trace.points)
    steps, losses = series["fine loss"]
    assert len(steps) <= LIMIT
    # Every 128th of 10,000: 79 of them, and the last one.
    assert steps == [*range(1, 10_001, 128), 10_000]
    assert (steps[-1], losses[-1]) == (10_000, 1 / 10_000)
    assert series["fine val_dice"][0] == list(range(1000, 10_001, 1000))


def test_points_say_where_they_belong_and_nothing_else():
    trace = Trace()
    trace.add({"event": "progress", "stage": "train", "step": 3, "of": 9, "message": "epoch 1", "loss": None})
    trace.add({"event": "progress", "stage": "train", "step": 4, "of": 9, "message": "epoch 1", "loss": 0.25})
    assert trace.points == [{"stage": "train", "step": 4, "loss": 0.25}]
