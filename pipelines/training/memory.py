"""How much memory a piece of work takes: highest value and area under the memory–time curve, sampled every 0.1 s."""

import threading
import time
from types import TracebackType
from typing import Self

import psutil
import torch

# As the FLARE23 evaluation samples GPU memory (Table 6 of the paper).
_EVERY_S = 0.1


class MemoryWatch:
    """Context that watches this process: its GPU memory where `device` is a GPU, else its resident memory.

    After it: `peak_mb`, `area_mb_s` and `seconds`.
    """

    def __init__(self, device: torch.device) -> None:
        self.peak_mb = 0.0
        self.area_mb_s = 0.0
        self.seconds = 0.0
        self._device = device
        self._process = psutil.Process()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._begin = self._last = time.monotonic()
        self._sample()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._sample()
        self.seconds = self._last - self._begin
        if self._device.type == "cuda":
            # Samples miss what lives for less than 0.1 s; the allocator does not.
            self.peak_mb = max(self.peak_mb, torch.cuda.max_memory_reserved(self._device) / 2**20)

    def _watch(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._sample()

    def _sample(self) -> None:
        if self._device.type == "cuda":
            used = torch.cuda.memory_reserved(self._device)
        else:
            used = self._process.memory_info().rss
        now = time.monotonic()
        self.peak_mb = max(self.peak_mb, used / 2**20)
        self.area_mb_s += used / 2**20 * (now - self._last)
        self._last = now
