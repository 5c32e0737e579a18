"""What the student makes of classes that nobody looked for: values by hand, gradients, flips, both networks."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import DataLoader
from torch import nn

from pipelines.profiles import StudentStage
from pipelines.training.jobs import TrainingError
from pipelines.training.losses import DiceCrossEntropy, balancing_weights
from pipelines.training.missing import MissingRule
from pipelines.training.precision import Precision
from pipelines.training.student_data import Prepared, TrainingStream
from pipelines.training.student_loop import NetworkTraining
from pipelines.training.student_transforms import IMAGE, LABEL, MISSING, RandFlipSidesd, swap_table, table_1

LIVER, RIGHT_KIDNEY, SPLEEN, RIGHT_ADRENAL, LEFT_ADRENAL, LEFT_KIDNEY, TUMOR = 1, 2, 3, 7, 8, 13, 14
CPU = Precision(torch.device("cpu"), torch.float32)

pytestmark = pytest.mark.usefixtures("one_thread")


def rows(*samples: list[int]) -> torch.Tensor:
    """Labels (N, 1, X, 1, 1), a row of voxels per sample."""
    return torch.tensor(samples, dtype=torch.uint8).reshape(len(samples), 1, -1, 1, 1)


def lacks(classes: int, *samples: set[int]) -> torch.Tensor:
    """The mask of missing classes, (N, classes)."""
    return torch.tensor([[c in sample for c in range(classes)] for sample in samples])


def indifferent(classes: int, labels: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(labels), classes, *labels.shape[2:])


def test_a_background_voxel_may_be_what_nobody_looked_for():
    # p = 1/3 everywhere. Background or class 2: q = 2/3, entropy ln 1.5; the voxel of class 1: ln 3.
    # Dice of class 1: 2 · 1/3 / (2 · 1/3 + 1) = 0.4; class 2 has none.
    labels = rows([0, 1])
    loss = DiceCrossEntropy(3)(indifferent(3, labels), labels, lacks(3, {2}))
    assert loss.item() == pytest.approx((math.log(1.5) + math.log(3)) / 2 + 1 - 0.4, abs=1e-5)


def test_the_papers_way_takes_the_same_voxel_for_background():
    # Entropy ln 3 twice; Dice of class 2 is 0 (predicted, not drawn), so the mean is 0.2.
    labels = rows([0, 1])
    loss = DiceCrossEntropy(3)(indifferent(3, labels), labels)
    assert loss.item() == pytest.approx(math.log(3) + 1 - 0.2, abs=1e-4)


def test_every_sample_has_its_own_missing_classes():
    # Sample 0 misses class 2, sample 1 nothing. Entropy: ln 1.5 and three times ln 3.
    # Dice of class 1 over both: 2 · 1/3 / (4 · 1/3 + 1) = 2/7; of class 2 over sample 1: 2 · 1/3 / (2/3 + 1) = 2/5.
    labels = rows([0, 1], [2, 0])
    loss = DiceCrossEntropy(3)(indifferent(3, labels), labels, lacks(3, {2}, set()))
    entropy = (math.log(1.5) + 3 * math.log(3)) / 4
    assert loss.item() == pytest.approx(entropy + 1 - (2 / 7 + 2 / 5) / 2, abs=1e-5)


def test_a_missing_tumor_may_lie_under_an_organ():
    # Class 2 is nested: two classes are left, p = 1/2 at both voxels. Dice of class 1: 2 · 1/2 / (1 + 1) = 1/2.
    labels = rows([0, 1])
    loss = DiceCrossEntropy(3, nested={2})(indifferent(3, labels), labels, lacks(3, {2}))
    assert loss.item() == pytest.approx(math.log(2) + 1 - 1 / 2, abs=1e-5)


def test_a_missing_organ_does_not_lie_under_a_tumor():
    # Class 2 nested and drawn, class 1 missing: the voxel of class 2 is class 2, entropy ln 3. Dice of class 2: 0.4.
    labels = rows([0, 2])
    loss = DiceCrossEntropy(3, nested={2})(indifferent(3, labels), labels, lacks(3, {1}))
    assert loss.item() == pytest.approx((math.log(1.5) + math.log(3)) / 2 + 1 - 0.4, abs=1e-5)


def test_class_weights_weigh_the_merged_voxel_as_background():
    # (3 · ln 1.5 + 1 · ln 3) / 4, Dice as above.
    labels = rows([0, 1])
    weights = torch.tensor([3.0, 1.0, 7.0])
    loss = DiceCrossEntropy(3, weights)(indifferent(3, labels), labels, lacks(3, {2}))
    assert loss.item() == pytest.approx((3 * math.log(1.5) + math.log(3)) / 4 + 1 - 0.4, abs=1e-5)


def test_organs_complemented_and_the_tumor_missing():
    """A class that a model drew is drawn: it counts as any other, and the tumor stays open in organ and background."""
    # Classes 0, liver 1 (original), spleen 2 (pseudo), tumor 3 missing and nested; p = 1/3 of the three left.
    # ln 3 at each voxel. Dice of either organ: overlap 1/3, predicted 3 · 1/3, drawn 1: 1/3.
    labels = rows([0, 1, 2])
    loss = DiceCrossEntropy(4, nested={3})(indifferent(4, labels), labels, lacks(4, {3}))
    assert loss.item() == pytest.approx(math.log(3) + 1 - 1 / 3, abs=1e-5)


def test_organ_and_tumor_missing_together():
    # Class 1 may be on background, class 3 anywhere: of p = 1/3 each, q_0 = 2/3; the voxel of class 2 has 1/3.
    # Dice of class 2: 2 · 1/3 / (2/3 + 1) = 0.4.
    labels = rows([0, 2])
    loss = DiceCrossEntropy(4, nested={3})(indifferent(4, labels), labels, lacks(4, {1, 3}))
    assert loss.item() == pytest.approx((math.log(1.5) + math.log(3)) / 2 + 1 - 0.4, abs=1e-5)


@pytest.mark.parametrize("reserved", [200, 239, 255])
def test_unresolved_and_ignored_voxels_stay_left_out(reserved):
    labels = rows([0, 1])
    loss = DiceCrossEntropy(3, nested={2})
    plain = loss(indifferent(3, labels), labels, lacks(3, {2}))
    more = torch.zeros(1, 3, 4, 1, 1)
    more[0, 2, 2:] = 4.0
    more.requires_grad_()
    with_reserved = loss(more, rows([0, 1, reserved, reserved]), lacks(3, {2}))
    assert with_reserved.item() == pytest.approx(plain.item(), abs=1e-6)
    with_reserved.backward()
    assert more.grad is not None
    assert more.grad[0, :, 2:].abs().max() == 0


def test_a_sample_of_which_nothing_is_known_has_no_loss():
    labels = rows([0, 0])
    logits = torch.randn(1, 3, 2, 1, 1, requires_grad=True)
    loss = DiceCrossEntropy(3)(logits, labels, lacks(3, {1, 2}))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


CLASSES = 5
NESTED = 4


@st.composite
def batches(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, labels and missing classes of one to three samples; no voxel shows a class that is missing."""
    samples = draw(st.integers(1, 3))
    missing = torch.zeros(samples, CLASSES, dtype=torch.bool)
    labels = torch.zeros(samples, 1, 3, 2, 2, dtype=torch.uint8)
    for n in range(samples):
        lacking = draw(st.sets(st.integers(1, CLASSES - 1)))
        missing[n, list(lacking)] = True
        values = [c for c in (*range(CLASSES), 201, 255) if c not in lacking]
        labels[n] = torch.tensor(draw(st.lists(st.sampled_from(values), min_size=12, max_size=12))).reshape(
            1, 3, 2, 2
        )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return 2 * torch.randn(samples, CLASSES, 3, 2, 2, generator=generator), labels, missing


def by_definition(logits: torch.Tensor, labels: torch.Tensor, missing: torch.Tensor) -> float:
    """The loss as its docstring has it, voxel by voxel in double precision."""
    scores = np.exp(logits.double().numpy())
    entropies: list[float] = []
    overlap, predicted, drawn = np.zeros((3, CLASSES))
    for n, x, y, z in np.ndindex(len(scores), *scores.shape[2:]):
        label = int(labels[n, 0, x, y, z])
        if label >= 200:
            continue
        lacking = {c for c in range(CLASSES) if missing[n, c]}
        running = [c for c in range(CLASSES) if not (c == NESTED and c in lacking)]
        total = sum(scores[n, c, x, y, z] for c in running)
        p = {c: scores[n, c, x, y, z] / total for c in running}
        q = p[label] + sum(p[c] for c in lacking if c != NESTED and label == 0)
        entropies.append(-math.log(q))
        for c in range(1, CLASSES):
            if c not in lacking:
                overlap[c] += p[c] * (label == c)
                predicted[c] += p[c]
                drawn[c] += label == c
    counted = [c for c in range(1, CLASSES) if not missing[:, c].all()]
    dice = [(2 * overlap[c] + 1e-5) / (predicted[c] + drawn[c] + 1e-5) for c in counted]
    return float(np.mean(entropies or [0.0])) + (1 - float(np.mean(dice)) if counted else 0.0)


@given(batches())
@settings(max_examples=40, deadline=None)
def test_the_loss_is_what_its_definition_says(batch):
    logits, labels, missing = batch
    found = DiceCrossEntropy(CLASSES, nested={NESTED})(logits, labels, missing).item()
    assert found == pytest.approx(by_definition(*batch), abs=2e-4)


@given(batches())
@settings(max_examples=40, deadline=None)
def test_no_gradient_pushes_a_missing_organ_down_where_it_may_be(batch):
    """That is on background. A gradient above 0 lowers a score."""
    logits, labels, missing = batch
    logits.requires_grad_()
    DiceCrossEntropy(CLASSES, nested={NESTED})(logits, labels, missing).backward()
    assert logits.grad is not None
    for n in range(len(labels)):
        for c in missing[n].nonzero().flatten().tolist():
            if c != NESTED:
                assert (logits.grad[n, c][labels[n, 0] == 0] <= 1e-7).all()


@given(batches())
@settings(max_examples=40, deadline=None)
def test_a_sample_says_nothing_of_a_tumor_that_nobody_looked_for(batch):
    """Neither its own score is moved, nor those of the others as a whole: a tumor wins or loses nothing by it."""
    logits, labels, missing = batch
    logits.requires_grad_()
    loss = DiceCrossEntropy(CLASSES, nested={NESTED})
    value = loss(logits, labels, missing)
    value.backward()
    assert logits.grad is not None
    unknown = missing[:, NESTED]
    assert (logits.grad[unknown, NESTED] == 0).all()
    assert (logits.grad[unknown].sum(1).abs() < 1e-6).all()
    # Whatever the network says of it there, the loss is the same.
    other = logits.detach().clone()
    other[unknown, NESTED] += 3
    assert loss(other, labels, missing).item() == pytest.approx(value.item(), abs=1e-5)


@given(batches())
@settings(max_examples=30, deadline=None)
def test_on_background_it_is_all_one_how_background_and_missing_classes_share(batch):
    """Background and missing organs' scores exchanged on background voxels: the same loss."""
    logits, labels, missing = batch
    changed = logits.clone()
    for n in range(len(labels)):
        for c in missing[n, :NESTED].nonzero().flatten().tolist():
            background = labels[n, 0] == 0
            changed[n, 0][background], changed[n, c][background] = (
                changed[n, c][background].clone(), changed[n, 0][background].clone()
            )  # fmt: skip
    loss = DiceCrossEntropy(CLASSES, nested={NESTED})
    assert loss(changed, labels, missing).item() == pytest.approx(
        loss(logits, labels, missing).item(), abs=1e-4
    )


@given(batches())
@settings(max_examples=30, deadline=None)
def test_where_nothing_is_missing_it_is_the_papers_loss(batch):
    logits, labels, missing = batch
    logits.requires_grad_()
    loss = DiceCrossEntropy(CLASSES, nested={NESTED})
    ours, papers = loss(logits, labels, torch.zeros_like(missing)), loss(logits, labels)
    assert ours.item() == pytest.approx(papers.item(), abs=1e-5)
    (mine,) = torch.autograd.grad(ours, logits)
    (theirs,) = torch.autograd.grad(papers, logits)
    assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize(("left_open", "found"), [(False, [0, 1, 0, 1]), (True, [0, 1, 2, 3])])
def test_one_case_that_knows_teaches_what_four_do_not_know(left_open, found):
    """Voxels that look like background, liver, spleen and tumor; scores are learned per look, 80 steps of Adam.

    One case has all of them drawn. In four others spleen and tumor are missing: their spleen is background and
    their tumor liver. The paper's way follows the four; with spleen and tumor left open the one decides.
    """
    looks = torch.tensor([[0, 0, 1, 1, 2, 3]] * 5)
    labels = rows([0, 0, 1, 1, 2, 3], *[[0, 0, 1, 1, 0, 1]] * 4)
    missing = lacks(4, set(), *[{2, 3}] * 4) if left_open else None
    scores = torch.zeros(4, 4, requires_grad=True)  # look, class
    loss = DiceCrossEntropy(4, nested={3})
    adam = torch.optim.Adam([scores], lr=0.2)
    for _ in range(80):
        adam.zero_grad()
        loss(scores[looks].movedim(-1, 1)[..., None, None], labels, missing).backward()
        adam.step()
    assert scores.argmax(1).tolist() == found


def test_a_class_is_as_frequent_as_where_it_was_looked_for():
    # 100 voxels in each of two cases; the tumor, 4 voxels, is known in one of them: 1/√0.04, not 1/√0.02.
    voxels, looked_at = torch.tensor([176.0, 20.0, 4.0]), torch.tensor([200.0, 200.0, 100.0])
    weights = balancing_weights(voxels, looked_at)
    assert weights.tolist() == pytest.approx([0.88**-0.5, 0.1**-0.5, 5.0], abs=1e-4)


def test_a_missing_right_kidney_is_a_missing_left_one_in_the_mirrored_patient():
    missing = torch.zeros(15, dtype=torch.bool)
    missing[[RIGHT_KIDNEY, LEFT_ADRENAL, TUMOR]] = True
    sample = {
        IMAGE: torch.zeros(1, 3, 1, 1),
        LABEL: rows([0, LEFT_KIDNEY, RIGHT_ADRENAL])[0],
        MISSING: missing,
    }
    flipped = RandFlipSidesd([IMAGE, LABEL], LABEL, prob=1.0)(sample)
    assert flipped[LABEL].flatten().tolist() == [LEFT_ADRENAL, RIGHT_KIDNEY, 0]
    assert flipped[MISSING].nonzero().flatten().tolist() == [RIGHT_ADRENAL, LEFT_KIDNEY, TUMOR]
    again = RandFlipSidesd([IMAGE, LABEL], LABEL, prob=1.0)(flipped)
    assert torch.equal(again[MISSING], missing)
    assert torch.equal(again[LABEL], sample[LABEL])


@given(st.sets(st.integers(1, 14)), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_a_mirrored_sample_has_the_loss_of_the_sample_for_a_mirrored_network(lacking, seed):
    """Mirror the scores along x and swap the sides' channels: the loss must not notice, whatever is missing."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 15, 6, 3, 3, generator=generator)
    drawn = torch.tensor([c for c in (*range(15), 255) if c not in lacking], dtype=torch.uint8)
    labels = drawn[torch.randint(0, len(drawn), (1, 6, 3, 3), generator=generator)]
    missing = torch.tensor([c in lacking for c in range(15)])
    loss = DiceCrossEntropy(15, nested={TUMOR})
    flipped = RandFlipSidesd([LABEL], LABEL, prob=1.0)({LABEL: labels, MISSING: missing})
    mirrored = logits[:, swap_table()[:15].long()].flip(2)
    there = loss(mirrored, flipped[LABEL][None], flipped[MISSING][None]).item()
    assert there == pytest.approx(loss(logits, labels[None], missing[None]).item(), abs=1e-5)


def member(folder: Path, name: str, values: list[int], **fields: Any) -> Prepared:
    """A member whose voxels lie in a row along x, 17 × 1 × 1; the image shows the labels."""
    labels = np.zeros((1, 17, 1, 1), np.uint8)
    labels[0, : len(values), 0, 0] = values
    image_file, labels_file = folder / f"{name}.npy", folder / f"{name}.npz"
    np.save(image_file, labels.astype(np.float16))
    np.savez(labels_file, labels=labels)
    return Prepared(name, image_file, labels_file, **fields)


def test_a_training_stream_flips_what_is_missing_with_the_image(tmp_path):
    lacking = member(tmp_path, "A", [LIVER, LEFT_KIDNEY], missing=(RIGHT_KIDNEY,))
    stream = TrainingStream([lacking], table_1("x", intensity=False), seed=0, positions=20)
    seen = set()
    for sample in DataLoader(stream, batch_size=2):
        for labels, missing in zip(sample[LABEL], sample[MISSING], strict=True):
            kidney = {int(v) for v in labels.unique()} - {0, LIVER}
            seen.add((kidney.pop(), *missing.nonzero().flatten().tolist()))
    assert seen == {(LEFT_KIDNEY, RIGHT_KIDNEY), (RIGHT_KIDNEY, LEFT_KIDNEY)}


@pytest.fixture
def members(tmp_path: Path) -> list[Prepared]:
    """One that knows liver, spleen and tumor; one without spleen; one without tumor. Nobody drew a pancreas."""
    return [
        member(tmp_path, "all", [LIVER, SPLEEN, TUMOR], missing=(4,)),
        member(tmp_path, "no_spleen", [LIVER, TUMOR], missing=(SPLEEN, 4)),
        member(tmp_path, "no_tumor", [LIVER, SPLEEN, 255, 200], missing=(TUMOR, 4)),
    ]


def targets(rule: MissingRule, of: Prepared) -> list[int]:
    return rule.targets(of.labels()[None], of.missing_mask()[None]).flatten()[:5].tolist()


def test_background_tells_the_fine_network_all_it_knows(members):
    rule = MissingRule("marginal", members, coarse=False, sides_swap=False)
    assert [targets(rule, m) for m in members] == [[1, 3, 14, 0, 0], [1, 14, 0, 0, 0], [1, 3, 255, 200, 0]]
    left_open = [rule.of_loss(m.missing_mask()[None]) for m in members]
    # The pancreas, drawn nowhere, stays background everywhere: else nothing would keep background from being it.
    assert left_open[0] is None
    assert [row.nonzero()[:, 1].tolist() for row in left_open[1:] if row is not None] == [[SPLEEN], [TUMOR]]


def test_a_side_that_is_drawn_nowhere_is_taught_by_mirrored_patients(tmp_path):
    one = member(tmp_path, "A", [LEFT_KIDNEY], missing=(RIGHT_KIDNEY,))
    straight, mirrored = (
        MissingRule("marginal", [one], coarse=False, sides_swap=swap) for swap in (False, True)
    )
    assert straight.of_loss(one.missing_mask()[None]) is None
    assert mirrored.of_loss(one.missing_mask()[None]).nonzero().tolist() == [[0, RIGHT_KIDNEY]]


def test_the_coarse_network_learns_from_background_only_where_all_organs_are_known(members):
    """A missing tumor does not count: it lies in an organ or at one, and the box has a margin."""
    for setting in ("marginal", "ignore"):
        rule = MissingRule(setting, members, coarse=True, sides_swap=False)
        assert [targets(rule, m) for m in members] == [
            [1, 1, 1, 0, 0],
            [1, 1, 255, 255, 255],
            [1, 1, 255, 1, 0],
        ]
        assert all(rule.of_loss(m.missing_mask()[None]) is None for m in members)
    papers = MissingRule("background", members, coarse=True, sides_swap=False)
    assert targets(papers, members[1]) == [1, 1, 0, 0, 0]


def test_ignore_leaves_out_the_background_of_a_case_that_misses_a_class(members):
    rule = MissingRule("ignore", members, coarse=False, sides_swap=False)
    assert [targets(rule, m) for m in members] == [
        [1, 3, 14, 0, 0],
        [1, 14, 255, 255, 255],
        [1, 3, 255, 200, 255],
    ]
    assert rule.of_loss(members[1].missing_mask()[None]).nonzero().tolist() == [[0, SPLEEN]]


def test_background_is_the_papers_way(members):
    rule = MissingRule("background", members, coarse=False, sides_swap=False)
    assert [targets(rule, m) for m in members] == [[1, 3, 14, 0, 0], [1, 14, 0, 0, 0], [1, 3, 255, 200, 0]]
    assert all(rule.of_loss(m.missing_mask()[None]) is None for m in members)


@pytest.mark.parametrize(
    ("setting", "coarse", "what"),
    [
        ("marginal", True, "misses an organ, so that nothing tells the coarse network"),
        ("ignore", True, "misses an organ, so that nothing tells the coarse network"),
        ("ignore", False, "misses a class, so that nothing tells the fine network"),
    ],
)
def test_a_setting_that_leaves_no_background_to_learn_is_refused(setting, coarse, what, tmp_path):
    two = [
        member(tmp_path, "A", [LIVER], missing=(SPLEEN,)),
        member(tmp_path, "B", [SPLEEN], missing=(LIVER,)),
    ]
    with pytest.raises(TrainingError, match=f"every training case {what} .*; complement"):
        MissingRule(setting, two, coarse=coarse, sides_swap=False)


def test_voxels_are_counted_where_a_class_was_looked_for(members):
    rule = MissingRule("marginal", members, coarse=False, sides_swap=False)
    voxels = torch.zeros(3, 15, dtype=torch.int64)
    voxels[:, 0], voxels[:, LIVER] = 10, torch.tensor([1, 2, 3])
    looked_at = rule.looked_at(members, voxels)
    # 11 + 12 + 13 voxels; the spleen not among the second's, the tumor not among the third's.
    assert (looked_at[LIVER], looked_at[SPLEEN], looked_at[TUMOR], looked_at[4]) == (36, 24, 23, 36)


class Sees(nn.Module):
    """Finds the class that the image shows, but for the `mistaken`."""

    def __init__(self, classes: int, mistaken: dict[int, int]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        table = torch.arange(256).clamp(max=classes - 1)
        for shown, said in mistaken.items():
            table[shown] = said
        self.table, self.classes = table, classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        said = self.table[x[:, 0].long()]
        return self.scale * nn.functional.one_hot(said, self.classes).movedim(-1, 1).float()


def validated(
    folder: Path,
    network: nn.Module,
    validation: list[Prepared],
    train: list[Prepared],
    missing: Any = "background",
) -> float | None:
    settings = StudentStage(size=(17, 17, 17), channels=(4, 4, 4, 4, 4), epochs=1)
    classes = network.classes
    assert isinstance(classes, int)
    training = NetworkTraining(
        network,
        settings,
        train,
        validation,
        folder=folder,
        seed=0,
        precision=CPU,
        classes=classes,
        missing=missing,
    )
    return training._validate()


def test_classes_that_a_model_drew_do_not_choose_the_weights(members, tmp_path):
    """The spleen is taken for liver. Liver: 2 · 1 / (1 + 2) = 2/3; spleen: 0, unless a model drew it."""
    says = Sees(15, {SPLEEN: LIVER})
    by_hand = member(tmp_path, "V", [LIVER, SPLEEN])
    by_model = member(tmp_path, "V", [LIVER, SPLEEN], pseudo=(SPLEEN,))
    assert validated(tmp_path / "a", says, [by_hand], members) == pytest.approx(1 / 3)
    assert validated(tmp_path / "b", says, [by_model], members) == pytest.approx(2 / 3)
    assert validated(tmp_path / "c", says, [by_hand, by_model], members) == pytest.approx(
        (2 / 3 + 0 + 2 / 3) / 3
    )


def test_without_a_class_drawn_by_hand_there_is_no_score(members, tmp_path):
    only = member(tmp_path, "V", [LIVER], pseudo=(LIVER,))
    assert validated(tmp_path / "a", Sees(15, {}), [only], members) is None
    assert validated(tmp_path / "b", Sees(2, {}), [only], members) is None


def test_a_tumor_found_in_an_organ_is_no_mistake_where_nobody_looked_for_tumors(members, tmp_path):
    """Two voxels of liver, of which one is taken for tumor (shown as 40 in the image): DSC 2 · 1 / (2 + 1) = 2/3."""
    lacking = member(tmp_path, "V", [LIVER, LIVER], missing=(TUMOR,))
    image = np.zeros((1, 17, 1, 1), np.float16)
    image[0, :2, 0, 0] = LIVER, 40
    np.save(lacking.image_file, image)
    says = Sees(15, {40: TUMOR})
    assert validated(tmp_path / "a", says, [lacking], members) == pytest.approx(2 / 3)
    assert validated(tmp_path / "b", says, [lacking], members, "marginal") == 1


def test_the_coarse_network_is_scored_where_a_person_drew_all_organs(tmp_path):
    """It takes the spleen for background. Where a person drew both: 2 · 1 / (2 + 1) = 2/3."""
    says = Sees(2, {SPLEEN: 0})
    known = member(tmp_path, "K", [LIVER, SPLEEN])
    by_model = member(tmp_path, "M", [LIVER, SPLEEN], pseudo=(SPLEEN,))
    assert validated(tmp_path / "a", says, [known, by_model], [known]) == pytest.approx(2 / 3)
    # Only where there is none by hand the others judge, outside of what the model drew.
    assert validated(tmp_path / "b", says, [by_model], [known]) == 1
