"""Real pairs, scored as the official FLARE23 evaluator scored them, to every printed digit."""

import csv
from pathlib import Path

from curation.labels import BY_ID
from curation.metrics import score
from curation.volumes import decode_mask


def test_every_row_equals_the_official_evaluator(shared: Path):
    golden = shared / "golden" / "flare23_metrics"
    with (golden / "expected.csv").open(newline="") as lines:
        expected = {(row["case"], row["class"]): (row["dsc"], row["nsd"]) for row in csv.DictReader(lines)}
    found = {}
    for case in sorted({case for case, _ in expected}):
        name = f"{case}.nii.gz"
        geometry, reference = decode_mask((golden / "reference" / name).read_bytes(), name)
        _, prediction = decode_mask((golden / "prediction" / name).read_bytes(), name)
        for class_id, one in score(reference, prediction, geometry).items():
            found[case, BY_ID[class_id].name] = (f"{one.dsc:.4f}", f"{one.nsd:.4f}")
    assert found == expected
