"""Cases as Parquet, batch by batch: what pandas and DuckDB read of a query's million cases without guessing types."""

from collections.abc import Iterable
from itertools import islice
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from curation.labels import CLASS_NAMES
from db.queries import CaseRow

_ROWS_PER_BATCH = 20_000
_WORD = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("case", pa.string()), ("source", _WORD), ("version", pa.int32()), ("labels", pa.int16()),
        ("organs", pa.int16()), ("complete", pa.bool_()), ("strong", pa.bool_()), ("flagged", pa.bool_()),
        ("stale", pa.bool_()), ("role", _WORD), ("patient", pa.string()), ("licence", _WORD),
        ("slices", pa.int32()), ("spacing_x_mm", pa.float64()), ("spacing_y_mm", pa.float64()),
        ("spacing_z_mm", pa.float64()), ("changed", pa.timestamp("us", tz="UTC")),
        *((name, _WORD) for name in CLASS_NAMES),
    ]
)  # fmt: skip


def write_parquet(rows: Iterable[CaseRow], out: BinaryIO) -> None:
    """Write a row per case; a class's column says its origin, or its status where it is not annotated."""
    waiting = iter(rows)
    with pq.ParquetWriter(out, SCHEMA, compression="zstd") as writer:
        while batch := [_values(row) for row in islice(waiting, _ROWS_PER_BATCH)]:
            columns = zip(SCHEMA, zip(*batch, strict=True), strict=True)
            writer.write_batch(
                pa.record_batch([pa.array(values, field.type) for field, values in columns], schema=SCHEMA)
            )


def _values(row: CaseRow) -> tuple[object, ...]:
    return (
        row.address, row.source, row.version, row.labels, row.organs, row.complete, row.strong, row.flagged,
        row.stale, row.role.value, row.patient, row.licence, row.slices, *row.spacing_mm, row.changed,
        *(row.classes[name]["origin"] or row.classes[name]["status"] for name in CLASS_NAMES),
    )  # fmt: skip
