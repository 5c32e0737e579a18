"""Test-time augmentation of the teacher: nnU-Net averages its mirrored passes; here they are compared, too."""

from itertools import combinations

import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor

Slicer = tuple[slice, ...]


class MirroredPredictor(nnUNetPredictor):
    """nnU-Net's predictor that also knows where its mirrored passes disagree.

    A window is seen by a pass per combination of mirror axes (four for two axes, the plain one among them).
    A voxel is disputed in a window if these passes do not all give it the same class. Windows overlap: a
    voxel's dispute is the share of the windows that saw it in which it is disputed, each weighted as nnU-Net
    weights it when it averages them (a Gaussian around the window's middle).
    """

    disputed: Tensor | None = None

    def predict_logits_with_dispute(self, data: Tensor) -> tuple[Tensor, Tensor | None]:
        """Predict a preprocessed image.

        Args:
            data: (channels, z, y, x).

        Returns:
            Logits (classes, z, y, x), and each voxel's dispute, 0 to 1, float32 (z, y, x); None where nothing is
            mirrored.
        """
        self.disputed = None
        logits = self.predict_logits_from_preprocessed_data(data)
        disputed, self.disputed = self.disputed, None
        if disputed is None:
            return logits, None
        # Windows are larger than a small image, which is padded to them.
        _, inside = pad_nd_image(
            torch.zeros(logits.shape[1:], dtype=torch.bool),
            self.configuration_manager.patch_size,
            "constant",
            {"value": 0},
            return_slicer=True,
        )
        return logits, disputed[tuple(inside)].cpu()

    def _internal_predict_sliding_window_return_logits(
        self, data: Tensor, slicers: list[Slicer], do_on_device: bool = True
    ) -> Tensor:
        # Called again on the CPU where a GPU has not memory enough: it all begins anew.
        self._windows = iter(slicers)
        mirrored = self.use_mirroring and self.allowed_mirroring_axes
        where = self.device if do_on_device else torch.device("cpu")
        self._disputes = torch.zeros(data.shape[1:], device=where) if mirrored else None
        self._weights = torch.zeros(data.shape[1:], device=where) if mirrored else None
        logits: Tensor = super()._internal_predict_sliding_window_return_logits(data, slicers, do_on_device)
        if self._disputes is not None and self._weights is not None:
            self.disputed = self._disputes / self._weights.clamp(min=torch.finfo(torch.float32).tiny)
            self._disputes = self._weights = None
        return logits

    def _internal_maybe_mirror_and_predict(self, x: Tensor) -> Tensor:
        window = next(self._windows)[1:]
        if self._disputes is None or self._weights is None:
            plain: Tensor = super()._internal_maybe_mirror_and_predict(x)
            return plain
        axes = [axis + 2 for axis in self.allowed_mirroring_axes]
        total: Tensor = self.network(x)
        first = total[0].argmax(0)
        disputed = torch.zeros_like(first, dtype=torch.bool)
        passes = [flipped for n in range(1, len(axes) + 1) for flipped in combinations(axes, n)]
        for flipped in passes:
            logits = torch.flip(self.network(torch.flip(x, flipped)), flipped)
            disputed |= logits[0].argmax(0) != first
            total += logits
        weight = self._weight(self._weights.device)
        self._disputes[window] += disputed.to(self._weights.device) * weight
        self._weights[window] += weight
        return total / (len(passes) + 1)

    def _weight(self, device: torch.device) -> Tensor:
        patch = tuple(self.configuration_manager.patch_size)
        if not self.use_gaussian:
            return torch.ones(patch, device=device)
        weight: Tensor = compute_gaussian(patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=device)
        return weight.float()
