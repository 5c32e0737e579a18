"""nnU-Net's raw layout: ``imagesTr``, ``labelsTr``, ``dataset.json`` and the frozen split as ``splits_final.json``."""

from pathlib import Path

from db.models import Split
from pipelines.exports.content import Content, folds_of, write_json
from pipelines.exports.files import place_images, place_masks
from pipelines.runs import Workbench


def write(bench: Workbench, content: Content, folder: Path) -> int:
    """Fill a folder, best named ``DatasetNNN_NAME``; returns how many files are links."""
    linked = place_images(content, folder / "imagesTr", "_0000", packed=True)
    linked += place_masks(bench, content, folder / "labelsTr")
    write_json(
        folder / "dataset.json",
        {
            "name": content.version.address,
            "channel_names": {"0": "CT"},
            "labels": content.label_table(),
            "numTraining": len(content.members),
            "file_ending": ".nii.gz",
            # nnU-Net's default reader does not reorient; ours come in every orientation.
            "overwrite_image_reader_writer": "NibabelIOWithReorient",
        },
    )
    write_json(folder / "splits_final.json", splits(content))
    return linked


def splits(content: Content) -> list[dict[str, list[str]]]:
    """One entry per fold, which validates on its own members; without folds the one split there is."""
    folds = folds_of(content.members)
    sides = [{m.case_id for m in content.members if m.fold == fold} for fold in folds] or [
        {m.case_id for m in content.members if m.split is Split.VAL}
    ]
    return [
        {
            "train": sorted(name for case_id, name in content.names.items() if case_id not in side),
            "val": sorted(name for case_id, name in content.names.items() if case_id in side),
        }
        for side in sides
    ]
