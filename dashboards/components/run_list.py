"""Runs as a table, and one run in words: what it was asked, how far it is, what it refused and why."""

from collections.abc import Sequence
from typing import Any

from dashboards.components.markup import Html, case_link, file_name, joined, link, table, tag, unbroken
from dashboards.components.times import duration, stamp
from db.models import RunState
from db.queries import RunItemLine, RunRow


def runs_table(runs: Sequence[RunRow]) -> Html:
    """One row per run, the newest first, with a link to its page."""
    return table(
        ("Run", "Stage", "State", "Asked", "Result", "Started (UTC)", "Took", "By"),
        [
            (
                link("runs", str(run.id), run=run.id),
                run.stage,
                tag(run.state.value, run.state.value),
                asked(run.parameters),
                progress_text(run.progress) if run.state is RunState.RUNNING else run.message or None,
                unbroken(stamp(run.started_at)),
                unbroken(duration(run.started_at, run.finished_at)),
                run.author,
            )
            for run in runs
        ],
        label="Runs",
    )


def facts_table(run: RunRow, model: str | None) -> Html:
    """What is known of one run. `model`: what it trained."""
    facts: list[tuple[str, object]] = [
        ("State", tag(run.state.value, run.state.value)),
        ("Work", run.key),
        ("Items to do", None if run.total is None else f"{run.total:,}"),
        ("Booked", item_counts(run.items)),
        ("Result", run.message or None),
        ("Model", link("models", model, tab="Model", model=model) if model else None),
        ("Started (UTC)", stamp(run.started_at)),
        ("Finished (UTC)", stamp(run.finished_at) if run.finished_at else None),
        ("Took", duration(run.started_at, run.finished_at)),
        ("By", run.author),
        ("Program", run.program_version),
    ]
    return table(
        ("Fact", "What is known"), [fact for fact in facts if fact[1] is not None], label="Facts of the run"
    )


def item_counts(items: dict[str, int]) -> Html | None:
    """How many cases and files it booked in which state, a tag each."""
    return joined(tag(f"{n:,} {state}", state) for state, n in items.items()) or None


def asked(parameters: dict[str, Any]) -> str:
    """A run's parameters in a line; those that are not set are left out."""
    return ", ".join(f"{key} {value}" for key, value in parameters.items() if value not in (None, "", [], {}))


def progress_text(progress: dict[str, Any]) -> str:
    """The latest progress event: "fine: 120 of 400, epoch 12, loss 0.412"."""
    parts = []
    if progress.get("of"):
        parts.append(f"{progress.get('step', 0):,} of {progress['of']:,}")
    if progress.get("message"):
        parts.append(str(progress["message"]))
    if isinstance(progress.get("loss"), int | float):
        parts.append(f"loss {progress['loss']:.3f}")
    stage = progress.get("stage")
    return f"{stage}: {', '.join(parts)}" if stage else ", ".join(parts)


def progress_share(progress: dict[str, Any]) -> float | None:
    """How much of its present stage a run has done, 0 to 1; None where it does not say."""
    step, of = progress.get("step"), progress.get("of")
    if not isinstance(step, int | float) or not isinstance(of, int | float) or of <= 0:
        return None
    return min(1.0, max(0.0, step / of))


def items_table(items: Sequence[RunItemLine]) -> Html:
    """What a run booked of single cases and files: which file, why, and what to do."""
    rows = []
    for item in items:
        file, reason, remedy = told_parts(item.subject, item.reason)
        what = case_link(item.case) if item.case else item.subject
        rows.append(
            (
                what,
                tag(item.state.value, item.state.value),
                file_name(file) if file else None,
                reason or None,
                remedy,
                None if item.seconds is None else f"{item.seconds:.1f}",
            )
        )
    return table(
        ("Case or file", "State", "File", "Reason", "Remedy", "Time (s)"), rows, numeric=(5,),
        label="Cases and files",
    )  # fmt: skip


def told_parts(subject: str, line: str) -> tuple[str | None, str, str | None]:
    """A booked line, "FILE: reason; remedy", in its three parts; None for what it does not have."""
    head, colon, rest = line.partition(": ")
    file = None
    if colon and ("/" in head or head == subject):
        file = head if head != subject or head.startswith("/") else None
        line = rest
    reason, semicolon, remedy = line.rpartition("; ")
    return (file, reason, remedy) if semicolon else (file, line, None)
