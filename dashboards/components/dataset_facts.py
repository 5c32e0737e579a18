"""Frozen datasets as tables: versions, members, exports, and what differs between two of them."""

from collections.abc import Sequence

from curation.labels import BY_NAME
from dashboards.components.markup import (
    Html,
    card,
    cards,
    case_link,
    joined,
    link,
    markup,
    query_link,
    table,
    tag,
    unbroken,
)
from dashboards.components.times import stamp
from db.models import Split
from db.queries import DatasetVersionRow, ExportRow, MemberLine
from pipelines.dataset_diff import DatasetDiff, Moved, Redrawn, Restated


def versions_table(versions: Sequence[DatasetVersionRow]) -> Html:
    """One row per version, with links to its page and to what its query finds today."""
    return table(
        ("Dataset", "Query", "Origins", "Members", "Split", "Manifest (SHA-256)", "Frozen (UTC)", "By", "Message",
         "Beware"),
        [
            (
                link("datasets", v.address, dataset=v.address), query_link(v.query), ", ".join(v.origins),
                f"{v.members:,}", split_text(v),
                Html(f'<code title="{v.manifest_hash}">{v.manifest_hash[:12]}…</code>'),
                unbroken(stamp(v.created_at)), v.author, v.message or None, beware(v),
            )
            for v in versions
        ],
        numeric=(3,),
        label="Dataset versions",
    )  # fmt: skip


def split_text(version: DatasetVersionRow) -> str:
    """How the members are split."""
    if version.folds is not None:
        return f"{version.folds} folds"
    return f"{version.members - version.val:,} train, {version.val:,} validation"


def beware(version: DatasetVersionRow) -> Html | None:
    """What happened since to what it was frozen from: retractions and purges, with a word in a frame."""
    told = []
    if version.taints:
        said = "; ".join(taint.sentence for taint in version.taints)
        told.append(joined([tag("tainted", "warning"), markup(said)]))
    if version.purged:
        said = f"{version.purged:,} of {version.members:,} members were purged"
        told.append(joined([tag("purged", "warning"), markup(said)]))
    return joined(told) if told else None


def facts_table(version: DatasetVersionRow, models: Sequence[str]) -> Html:
    """What a version was frozen by, and which models learned from it."""
    facts: list[tuple[str, object]] = [
        ("Query", query_link(version.query)),
        ("Labels of", ", ".join(version.origins)),
        ("Split", f"{split_text(version)}; seed {version.seed}"),
        ("Frozen (UTC)", f"{stamp(version.created_at)} by {version.author}"),
        ("Message", version.message or None),
        (
            "Models trained on it",
            joined([link("models", m, tab="Model", model=m) for m in models], ", ") or None,
        ),
        ("Beware", beware(version)),
    ]
    return table(("Fact", "What is known"), facts, label="Facts of the dataset version")


def members_table(members: Sequence[MemberLine]) -> Html:
    """Members with a link to the version that is pinned; of a purged one nothing is left to open."""
    return table(
        ("Case", "Version", "Split", "Validates in fold", "Licence", ""),
        [
            (
                m.case if m.purged else case_link(m.case, m.version),
                m.version,
                m.split.value,
                m.fold,
                m.licence,
                tag("purged", "warning") if m.purged else Html(""),
            )
            for m in members
        ],
        numeric=(1, 3),
        label="Members",
    )


def exports_table(exports: Sequence[ExportRow]) -> Html:
    """Where copies went."""
    return table(
        ("Folder", "Format", "Cases", "When (UTC)", "By"),
        [
            (e.folder, e.format, None if e.cases is None else f"{e.cases:,}", stamp(e.created_at), e.author)
            for e in exports
        ],
        numeric=(2,),
        label="Exports",
    )


def diff_cards(diff: DatasetDiff) -> Html:
    """How many members came, went and changed."""
    return cards(
        (
            card("Members", f"{diff.before.members:,} → {diff.after.members:,}"),
            card("Added", f"{len(diff.added):,}"),
            card("Removed", f"{len(diff.removed):,}"),
            card("At another version", f"{len(diff.redrawn):,}"),
            card("Moved in the split", f"{len(diff.moved):,}"),
            card("Restated", f"{len(diff.restated):,}", "patient or licence"),
        )
    )


def settings_diff_table(diff: DatasetDiff) -> Html:
    """What was asked for otherwise."""
    return table(
        ("Setting", "Before", "After"),
        [(name.replace("_", " "), _setting(a), _setting(b)) for name, (a, b) in diff.settings.items()],
        label="Settings that differ",
    )


def addresses_table(cases: Sequence[str], label: str) -> Html:
    """Cases alone."""
    return table(("Case",), [(case_link(case),) for case in cases], label=label)


def redrawn_table(rows: Sequence[Redrawn]) -> Html:
    """Members at another version, and which classes stand otherwise there."""
    return table(
        ("Case", "Before", "After", "Classes that stand otherwise"),
        [
            (
                r.case,
                case_link(r.case, r.before, f"version {r.before}"),
                case_link(r.case, r.after, f"version {r.after}"),
                ", ".join(f"{BY_NAME[name].title}: {_words(a)} → {_words(b)}" for name, (a, b) in r.classes.items())
                or ("the same voxels" if r.same_voxels else "redrawn by the same origins"),
            )
            for r in rows
        ],
        label="At another version",
    )  # fmt: skip


def moved_table(rows: Sequence[Moved]) -> Html:
    """Members on another side of the split."""
    return table(
        ("Case", "Before", "After"),
        [(case_link(r.case), _place(*r.before), _place(*r.after)) for r in rows],
        label="Moved in the split",
    )


def restated_table(rows: Sequence[Restated]) -> Html:
    """Members of another patient or licence."""
    return table(
        ("Case", "What", "Before", "After"),
        [(case_link(r.case), r.what, r.before, r.after) for r in rows],
        label="Restated",
    )


def _setting(value: object) -> str | None:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return None if value is None else str(value)


def _words(state: str) -> str:
    return state.replace("_", " ")


def _place(split: Split, fold: int | None) -> str:
    return split.value if fold is None else f"fold {fold}"
