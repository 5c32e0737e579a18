"""A residual encoder trained by two processes through the catalog; what it leaves for others, and for a purge."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from curation.mappings import load_builtin
from db import queries
from db.catalog import Catalog
from db.models import ModelKind
from db.store import Store
from pipelines.case_copies import delete_copies, find_copies
from pipelines.freeze import FreezeRequest, freeze
from pipelines.ingest import IngestRequest, ingest
from pipelines.predict import predict
from pipelines.profiles import load_profile
from pipelines.runs import Silent, Workbench
from pipelines.train import TrainRequest, train
from pipelines.training import teacher_preprocessing
from pipelines.training.jobs import Reporter, TrainingError
from pipelines.training.prepared_files import PreparedFiles
from pipelines.training.teacher_folders import NnunetFolders, RawCase

pytestmark = pytest.mark.long


class Watching(Silent):
    """Looks into the catalog at every step, as `maskledger log` or the dashboard would from another process."""

    def __init__(self, catalog):
        self.catalog = catalog
        self.stages = set()

    def step(self, *_):
        with self.catalog.reading() as session:
            self.stages |= {run.progress.get("stage") for run in queries.runs(session)}


class Trained:
    """A workspace in which a residual encoder was trained, and what was seen meanwhile."""

    def __init__(self, bench, result, environment, stages):
        self.bench, self.result, self.environment, self.stages = bench, result, environment, stages
        self.work_dir = result.folder.parent
        self.folders = NnunetFolders(self.work_dir / "nnunet")
        self.job = json.loads((self.work_dir / "teacher_train.job.json").read_text())
        self.plans = json.loads((result.folder / "plans.json").read_text())
        self.dataset = json.loads((self.folders.raw / "dataset.json").read_text())
        self.cache = PreparedFiles(bench.root / "runs" / "prepared")

    def raw_cases(self):
        return [
            RawCase(
                key,
                case["case"],
                Path(case["image"]),
                self.folders.raw / "labelsTr" / f"{key}.nii.gz",
                case["split"],
            )
            for key, case in zip(self.dataset["dataset"], self.job["cases"], strict=True)
        ]


@pytest.fixture(scope="module")
def resenc(migrated_file, tiny_cohort, tiny_profile, tmp_path_factory):
    root = tmp_path_factory.mktemp("resenc")
    shutil.copy(migrated_file, root / "catalog.db")
    catalog = Catalog.open(f"sqlite:///{root / 'catalog.db'}")
    watching = Watching(catalog)
    bench = Workbench(
        catalog=catalog, store=Store(root / "store"), root=root, author="Ada", program_version="0-test", jobs=1
    )  # fmt: skip
    files = tiny_cohort.folder
    ingest(
        bench,
        IngestRequest(
            source="P", mapping=load_builtin("flare23"), labels=files / "labelsTr", images=files / "imagesTr"
        ),
    )
    frozen = freeze(bench, FreezeRequest("strong", "strong", val_share=0.25))
    settings = {"planner": "resenc_m", "epochs": 2, "steps_per_epoch": 3, "deep_supervision": True}
    teacher = tiny_profile.teacher.model_copy(update=settings)
    profile = tiny_profile.model_copy(update={"name": "resenc-tiny", "teacher": teacher})
    request = TrainRequest(ModelKind.TEACHER, frozen.address, profile, "resenc", device="cpu", gpus=2)
    with pytest.MonkeyPatch.context() as patch:
        # As in training_child.py: two processes of several threads would only wait for each other here.
        patch.setenv("OMP_NUM_THREADS", "1")
        before = dict(os.environ)
        result = train(replace(bench, progress=watching), request)
        after = dict(os.environ)
    yield Trained(bench, result, (before, after), watching.stages)
    catalog.close()


def test_the_profile_is_nnunets_recommended_preset_with_its_own_figures():
    teacher = load_profile("resenc").teacher
    assert teacher.planner == "resenc_l"
    assert (teacher.patch_size, teacher.batch_size, teacher.base_features) == (None, None, None)
    assert load_profile("paper").teacher.planner == "default"


def test_the_plans_hold_a_residual_encoder_of_the_profiles_size(resenc):
    architecture = resenc.plans["configurations"]["3d_fullres"]["architecture"]
    assert architecture["network_class_name"].endswith(".ResidualEncoderUNet")
    network = architecture["arch_kwargs"]
    # nnU-Net's blocks per stage, for as many stages as a patch of 32 × 32 × 40 can be halved down to 4: 3 times.
    assert network["n_blocks_per_stage"] == [1, 3, 4, 6]
    assert network["features_per_stage"] == [8, 16, 32, 32]
    assert "n_conv_per_stage" not in network


def test_two_processes_trained_it_and_one_reported(resenc):
    log = (resenc.work_dir / "log.txt").read_text()
    assert "I am local rank 0" in log
    assert "I am local rank 1" in log
    assert "worker 1 batch_size 1" in log
    with resenc.bench.catalog.reading() as session:
        model = queries.model(session, "resenc")
    assert [row["epoch"] for row in model.curves] == [1, 2]
    assert all(row["loss"] < 10 for row in model.curves)
    assert model.weights_hash


def test_the_catalog_knew_the_stage_while_it_ran_and_the_parents_environment_stayed(resenc):
    # A stage of less than a second may be over before the catalog hears of it.
    assert {"plan", "train"} <= resenc.stages
    before, after = resenc.environment
    assert after == before


def test_it_predicts(resenc):
    outcome = predict(resenc.bench, "resenc", 'case = "P/PHANTOM_0000"', device="cpu")
    assert not outcome.refused
    assert outcome.counts == {"predicted": 1}


def not_again(case, *_):
    raise TrainingError(f"{case.case} was to be preprocessed")


def test_another_training_links_what_was_preprocessed_of_the_same_cases(resenc, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_preprocessing, "_build", not_again)
    folders = NnunetFolders(tmp_path / "nnunet")
    folders.root.mkdir()
    cases = resenc.raw_cases()
    given = (resenc.plans, resenc.dataset, resenc.cache, Reporter(open(os.devnull, "w")))  # noqa: SIM115, PTH123
    teacher_preprocessing.preprocess(cases, folders, *given)
    for ending in teacher_preprocessing.PREPROCESSED_ENDINGS:
        place = f"{resenc.plans['configurations']['3d_fullres']['data_identifier']}/{cases[0].key}{ending}"
        assert (folders.preprocessed / place).samefile(resenc.folders.preprocessed / place)

    other = json.loads(json.dumps(resenc.plans))
    other["foreground_intensity_properties_per_channel"]["0"]["mean"] += 1
    folders = NnunetFolders(tmp_path / "other")
    folders.root.mkdir()
    with pytest.raises(TrainingError, match="P/PHANTOM_0000 was to be preprocessed"):
        teacher_preprocessing.preprocess(cases, folders, other, *given[1:])


def test_a_purge_finds_what_the_teachers_cache_holds_of_a_case_and_nothing_else(resenc, tmp_path):
    root = tmp_path / "w"
    shutil.copytree(resenc.bench.root / "runs", root / "runs", copy_function=os.link)
    theirs = {
        file.name.partition(".")[2]
        for file in find_copies(root, ["P/PHANTOM_0001"])
        if "prepared" in str(file)
    }
    assert theirs == {"analysis.npz", "voxels.b2nd", "labels.b2nd", "properties.pkl"}

    def arrays():  # marks have the same names and are empty
        return {file for file in root.rglob("*.b2nd") if file.stat().st_size}

    before = arrays()
    delete_copies(find_copies(root, ["P/PHANTOM_0001"]))
    # Voxels and labels, in the cache and in nnU-Net's folder.
    gone = before - arrays()
    assert len(gone) == 4
    assert sum("00001_PHANTOM_0001" in file.name for file in gone) == 2
