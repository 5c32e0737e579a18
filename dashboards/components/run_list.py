"""Runs as a table, and one run in words: what it was asked, how far it is, what it refused and why."""

from collections.abc import Sequence
from typing import Any

from dashboards.components.markup import Html, table, tag
from dashboards.components.times import duration, stamp
from db.models import RunState
from db.queries import RunItemRow, RunRow


def runs_table(runs: Sequence[RunRow]) -> Html:
    """One row per run, the newest first."""
    return table(
        ("Run", "Stage", "State", "Asked", "Result", "Started (UTC)", "Took", "By"),
        [
            (
                f"{run.id}",
                run.stage,
                tag(run.state.value, run.state.value),
                asked(run.parameters),
                progress_text(run.progress) if run.state is RunState.RUNNING else run.message or None,
                stamp(run.started_at),
                duration(run.started_at, run.finished_at),
                run.author,
            )
            for run in runs
        ],
        label="Runs",
    )


def asked(parameters: dict[str, Any]) -> str:
    """A run's parameters in a line; those that are not set are left out."""
    return ", ".join(f"{key} {value}" for key, value in parameters.items() if value not in (None, "", [], {}))


def progress_text(progress: dict[str, Any]) -> str:
    """The latest progress event: "fine: 120 of 400, epoch 12, loss 0.412"."""
    parts = []
    if progress.get("of"):
        parts.append(f"{progress.get('step', 0)} of {progress['of']}")
    if progress.get("message"):
        parts.append(str(progress["message"]))
    if isinstance(progress.get("loss"), int | float):
        parts.append(f"loss {progress['loss']:.3f}")
    stage = progress.get("stage")
    return f"{stage}: {', '.join(parts)}" if stage else ", ".join(parts)


def progress_share(progress: dict[str, Any]) -> float | None:
    """How much of its present stage a training has done, 0 to 1; None where it does not say."""
    step, of = progress.get("step"), progress.get("of")
    if not isinstance(step, int | float) or not isinstance(of, int | float) or of <= 0:
        return None
    return min(1.0, max(0.0, step / of))


def items_table(items: Sequence[RunItemRow]) -> Html:
    """What a run refused or noted, with the reason and the remedy."""
    return table(
        ("What", "State", "Reason and remedy"),
        [(item.subject, tag(item.state.value, item.state.value), item.reason) for item in items],
        label="Refused and noted",
    )
