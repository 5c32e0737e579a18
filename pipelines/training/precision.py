"""On what a network runs, and with which floats."""

from dataclasses import dataclass

import torch

from pipelines.training.jobs import TrainingError


@dataclass(frozen=True)
class Precision:
    """A device and the floats it is fast with."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of_job(cls, device: str) -> "Precision":
        """fp16 on a GPU, bf16 on a CPU that has units for it (AVX-512 BF16, AMX), else fp32.

        Args:
            device: "cpu", "cuda", or "auto": a GPU where there is one.

        Raises:
            TrainingError: A GPU is asked for and there is none.
        """
        there = torch.cuda.is_available()
        if device == "cuda" and not there:
            raise TrainingError("device 'cuda': torch sees no GPU; give device cpu, or a torch with CUDA")
        if there and device != "cpu":
            return cls(torch.device("cuda"), torch.float16)
        units = torch.cpu.get_capabilities()
        has_bf16 = units.get("amx_bf16") or units.get("avx512_bf16")
        return cls(torch.device("cpu"), torch.bfloat16 if has_bf16 else torch.float32)

    def __str__(self) -> str:
        """Such as ``cpu, float32`` or ``NVIDIA A100, float16``; stands in a model's metrics."""
        named = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return f"{named}, {str(self.dtype).removeprefix('torch.')}"

    def autocast(self) -> torch.autocast:
        """The context that networks run in."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
