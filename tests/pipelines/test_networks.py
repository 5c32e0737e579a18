"""The student's two networks: sizes worked out by hand, shapes, blocks."""

import pytest
import torch
from torch import nn

from pipelines.profiles import load_profile
from pipelines.training.networks.blocks import (
    InstanceNorm,
    ResidualBlock,
    anisotropic_block,
    count_parameters,
    normalize_in_place,
    residual_stage,
)
from pipelines.training.networks.coarse_unet import CoarseUNet
from pipelines.training.networks.efficient_seg import ContextBlock, EfficientSegNet
from pipelines.training.networks.of_monai import of_monai
from pipelines.training.student import build_network

NARROW = (4, 6, 8, 12, 16)


def test_encoder_stage_from_c_to_2c_has_380_c_squared_weights():
    # first block 27·c·2c + 27·(2c)² + shortcut 2c² = 164c²; second block 2·27·(2c)² = 216c²
    assert count_parameters(residual_stage(16, 32, stride=2, dropout=0.2)) == 380 * 16**2


def test_anisotropic_block_is_3x3x1_then_1x1x3_beside_a_projected_shortcut():
    block = anisotropic_block(16, dropout=0.2)
    extents = [m.kernel_size for m in block.modules() if isinstance(m, nn.Conv3d)]
    assert extents == [(3, 3, 1), (1, 1, 3), (1, 1, 1)]
    assert count_parameters(block) == (9 + 3 + 1) * 16**2


def test_anisotropic_block_looks_one_voxel_far_along_each_axis():
    """One changed voxel reaches its 3×3×3 neighbourhood; without instance norm, which reaches everything."""
    block = anisotropic_block(2, dropout=0).eval()
    for norm in [m for m in block.modules() if isinstance(m, InstanceNorm)]:
        norm.forward = lambda x: x  # type: ignore[method-assign]
    for weight in block.parameters():
        weight.data.abs_()  # positive throughout, so that no ReLU cuts the path off
    volume = torch.ones(1, 2, 7, 7, 7)
    changed = volume.clone()
    changed[:, :, 3, 3, 3] = 5.0
    with torch.no_grad():
        reached = (block(changed) - block(volume)).abs().sum((0, 1)).nonzero()
    assert reached.min(0).values.tolist() == [2, 2, 2]
    assert reached.max(0).values.tolist() == [4, 4, 4]


def test_a_shortcut_cannot_change_channels_without_projection():
    with pytest.raises(ValueError, match="16 to 32 channels"):
        ResidualBlock(16, 32, dropout=0.2, project=False)


def test_context_block_of_256_channels_has_749568_weights():
    # reduce and widen 2·256·64; two 1×1×1 into the branches 2·64²; 3×3×3: three pyramid levels, one behind
    # each branch, one after joining = 6·27·64²; three lines 3·3·64²; join 128·64
    by_hand = 2 * 256 * 64 + 2 * 64**2 + 6 * 27 * 64**2 + 9 * 64**2 + 128 * 64
    assert by_hand == 749_568
    assert count_parameters(ContextBlock(256, dropout=0.2)) == by_hand


def test_full_width_efficient_seg_net_has_9_37_million_parameters():
    # encoder: stage 1 is 27·16 + 27·16² + 16 + 2·27·16² = 21,184; stages 2–5 are 380·(16² + 32² + 64² + 128²)
    encoder = 21_184 + 380 * (16**2 + 32**2 + 64**2 + 128**2)
    # decoder: 1×1×1 from 2c to c and a block of 13·c², for c = 128, 64, 32, 16; head 16·15
    decoder = (2 + 13) * (128**2 + 64**2 + 32**2 + 16**2) + 16 * 15
    assert encoder + 749_568 + decoder == 9_366_192
    assert count_parameters(EfficientSegNet(classes=15)) == 9_366_192


def test_full_width_coarse_unet_has_2_68_million_parameters():
    # encoder: 27·8 + 27·8² + 8 + 2·27·8² = 5,408, then 380·c²; decoder: from 3c (2c from below, c from the
    # skip) to c: 27·3c² + 27·c² + shortcut 3c² = 111·c²; head 8·15
    squares = 8**2 + 16**2 + 32**2 + 64**2
    assert 5_408 + 380 * squares + 111 * squares + 120 == 2_676_568
    assert count_parameters(CoarseUNet(classes=15)) == 2_676_568


@pytest.mark.parametrize("network", [EfficientSegNet, CoarseUNet])
@pytest.mark.parametrize("size", [(32, 32, 32), (17, 24, 41), (64, 48, 33)])
def test_any_size_comes_back_with_one_channel_per_class(network, size):
    with torch.no_grad():
        logits = network(15, NARROW).eval()(torch.randn(2, 1, *size))
    assert logits.shape == (2, 15, *size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("network", [EfficientSegNet, CoarseUNet])
def test_too_small_an_input_is_refused_with_the_size_it_needs(network):
    with pytest.raises(ValueError, match=r"\(16, 40, 40\) voxels is too small .* needs 17"):
        network(15, NARROW)(torch.zeros(1, 1, 16, 40, 40))


def test_norm_of_one_sample_is_that_of_a_batch():
    """One sample takes another way through torch, see InstanceNorm."""
    x = 3 + 2 * torch.randn(2, 4, 5, 6, 7).to(memory_format=torch.channels_last_3d)
    norm = InstanceNorm(4)
    assert torch.allclose(norm(x)[:1], norm(x[:1]), atol=1e-5)
    assert norm(x[:1]).mean((0, 2, 3, 4)).abs().max() < 1e-5


def test_every_weight_of_both_networks_learns():
    """A module that is built but not used would get no gradient."""
    for network in (EfficientSegNet(3, NARROW), CoarseUNet(3, NARROW)):
        network(torch.randn(1, 1, 40, 40, 40)).square().sum().backward()
        assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_skips_are_added_in_the_fine_network_and_concatenated_in_the_coarse_one():
    # The first decoder block takes c channels where skips are added, 2c + c where they are concatenated.
    fine, coarse = EfficientSegNet(2, NARROW), CoarseUNet(2, NARROW)
    assert next(m for m in fine.decoder[0].modules() if isinstance(m, nn.Conv3d)).in_channels == 12
    assert next(m for m in coarse.decoder[0].modules() if isinstance(m, nn.Conv3d)).in_channels == 16 + 12


def test_weights_start_he_normal():
    """Standard deviation √(2 / inputs per output): 27 · 128 for a 3×3×3 convolution of 128 channels."""
    torch.manual_seed(0)
    weight = EfficientSegNet(2).encoder[3][1].unit[0][0].weight
    assert weight.shape == (128, 128, 3, 3, 3)
    assert weight.std().item() == pytest.approx((2 / (27 * 128)) ** 0.5, rel=0.01)


def test_every_convolution_starts_he_normal_and_every_bias_at_zero():
    torch.manual_seed(0)
    for network in (
        EfficientSegNet(15),
        CoarseUNet(2),
        of_monai("segresnet", 15, (16, 32, 64, 128, 256), dropout=0),
    ):
        for conv in [m for m in network.modules() if isinstance(m, nn.Conv3d) and m.weight.numel() > 20_000]:
            inputs = conv.weight[0].numel()
            assert conv.weight.std().item() == pytest.approx((2 / inputs) ** 0.5, rel=0.05)
            assert conv.bias is None or not conv.bias.any()


def test_the_coarse_network_of_a_student_says_organ_or_not_with_2_68_million_parameters():
    # 2,676,568 with 15 classes, and the head has 8 weights a class.
    paper = load_profile("paper").student
    assert count_parameters(build_network("coarse", paper.coarse)) == 2_676_568 - 13 * 8
    assert count_parameters(build_network("fine", paper.fine)) == 9_366_192


@pytest.mark.parametrize("name", ["unet", "segresnet"])
def test_monais_networks_take_any_size(name):
    size = (17, 18, 20)
    network = of_monai(name, 3, (4, 8, 16, 32, 64), dropout=0.1)
    logits = network(torch.randn(2, 1, *size))
    assert logits.shape == (2, 3, *size)
    logits.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_where_nothing_is_to_be_added_monais_network_sees_the_input_itself():
    network = of_monai("unet", 3, (4, 8, 16, 32, 64), dropout=0).eval()
    x = torch.randn(1, 1, 32, 16, 48)
    assert torch.equal(network(x), network.network(x))


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no network 'vnet'; there are unet and segresnet"):
        of_monai("vnet", 3, NARROW, dropout=0)


def test_dropout_is_a_setting():
    assert any(isinstance(m, nn.Dropout3d) and m.p == 0.2 for m in EfficientSegNet(2, NARROW).modules())
    assert not any(isinstance(m, nn.Dropout3d) for m in EfficientSegNet(2, NARROW, dropout=0).modules())


@pytest.mark.parametrize("channels", [8, 15, 64])
def test_normalizing_in_place_is_pytorchs_instance_norm(channels):
    x = torch.randn(1, channels, 20, 18, 14) * 3 + 5
    expected = torch.nn.functional.instance_norm(x, eps=1e-5)
    found = normalize_in_place(x.contiguous(memory_format=torch.channels_last_3d), 1e-5)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_predicting_gives_what_training_gives_without_dropout():
    network = EfficientSegNet(3, (4, 8, 8, 16, 16), dropout=0).to(memory_format=torch.channels_last_3d)
    x = torch.randn(1, 1, 33, 40, 36).contiguous(memory_format=torch.channels_last_3d)
    with_gradient = network(x).detach()
    with torch.inference_mode():
        torch.testing.assert_close(network(x), with_gradient, atol=1e-4, rtol=1e-4)
