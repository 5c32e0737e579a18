"""Gates of complement: doubtful classes stay missing, doubtful voxels are ignored, and both can be told."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volume_files import AFFINE, SHAPE, write_volume

from curation.errors import UsageError
from curation.labels import IGNORE
from curation.mappings import LabelMapping, load_builtin
from curation.probability import percent_steps
from curation.rle import RunLengths
from curation.status import Origin, Status
from curation.volumes import Geometry, encode_and_hash, encode_mask
from db import case_files, queries, writes
from db.models import ModelKind
from db.retractions import model_subject
from db.writes import PredictionClassValues
from pipelines.blame import trace
from pipelines.changes import compare
from pipelines.complement import complement
from pipelines.gates import Gates, parse_min_confidence
from pipelines.ingest import IngestRequest, ingest
from pipelines.retract import retract
from pipelines.verify import verify

GRID = Geometry(SHAPE, AFFINE)
LIVER, SPLEEN, PANCREAS, STOMACH = 1, 3, 4, 11


def take(bench, folder: Path, name="A"):
    """A case with a liver of 4×4×4 voxels."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:5, 1:5, 1:5] = LIVER
    write_volume(folder / "l" / f"{name}.nii.gz", mask)
    ingest(bench, IngestRequest(source="S", mapping=load_builtin("flare23"), labels=folder / "l"))
    return mask


def predict_by_hand(bench, mask, *, confidence=None, probability=None, address="S/A", model="M"):
    """Book a prediction of a teacher: per class its mean probability, per voxel its probability."""
    stored, voxel_hash = encode_and_hash(RunLengths.from_array(mask), GRID)
    percent = None if probability is None else percent_steps(probability, mask)
    with bench.catalog.writing() as session:
        known = queries.model(session, model)
        model_id = known.id if known else writes.add_model(session, model, ModelKind.TEACHER)
        return writes.add_prediction(
            session,
            case_id=queries.resolve(session, address).case_id,
            model_id=model_id,
            file_hash=bench.store.put(stored),
            voxel_hash=voxel_hash,
            probability_hash=None
            if percent is None
            else bench.store.put(encode_mask(RunLengths.from_array(percent), GRID)),
            classes=[
                PredictionClassValues(
                    class_id=c, voxels=int((mask == c).sum()), volume_ml=float((mask == c).sum()) * 0.01,
                    confidence=(confidence or {}).get(c),
                )
                for c in range(1, 14)
            ],
        )  # fmt: skip


def offered():
    """A spleen of 6×2×2 voxels, of which x = 3, 4 lie on the liver, and a pancreas of 4 voxels in a row."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:9, 2:4, 2:4] = SPLEEN
    mask[2:6, 7, 6] = PANCREAS
    probability = np.full(SHAPE, 0.99, np.float32)
    probability[7:9, 2:4, 2:4] = 0.55  # 8 voxels of the spleen
    probability[2:6, 7, 6] = (0.4, 0.5, 0.6, 0.9)
    return mask, probability


def newest(bench, address="S/A"):
    with bench.catalog.reading() as session:
        return case_files.case_file(session, address)


def voxels(bench, address="S/A"):
    return np.asarray(nib.load(bench.store.path(newest(bench, address).file_hash)).dataobj)


def message(bench, address="S/A"):
    with bench.catalog.reading() as session:
        return queries.version_detail(session, queries.resolve(session, address).version_id).row.message


def last_run(bench):
    with bench.catalog.reading() as session:
        return queries.runs(session)[0]


def test_a_class_below_the_least_confidence_stays_missing_and_the_others_are_filled(bench, tmp_path):
    take(bench, tmp_path)
    predict_by_hand(bench, offered()[0], confidence={SPLEEN: 0.9, PANCREAS: 0.6})
    outcome = complement(bench, "", "M", gates=Gates({PANCREAS: 0.7, SPLEEN: 0.7}))
    assert outcome.counts == {"complemented": 1, "classes left below --min-confidence": 1}
    assert outcome.noted == ["S/A: left as it was: pancreas (0.60 below 0.7)"]
    assert newest(bench).annotations[PANCREAS].status is Status.MISSING
    assert newest(bench).annotations[SPLEEN].voxels == 16
    assert message(bench) == "complemented 1 class from M; left as it was: pancreas (0.60 below 0.7)"
    assert last_run(bench).parameters["min_confidence"] == {"spleen": 0.7, "pancreas": 0.7}


def test_the_same_gates_again_change_nothing_and_lower_ones_fill_what_was_left(bench, tmp_path):
    take(bench, tmp_path)
    predict_by_hand(bench, offered()[0], confidence={SPLEEN: 0.9, PANCREAS: 0.6})
    gates = Gates(parse_min_confidence(["0.7"]))
    complement(bench, "", "M", gates=gates)
    again = complement(bench, "", "M", gates=gates)
    assert again.counts == {"nothing to add": 1, "classes left below --min-confidence": 1}
    assert newest(bench).number == 2
    lower = complement(bench, "", "M", gates=Gates(parse_min_confidence(["0.7", "pancreas=0.6"])))
    assert lower.counts == {"complemented": 1}  # 0.6 is not below 0.6
    assert newest(bench).annotations[PANCREAS].voxels == 4


def test_uncertain_voxels_become_ignored_and_the_class_keeps_those_that_are_sure(bench, tmp_path):
    kept = take(bench, tmp_path)
    mask, probability = offered()
    predict_by_hand(bench, mask, probability=probability)
    outcome = complement(bench, "", "M", gates=Gates(uncertain_below=0.6))
    # By hand: of the spleen's 16 background voxels the 8 at x = 7, 8 have 0.55; of the pancreas 0.4 and 0.5
    # are below 0.6, and 0.6 is not.
    expected = kept.copy()
    expected[5:7, 2:4, 2:4] = SPLEEN
    expected[7:9, 2:4, 2:4] = IGNORE
    expected[2:6, 7, 6] = (IGNORE, IGNORE, PANCREAS, PANCREAS)
    assert np.array_equal(voxels(bench), expected)
    assert outcome.counts == {"complemented": 1, "voxels ignored": 10}
    told = "voxels less probable than 0.6 ignored: spleen 8, pancreas 2"
    assert message(bench) == f"complemented 2 classes from M; {told}"
    assert outcome.noted == [f"S/A: {told}"]
    spleen = newest(bench).annotations[SPLEEN]
    assert (spleen.status, spleen.origin, spleen.voxels) == (Status.ANNOTATED, Origin.PSEUDO, 8)
    with bench.catalog.reading() as session:
        found = queries.version_detail(session, newest(bench).version_id)
    assert [(r.value, r.voxels) for r in found.reserved] == [(IGNORE, 10)]
    # What original foreground kept out is booked as without a gate: 2 × 4 spleen voxels on the liver.
    assert [(c.kept, c.offered, c.voxels) for c in found.conflicts] == [(LIVER, SPLEEN, 8)]
    assert verify(bench, deep=True).damage == []
    again = complement(bench, "", "M", gates=Gates(uncertain_below=0.6))
    assert (again.counts, again.noted) == ({"nothing to add": 1}, [])


def test_ignored_voxels_are_the_models_in_blame_and_shown_by_diff(bench, tmp_path):
    take(bench, tmp_path)
    mask, probability = offered()
    predict_by_hand(bench, mask, probability=probability)
    complement(bench, "", "M", gates=Gates(uncertain_below=0.6))
    traced = trace(bench, "S/A")
    (ignored,) = [share for share in traced.shares if share.value == IGNORE]
    assert (ignored.hand.version, ignored.hand.origin, ignored.hand.who, ignored.voxels) == (
        2, Origin.PSEUDO, "M", 10,
    )  # fmt: skip
    assert compare(bench, "S/A@1", "S/A@2").reserved[IGNORE].voxels.gained == 10


def test_a_class_without_a_sure_voxel_stays_missing_until_the_gate_is_lower(bench, tmp_path):
    kept = take(bench, tmp_path)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:6, 7, 6] = STOMACH
    predict_by_hand(bench, mask, probability=np.full(SHAPE, 0.5, np.float32))
    outcome = complement(bench, "", "M", gates=Gates(uncertain_below=0.7))
    assert outcome.counts == {"nothing to add": 1, "classes left without a sure voxel": 1}
    assert outcome.noted == ["S/A: no voxel as probable as 0.7: stomach"]
    assert np.array_equal(voxels(bench), kept)
    assert newest(bench).annotations[STOMACH].status is Status.MISSING
    assert complement(bench, "", "M", gates=Gates(uncertain_below=0.5)).counts == {"complemented": 1}
    assert newest(bench).annotations[STOMACH].voxels == 4


def test_ignored_voxels_are_filled_by_nobody_later(bench, tmp_path):
    take(bench, tmp_path)
    mask, probability = offered()
    predict_by_hand(bench, mask, probability=probability)
    complement(bench, "", "M", gates=Gates(uncertain_below=0.6))
    other = np.zeros(SHAPE, np.uint8)
    other[7:11, 2:4, 2:4] = STOMACH  # x = 7, 8 are ignored
    predict_by_hand(bench, other, model="N")
    complement(bench, "", "N")
    assert newest(bench).annotations[STOMACH].voxels == 8
    assert int((voxels(bench) == IGNORE).sum()) == 10


def test_a_retracted_models_ignored_voxels_go_with_its_classes_and_those_of_others_stay(bench, tmp_path):
    kept = np.zeros(SHAPE, np.uint8)
    kept[1:5, 1:5, 1:5] = LIVER
    kept[0, 0, :3] = IGNORE  # the source's own
    write_volume(tmp_path / "l" / "A.nii.gz", kept)
    mapping = LabelMapping(name="with ignored", values={LIVER: LIVER, IGNORE: IGNORE}, protocol=None)
    ingest(bench, IngestRequest(source="S", mapping=mapping, labels=tmp_path / "l"))
    mask, probability = offered()
    predict_by_hand(bench, mask, probability=probability)
    complement(bench, "", "M", gates=Gates(uncertain_below=0.6))
    assert int((voxels(bench) == IGNORE).sum()) == 13
    retract(bench, lambda session: model_subject(session, "M"), "mirrored")
    assert np.array_equal(voxels(bench), kept)
    assert verify(bench, deep=True).damage == []


def test_a_prediction_without_a_map_is_refused_with_the_command_that_makes_one(bench, tmp_path):
    take(bench, tmp_path)
    predict_by_hand(bench, offered()[0])
    outcome = complement(bench, "", "M", gates=Gates(uncertain_below=0.6))
    (line,) = outcome.refused
    assert "keeps no map of its probabilities, which --uncertain-below needs" in line
    assert "predict MODEL QUERY --probabilities" in line
    assert newest(bench).number == 1


def test_a_prediction_that_says_no_confidence_is_refused_where_one_is_asked_for(bench, tmp_path):
    take(bench, tmp_path)
    predict_by_hand(bench, offered()[0])
    (line,) = complement(bench, "", "M", gates=Gates({SPLEEN: 0.5})).refused
    assert "says nothing of its confidence" in line
    assert complement(bench, "", "M", gates=Gates({STOMACH: 0.5})).refused == []  # not what it draws


def test_a_class_that_is_drawn_anew_keeps_its_old_drawing_where_the_new_one_is_doubtful(bench, tmp_path):
    take(bench, tmp_path)
    mask, _ = offered()
    first = predict_by_hand(bench, mask, confidence={SPLEEN: 0.9, PANCREAS: 0.9})
    complement(bench, "", "M")
    moved = np.roll(mask, 1, axis=0)
    predict_by_hand(bench, moved, confidence={SPLEEN: 0.5, PANCREAS: 0.9})
    outcome = complement(bench, "stale", "M", gates=Gates({SPLEEN: 0.8}))
    assert outcome.counts == {"complemented": 1, "classes left below --min-confidence": 1}
    rows = newest(bench).annotations
    assert rows[SPLEEN].prediction_id == first != rows[PANCREAS].prediction_id
    assert np.array_equal(voxels(bench) == PANCREAS, moved == PANCREAS)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["pancreas=1.2"], "'1.2' is no probability"),
        (["half"], "'half' is no probability"),
        (["nan"], "'nan' is no probability"),
        (["pancras=0.8"], "did you mean 'pancreas'"),
        (["0.5", "0.6"], "given twice for every class"),
        (["pancreas=0.5", "pancreas=0.6"], "named twice"),
    ],
)
def test_a_confidence_that_cannot_be_read_is_wrong_usage(texts, said):
    with pytest.raises(UsageError, match=said):
        parse_min_confidence(texts)


@pytest.mark.parametrize(
    ("below", "take_instead"), [(0.72, "0.70 or 0.75"), (0.97, "0.95"), (1.0, "0.95"), (0.0, "0.05")]
)
def test_a_threshold_between_two_steps_of_a_map_is_wrong_usage(below, take_instead):
    with pytest.raises(UsageError, match=f"take {take_instead}$"):
        Gates(uncertain_below=below)
