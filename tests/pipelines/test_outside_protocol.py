"""A protocol that contradicts the voxels: the voxels count, and ingest, revision and rederive say so."""

import numpy as np
import pytest
from sqlalchemy import select
from volume_files import SHAPE, write_volume

from curation.mappings import LabelMapping
from curation.protocol import OUTSIDE_PROTOCOL
from db import case_files, writes
from db.models import FindingRow, FindingState
from pipelines.complement import complement
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.rederive import RederiveRequest, plan, rederive
from pipelines.review import reject

LIVER, SPLEEN, PANCREAS = 1, 3, 4
LIVER_ALONE = LabelMapping("ours", {1: LIVER, 2: SPLEEN}, frozenset({LIVER}))
BOTH = LabelMapping("ours", {1: LIVER, 2: SPLEEN}, frozenset({LIVER, SPLEEN}))
NOTE = (
    "S: classes are drawn that the protocol does not name, in {} (spleen in {}); the voxels count, but one of the two "
    "is wrong: `maskledger quality --check outside_protocol` lists them with what to do"
)


def mask(spleen_from: int, spleen_to: int, liver_to: int = 3) -> np.ndarray:
    """A liver from x 1 on and a spleen, of 4×4 voxels for each x."""
    array = np.zeros(SHAPE, np.uint8)
    array[1:liver_to, 1:5, 1:5] = 1
    array[spleen_from:spleen_to, 1:5, 1:5] = 2
    return array


def outside(bench, name: str) -> list[tuple[int, float, FindingState]]:
    """Class, millilitres and state of what the newest version is said to draw outside its protocol."""
    with bench.catalog.reading() as session:
        version = case_files.case_file(session, f"S/{name}").version_id
        rows = session.execute(
            select(FindingRow.class_id, FindingRow.value, FindingRow.state)
            .where(FindingRow.version_id == version, FindingRow.check == OUTSIDE_PROTOCOL)
            .order_by(FindingRow.class_id)
        )
        return [(row.class_id, round(row.value, 6), row.state) for row in rows]


@pytest.fixture
def cohort(bench, tmp_path):
    """A and B with a spleen of 32 voxels of 0.01 ml, C without one; only the liver was looked for."""
    for name, until, liver_to in (("A", 7, 3), ("B", 7, 4), ("C", 5, 3)):
        write_volume(tmp_path / "masks" / f"{name}.nii.gz", mask(5, until, liver_to))
    return bench, IngestRequest("S", LIVER_ALONE, revision="1", labels=tmp_path / "masks")


def test_ingest_says_it_of_each_case_and_once_of_the_run(cohort, tmp_path):
    bench, request = cohort
    cases = tmp_path / "cases.csv"
    cases.write_text("case,classes\nB,liver spleen\n")

    first = ingest(bench, IngestRequest(**{**vars(request), "cases": cases}))

    assert first.noted == [NOTE.format("1 case", 1)]
    # 32 voxels of 2×2×2.5 mm, that is 0.01 ml. Of B its own line says that the spleen was looked for.
    assert [outside(bench, name) for name in "ABC"] == [[(SPLEEN, 0.32, FindingState.OPEN)], [], []]
    assert ingest(bench, request).noted == []

    write_volume(tmp_path / "masks" / "C.nii.gz", mask(5, 6))
    assert ingest(bench, request).noted == [NOTE.format("1 case", 1)]
    assert outside(bench, "C") == [(SPLEEN, 0.16, FindingState.OPEN)]


def test_another_protocol_takes_it_back_and_brings_it_back_as_new_versions(cohort):
    bench, request = cohort
    assert ingest(bench, request).noted == [NOTE.format("2 cases", 2)]

    foreseen = plan(bench, RederiveRequest("S", mapping=BOTH)).changes
    assert [(c.address, {n: one.outside for n, one in c.classes.items()}) for c in foreseen] == [
        ("S/A", {"spleen": False}),
        ("S/B", {"spleen": False}),
        ("S/C", {"spleen": None}),  # missing becomes absent
    ]
    assert rederive(bench, RederiveRequest("S", mapping=BOTH)).counts == {"new versions": 3}
    assert [outside(bench, name) for name in "ABC"] == [[], [], []]

    again = rederive(bench, RederiveRequest("S", mapping=LIVER_ALONE))
    assert (again.counts, again.noted) == ({"new versions": 3}, [NOTE.format("2 cases", 2)])
    assert outside(bench, "A") == [(SPLEEN, 0.32, FindingState.OPEN)]
    assert rederive(bench, RederiveRequest("S", mapping=LIVER_ALONE)).counts == {"unchanged": 3}


def test_it_is_said_of_later_versions_while_the_class_is_unchanged_and_stays_dismissed(cohort, tmp_path):
    bench, request = cohort
    ingest(bench, request)
    with bench.catalog.writing() as session:
        finding = session.scalars(select(FindingRow.id).where(FindingRow.check == OUTSIDE_PROTOCOL)).first()
        writes.decide_finding(
            session, finding, FindingState.DISMISSED, person="Ada", reason="drawn by the way"
        )
    predicted = np.zeros(SHAPE, np.uint8)
    predicted[9:11, 1:5, 1:5] = PANCREAS
    for name in "AB":
        write_volume(tmp_path / "M" / f"{name}.nii.gz", predicted)
    import_predictions(bench, tmp_path / "M", "M", LabelMapping("ours", {PANCREAS: PANCREAS}))

    assert complement(bench, "", "M").counts["complemented"] == 2

    # Not of the pancreas: a model's label contradicts nobody.
    assert outside(bench, "A") == [(SPLEEN, 0.32, FindingState.DISMISSED)]
    assert outside(bench, "B") == [(SPLEEN, 0.32, FindingState.OPEN)]
    reject(bench, "S/B", ["spleen"], reason="not a spleen")
    assert outside(bench, "B") == []
