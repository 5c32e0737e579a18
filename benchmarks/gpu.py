"""The student on a GPU: a case from file to file, and a training step of the paper's size; time and memory.

Run ``python benchmarks/gpu.py`` on a machine that has this checkout, torch, numpy and nibabel; nothing else is
imported (isal, where it is there, reads and writes gzip as in `predict`). On a CPU it takes smaller sizes:
``--shape 128 128 96 --size 64``. Weights are as they are before training unless ``--model`` names a trained student's
folder; untrained ones look at the whole image, which is the most work a case can be.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curation.components import component_sizes, drop_small, keep_largest
from curation.rle import RunLengths
from pipelines.training.losses import DiceCrossEntropy
from pipelines.training.networks.coarse_unet import CoarseUNet
from pipelines.training.networks.efficient_seg import EfficientSegNet
from pipelines.training.student_volumes import Box, Placement, foreground_box

WINDOW_HU = (-325.0, 325.0)
MARGIN_MM = 20.0
SPACING_MM = (0.8, 0.8, 1.2)
COARSE_CLASSES, FINE_CLASSES = 2, 15
# A piece of the coarse result below this share of the largest is noise, as in `student_predict`.
SPECK = 0.02


def draw_ct(shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """A body of soft tissue with noise in air, HU, first axis fastest."""
    rng = np.random.default_rng(1)
    x, y = (np.linspace(-1, 1, n) for n in shape[:2])
    body = (x[:, None] / 0.8) ** 2 + (y[None] / 0.6) ** 2 < 1
    image = np.empty(shape, np.int16, order="F")
    for z in range(shape[2]):
        image[:, :, z] = np.where(body, 40, -1000) + rng.normal(0, 12, shape[:2])
    return image


def read(file: Path) -> NDArray[np.int16]:
    """HU, (X, Y, Z)."""
    try:
        from curation.volumes import decode_image
    except ImportError:
        return np.asarray(nibabel.load(file).dataobj)
    return decode_image(file.read_bytes(), file.name)[1]


def write(file: Path, labels: RunLengths) -> None:
    """Write a mask."""
    affine = np.diag([*SPACING_MM, 1.0])
    try:
        from curation.geometry import Geometry
        from curation.volumes import encode_mask
    except ImportError:
        nibabel.save(nibabel.Nifti1Image(labels.to_array(), affine), file)
        return
    file.write_bytes(encode_mask(labels, Geometry(labels.shape, affine)))


class Student:
    """Both networks on one device, and how `student_predict` puts them together."""

    def __init__(self, device: torch.device, coarse_size: int, fine_size: int, model: Path | None) -> None:
        self.device = device
        self.sizes = (coarse_size,) * 3, (fine_size,) * 3
        self.networks = [CoarseUNet(COARSE_CLASSES), EfficientSegNet(FINE_CLASSES)]
        for name, network in zip(("coarse", "fine"), self.networks, strict=True):
            if model is not None:
                saved = torch.load(model / f"{name}.pt", map_location="cpu", weights_only=True)
                network.load_state_dict(saved["weights"])
            network.eval().to(device, memory_format=torch.channels_last_3d)

    def scores(self, stage: int, crop: NDArray[np.int16]) -> tuple[Placement, Tensor]:
        """Class scores of one network for a part of an image."""
        placed = Placement.plan(crop.shape, self.sizes[stage], pad=stage == 1)
        part = crop
        if self.device.type != "cpu":
            part = torch.from_numpy(np.ascontiguousarray(crop)).to(self.device)
        at_input = placed.image(part, WINDOW_HU)[None].contiguous(memory_format=torch.channels_last_3d)
        with torch.inference_mode(), autocast(self.device):
            return placed, self.networks[stage](at_input)[0].float()

    def predict(self, image: NDArray[np.int16]) -> RunLengths:
        """Coarse, box, margin, fine, back, largest components."""
        placed, scores = self.scores(0, image)
        runs = RunLengths.from_array(scores.argmax(0).to(torch.uint8).cpu().numpy())
        largest = max(component_sizes(runs, 1), default=0)
        found = foreground_box(drop_small(runs, int(np.ceil(SPECK * largest))).to_array())
        box = Box.whole(image.shape)
        if found is not None:
            box = placed.box_back(found).grown(MARGIN_MM, SPACING_MM, image.shape)
        placed, scores = self.scores(1, image[box.slices])
        labels = np.zeros(image.shape, np.uint8, order="F")
        placed.decide(scores, labels[box.slices])
        return keep_largest(RunLengths.from_array(labels))


def autocast(device: torch.device) -> torch.autocast:
    """fp16 on a GPU, plain floats on a CPU."""
    return torch.autocast(device.type, torch.float16, enabled=device.type == "cuda")


def measured(device: torch.device, repeats: int, work: Callable[[], object]) -> tuple[float, float]:
    """Median seconds after one run to warm up, and the peak of GPU memory in MB (0 on a CPU)."""
    on_gpu = device.type == "cuda"
    work()
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds), torch.cuda.max_memory_reserved() / 2**20 if on_gpu else 0.0


def training_step(device: torch.device, network: nn.Module, classes: int, size: int) -> Callable[[], None]:
    """One step of the paper's: batch of two, Dice + cross entropy, AdamW, fp16 on a GPU."""
    network = network.train().to(device, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    loss_of = DiceCrossEntropy(classes).to(device)
    images = torch.randn(2, 1, size, size, size, device=device)
    images = images.contiguous(memory_format=torch.channels_last_3d)
    labels = torch.randint(0, classes, (2, 1, size, size, size), dtype=torch.uint8, device=device)

    def step() -> None:
        with autocast(device):
            logits = network(images)
        loss = loss_of(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def measure_case(student: Student, shape: tuple[int, int, int], repeats: int) -> None:
    """A drawn CT from file to file, and what of it is reading."""
    with tempfile.TemporaryDirectory() as name:
        source, result = Path(name) / "ct.nii.gz", Path(name) / "mask.nii.gz"
        nibabel.save(nibabel.Nifti1Image(draw_ct(shape), np.diag([*SPACING_MM, 1.0])), source)
        image = read(source)
        title = f"student, {'×'.join(map(str, shape))}"
        for what, work, target in (
            (
                "file to file",
                lambda: write(result, student.predict(read(source))),
                "1.0 s, 4000 MB on an H200",
            ),
            ("without reading and writing", lambda: student.predict(image), ""),
            ("reading alone", lambda: read(source), ""),
        ):
            seconds, peak_mb = measured(student.device, repeats, work)
            print(f"{f'{title}, {what}':44}{seconds:9.2f}{peak_mb:8.0f}   {target}")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 300), help="of the case")
    parser.add_argument("--size", type=int, help="of both networks' inputs, instead of 160 and 192")
    parser.add_argument("--model", type=Path, help="folder of a trained student")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    coarse, fine = (given.size or 160), (given.size or 192)
    print(torch.cuda.get_device_name() if device.type == "cuda" else "CPU", f"torch {torch.__version__}")
    print(f"{'':44}{'seconds':>9}{'MB':>8}   target")
    student = Student(device, coarse, fine, given.model)
    measure_case(student, tuple(given.shape), given.repeats)
    student.networks.clear()
    for kind, classes, size in ((CoarseUNet, COARSE_CLASSES, coarse), (EfficientSegNet, FINE_CLASSES, fine)):
        step = training_step(device, kind(classes), classes, size)
        seconds, peak_mb = measured(device, given.repeats, step)
        title = f"training step, {kind.__name__}, 2 × {size}³"
        print(f"{title:44}{seconds:9.2f}{peak_mb:8.0f}   {2 / seconds:.2f} cases/s")
        del step


if __name__ == "__main__":
    main()
