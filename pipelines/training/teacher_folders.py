"""Where a teacher's job keeps what: nnU-Net's folders inside the work folder, and the cases as nnU-Net calls them."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.whole_files import write_whole

DATASET = "Dataset001_maskledger"
PLANS = "nnUNetPlans"
# How many processes nnU-Net uses for augmentation.
AUGMENTERS_VARIABLE = "nnUNet_n_proc_DA"
CONFIGURATION = "3d_fullres"


@dataclass(frozen=True)
class RawCase:
    """One case as nnU-Net sees it: `key` is its name there, `label` the converted mask."""

    key: str
    case: str
    image: Path
    label: Path
    split: str


@dataclass(frozen=True)
class NnunetFolders:
    """nnU-Net's three folders inside a job's work folder."""

    root: Path

    def enter(self) -> None:
        """Tell nnU-Net, in this process and its children, where its folders are. Before importing it."""
        for name in ("raw", "preprocessed", "results"):
            folder = self.root / name
            folder.mkdir(parents=True, exist_ok=True)
            os.environ[f"nnUNet_{name}"] = str(folder)

    @property
    def raw(self) -> Path:
        return self.root / "raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed" / DATASET

    @property
    def results(self) -> Path:
        return self.root / "results" / DATASET


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file whole; numpy numbers and arrays are taken as plain ones."""
    write_whole(file, json.dumps(content, indent=1, default=lambda value: value.tolist()).encode())
