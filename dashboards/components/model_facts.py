"""Models as a table, and one model's facts: what it was made from, by what, and where its weights are."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.components.markup import Html, joined, link, markup, query_link, table, tag, unbroken
from dashboards.components.times import duration, stamp
from db.queries import ModelRow
from pipelines.model_page import ModelPage


def models_table(models: Sequence[ModelRow], scored: Mapping[str, Mapping[str, int]]) -> Html:
    """One row per model, with a link to its page. `scored`: model to scored cases by protocol."""
    return table(
        (
            "Model", "Kind", "Trained on", "Labels of", "Figures", "Predicted (cases)", "Scored (cases)",
            "Registered (UTC)", "Beware",
        ),
        [
            (
                link("models", m.name, tab="Model", model=m.name),
                tag(m.kind.value),
                link("datasets", m.dataset, dataset=m.dataset) if m.dataset else None,
                ", ".join(m.origins) if m.origins else None,
                figures_tags(m.metrics),
                f"{m.predicted_cases:,}",
                f"{max(scored[m.name].values()):,}" if m.name in scored else None,
                unbroken(stamp(m.created_at)),
                beware(m),
            )
            for m in models
        ],
        numeric=(5, 6),
        label="Models",
    )  # fmt: skip


def beware(model: ModelRow) -> Html | None:
    """A tag and why, where there is something to doubt."""
    if not model.doubts:
        return None
    kind = ("retracted", "error") if model.retracted else ("tainted", "warning")
    return joined([tag(*kind), markup("; ".join(model.doubts))])


def figures_tags(metrics: Mapping[str, Any]) -> Html | None:
    """What a training measured, a tag per number."""
    tags = [
        tag(f"{key.replace('_', ' ')} {value:.3g}")
        for key, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return joined(tags) if tags else None


def facts_table(page: ModelPage) -> Html:
    """What is known of a model, a row per fact; what it lacks, as an imported one its weights, is left out."""
    model, dataset, run = page.model, page.dataset, page.run
    facts: list[tuple[str, object]] = [
        ("Kind", tag(model.kind.value)),
        ("Registered (UTC)", stamp(model.created_at)),
    ]
    if dataset is not None:
        purged = f", {dataset.purged} purged since" if dataset.purged else ""
        members = (
            f"{dataset.members:,} members ({dataset.members - dataset.val:,} train, {dataset.val:,} validation"
            f"{purged}) of "
        )
        address = link("datasets", dataset.address, dataset=dataset.address)
        facts += [
            ("Trained on", joined([address, Html(": "), markup(members), query_link(dataset.query)], "")),
            ("Manifest (SHA-256)", _code(dataset.manifest_hash)),
        ]
    facts += [
        ("Labels of", ", ".join(model.origins) if model.origins else None),
        ("Profile", (model.profile or {}).get("name")),
        ("Seed", model.seed),
        ("Code version", _code(model.code_version)),
        ("Weights", page.weights),
        ("Weights (SHA-256)", _code(model.weights_hash)),
    ]
    if run is not None:
        took = f", {duration(run.started_at, run.finished_at)}" if run.finished_at else ""
        said = f"{run.id} ({run.stage}), {run.state}{took}, by {run.author}"
        facts.append(("Run", link("runs", said, run=run.id)))
    facts += [
        ("Predicted", f"{model.predicted_cases:,} cases"),
        ("Measured", figures_tags(page.metrics)),
    ]
    return table(
        ("Fact", "What is known"), [fact for fact in facts if fact[1] is not None], label="Facts of the model"
    )


def _code(text: str | None) -> Html | None:
    return None if text is None else Html(f"<code>{markup(text)}</code>")
