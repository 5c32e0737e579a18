"""One case as text and as JSON: what `show` prints."""

from typing import Any

from app.cli.common import print_table
from curation.labels import value_name
from db.image_state import ImageFacts
from db.queries import CaseRef, VersionDetail, VersionRow
from db.reviewing import DecisionRow


def case_json(
    ref: CaseRef,
    detail: VersionDetail,
    versions: list[VersionRow],
    decisions: list[DecisionRow],
    image: ImageFacts | None,
) -> dict[str, Any]:
    """Everything `show` knows, for programs."""
    return {
        "case": ref.address,
        "version": ref.number,
        "kind": detail.row.kind,
        "voxel_hash": detail.row.voxel_hash,
        "shape": detail.shape,
        "spacing_mm": detail.spacing_mm,
        "orientation": detail.orientation,
        "image": image
        and {
            "shape": image.shape, "spacing_mm": image.spacing_mm, "extent_mm": image.extent_mm,
            "orientation": image.orientation, "low": image.low, "high": image.high, "is_hu": image.is_hu,
            "note": image.note,
        },
        "classes": {
            a.class_name: {
                "status": a.status,
                "origin": a.origin,
                "evidence": a.evidence,
                "model": a.model,
                "author": a.author,
                "confidence": a.confidence,
                "voxels": a.voxels,
                "volume_ml": a.volume_ml,
                "bbox": a.bbox,
                "centroid_mm": a.centroid,
                "components": a.components,
                "largest_share": a.largest_share,
                "touches_border": a.touches_border,
                "mean_hu": a.mean_hu,
                "std_hu": a.std_hu,
            }
            for a in detail.annotations
        },
        "reserved": [
            {"value": r.value, "name": value_name(r.value), "voxels": r.voxels, "volume_ml": r.volume_ml}
            for r in detail.reserved
        ],
        "conflicts": [
            {
                "kept": value_name(c.kept), "offered": value_name(c.offered), "displaced": c.displaced,
                "voxels": c.voxels, "ml": c.ml,
            }
            for c in detail.conflicts
        ],
        "findings": [
            {
                "id": f.id, "check": f.check, "severity": f.severity, "class": f.class_name, "value": f.value,
                "limit": f.limit, "message": f.message, "state": f.state,
            }
            for f in detail.findings
        ],
        "decisions": [
            {
                "class": d.class_name, "verdict": d.verdict, "model": d.model, "person": d.person,
                "reason": d.reason, "created_at": d.created_at.isoformat(),
            }
            for d in decisions
        ],
        "versions": [v.number for v in versions],
    }  # fmt: skip


def print_case(
    ref: CaseRef,
    detail: VersionDetail,
    versions: list[VersionRow],
    decisions: list[DecisionRow],
    image: ImageFacts | None,
) -> None:
    """The same for people: classes first, then only what there is to tell."""
    shape = "×".join(map(str, detail.shape))
    spacing = "×".join(f"{mm:g}" for mm in detail.spacing_mm)
    print(
        f"{ref.address}@{ref.number} ({detail.row.kind}), {shape} voxels of {spacing} mm, axes {detail.orientation}"
    )
    if image is not None:
        extent = "×".join(f"{mm:.0f}" for mm in image.extent_mm)
        unit = "HU" if image.is_hu else f"not HU: {image.note}"
        print(
            f"image: {extent} mm, axes {image.orientation}, values {image.low:g} to {image.high:g} ({unit})"
        )
    print()
    print_table(
        ("class", "status", "origin", "by", "volume ml", "pieces", "border", "HU", "confidence"),
        [
            (
                a.class_name,
                a.status,
                a.origin or "–",
                a.model or a.author or "–",
                f"{a.volume_ml:.1f}" if a.voxels else "–",
                a.components if a.components is not None else "–",
                "touches" if a.touches_border else "–",
                f"{a.mean_hu:.0f} ± {a.std_hu:.0f}" if a.mean_hu is not None else "–",
                f"{a.confidence:.2f}" if a.confidence is not None else "–",
            )
            for a in detail.annotations
        ],
        numeric=(4, 5, 7, 8),
    )
    for r in detail.reserved:
        print(f"\n{value_name(r.value)}: {r.voxels} voxels, {r.volume_ml:.1f} ml (value {r.value})")
    if detail.conflicts:
        print(f"\nconflicts: {detail.disputed}")
        offered = "claimed it, too" if detail.row.parent is None else "was offered"
        print_table(
            ("stands", "turned away", "which", "voxels", "ml"),
            [
                (
                    value_name(c.kept),
                    value_name(c.offered),
                    "stood there before" if c.displaced else offered,
                    c.voxels,
                    f"{c.ml:.2f}",
                )
                for c in detail.conflicts
            ],
            numeric=(3, 4),
        )
    if detail.findings:
        print("\nfindings")
        for f in detail.findings:
            print(f"  {f.severity} {f.check} (finding {f.id}, {f.state}): {f.message}")
    if decisions:
        print("\ndecisions that hold")
        for d in decisions:
            drawn = f" (drawn by {d.model})" if d.model else ""
            said = f": {d.reason}" if d.reason else ""
            print(f"  {d.verdict} {d.class_name}{drawn}: {d.person}, {d.created_at:%Y-%m-%d}{said}")
    print(f"\nversions: {', '.join(f'{v.number} {v.kind}' for v in versions)}")
