"""What is recorded of a case's version, as tables: census, what changed, findings, conflicts, predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

from curation.labels import BY_NAME
from curation.status import Status
from dashboards.components.markup import Html, class_cell, cut, markup, table, tag
from dashboards.components.times import stamp
from dashboards.components.viewer import value_title
from db.queries import AnnotationRow, CasePage, PredictionRow, VersionDetail


@dataclass(frozen=True)
class Change:
    """A class that a version knows otherwise than its parent; volumes in ml, None where it is not annotated."""

    class_name: str
    what: str
    before: str
    after: str
    before_ml: float | None
    after_ml: float | None


def state_text(row: AnnotationRow) -> str:
    """Status, and for an annotated class who drew it."""
    if row.status is not Status.ANNOTATED or row.origin is None:
        return row.status.value.replace("_", " ")
    by = row.model or row.author
    return f"{row.origin.value} ({by})" if by else row.origin.value


def changes(parent: Sequence[AnnotationRow], now: Sequence[AnnotationRow]) -> list[Change]:
    """The classes whose status, origin or voxels differ between a version's parent and itself."""
    found = []
    for old, new in zip(parent, now, strict=True):
        if old.class_hash == new.class_hash and state_text(old) == state_text(new):
            continue
        if old.class_hash is None and new.class_hash is not None:
            what = "came in"
        elif new.class_hash is None and old.class_hash is not None:
            what = "went out"
        else:
            what = "redrawn" if old.class_hash != new.class_hash else "status"
        found.append(
            Change(
                new.class_name, what, state_text(old), state_text(new),
                old.volume_ml if old.class_hash else None, new.volume_ml if new.class_hash else None,
            )
        )  # fmt: skip
    return found


def changes_table(rows: Sequence[Change]) -> Html:
    """What came in, went out or was redrawn."""
    return table(
        ("Class", "", "Before", "After", "Before (ml)", "After (ml)"),
        [
            (class_cell(r.class_name), r.what, r.before, r.after, _ml(r.before_ml), _ml(r.after_ml))
            for r in rows
        ],
        numeric=(4, 5),
        label="Changes against the parent version",
    )


def census_table(case: CasePage) -> Html:
    """The 14 classes, then voxels without a class; agreement is Dice with the newest prediction of a class."""
    agreement: dict[int, Html] = {}
    for prediction in reversed(case.predictions):
        for row in prediction.classes:
            if row.agreement is not None:
                shown = f'<span title="{markup(prediction.model)}">{row.agreement:.2f}</span>'
                agreement[row.class_id] = Html(shown)
    rows: list[tuple[object, ...]] = []
    for a in case.detail.annotations:
        drawn = a.status is Status.ANNOTATED
        state: object = a.origin
        if a.origin is None:
            state = Html(f'<span class="quiet">{markup(state_text(a))}</span>')
        by = a.model or a.author
        pieces = None if a.components is None else f"{a.components}"
        if a.components is not None and a.components > 1 and a.largest_share is not None:
            pieces = f"{a.components} ({a.largest_share:.0%})"
        rows.append(
            (
                class_cell(a.class_name, a.origin or a.status),
                state,
                cut(by) if by else None,
                f"{a.volume_ml:,.1f}" if drawn else None,
                pieces,
                _two(a.confidence),
                agreement.get(a.class_id),
            )
        )
    no_class = Html('<span class="quiet">no class</span>')
    rows += [
        (value_title(r.value), no_class, None, f"{r.volume_ml:,.1f}", None, None, None)
        for r in case.detail.reserved
    ]
    columns = ("Class", "Drawn", "By", "Vol. (ml)", "Pieces", "Conf.", "Agree.")
    return table(columns, rows, numeric=(3, 4, 5, 6), label="Census of the version", compact=True)


def findings_table(detail: VersionDetail) -> Html:
    """What the checks noticed, what wants eyes first."""
    return table(
        ("Severity", "Class", "Check", "Finding", "State"),
        [
            (
                tag(f.severity.value, f.severity.value),
                class_cell(f.class_name) if f.class_name else "whole mask",
                f.check.replace("_", " "),
                f.message,
                f.state.value if f.person is None else f"{f.state.value} by {f.person}",
            )
            for f in detail.findings
        ],
        label="Findings",
    )


def conflicts_table(detail: VersionDetail) -> Html:
    """Voxels that the two sides of a merge, or two files of the case, claim: what stands, and what was turned away."""
    offered = "claimed it, too" if detail.row.parent is None else "was offered"
    return table(
        ("Turned away", "Which", "Stands", "Voxels", "Volume (ml)"),
        [
            (
                value_title(c.offered),
                "stood there before" if c.displaced else offered,
                value_title(c.kept),
                f"{c.voxels:,}",
                f"{c.ml:,.2f}",
            )
            for c in detail.conflicts
        ],
        numeric=(3, 4),
        label="Conflicts",
    )


def versions_table(case: CasePage) -> Html:
    """All versions, the newest first."""
    return table(
        ("Version", "Kind", "Labels", "Parent", "Made (UTC)", "By", "Message", "Voxel hash"),
        [
            (
                v.number, v.kind.value, v.labels, v.parent, stamp(v.created_at), v.author, v.message or None,
                Html(f"<code>{v.voxel_hash[:12]}</code>") if v.voxel_hash else None,
            )
            for v in reversed(case.versions)
        ],
        numeric=(0, 2, 3),
        label="Versions",
    )  # fmt: skip


def predictions_table(predictions: Sequence[PredictionRow]) -> Html:
    """What models said of this case; of several predictions of one model the newest counts."""
    agreement = "Mean agreement (Dice)"
    return table(
        ("Model", "", "Made (UTC)", "Classes found", "Found nowhere", agreement, "Time (s)", "Memory (MB)"),
        [
            (
                p.model,
                "counts" if p.newest else "superseded",
                stamp(p.created_at),
                sum(c.voxels > 0 for c in p.classes),
                ", ".join(BY_NAME[c.class_name].title for c in p.classes if not c.voxels) or None,
                _mean([c.agreement for c in p.classes if c.agreement is not None]),
                None if p.seconds is None else f"{p.seconds:.1f}",
                None if p.peak_memory_mb is None else f"{p.peak_memory_mb:,.0f}",
            )
            for p in predictions
        ],
        numeric=(3, 5, 6, 7),
        label="Predictions",
    )


def _ml(volume: float | None) -> str | None:
    return None if volume is None else f"{volume:,.1f}"


def _two(share: float | None) -> str | None:
    return None if share is None else f"{share:.2f}"


def _mean(numbers: Sequence[float]) -> str | None:
    return f"{sum(numbers) / len(numbers):.2f}" if numbers else None
