"""Table 1's transforms, the loss, and the way of a volume to a network's input and back."""

import math

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss

from pipelines.training.losses import DiceCrossEntropy, balancing_weights
from pipelines.training.student_transforms import IMAGE, LABEL, RandFlipSidesd, swap_table, table_1
from pipelines.training.student_volumes import Box, Placement, foreground_box


def sample(labels: list[int]) -> dict[str, torch.Tensor]:
    """Voxels along x; the image repeats the labels."""
    row = torch.tensor(labels, dtype=torch.uint8).reshape(1, -1, 1, 1)
    return {IMAGE: row.float(), LABEL: row}


def test_x_flip_swaps_kidneys_and_adrenals_and_nothing_else():
    flipped = RandFlipSidesd([IMAGE, LABEL], LABEL, prob=1.0)(sample([1, 2, 7, 8, 13, 14, 200, 255]))
    assert flipped[IMAGE].flatten().tolist() == [255, 200, 14, 13, 8, 7, 2, 1]
    assert flipped[LABEL].flatten().tolist() == [255, 200, 14, 2, 7, 8, 13, 1]
    assert flipped[LABEL].dtype == torch.uint8


def test_two_x_flips_give_the_case_back():
    flip = RandFlipSidesd([IMAGE, LABEL], LABEL, prob=1.0)
    before = sample(list(range(15)))
    after = flip(flip(before))
    assert torch.equal(after[LABEL], before[LABEL])
    assert torch.equal(after[IMAGE], before[IMAGE])


def test_without_luck_nothing_is_flipped():
    before = sample([2, 0, 13])
    assert torch.equal(RandFlipSidesd([IMAGE, LABEL], LABEL, prob=0.0)(before)[LABEL], before[LABEL])


def test_swap_table_moves_the_four_sided_classes_only():
    table = swap_table()
    moved = {i: int(table[i]) for i in range(256) if int(table[i]) != i}
    assert moved == {2: 13, 13: 2, 7: 8, 8: 7}


def test_table_1_has_the_papers_transforms_and_probabilities():
    steps = [(type(t).__name__, t.prob) for t in table_1("xyz", intensity=True).transforms]
    assert steps == [
        ("RandFlipSidesd", 0.5), ("RandFlipd", 0.5), ("RandFlipd", 0.5), ("RandZoomd", 0.15),
        ("RandGaussianNoised", 0.15), ("RandGaussianSmoothd", 0.15), ("RandScaleIntensityd", 0.15),
        ("RandAdjustContrastd", 0.15),
    ]  # fmt: skip


def test_transforms_follow_from_the_seed_alone():
    transform = table_1("xyz", intensity=True)
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(1, 20, 20, 20, generator=generator)
    labels = torch.randint(0, 15, (1, 20, 20, 20), dtype=torch.uint8, generator=generator)

    def draw(seed: int) -> dict[str, torch.Tensor]:
        transform.set_random_state(seed=seed)
        return transform({IMAGE: volume, LABEL: labels})

    drawn = [draw(seed) for seed in range(12)]
    again = draw(7)
    assert torch.equal(again[IMAGE], drawn[7][IMAGE])
    assert torch.equal(again[LABEL], drawn[7][LABEL])
    # p of no change at all is 0.5³ · 0.85⁵ = 0.055: of twelve draws most differ.
    assert sum(torch.equal(d[IMAGE], volume) for d in drawn) < 6
    assert {int(v) for d in drawn for v in d[LABEL].unique()} <= set(range(15))


def logits_saying(labels: list[int], certain: float = 50.0) -> torch.Tensor:
    """Logits (1, 3, X, 1, 1) that give all probability to `labels`."""
    logits = torch.zeros(1, 3, len(labels), 1, 1)
    for x, label in enumerate(labels):
        logits[0, label, x] = certain
    return logits


def labels_of(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8).reshape(1, 1, -1, 1, 1)


def test_loss_is_zero_where_all_is_right():
    loss = DiceCrossEntropy(3)(logits_saying([0, 1, 2]), labels_of([0, 1, 2]))
    assert float(loss) == pytest.approx(0, abs=1e-4)


def test_loss_of_indifference_by_hand():
    # Three voxels 0, 1, 2 and probability 1/3 everywhere: cross entropy ln 3; Dice of both foreground classes
    # 2 · 1/3 / (3 · 1/3 + 1) = 1/3, so its loss is 2/3.
    loss = DiceCrossEntropy(3)(torch.zeros(1, 3, 3, 1, 1), labels_of([0, 1, 2]))
    assert float(loss) == pytest.approx(math.log(3) + 2 / 3, abs=1e-4)


@pytest.mark.parametrize("reserved", [200, 201, 239, 255])
def test_reserved_voxels_add_nothing_to_the_loss(reserved):
    """Whatever the network says there, loss and gradient are those of the other voxels."""
    loss = DiceCrossEntropy(3)
    plain = loss(torch.zeros(1, 3, 3, 1, 1), labels_of([0, 1, 2]))
    more = torch.zeros(1, 3, 5, 1, 1)
    more[0, 1, 3:] = 9.0
    more.requires_grad_()
    with_reserved = loss(more, labels_of([0, 1, 2, reserved, reserved]))
    assert with_reserved.item() == pytest.approx(float(plain), abs=1e-6)
    with_reserved.backward()
    assert more.grad is not None
    assert more.grad[0, :, 3:].abs().max() == 0
    assert more.grad[0, :, :3].abs().min() > 0


@pytest.mark.parametrize("seed", range(3))
def test_loss_is_monais_where_everything_is_known(seed):
    torch.manual_seed(seed)
    logits = torch.randn(2, 5, 7, 6, 5, requires_grad=True)
    labels = torch.randint(0, 4, (2, 1, 7, 6, 5), dtype=torch.uint8)  # class 4 is nowhere
    monais = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)
    theirs, ours = monais(logits, labels.long()), DiceCrossEntropy(5)(logits, labels)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    (mine,) = torch.autograd.grad(ours, logits)
    (yours,) = torch.autograd.grad(theirs, logits)
    assert torch.allclose(mine, yours, atol=1e-7)


def test_balancing_weighs_a_class_by_the_root_of_its_share():
    # 100 voxels: shares 0.81, 0.16, 0, 0.03 → 1/0.9, 1/0.4, none, 1/√0.03
    weights = balancing_weights(torch.tensor([81.0, 16.0, 0.0, 3.0]))
    assert weights.tolist() == pytest.approx([1 / 0.9, 2.5, 0, 5.7735], abs=1e-4)


def test_weights_count_in_the_cross_entropy_alone():
    # Probabilities 1/2 and 1/2, a voxel of each class; weights do not change the mean of equal entropies, ln 2;
    # the second voxel is certain: (3 · ln 2 + 1 · 0) / 4. Dice of class 1: 2 · 1 / (1.5 + 1).
    logits = torch.tensor([[0.0, 0.0], [0.0, 50.0]]).T.reshape(1, 2, 2, 1, 1)
    labels = labels_of([0, 1])
    loss = DiceCrossEntropy(2, torch.tensor([3.0, 1.0]))(logits, labels)
    assert loss.item() == pytest.approx(3 * math.log(2) / 4 + 1 - 2 / 2.5, abs=1e-5)


def test_loss_of_nothing_known_is_finite():
    assert torch.isfinite(DiceCrossEntropy(3)(torch.zeros(1, 3, 2, 1, 1), labels_of([255, 200])))


def test_foreground_box_leaves_ignore_out_and_unresolved_in():
    labels = np.zeros((10, 11, 12), np.uint8)
    labels[3:5, 4, 6:9] = 1
    labels[7, 4, 6] = 200
    labels[0, 0, 0] = 255
    assert foreground_box(labels) == Box((3, 4, 6), (8, 5, 9))
    assert foreground_box(np.zeros((3, 3, 3), np.uint8)) is None


def test_margin_is_in_millimetres_rounded_up_and_cut_at_the_border():
    # 20 mm are 4 voxels of 5 mm, 7 of 3 mm, 25 of 0.8 mm
    grown = Box((10, 10, 10), (20, 20, 20)).grown(20.0, (5.0, 3.0, 0.8), (22, 40, 50))
    assert grown == Box((6, 3, 0), (22, 27, 45))


def test_a_small_crop_is_padded_with_air_and_not_enlarged():
    placed = Placement.plan((10, 30, 20), (20, 20, 20), pad=True)
    assert (placed.padded, placed.before) == ((20, 30, 20), (5, 0, 0))
    crop = torch.full((10, 30, 20), 100.0)
    at_input = placed.image(crop, (-325.0, 325.0))
    assert at_input.shape == (1, 20, 20, 20)
    # Half the voxels are air at -325, half 100 HU: z-scores are -1 and 1.
    assert at_input[0, :5].mean().item() == pytest.approx(-1, abs=1e-3)
    assert at_input[0, 5:15].mean().item() == pytest.approx(1, abs=1e-3)


def test_intensity_is_clipped_to_the_window_and_z_scored():
    crop = torch.linspace(-2000, 2000, 20**3).reshape(20, 20, 20)
    at_input = Placement.plan((20, 20, 20), (20, 20, 20), pad=False).image(crop, (-325.0, 325.0))
    assert at_input.mean().item() == pytest.approx(0, abs=1e-5)
    assert at_input.std().item() == pytest.approx(1, abs=1e-4)
    assert (at_input == at_input.max()).sum() > 20**3 * 0.4  # everything from 325 HU on


@pytest.mark.parametrize(
    ("crop", "size", "pad"),
    [
        ((40, 33, 27), (20, 24, 20), False),
        ((40, 13, 27), (20, 24, 20), True),
        ((12, 13, 14), (20, 24, 20), False),
    ],
)
def test_scores_come_back_as_torchs_own_trilinear_resize_would_bring_them(crop, size, pad, monkeypatch):
    monkeypatch.setattr("pipelines.training.student_volumes._SLAB_BYTES", 10_000)  # several slabs
    placed = Placement.plan(crop, size, pad=pad)
    logits = torch.randn(3, *size)
    found = torch.empty(3, *crop)
    parts = []
    for part, scores in placed.back(logits):
        parts.append(part)
        found[:, :, :, part] = scores.permute(1, 2, 3, 0)
    assert len(parts) > 1
    whole = torch.nn.functional.interpolate(
        logits[None], size=placed.padded, mode="trilinear", align_corners=False
    )[0]
    x, y, z = (slice(b, b + n) for b, n in zip(placed.before, crop, strict=True))
    assert torch.allclose(found, whole[:, x, y, z], atol=1e-5)


def test_a_box_found_at_the_input_covers_its_place_in_the_crop():
    placed = Placement.plan((40, 10, 60), (20, 20, 20), pad=True)
    # x: scale 2; y: padded by 5 on both sides, scale 1; z: scale 3
    assert placed.box_back(Box((3, 7, 0), (5, 20, 20))) == Box((6, 2, 0), (10, 10, 60))


def test_labels_keep_their_values_when_resized():
    labels = torch.randint(0, 2, (30, 30, 30), dtype=torch.uint8) * 200
    at_input = Placement.plan((30, 30, 30), (17, 20, 45), pad=False).labels(labels)
    assert at_input.shape == (1, 17, 20, 45)
    assert at_input.dtype == torch.uint8
    assert at_input.unique().tolist() == [0, 200]
