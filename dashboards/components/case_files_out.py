"""Cases as files to take away: written row by row into a temporary file, so that they are in memory once at most."""

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from app.case_csv import write_cases
from app.case_parquet import write_parquet
from app.workspace import Workspace
from db import queries
from db.queries import CaseRow, Snapshot

Rows = Callable[[], Iterator[CaseRow]]


def rows_of_query(ws: Workspace, query: str, order: str, descending: bool, snapshot: Snapshot) -> Rows:
    """Gives all cases that a query finds, in order, a few at a time."""

    def rows() -> Iterator[CaseRow]:
        with ws.catalog.reading() as session:
            yield from queries.cases_one_by_one(
                session, query, order=order, descending=descending, snapshot=snapshot
            )

    return rows


def rows_of_cases(ws: Workspace, case_ids: list[int], snapshot: Snapshot) -> Rows:
    """Gives some cases, in order of address."""

    def rows() -> Iterator[CaseRow]:
        with ws.catalog.reading() as session:
            yield from queries.cases_of(session, case_ids, snapshot=snapshot, sort=True)

    return rows


def csv_file(rows: Rows) -> Callable[[], BinaryIO]:
    """What a download button calls when it is clicked: the cases as CSV."""

    def write(out: BinaryIO) -> None:
        text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
        write_cases(rows(), text)
        text.detach()

    return lambda: _written(write)


def parquet_file(rows: Rows) -> Callable[[], BinaryIO]:
    """What a download button calls when it is clicked: the cases as Parquet."""
    return lambda: _written(lambda out: write_parquet(rows(), out))


def _written(write: Callable[[BinaryIO], None]) -> BinaryIO:
    handle, name = tempfile.mkstemp(prefix="maskledger-cases-")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            write(out)
        return path.open("rb")  # read and closed by who asked; its name is gone by then
    finally:
        path.unlink()
