"""The manifest of a frozen dataset as one file's bytes, for who reads it in a browser; nothing is written to disk."""

import io
from pathlib import Path

from pipelines.exports import manifest
from pipelines.exports.content import Content, content_of
from pipelines.exports.request import ExportRequest, Format
from pipelines.runs import Workbench


def manifest_parquet(bench: Workbench, dataset: str) -> bytes:
    """The same table as an exported ``manifest.parquet``.

    Raises:
        UsageError: The dataset is unknown.
        CurationError: All of its members were purged.
    """
    stream = io.BytesIO()
    manifest.write_tables(bench, _content(bench, dataset), parquet=stream)
    return stream.getvalue()


def manifest_csv(bench: Workbench, dataset: str) -> bytes:
    """The same table as an exported ``manifest.csv``, in UTF-8; errors as `manifest_parquet`."""
    stream = io.StringIO(newline="")
    manifest.write_tables(bench, _content(bench, dataset), text=stream)
    return stream.getvalue().encode()


def _content(bench: Workbench, dataset: str) -> Content:
    return content_of(bench, ExportRequest(dataset, Path(), Format.MANIFEST))
