"""All that a catalog and its store hold, without ids and times: two that came about differently can be compared."""

import hashlib
from pathlib import Path
from typing import Any

from sqlalchemy import text

from db.catalog import Catalog
from db.store import Store

_CASE = 'JOIN "case" c ON c.id = {}.case_id JOIN source s ON s.id = c.source_id'
_VERSION = f"JOIN mask_version v ON v.id = {{}}.version_id {_CASE.format('v')}"
_ADDRESS = "s.name, c.name, v.number"

# Written by hand, so that what the stages read and write is not its own judge.
_PARTS = {
    "cases": """
        SELECT s.name, c.name, c.patient, c.role, c.image_path IS NULL, v.number
        FROM "case" c JOIN source s ON s.id = c.source_id LEFT JOIN mask_version v ON v.id = c.newest_version_id
    """,
    "versions": f"""
        SELECT {_ADDRESS}, parent.number, v.kind, v.incoming_hash, v.file_hash, v.voxel_hash, v.author, v.message
        FROM mask_version v {_CASE.format("v")} LEFT JOIN mask_version parent ON parent.id = v.parent_id
    """,
    "annotations": f"""
        SELECT {_ADDRESS}, a.class_id, a.status, a.evidence, a.origin, a.voxels, a.class_hash, drawn.number, m.name
        FROM annotation a {_VERSION.format("a")}
        LEFT JOIN mask_version drawn ON drawn.id = a.drawn_version_id
        LEFT JOIN prediction p ON p.id = a.prediction_id LEFT JOIN model m ON m.id = p.model_id
    """,
    "conflicts": f"""
        SELECT {_ADDRESS}, k.kept, k.offered, k.displaced, k.voxels FROM conflict k {_VERSION.format("k")}
    """,
    "findings": f"""
        SELECT {_ADDRESS}, f.class_id, f."check", f.severity, f.state FROM finding f {_VERSION.format("f")}
    """,
    "predictions": f"""
        SELECT s.name, c.name, m.name, p.file_hash, p.voxel_hash, pc.class_id, pc.voxels
        FROM prediction p {_CASE.format("p")} JOIN model m ON m.id = p.model_id
        LEFT JOIN prediction_class pc ON pc.prediction_id = p.id
    """,
    "datasets": """
        SELECT d.name, dv.number, dv.query, dv.manifest_hash FROM dataset_version dv
        JOIN dataset d ON d.id = dv.dataset_id
    """,
    "members": f"""
        SELECT d.name, dv.number, {_ADDRESS}, m.split, m.fold FROM member m
        JOIN dataset_version dv ON dv.id = m.dataset_version_id JOIN dataset d ON d.id = dv.dataset_id
        JOIN mask_version v ON v.id = m.version_id {_CASE.format("v")}
    """,
    "retractions": """
        SELECT m.name, r.include_accepted, r.reason, r.person FROM retraction r LEFT JOIN model m ON m.id = r.model_id
    """,
    "taints": """
        SELECT d.name, dv.number, m.name FROM taint t LEFT JOIN dataset_version dv ON dv.id = t.dataset_version_id
        LEFT JOIN dataset d ON d.id = dv.dataset_id LEFT JOIN model m ON m.id = t.model_id
    """,
    "running": "SELECT stage FROM run WHERE state = 'running'",
}


def state_of(catalog: Catalog, store: Store) -> dict[str, Any]:
    """Every part of the catalog as sorted rows, and the names of the stored files."""
    with catalog.engine.connect() as connection:
        state: dict[str, Any] = {
            part: sorted((tuple(row) for row in connection.execute(text(query))), key=repr)
            for part, query in _PARTS.items()
        }
    return state | {"files": sorted(store.hashes())}


def folder_state(folder: Path) -> dict[str, str]:
    """Every file below a folder: its path to where it links, or to the hash of its bytes."""
    return {
        str(path.relative_to(folder)): (
            f"→ {path.readlink()}" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
