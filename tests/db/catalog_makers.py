"""Small catalogs for tests: a grid, the 14 annotations of a mask, cases and versions without files."""

import hashlib
from collections.abc import Mapping

import numpy as np
from sqlalchemy.orm import Session

from curation.labels import CLASS_IDS, resolve_class
from curation.status import Evidence, Origin, Status
from curation.volumes import Geometry
from db import writes
from db.models import VersionKind
from db.writes import AnnotationValues, NewVersion, VersionRef

# 4 x 5 x 6 voxels of 1 x 2 x 3 mm, axes as the patient's: 0.006 ml a voxel.
GRID = Geometry((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))


def digest(text: str) -> str:
    """64 hexadecimal digits that stand for some content."""
    return hashlib.sha256(text.encode()).hexdigest()


def drawn(class_name: str, origin: Origin = Origin.ORIGINAL, **more: object) -> AnnotationValues:
    """An annotated class: 100 voxels, 0.6 ml, one piece, unless said otherwise."""
    values: dict[str, object] = {
        "class_id": resolve_class(class_name).id,
        "status": Status.ANNOTATED,
        "evidence": Evidence.VOXELS,
        "origin": origin,
        "voxels": 100,
        "volume_ml": 0.6,
        "bbox": (0, 0, 0, 4, 5, 5),
        "centroid": (1.5, 4.0, 6.0),
        "components": 1,
        "largest_share": 1.0,
        "class_hash": digest(f"{class_name} {origin}"),
        "author": "reader" if origin is Origin.CORRECTED else None,
    }
    return AnnotationValues(**(values | more))  # type: ignore[arg-type]


def annotations(*given: AnnotationValues, others: Status = Status.MISSING) -> tuple[AnnotationValues, ...]:
    """All 14: those given, the others with one status."""
    evidence = Evidence.DEFAULT if others is Status.MISSING else Evidence.PROTOCOL
    by_id = {
        class_id: AnnotationValues(class_id=class_id, status=others, evidence=evidence)
        for class_id in CLASS_IDS
    }
    return tuple((by_id | {a.class_id: a for a in given}).values())


def version(*given: AnnotationValues, others: Status = Status.MISSING, **more: object) -> NewVersion:
    """A version to add, with hashes that stand for a stored mask."""
    values: dict[str, object] = {
        "kind": VersionKind.INGESTED,
        "author": "curator",
        "geometry": GRID,
        "incoming_hash": digest("incoming"),
        "file_hash": digest("file"),
        "voxel_hash": digest("voxels"),
        "annotations": annotations(*given, others=others),
    }
    return NewVersion(**(values | more))  # type: ignore[arg-type]


def add_case(
    session: Session, name: str, *given: AnnotationValues, source: str = "KiTS", **more: object
) -> VersionRef:
    """A case with its version 1."""
    case_id = writes.ensure_case(session, writes.ensure_source(session, source), name)
    return writes.add_version(session, case_id, None, version(*given, **more))  # type: ignore[arg-type]


def add_model_prediction(
    session: Session, case_id: int, model: str = "teacher", **classes: Mapping[str, float]
) -> int:
    """A prediction for a case; per class name its `voxels`, `confidence`, `agreement` as given."""
    return writes.add_prediction(
        session,
        case_id=case_id,
        model_id=writes.ensure_model(session, model),
        file_hash=digest("predicted file"),
        voxel_hash=digest("predicted voxels"),
        classes=[
            writes.PredictionClassValues(
                class_id=resolve_class(name).id,
                **({"voxels": 100, "volume_ml": 0.6} | dict(said)),  # type: ignore[arg-type]
            )
            for name, said in classes.items()
        ],
    )
