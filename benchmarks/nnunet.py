"""nnU-Net at the paper's size, to stand beside the student: its windows, the time of one, its own predict of a file.

Run ``python -m benchmarks.nnunet IMAGE`` for the latter: file to file with nnU-Net's own predictor, one fold, no
mirroring, start of Python and imports included. The network is as nnU-Net configures itself for the paper's patch,
untrained: its time does not depend on its weights.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

# The paper's patch (z, y, x) and nnU-Net's network for it: halved while four voxels are left.
PATCH = (48, 192, 192)
STRIDES = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
FEATURES = (32, 64, 128, 256, 320, 320)
# 13 organs and the background: the paper's teacher knows no tumor.
CLASSES = 14
ARCHITECTURE: dict[str, Any] = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": len(FEATURES),
        "features_per_stage": FEATURES,
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * len(FEATURES),
        "strides": STRIDES,
        "n_conv_per_stage": [2] * len(FEATURES),
        "n_conv_per_stage_decoder": [2] * (len(FEATURES) - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}
REPEATS = 3


def windows(shape: tuple[int, int, int]) -> int:
    """How many windows nnU-Net's predict looks at, for a volume (X, Y, Z) at its own spacing."""
    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    z_y_x = tuple(max(n, p) for n, p in zip(reversed(shape), PATCH, strict=True))
    return int(np.prod([len(s) for s in compute_steps_for_sliding_window(z_y_x, PATCH, 0.5)]))


def window_seconds() -> float:
    """One window through nnU-Net's network, median."""
    network = _network()
    window = torch.randn(1, 1, *PATCH)
    took = []
    with torch.inference_mode():
        for _ in range(REPEATS):
            begun = time.perf_counter()
            network(window)
            took.append(time.perf_counter() - begun)
    return statistics.median(took)


def _network() -> nn.Module:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    return get_network_from_plans(
        ARCHITECTURE["network_class_name"], ARCHITECTURE["arch_kwargs"], ARCHITECTURE["_kw_requires_import"],
        1, CLASSES, allow_init=True, deep_supervision=False,
    ).eval()  # fmt: skip


def _plans(spacing_mm: list[float]) -> dict[str, Any]:
    """What nnU-Net writes down of its configuration, as far as its predictor reads it; spacing z, y, x."""
    resampling = "resample_data_or_seg_to_shape"
    smooth = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    return {
        "dataset_name": "Dataset001_bench",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": 80.0, "std": 140.0, "percentile_00_5": -958.0, "percentile_99_5": 326.0}
        },
        "configurations": {
            "3d_fullres": {
                "preprocessor_name": "DefaultPreprocessor",
                "patch_size": PATCH,
                "spacing": spacing_mm,
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "resampling_fn_data": resampling,
                "resampling_fn_data_kwargs": smooth | {"order": 3},
                "resampling_fn_seg": resampling,
                "resampling_fn_seg_kwargs": smooth | {"is_seg": True, "order": 1},
                "resampling_fn_probabilities": resampling,
                "resampling_fn_probabilities_kwargs": smooth | {"order": 1},
                "architecture": ARCHITECTURE,
            }
        },
    }


def predict(image: Path) -> None:
    """nnU-Net's own predict of one file at its own spacing, on the CPU."""
    import nibabel
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    torch.set_num_threads(os.cpu_count() or 1)
    plans = PlansManager(_plans([float(mm) for mm in nibabel.load(image).header.get_zooms()[::-1]]))
    network = _network()
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
    )
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0} | {f"organ {n}": n for n in range(1, CLASSES)},
        "file_ending": ".nii.gz",
    }
    predictor.manual_initialization(
        network,
        plans,
        plans.get_configuration("3d_fullres"),
        [network.state_dict()],
        dataset,
        "nnUNetTrainer",
        None,
    )
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "found"
        predictor.predict_from_files_sequential([[str(image)]], [str(out)])
        assert out.with_name("found.nii.gz").stat().st_size


if __name__ == "__main__":
    predict(Path(sys.argv[1]))
