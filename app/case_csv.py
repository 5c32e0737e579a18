"""Cases as CSV: what `maskledger cases --csv` prints and the dashboard's query page hands out."""

import csv
from collections.abc import Iterable
from typing import TextIO

from curation.labels import CLASS_NAMES
from db.queries import CaseRow

FACTS = ("case", "version", "labels", "organs", "role", "patient", "licence")


def write_cases(rows: Iterable[CaseRow], out: TextIO) -> None:
    """Write one line per case; a class's cell says its origin, or its status where it is not annotated."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*FACTS, *CLASS_NAMES])
    for row in rows:
        facts = (
            row.address,
            row.version,
            row.labels,
            row.organs,
            row.role.value,
            row.patient,
            row.licence or "",
        )
        states = (row.classes[name]["origin"] or row.classes[name]["status"] for name in CLASS_NAMES)
        writer.writerow([*facts, *states])
