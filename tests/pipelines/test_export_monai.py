"""MONAI's datalist, read back by MONAI."""

import json

import pytest
from frozen_cohort import FLARE, STRONG
from volume_files import write_image, write_volume

from curation.labels import CLASS_NAMES
from curation.status import Origin
from pipelines.export import export
from pipelines.exports.request import ExportRequest, Format, MissingPolicy
from pipelines.freeze import FreezeRequest, freeze
from pipelines.ingest import IngestRequest, ingest


def exported(bench, folder, **how):
    policy = how.pop("missing", MissingPolicy.BACKGROUND)
    freeze(bench, FreezeRequest("d", how.pop("query", ""), **how))
    export(bench, ExportRequest("d", folder, Format.MONAI, policy))
    return json.loads((folder / "datalist.json").read_text())


def test_a_share_gives_a_training_and_a_validation_list(cohort, tmp_path):
    found = exported(cohort, tmp_path / "out", val_share=0.2)
    assert (len(found["training"]), len(found["validation"])) == (8, 2)
    assert (found["numTraining"], found["numValidation"], found["numTest"]) == (8, 2, 0)
    assert found["modality"] == {"0": "CT"}
    assert (found["labels"]["0"], found["labels"]["13"], len(found["labels"])) == (
        "background",
        "left_kidney",
        15,
    )
    assert not any("fold" in entry for entry in found["training"])


def test_the_ignore_label_is_named_where_it_is_used(cohort, tmp_path):
    assert exported(cohort, tmp_path / "out", missing=MissingPolicy.IGNORE)["labels"]["15"] == "ignore"


def test_an_entry_says_what_is_known_of_every_class(cohort, tmp_path):
    found = exported(cohort, tmp_path / "out", query='case = "C0" or case = "C9"', origins=tuple(Origin))
    strong, weak = found["training"]
    assert (strong["image"], strong["label"]) == ("imagesTr/C0.nii.gz", "labelsTr/C0.nii.gz")
    for entry in (strong, weak):
        assert list(entry["known_classes"]) == sorted(CLASS_NAMES)
        assert all(entry["known_classes"][name] is not entry["missing_classes"][name] for name in CLASS_NAMES)
    assert [name for name in CLASS_NAMES if weak["known_classes"][name]] == ["tumor"]
    assert (weak["origins"]["tumor"], weak["origins"]["liver"]) == ("original", "")
    assert [name for name in CLASS_NAMES if strong["missing_classes"][name]] == ["tumor"]
    assert weak["member"] == {"case": "S/C9", "version": 1, "patient": "S/C9", "licence": ""}


def test_an_image_that_is_not_packed_stays_so(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", STRONG)
    write_image(tmp_path / "i" / "A_0000.nii")
    ingest(bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l", images=tmp_path / "i"))
    (entry,) = exported(bench, tmp_path / "out")["training"]
    assert entry["image"] == "imagesTr/A.nii"
    assert (tmp_path / "out" / entry["image"]).readlink() == tmp_path / "i" / "A_0000.nii"


@pytest.mark.long
@pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)
def test_monai_reads_the_datalist_its_folds_and_its_files(cohort, tmp_path):
    from monai.auto3dseg.utils import datafold_read
    from monai.data import list_data_collate, load_decathlon_datalist
    from monai.transforms import LoadImaged

    folder = tmp_path / "out"
    exported(cohort, folder, folds=5)
    listed = load_decathlon_datalist(folder / "datalist.json", data_list_key="training")
    assert len(listed) == 10
    assert load_decathlon_datalist(folder / "datalist.json", data_list_key="validation") == []
    assert (listed[0]["image"], listed[0]["label"]) == (
        f"{folder}/imagesTr/C0.nii.gz",
        f"{folder}/labelsTr/C0.nii.gz",
    )
    loaded = [LoadImaged(["image", "label"], image_only=True)(entry) for entry in listed[:2]]
    assert (loaded[0]["label"].numpy() == STRONG).all()
    # Entries of strong and weak cases fit into one batch.
    batch = list_data_collate(loaded)
    assert batch["image"].shape == (2, *STRONG.shape)
    for fold in range(5):
        training, validation = datafold_read(str(folder / "datalist.json"), str(folder), fold)
        assert (len(training), len(validation)) == (8, 2)
        assert validation[0]["image"].startswith(f"{folder}/imagesTr/")
