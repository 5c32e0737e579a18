"""One model's scores on several sets of cases, as Table 5 puts them side by side."""

import numpy as np
import pytest
from volume_files import SHAPE, write_volume

from curation.mappings import load_builtin
from db.models import Role
from pipelines.evaluate import evaluate
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.score_sets import scores_by_set

FLARE = load_builtin("flare23")


def liver(length: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1 : 1 + length, 1:5, 1:5] = 1
    return mask


def test_each_set_has_its_own_mean_over_its_own_cases(bench, tmp_path):
    for source, role, names in (("S", Role.TEST, "AB"), ("T", Role.TRAIN, "C")):
        for name in names:
            write_volume(tmp_path / source / f"{name}.nii.gz", liver(4))
        ingest(bench, IngestRequest(source=source, mapping=FLARE, labels=tmp_path / source, role=role))
    for name, length in (("A", 2), ("B", 4), ("C", 2)):
        write_volume(tmp_path / "m" / f"{name}.nii.gz", liver(length))
    import_predictions(bench, tmp_path / "m", "M", FLARE)
    evaluate(bench, "M", "all")
    found = scores_by_set(bench, "M", "known")
    assert {title: comparison.cases for title, comparison in found.items()} == {"S, test": 2, "T, train": 1}
    liver_of = {title: comparison.rows[0].values["M"] for title, comparison in found.items()}
    # Half of a liver of 64 voxels: 2·32 / (32 + 64) = 0.6667.
    assert liver_of["S, test"].dsc == pytest.approx((0.6667 + 1) / 2)
    assert liver_of["T, train"].dsc == pytest.approx(0.6667)
    assert scores_by_set(bench, "M", "flare23").keys() == found.keys()


def test_a_model_without_scores_has_no_sets(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", liver(4))
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l"))
    import_predictions(bench, tmp_path / "l", "M", FLARE)
    assert scores_by_set(bench, "M", "flare23") == {}
