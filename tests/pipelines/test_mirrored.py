"""Mirrored passes of the teacher: where they disagree, worked out by hand for a network that goes by position."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pipelines.training.mirrored import MirroredPredictor
from pipelines.training.predict_teacher import mean_dispute


class ByPosition(nn.Module):
    """Class 1 in the first three slices of a window and background in the last, whatever the image holds."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), 2, *x.shape[2:])
        logits[:, 0] = 1.0
        logits[:, 1, :3] = 4.0
        return logits


class ByImage(nn.Module):
    """Class 1 where the image is above 0: mirrored as the image is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), x], 1)


def predictor(network: nn.Module, axes: tuple[int, ...] = (0,)) -> MirroredPredictor:
    """Windows of 4×4×4 voxels with equal weights, half a window apart."""
    made = MirroredPredictor(
        tile_step_size=0.5, use_gaussian=False, use_mirroring=bool(axes), perform_everything_on_device=False,
        device=torch.device("cpu"), allow_tqdm=False,
    )  # fmt: skip
    made.network = network
    made.list_of_parameters = [{}]
    made.allowed_mirroring_axes = axes or None
    made.configuration_manager = SimpleNamespace(patch_size=[4, 4, 4])
    made.label_manager = SimpleNamespace(num_segmentation_heads=2)
    return made


def by_slice(disputed: torch.Tensor) -> list[float]:
    assert torch.equal(disputed, disputed[:, :1, :1].expand_as(disputed))
    return disputed[:, 0, 0].tolist()


def test_a_voxel_is_disputed_where_a_mirrored_pass_gives_another_class():
    # The plain pass draws slices 0 to 2, the mirrored one 1 to 3. Their mean has class 1 in all four:
    # (4 + 0) / 2 = 2 against 1 of background in the first and last.
    logits, disputed = predictor(ByPosition()).predict_logits_with_dispute(torch.zeros(1, 4, 4, 4))
    assert by_slice(disputed) == [1, 0, 0, 1]
    assert logits.argmax(0).unique().tolist() == [1]
    assert mean_dispute(logits, disputed) == {1: pytest.approx(0.5)}


def test_where_windows_overlap_a_dispute_is_the_share_of_the_windows():
    # Windows at slices 0 to 3 and 2 to 5, each disputed in its first and last: slice 2 is the first of the second
    # window alone, slice 3 the last of the first.
    _, disputed = predictor(ByPosition()).predict_logits_with_dispute(torch.zeros(1, 6, 4, 4))
    assert by_slice(disputed) == [1, 0, 0.5, 0.5, 0, 1]


def test_an_image_smaller_than_a_window_is_disputed_on_its_own_voxels():
    # Two slices, padded by one on either side: they are the second and third of the window.
    _, disputed = predictor(ByPosition()).predict_logits_with_dispute(torch.zeros(1, 2, 4, 4))
    assert by_slice(disputed) == [0, 0]


def test_a_network_that_goes_by_the_image_disputes_nothing_along_either_axis():
    image = torch.randn(1, 6, 7, 5, generator=torch.Generator().manual_seed(0))
    logits, disputed = predictor(ByImage(), (0, 1)).predict_logits_with_dispute(image)
    assert disputed.max() == 0
    assert torch.allclose(logits[1].float(), image[0], atol=1e-2)  # nnU-Net keeps half precision
    assert mean_dispute(logits, disputed) == {1: 0.0}


def test_the_mean_of_the_passes_is_nnunets_own():
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    ours = predictor(nn.Conv3d(1, 2, 3, padding=1), (0, 1))
    ours.list_of_parameters = [ours.network.state_dict()]
    image = torch.randn(1, 6, 5, 4)
    logits, _ = ours.predict_logits_with_dispute(image)
    theirs = nnUNetPredictor.__new__(nnUNetPredictor)
    theirs.__dict__ = ours.__dict__
    assert torch.equal(logits, theirs.predict_logits_from_preprocessed_data(image))


def test_without_mirroring_nothing_is_said():
    logits, disputed = predictor(ByPosition(), ()).predict_logits_with_dispute(torch.zeros(1, 4, 4, 4))
    assert disputed is None
    assert logits.argmax(0)[:, 0, 0].tolist() == [1, 1, 1, 0]
