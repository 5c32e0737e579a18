"""What the machine has for a training: device, bf16 units, threads."""

import os

import torch

from pipelines.training.jobs import TrainingError


def pick_device(wanted: str) -> torch.device:
    """Device for `auto`, `cpu` or `cuda`.

    Raises:
        TrainingError: `cuda` is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device cuda: no GPU that this torch can use; take auto or cpu")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda")


def autocast_on_cpu(device: torch.device) -> bool:
    """True on a CPU with units for bf16 (AMX or AVX-512 BF16); elsewhere bf16 is emulated and slower."""
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def use_all_threads() -> None:
    """One thread per core that this process may run on."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
