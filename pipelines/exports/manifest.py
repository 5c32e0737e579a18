"""The manifest: one row per member, as Parquet and as CSV, with licence, hashes, classes and lineage.

Every class has columns of its own, such as ``liver_status``, ``liver_origin``, ``liver_model``. Lists (missing classes,
the chain of versions, models) are lists in Parquet and JSON text in CSV.
"""

import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.labels import BY_ID, CLASSES
from db.freezing import FrozenMember
from db.lineage import Lineage, ModelOrigin, citations, lineages, model_origins
from pipelines.exports.content import Content
from pipelines.runs import Workbench

# Rows in memory at once; a row group each in Parquet.
BATCH = 5000

_STEP = pa.struct(
    [
        ("version", pa.int32()), ("kind", pa.string()), ("author", pa.string()), ("message", pa.string()),
        # Without a zone: DuckDB's Python needs a further package for moments that have one.
        ("created_at_utc", pa.timestamp("us")), ("revision", pa.string()),
    ]
)  # fmt: skip
_MODEL = pa.struct(
    [
        ("model", pa.string()), ("kind", pa.string()), ("dataset", pa.string()),
        ("manifest_hash", pa.string()), ("weights_hash", pa.string()),
    ]
)  # fmt: skip
_CLASS_COLUMNS = (
    ("status", pa.string()), ("origin", pa.string()), ("model", pa.string()), ("author", pa.string()),
    ("drawn_in", pa.int32()), ("voxels", pa.int64()), ("volume_ml", pa.float64()),
)  # fmt: skip
SCHEMA = pa.schema(
    [
        ("case", pa.string()), ("version", pa.int32()), ("patient", pa.string()), ("split", pa.string()),
        ("fold", pa.int32()), ("licence", pa.string()), ("source", pa.string()), ("revision", pa.string()),
        ("citation", pa.string()), ("voxel_hash", pa.string()), ("file_hash", pa.string()),
        ("incoming_hash", pa.string()), ("image", pa.string()),
        ("missing_classes", pa.list_(pa.string())),
        ("versions", pa.list_(_STEP)), ("models", pa.list_(_MODEL)),
        *((f"{c.name}_{column}", kind) for c in CLASSES for column, kind in _CLASS_COLUMNS),
    ]
)  # fmt: skip
_NESTED = ("missing_classes", "versions", "models")


def write(bench: Workbench, content: Content, folder: Path) -> int:
    """Write ``manifest.parquet`` and ``manifest.csv``; returns 0: there is nothing to link."""
    with (
        (folder / "manifest.parquet").open("wb") as parquet,
        (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as text,
    ):
        write_tables(bench, content, parquet=parquet, text=text)
    return 0


def write_tables(
    bench: Workbench, content: Content, *, parquet: IO[bytes] | None = None, text: IO[str] | None = None
) -> None:
    """Write the table as Parquet, as CSV, or both, in one pass over the members."""
    bench.progress.start(f"export {content.version.address}: manifest", len(content.members))
    with ExitStack() as closing:
        columns = parquet and closing.enter_context(pq.ParquetWriter(parquet, SCHEMA, compression="zstd"))
        lines = text and csv.DictWriter(text, SCHEMA.names, lineterminator="\n")
        if lines:
            lines.writeheader()
        done = 0
        for rows in _batches(bench, content):
            if columns:
                columns.write_table(pa.Table.from_pylist(rows, SCHEMA))
            if lines:
                lines.writerows(map(_flat, rows))
            done += len(rows)
            bench.progress.step(done)
    bench.progress.finish()


def _batches(bench: Workbench, content: Content) -> Iterator[list[dict[str, Any]]]:
    with bench.catalog.reading() as session:
        models, cited = model_origins(session), citations(session)
        rows = []
        found = lineages(session, [member.version_id for member in content.members])
        for member, (_, lineage) in zip(content.members, found, strict=True):
            rows.append(_row(content, member, lineage, models, cited[member.source]))
            if len(rows) == BATCH:
                yield rows
                rows = []
        yield rows


def _row(
    content: Content,
    member: FrozenMember,
    lineage: Lineage,
    models: dict[str, ModelOrigin],
    citation: str | None,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "case": member.address,
        "version": member.number,
        "patient": member.patient,
        "split": str(member.split),
        "fold": member.fold,
        "licence": member.licence,
        "source": member.source,
        "revision": lineage.revision,
        "citation": citation,
        "voxel_hash": member.voxel_hash,
        "file_hash": member.file_hash,
        "incoming_hash": member.incoming_hash,
        "image": str(member.image) if member.image else None,
        # With the dataset's origins in mind: a pseudo label that does not count is missing.
        "missing_classes": [BY_ID[class_id].name for class_id in sorted(content.missing(member))],
        "versions": [
            {
                "version": step.number, "kind": str(step.kind), "author": step.author, "message": step.message,
                "created_at_utc": step.created_at.replace(tzinfo=None), "revision": step.revision,
            }
            for step in lineage.chain
        ],
        "models": [
            {
                "model": name, "kind": str(models[name].kind), "dataset": models[name].dataset,
                "manifest_hash": models[name].manifest_hash, "weights_hash": models[name].weights_hash,
            }
            for name in lineage.models
        ],
    }  # fmt: skip
    for c in CLASSES:
        fact = lineage.classes[c.id]
        row[f"{c.name}_status"] = str(fact.status)
        row[f"{c.name}_origin"] = str(fact.origin) if fact.origin else None
        for column in ("model", "author", "drawn_in", "voxels", "volume_ml"):
            row[f"{c.name}_{column}"] = getattr(fact, column)
    return row


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The same row for CSV, which knows no lists."""
    return row | {
        column: json.dumps(row[column], default=lambda moment: moment.isoformat()) for column in _NESTED
    }
