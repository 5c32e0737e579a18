"""MONAI: a datalist in the form of the Medical Segmentation Decathlon, beside images and labels.

``monai.data.load_decathlon_datalist`` reads it, and with folds Auto3DSeg (``datafold_read``) does. Both take texts and
lists in an entry for file names, so what is known of the classes stands in dictionaries; each has all 14
classes, so that entries can be put into one batch.
"""

from pathlib import Path
from typing import Any

from curation.labels import CLASSES
from curation.status import Origin
from db.freezing import FrozenMember
from db.models import Split
from pipelines.exports.content import Content, folds_of, write_json
from pipelines.exports.files import image_name, place_images, place_masks
from pipelines.runs import Workbench

DATALIST = "datalist.json"


def write(bench: Workbench, content: Content, folder: Path) -> int:
    """Fill a folder; returns how many files are links."""
    linked = place_images(content, folder / "imagesTr")
    linked += place_masks(bench, content, folder / "labelsTr")
    folds = folds_of(content.members)
    # With folds every case trains in some of them, and none validates for good.
    training = [m for m in content.members if folds or m.split is Split.TRAIN]
    validation = [m for m in content.members if not folds and m.split is Split.VAL]
    write_json(
        folder / DATALIST,
        {
            "name": content.version.address,
            "description": content.version.query,
            "tensorImageSize": "3D",
            "modality": {"0": "CT"},
            "labels": {str(value): name for name, value in content.label_table().items()},
            "numTraining": len(training),
            "numValidation": len(validation),
            "numTest": 0,
            "training": [_entry(content, member) for member in training],
            "validation": [_entry(content, member) for member in validation],
            "test": [],
        },
    )
    return linked


def _entry(content: Content, member: FrozenMember) -> dict[str, Any]:
    missing = content.missing(member)
    entry: dict[str, Any] = {
        "image": f"imagesTr/{image_name(content, member)}",
        "label": f"labelsTr/{content.names[member.case_id]}.nii.gz",
        # Known: drawn, or looked for and not there, or outside of the scan. Background says nothing of the others.
        "known_classes": {c.name: c.id not in missing for c in CLASSES},
        "missing_classes": {c.name: c.id in missing for c in CLASSES},
        "origins": {
            c.name: str(state)
            if isinstance(state := member.states.of(c.id), Origin) and c.id not in missing
            else ""
            for c in CLASSES
        },
        "member": {
            "case": member.address,
            "version": member.number,
            "patient": member.patient or "",
            "licence": member.licence or "",
        },
    }
    return entry if member.fold is None else entry | {"fold": member.fold}
